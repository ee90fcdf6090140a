"""The key that seals what begins now, told to threads that are not the loop's.

Only the loop may ask the writer: while it closes a block of another case, the writer has that case's key.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable

from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.sealing import DataKey

Live = tuple[LogId, DataKey]
"""The log that records now, and its data key."""


class LiveKey:
    """Call it on any thread; ``ask`` is called on the loop. None while nothing is recorded."""

    def __init__(self, ask: Callable[[], Live | None]) -> None:
        self._ask = ask
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def begin(self) -> None:
        """From now on, on the running loop."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def __call__(self) -> Live | None:
        """What seals an object that begins now."""
        if self._loop is None:
            return None
        if threading.get_ident() == self._thread:
            return self._ask()
        told: concurrent.futures.Future[Live | None] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(lambda: told.set_result(self._ask()))
            return told.result(LIMITS.object_key_ns / S_NS)
        except (RuntimeError, TimeoutError):  # the loop has ended, or stands still
            return None
