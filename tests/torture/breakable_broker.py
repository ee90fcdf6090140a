"""The agent, with a broker that fails on SIGUSR1 as if by a bug of its own: it stops to accept connections."""

from __future__ import annotations

import asyncio
import signal
import sys

from agent.broker import EmbeddedBroker
from agent.cli.main import main

_made: list[EmbeddedBroker] = []
_start = EmbeddedBroker.start


async def _noted_start(broker: EmbeddedBroker) -> None:
    _made.append(broker)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _fail)
    await _start(broker)


def _fail() -> None:
    accepting = _made[-1]._accepting
    if accepting is not None:
        accepting.cancel()


if __name__ == "__main__":
    setattr(EmbeddedBroker, "start", _noted_start)  # noqa: B010 - a patch, which assignment's type would not allow
    sys.exit(main())
