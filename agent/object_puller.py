"""Carries the fetching of objects (``ledger.objects.pull``): asks peers, works on threads, waits where it must.

A few at a time, in turn for each box, from any peer that has them; and only while no block waits for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from agent.object_exchange import ObjectExchange
from agent.pump import Pump
from ledger.errors import OrledgerError
from ledger.instant import Now
from ledger.limits import LIMITS, Limits
from ledger.member import Member
from ledger.objects import ObjectFolder, ObjectHeader
from ledger.objects.pull import Pull, Question
from ledger.objects.turns import Turns
from ledger.store.objects import ObjectRow

_PAUSE_S = 0.05
_Asked = dict[asyncio.Task[bytes], Question]


class ObjectPuller:
    """Belongs to the loop; disk and hashing on ``threads``. ``may_take(bytes)``: whether the disk has room for more."""

    def __init__(
        self, member: Member, pump: Pump, folder: ObjectFolder, exchange: ObjectExchange, threads: Executor,
        now: Callable[[], Now], may_take: Callable[[int], bool], limits: Limits = LIMITS,
    ) -> None:  # fmt: skip
        self.turns = Turns(limits)
        self._limits = limits
        self.pulled = 0
        self._member = member
        self._pump = pump
        self._folder = folder
        self._exchange = exchange
        self._threads = threads
        self._now = now
        self._may_take = may_take

    async def pull(self, row: ObjectRow) -> ObjectHeader | None:
        """Fetch one object; its header once it lies here whole and durable, None when nobody gives it now.

        Raises PeerFault when the block that names it names what cannot be, StoreFault when our disk fails.
        """
        pull = Pull(row, self._folder, self.turns, self._limits)
        asked: _Asked = {}
        try:
            while not pull.has_ended:
                if pull.work() is not None:
                    await self._work(pull)
                    continue
                await self._wait_for_blocks()
                if not self._may_take(pull.more_bytes):
                    return None
                self._ask(row, pull, asked)
                await self._hear(pull, asked)
        finally:
            for task in asked:
                task.cancel()
            pull.close()
        if pull.false_name is not None:
            raise pull.false_name
        self.pulled += pull.header is not None
        return pull.header

    async def _work(self, pull: Pull) -> None:
        fault = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, pull.work() or _nothing)
        except OrledgerError as failed:
            fault = failed
        pull.worked(fault, self._now().mono_ns)
        self._count_faults(pull)

    def _ask(self, row: ObjectRow, pull: Pull, asked: _Asked) -> None:
        window = 1 if self._member.fetching.payloads.lacking else self._limits.object_pieces_outstanding
        for question in pull.questions(self._now().mono_ns, window):
            fetching = self._exchange.fetch(question.peer, row.stored.sha256, question.first, question.end)
            asked[asyncio.get_running_loop().create_task(fetching)] = question

    async def _hear(self, pull: Pull, asked: _Asked) -> None:
        if not asked:
            return
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            question = asked.pop(task)
            fault = task.exception()
            if fault is not None and not isinstance(fault, OrledgerError):
                raise fault
            pull.answered(question, task.result() if fault is None else fault, self._now().mono_ns)
        self._count_faults(pull)

    def _count_faults(self, pull: Pull) -> None:
        for peer, fault in pull.faults:
            self._pump.count_fault(peer, fault)
        pull.faults.clear()

    async def _wait_for_blocks(self) -> None:
        """Blocks go first; and while the disk is short of room, this room's own."""
        witness = self._member.witness
        while witness.is_short_of_time or self._pump.replicas_paused:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_S)


def _nothing() -> None:
    """No work."""
