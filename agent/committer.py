"""The writer thread: one durable transaction at a time for all that waits. The loop never waits for the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ledger.errors import OrledgerError, OurFault
from ledger.ops import Op


class Ledger(Protocol):
    """The part of the store that writes."""

    def commit(self, ops: Sequence[Op]) -> object:
        """Make all of these durable in one transaction, or raise StoreFault and never write again."""

    def prepare(self) -> bool:
        """Make room for the next commits; False when the disk has none left."""


class Committer:
    """Commits at once when idle; what comes meanwhile goes with the next transaction.

    ``gather`` returns the waiting operations; ``done`` is told when they are durable, with how long that took;
    ``failed`` is told once: nothing more may be signed or written after it.
    """

    def __init__(
        self,
        store: Ledger,
        gather: Callable[[], Sequence[Op]],
        done: Callable[[int], None],
        failed: Callable[[OrledgerError], None],
    ) -> None:
        self._store = store
        self._gather = gather
        self._done = done
        self._failed = failed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._busy: asyncio.Task[None] | None = None
        self._broken = False
        self._has_room = True

    @property
    def has_room(self) -> bool:
        """False when the disk is full and only the room made ahead remains."""
        return self._has_room

    def poke(self) -> None:
        """Something may be waiting."""
        if self._busy is None and not self._broken:
            ops = self._gather()
            if ops:
                self._busy = asyncio.get_running_loop().create_task(self._commit(ops))

    async def _commit(self, ops: Sequence[Op]) -> None:
        loop = asyncio.get_running_loop()
        while ops:
            try:
                elapsed_ns = await loop.run_in_executor(self._thread, self._timed_commit, ops)
            except OrledgerError as error:
                self._break(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be signed after it
                self._break(OurFault("commit.crashed", f"the commit failed: {error!r}", "report this"))
                return
            self._done(elapsed_ns)
            self._has_room = await loop.run_in_executor(self._thread, self._store.prepare)
            ops = self._gather()
        self._busy = None

    def _timed_commit(self, ops: Sequence[Op]) -> int:
        began = time.perf_counter_ns()
        self._store.commit(ops)
        return time.perf_counter_ns() - began

    def _break(self, error: OrledgerError) -> None:
        self._broken = True
        self._busy = None
        self._failed(error)

    async def drain(self) -> None:
        """Commit everything that waits, then return."""
        self.poke()
        while self._busy is not None:
            await asyncio.wait([self._busy])
            self.poke()

    def close(self) -> None:
        """End the thread; call after ``drain``."""
        self._thread.shutdown()
