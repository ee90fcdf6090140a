"""The key that seals what begins now, told to threads that are not the loop's.

While the loop closes a block of another case, the writer has that case's key: ``apart`` keeps it from everybody else.
Nobody waits for the loop: it may be busy when an image comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from ledger.log import LogId
from ledger.sealing import DataKey

Live = tuple[LogId, DataKey]
"""The log that records now, and its data key."""


class LiveKey:
    """Call it on any thread, and ``ask`` may be called on any. None before ``begin`` and after ``end``."""

    def __init__(self, ask: Callable[[], Live | None]) -> None:
        self._ask = ask
        self._guard = threading.RLock()
        self._is_told = False

    def begin(self) -> None:
        """From now on it is told."""
        self._is_told = True

    def end(self) -> None:
        """Nothing is recorded any more."""
        self._is_told = False

    def apart(self) -> AbstractContextManager[object]:
        """While this is open, the writer has the key of another case than the room's; on the loop."""
        return self._guard

    def __call__(self) -> Live | None:
        """What seals an object that begins now."""
        with self._guard:
            return self._ask() if self._is_told else None
