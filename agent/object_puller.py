"""Fetches objects that blocks name and that are not here: checked as they come, resumed where they stopped.

A few at a time, in turn for each box, from any peer that has them; and only while no block waits for the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from agent.object_exchange import ObjectExchange
from agent.pump import Pump
from ledger.errors import NoPeer, OrledgerError, PeerFault, StoreFault, VerificationFailed
from ledger.instant import Now
from ledger.limits import LIMITS, Limits
from ledger.member import Member
from ledger.objects import NewFile, ObjectFolder, ObjectHeader, prove
from ledger.objects.assembly import Assembly
from ledger.objects.turns import Turns
from ledger.store.objects import ObjectRow

_LOG = logging.getLogger(__name__)
_PAUSE_S = 0.05
_T = TypeVar("_T")


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
        name = row.stored.sha256
        assembly = Assembly(row.stored)
        held = await self._already_here(row)
        if held is not None:
            return held
        if not self._may_take(row.stored.sealed_bytes) or not await self._fetch_index(row, assembly):
            return None
        part = await self._on_thread(lambda: self._folder.resume(name))
        try:
            return await self._fetch_chunks(row, assembly, part)
        finally:
            part.close()

    async def _already_here(self, row: ObjectRow) -> ObjectHeader | None:
        """A file of that name, from before the store was rebuilt; one that is damaged is removed."""
        name = row.stored.sha256
        if self._folder.length(name) is None:
            return None

        def look() -> ObjectHeader | None:
            try:
                with self._folder.source(name) as source:
                    proof = prove(source, name, None)
            except (VerificationFailed, PeerFault) as fault:
                _LOG.warning("%s; it is fetched again", fault)
                self._folder.delete(name)
                return None
            return proof.header

        return await self._on_thread(look)

    # ---- header and index --------------------------------------------------------------------------------------

    async def _fetch_index(self, row: ObjectRow, assembly: Assembly) -> bool:
        """From one peer at a time: only the whole tells whether it is right."""
        for peer in self.turns.sources(row, self._now().mono_ns):
            try:
                pieces = await self._pieces(row, peer, assembly.index_pieces())
                assembly.take_index(pieces)
            except OrledgerError as fault:
                self._fault(peer, row, fault)
            else:
                return True
        return False

    async def _pieces(self, row: ObjectRow, peer: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """All of these from one peer. Raises NoPeer, PeerFault."""
        found = []
        for first, end in ranges:
            await self._wait_for_blocks()
            found.append(self._given(row, peer, await self._exchange.fetch(peer, row.stored.sha256, first, end)))
        return found

    @staticmethod
    def _given(row: ObjectRow, peer: str, data: bytes) -> bytes:
        if not data:
            raise _Denied("object.denied", f"{peer} does not hold object {row.stored.sha256.hex()[:16]}")
        return data

    # ---- chunks ------------------------------------------------------------------------------------------------

    async def _fetch_chunks(self, row: ObjectRow, assembly: Assembly, part: NewFile) -> ObjectHeader | None:
        await self._on_thread(lambda: _resume(assembly, part))
        asked: deque[tuple[int, str, asyncio.Task[bytes]]] = deque()
        following = assembly.next_chunk
        turn = 0
        try:
            while not assembly.is_whole:
                await self._wait_for_blocks()
                if not self._may_take(row.stored.sealed_bytes - part.length):
                    return None
                sources = self.turns.sources(row, self._now().mono_ns)
                window = 1 if self._member.payloads.lacking else self._limits.object_pieces_outstanding
                while sources and following < assembly.layout.chunks and len(asked) < window:
                    peer, turn = sources[turn % len(sources)], turn + 1
                    asked.append((following, peer, self._ask(row, assembly, following, peer)))
                    following += 1
                if not asked:
                    return None  # nobody is left to ask
                number, peer, came = asked.popleft()
                data = await self._chunk(row, assembly, number, peer, came, part)
                if data is None:  # ask others for this one, then go on: they come in order
                    for _, _, later in asked:
                        later.cancel()
                    asked.clear()
                    following = number
        finally:
            for _, _, task in asked:
                task.cancel()
        return await self._finish(row, assembly, part)

    def _ask(self, row: ObjectRow, assembly: Assembly, number: int, peer: str) -> asyncio.Task[bytes]:
        fetching = self._exchange.fetch(peer, row.stored.sha256, *assembly.layout.chunk_at(number))
        return asyncio.get_running_loop().create_task(fetching)

    async def _chunk(
        self, row: ObjectRow, assembly: Assembly, number: int, peer: str, came: asyncio.Task[bytes], part: NewFile
    ) -> bytes | None:
        """Wait for a chunk, check it, keep it; None when this peer did not give it."""
        try:
            data = self._given(row, peer, await came)
        except OrledgerError as fault:
            self._fault(peer, row, fault)
            return None

        def keep() -> None:
            assembly.check(number, data)
            part.write(data)
            assembly.add(data)

        try:
            await self._on_thread(keep)
        except PeerFault as fault:
            self._fault(peer, row, fault)
            return None
        return data

    async def _finish(self, row: ObjectRow, assembly: Assembly, part: NewFile) -> ObjectHeader | None:
        def finish() -> None:
            part.write(assembly.end())
            part.keep(row.stored.sha256)

        try:
            await self._on_thread(finish)
        except PeerFault:  # its own block names it falsely: nobody will ever give it
            await self._on_thread(part.discard)
            raise
        self.pulled += 1
        return assembly.header

    # ---- what all steps share ----------------------------------------------------------------------------------

    def _fault(self, peer: str, row: ObjectRow, fault: OrledgerError) -> None:
        """This peer is asked for it later; what is wrong, and not just absent, is counted."""
        self.turns.refused(peer, row.stored.sha256, self._now().mono_ns, denied=isinstance(fault, _Denied))
        if isinstance(fault, StoreFault):
            raise fault
        if not isinstance(fault, NoPeer):
            self._pump.count_fault(peer, fault)

    async def _wait_for_blocks(self) -> None:
        """Blocks go first; and while the disk is short of room, this room's own."""
        witness = self._member.witness
        while witness.backlog >= LIMITS.payload_backlog_blocks or self._pump.replicas_paused:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_S)

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Denied(NoPeer):
    """A peer says that it does not hold an object."""


def _resume(assembly: Assembly, part: NewFile) -> None:
    """On a thread: keep what is good of the part, begin it if nothing is."""
    good = assembly.resume(part.read, part.length)
    if good < part.length:
        part.cut(good)
    if not good:
        part.write(assembly.beginning)
