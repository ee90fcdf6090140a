"""Keeps the objects of a box: fetches what blocks name, vouches for what is here, removes what went at its retention.

Beside the tick, a look a second; the disk's work is done on threads of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from agent.alerts import Alerts
from agent.intake import Intake
from agent.object_exchange import ObjectExchange
from agent.object_intake import ObjectIntake
from agent.object_puller import ObjectPuller
from agent.pump import Pump
from ledger.block import decode_signed_header
from ledger.errors import OrledgerError, PeerFault, StoreFault
from ledger.instant import Now
from ledger.keyring import Keyring
from ledger.limits import S_NS
from ledger.log import LogId
from ledger.member import Member
from ledger.notices import StoredObject
from ledger.objects.keeping import is_litter, is_unwanted, marks
from ledger.objects.vouching import ObjectVouching
from ledger.ops import MarkObject, ObjectState
from ledger.outbox import Warn
from ledger.quorum import Level
from ledger.retention import DAY_NS
from ledger.store import Store
from ledger.store.objects import ObjectRow, ObjectTotals

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_THREADS = 2
_SURVEY_PAGE = 256


@dataclass(frozen=True, slots=True)
class ObjectSurvey:
    """What lies here, as last looked. ``own_levels``: this box's own objects by level; ``unreferenced``: files that no
    block names (yet), ``litter``: those removed since the start.
    """

    totals: ObjectTotals = field(default_factory=ObjectTotals)
    own_levels: Mapping[Level, int] | None = None
    unreferenced: int = 0
    litter: int = 0


class ObjectKeeper:
    """``start`` once the network is there. Everything but the work on threads belongs to the loop."""

    def __init__(
        self, store: Store, keyring: Keyring, member: Member, pump: Pump, intake: Intake, objects: ObjectIntake,
        alerts: Alerts, now: Callable[[], Now],
    ) -> None:  # fmt: skip
        self._store = store
        self._member = member
        self._pump = pump
        self._intake = intake
        self._objects = objects
        self._folder = objects.folder
        self._alerts = alerts
        self._limits = limits = objects.limits
        self._now = now
        self._threads = ThreadPoolExecutor(_THREADS, "objects")
        self.exchange = ObjectExchange(member, pump, self._folder, self._threads, limits)
        self.vouching = ObjectVouching(member, store, keyring, self._folder, self.exchange.say)
        self.exchange.on_holding = self.vouching.on_holding
        self.puller = ObjectPuller(
            member, pump, self._folder, self.exchange, self._threads, now, self._may_take, limits
        )
        self.survey = ObjectSurvey(litter=self._folder.leftovers.files)
        self.exchange.on_asked = self._on_asked
        pump.on_peer = self._on_peer
        self._wanted: list[ObjectRow] = []
        self._wanted_due_ns = 0
        self._busy: set[bytes] = set()
        self._answering: set[str] = set()
        self._pruned: list[tuple[LogId, int, int]] = []
        self._ask_due_ns = 0
        self._survey_due_ns = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._spawn(self._run())
        if self._member.witness.keeps_payloads:
            for number in range(self._limits.object_pulls):
                self._spawn(self._pull_forever(smallest=number == 0))

    async def stop(self) -> None:
        """End; parts of objects stay for the next start."""
        self.exchange.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """A fault here must not end the recording, nor be silent."""
        try:
            await work
        except Exception as fault:  # noqa: BLE001 - whatever it is, the room goes on being recorded
            told = fault if isinstance(fault, OrledgerError) else None
            text = told.text if told else f"the keeping of objects failed: {fault!r}"
            self._show(text, (told.next_step if told else "") or "report this, then restart")
            _LOG.error("objects: %s", text, exc_info=None if told else fault)

    def _show(self, text: str, next_step: str) -> None:
        self._alerts.take(replace(_ALERT, text=text, next_step=next_step), self._now().utc_ns)

    # ---- what others tell --------------------------------------------------------------------------------------

    def named(self, names: Sequence[bytes]) -> tuple[StoredObject, ...]:
        """The recorder's question: what a block whose records name these objects must say of them."""
        named = self._objects.named(names)
        self.vouching.recorded(named)
        return named

    def pruned(self, log: LogId, first: int, end: int) -> None:
        """Retention takes the payloads of these blocks, and with them the objects that they name."""
        self._pruned.append((log, first, end))

    async def refetch(self, sha256: bytes) -> int:
        """Remove an object that is damaged, so that it is fetched anew; how many blocks name it."""
        self.vouching.forget(sha256)
        await self._on_thread(lambda: self._folder.delete(sha256))
        rows = [row for row in self._store.objects_named(sha256) if row.state is ObjectState.HELD]
        for row in rows:
            self._member.out.persist(MarkObject(row.log, row.seq, sha256, ObjectState.WANTED))
        await self._pump.make_durable()
        self._wanted_due_ns = 0
        return len(rows)

    def _on_peer(self, peer: str, is_up: bool) -> None:
        """A peer can be asked from now on, or no more."""
        if is_up:
            self.puller.turns.peer_up(peer)
            self._ask_due_ns = 0
        else:
            self.puller.turns.peer_down(peer)

    # ---- once a second -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self.vouching.take_up(await self._on_thread(self.vouching.unvouched))
        while True:
            await self.look()
            await asyncio.sleep(self._limits.object_look_ns / S_NS)

    async def look(self) -> None:
        """One round of what is due."""
        now_ns = self._now().mono_ns
        if self._objects.has_late:
            waiting = self._intake.objects_waiting()
            await self._on_thread(lambda: self._objects.expire(waiting))
        if now_ns >= self._ask_due_ns:
            self._ask_due_ns = now_ns + self._limits.object_ask_ns
            self.vouching.ask(sorted(self.puller.turns.peers))
        await self._remove_pruned()
        if now_ns >= self._survey_due_ns:
            self._survey_due_ns = now_ns + self._limits.retention_survey_ns
            await self._look_at_all()

    async def _remove_pruned(self) -> None:
        pruned, self._pruned = self._pruned, []
        for log, first, end in pruned:
            rows = await self._on_thread(lambda span=(log, first, end): list(self._store.objects(*span)))  # type: ignore[misc]
            for row in rows:
                if row.state is ObjectState.GONE:
                    await self._remove(row.stored.sha256)
            if any(row.state is not ObjectState.GONE for row in rows):
                self._pruned.append((log, first, end))  # its commit waits

    async def _remove(self, sha256: bytes) -> None:
        """An object that no block wants any more."""
        if is_unwanted(self._store.objects_named(sha256)):
            self.vouching.forget(sha256)
            await self._on_thread(lambda: self._folder.delete(sha256))

    # ---- fetching ----------------------------------------------------------------------------------------------

    async def _pull_forever(self, *, smallest: bool) -> None:
        while True:
            row = await self._next(smallest=smallest)
            if row is None:
                await asyncio.sleep(self._limits.object_look_ns / S_NS)
                continue
            self._busy.add(row.stored.sha256)
            try:
                await self._pull(row)
            finally:
                self._busy.discard(row.stored.sha256)

    async def _next(self, *, smallest: bool) -> ObjectRow | None:
        now = self._now()
        if not self.puller.turns.peers or self._pump.replicas_paused:
            return None
        if now.mono_ns >= self._wanted_due_ns:
            self._wanted_due_ns = now.mono_ns + self._limits.object_look_ns
            self._wanted = await self._on_thread(self._store.objects_wanted)
        return self.puller.turns.choose(self._wanted, self._busy, now.mono_ns, smallest=smallest)

    async def _pull(self, row: ObjectRow) -> None:
        sha256 = row.stored.sha256
        try:
            header = await self.puller.pull(row)
        except PeerFault as fault:
            self._pump.count_fault(row.log.box, fault)
            await self._mark(row, ObjectState.GONE)
            return
        except StoreFault as fault:
            self._show(fault.text, fault.next_step)
            await asyncio.sleep(self._limits.object_retry_min_ns / S_NS)
            return
        if header is not None:
            await self._mark(row, ObjectState.HELD)
            if await self._is_checked(sha256, row.log.box):
                self.vouching.vouch(sha256, [box.id for box in self._member.manifest.peers_of(self._member.own_id)])
        elif self.puller.turns.nobody_has(sha256, self._group()) and self._is_old(row):
            _LOG.warning("object %s of %s is held by nobody any more", sha256.hex()[:16], row.log)
            await self._mark(row, ObjectState.GONE)

    async def _mark(self, row: ObjectRow, state: ObjectState) -> None:
        """Durable when this returns; for every block that names it."""
        sha256 = row.stored.sha256
        for mark in marks(self._store.objects_named(sha256), row.stored, state):
            self._member.out.persist(mark)
        await self._pump.make_durable()
        self._wanted = [each for each in self._wanted if each.stored != row.stored]
        self.puller.turns.done(sha256)

    def _group(self) -> set[str]:
        boxes = self._member.manifest.peers_of(self._member.own_id)
        return {box.id for box in boxes}

    def _is_old(self, row: ObjectRow) -> bool:
        """Retention takes no object within a day."""
        block = self._store.block(row.log, row.seq)
        return block is None or self._now().utc_ns - decode_signed_header(block.signed_header).closed_ns > DAY_NS

    def _may_take(self, more_bytes: int) -> bool:
        try:
            self._objects.require_room(more_bytes)
        except StoreFault:
            return False
        return True

    # ---- vouching ----------------------------------------------------------------------------------------------

    async def _is_checked(self, sha256: bytes, recorded_by: str) -> bool:
        if self.vouching.was_checked(sha256):
            return True
        try:
            sealed_bytes = await self._on_thread(lambda: self.vouching.check(sha256))
        except OrledgerError as fault:
            self._pump.count_fault(recorded_by, fault)
            return False
        if sealed_bytes is not None:
            self.vouching.note_checked(sha256, sealed_bytes)
        return sealed_bytes is not None

    def _on_asked(self, sender: str, names: tuple[bytes, ...]) -> None:
        """One question of each peer at a time; it asks again."""
        if sender not in self._answering:
            self._answering.add(sender)
            self._spawn(self._answer(sender, names))

    async def _answer(self, sender: str, names: tuple[bytes, ...]) -> None:
        try:
            for name in names:
                held = self.vouching.held(name)
                if held and await self._is_checked(name, held[0].log.box):
                    self.vouching.vouch(name, (sender,))
        finally:
            self._answering.discard(sender)

    # ---- all of it ---------------------------------------------------------------------------------------------

    async def _look_at_all(self) -> None:
        """Count what is held, and remove what nothing names: files of a retention that was interrupted, litter."""
        utc_ns, unfinished = self._now().utc_ns, self._objects.unfinished()
        self.survey = await self._on_thread(lambda: self._surveyed(utc_ns, unfinished))

    def _surveyed(self, utc_ns: int, unfinished: frozenset[bytes]) -> ObjectSurvey:
        """On a thread; pauses now and then, for the tick needs the interpreter too."""
        counts = {state: [0, 0] for state in ObjectState}
        levels = dict.fromkeys(Level, 0)
        states: dict[bytes, ObjectState] = {}
        for number, row in enumerate(self._store.objects()):
            if number % _SURVEY_PAGE == 0:
                time.sleep(0.001)
            counts[row.state][0] += 1
            counts[row.state][1] += row.stored.sealed_bytes
            before = states.get(row.stored.sha256, ObjectState.GONE)
            states[row.stored.sha256] = row.state if before is ObjectState.GONE else before
            if row.log.box == self._member.own_id and row.state is ObjectState.HELD:
                levels[self.vouching.level(row.log, row.stored.sha256)] += 1
        unreferenced, removed = self._swept(states, utc_ns, unfinished)
        wanted, held, gone = ((counts[state][0], counts[state][1]) for state in ObjectState)
        if not self._member.witness.keeps_payloads:
            wanted = (0, 0)  # a witness-only box holds none
        totals = ObjectTotals(wanted, held, gone)
        return ObjectSurvey(totals, levels, unreferenced, self.survey.litter + removed)

    def _swept(self, states: Mapping[bytes, ObjectState], utc_ns: int, unfinished: frozenset[bytes]) -> tuple[int, int]:
        """(files that no block names yet, files removed). A file is given a day: its block may come from a peer."""
        unreferenced = removed = 0
        for file in list(self._folder.held()):
            state = states.get(file.sha256)
            if file.sha256 in unfinished:
                continue
            if is_litter(state, file.modified_ns, utc_ns, self._limits):
                self._folder.delete(file.sha256)
                removed += state is None
            else:
                unreferenced += state is None
        for part in list(self._folder.parts()):
            if states.get(part.sha256) is not ObjectState.WANTED and part.sha256 not in self._busy:
                self._folder.delete_part(part.sha256)
                removed += 1
        return unreferenced, removed

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


_ALERT = Warn("objects.disk", "warning", "disk", "objects", "", "")
