"""The writer thread: one durable transaction at a time for all that waits. The loop never waits for the disk."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.threads import show_thread_name
from ledger.errors import OrledgerError, OurFault
from ledger.ops import Op

_PREPARE_EVERY_S = 1.0
_PREPARE_AFTER_OPERATIONS = 16
"""Making room wakes the thread once more, for what takes a moment and is seldom needed."""


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
        # Not an executor: what its futures and semaphore cost is paid between a block's arrival and its commit.
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.fault: OrledgerError | None = None
        """Why nothing is written any more."""
        self._has_room = True
        self._prepared_s = -math.inf
        self._since_prepared = 0

    @property
    def has_room(self) -> bool:
        """False when the disk is full and only the room made ahead remains."""
        return self._has_room

    def poke(self) -> None:
        """Something may be waiting."""
        if self._idle.is_set() and self.fault is None:
            self._commit_next(asyncio.get_running_loop())

    def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        ops = self._gather()
        if ops:
            self._idle.clear()
            self._since_prepared += len(ops)
            self._submit(lambda: self._commit(ops, loop), loop)
        else:
            self._idle.set()

    def _submit(self, job: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="commit", daemon=True)
            self._thread.start()
        self._jobs.put(lambda: self._guarded(job, loop))

    # On the thread.

    def _work(self) -> None:
        show_thread_name()
        while (job := self._jobs.get()) is not None:
            job()

    def _commit(self, ops: Sequence[Op], loop: asyncio.AbstractEventLoop) -> None:
        began_ns = time.perf_counter_ns()
        self._store.commit(ops)
        loop.call_soon_threadsafe(self._committed, time.perf_counter_ns() - began_ns, loop)

    def _prepare(self) -> None:
        self._has_room = self._store.prepare()

    def _guarded(self, job: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be signed after it
            loop.call_soon_threadsafe(self._break, error)

    # On the loop again.

    def _committed(self, elapsed_ns: int, loop: asyncio.AbstractEventLoop) -> None:
        """The answers leave first, then room is made: the two threads would compete, and only the next commit waits."""
        if self.fault is None:
            try:
                self._done(elapsed_ns)
                self._prepare_if_due(loop)
                self._commit_next(loop)
            except Exception as error:  # noqa: BLE001 - the loop would only log it, and nothing be committed again
                self._break(error)

    def _prepare_if_due(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() - self._prepared_s >= _PREPARE_EVERY_S
        if due or self._since_prepared >= _PREPARE_AFTER_OPERATIONS:
            self._prepared_s, self._since_prepared = loop.time(), 0
            self._submit(self._prepare, loop)

    def _break(self, error: Exception) -> None:
        if self.fault is None:
            known = error if isinstance(error, OrledgerError) else None
            self.fault = known or OurFault("commit.crashed", f"the commit failed: {error!r}", "report this")
            self._idle.set()
            self._failed(self.fault)

    async def drain(self) -> None:
        """Commit everything that waits, then return; also once nothing can be written (``fault``)."""
        self.poke()
        while not self._idle.is_set():
            await self._idle.wait()
            self.poke()

    def close(self) -> None:
        """End the thread; call after ``drain``."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
