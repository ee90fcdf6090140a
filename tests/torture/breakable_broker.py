"""The agent, with a broker that fails on SIGUSR1 as if by a bug of its own: its loop stops in the middle of things."""

from __future__ import annotations

import signal
import sys

from agent.broker import EmbeddedBroker
from agent.cli.main import main

_made: list[EmbeddedBroker] = []
_start = EmbeddedBroker.start


def _noted_start(broker: EmbeddedBroker) -> None:
    _made.append(broker)
    _start(broker)


def _fail(*_: object) -> None:
    loop = _made[-1]._loop
    if loop is not None:
        loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    setattr(EmbeddedBroker, "start", _noted_start)  # noqa: B010 - a patch, which assignment's type would not allow
    signal.signal(signal.SIGUSR1, _fail)
    sys.exit(main())
