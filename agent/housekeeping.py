"""The disk's room, once a second: what may go is handed to the pump, what a person must know becomes an alert.

Reading is done on a thread, for it may wait for the disk; judging on the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.alerts import Alerts
from agent.config import StoreSection
from agent.disk_health import RoomTrend
from agent.pump import Pump
from ledger.block import ClockQuality, ClockState, decode_signed_header
from ledger.errors import OrledgerError, StoreFault
from ledger.instant import Now
from ledger.keyring import Keyring
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.log_retention import LogRetention
from ledger.member import Member
from ledger.ops import Op, PrunePayloads
from ledger.outbox import Warn
from ledger.retention import DAY_NS, Moment, Retention, Room
from ledger.store import Store, StoreUsage

_LOG = logging.getLogger(__name__)
_GIB: Final = 1 << 30
_SUBJECT: Final = "ledger"


class _Asked(NamedTuple):
    """What the loop knows and the thread needs."""

    now: Now
    clock_is_right: bool
    logs: tuple[LogId, ...]
    may_step: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the thread found."""

    usage: StoreUsage
    room: Room
    ops: Sequence[Op]
    oldest_ns: int | None
    unreadable: tuple[tuple[LogId, OrledgerError], ...]
    expired: frozenset[LogId]
    spent: frozenset[LogId]


class Housekeeping:
    """Retention and room of one box. ``start`` and ``stop`` on the loop; ``days_left`` is for the status."""

    def __init__(
        self, store: Store, keyring: Keyring, member: Member, pump: Pump, alerts: Alerts, section: StoreSection,
        now: Callable[[], Now], quality: Callable[[], ClockQuality],
    ) -> None:  # fmt: skip
        self._store = store
        self._keyring = keyring
        self._member = member
        self._pump = pump
        self._alerts = alerts
        self._now = now
        self._quality = quality
        self.usage: Callable[[], StoreUsage] = store.usage
        self.on_pruned: Callable[[LogId, int, int], None] = lambda _log, _first, _end: None
        self.reserve_bytes = section.reserve_gib * _GIB
        self._retention_days = section.retention_days
        self._retention = Retention(store, section.retention_days * DAY_NS)
        log_days = section.log_retention_days
        self._log_retention = LogRetention(store, None if log_days is None else log_days * DAY_NS)
        self._survey_due_ns = 0
        self._trend = RoomTrend()
        self._stopping = asyncio.Event()
        self._expired: frozenset[LogId] = frozenset()
        self._forgotten: frozenset[LogId] = frozenset()
        self._task: asyncio.Task[None] | None = None

    @property
    def days_left(self) -> float | None:
        """Days until only the reserve is free, at the rate of the last hour; None where that is not known."""
        return self._trend.days_until(self.reserve_bytes)

    def start(self) -> None:
        """Begin; the first look is a second later, when recording has begun."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, and wait for the look under way: it reads the store."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        while not await self._is_stopped_within(LIMITS.housekeeping_every_ns / S_NS):
            try:
                await self.look()
            except Exception as fault:  # noqa: BLE001 - a bug here must not end the recording
                self._show(
                    _LOOK, f"housekeeping failed: {fault!r}; nothing more is pruned", "report this, then restart"
                )
                return

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    # ---- before the first block --------------------------------------------------------------------------------

    def may_begin(self) -> bool:
        """True when the disk has room to begin a log: its key, its first blocks. Raises a critical alert if not.

        A process that ended at each attempt would say nothing to anybody; one that waits can be asked.
        """
        usage = self.usage()
        enough = usage.room_bytes >= LIMITS.store_start_bytes and usage.disk_free_bytes >= LIMITS.disk_start_bytes
        if enough:
            self._show(_FULL, None)
        else:
            text = f"NOT RECORDING: the disk is full, {usage.disk_free_bytes >> 20} MiB are free"
            self._show(_FULL, text, f"free {LIMITS.store_start_bytes >> 20} MiB; recording begins by itself")
        return enough

    # ---- once a second -----------------------------------------------------------------------------------------

    async def look(self) -> None:
        """One round: read, judge, hand over one step of pruning."""
        now = self._now()
        try:
            seen = await asyncio.to_thread(self._read, self._asked(now))
        except OrledgerError as fault:
            self._show(_LOOK, fault.text, fault.next_step)
            return
        self._show(_LOOK, None)
        self._trend.add(now.mono_ns, seen.room.free_bytes)
        self._judge_room(seen.usage, seen.room)
        self._judge_retention(now, seen)
        for op in seen.ops:
            if isinstance(op, PrunePayloads):
                self._member.pruned(op.log, op.end)
                self.on_pruned(op.log, op.first, op.end)
        self._member.expired(seen.expired - self._expired)
        self._expired = seen.expired
        if seen.ops:
            self._pump.when_idle(seen.ops)
        self._forget_keys(seen.expired | seen.spent)

    def _forget_keys(self, keyless: frozenset[LogId]) -> None:
        """Of logs that went, or whose payloads all did at their age: a keyring must not grow for ever, it is written
        whole at each case. One that cannot be written is told of.
        """
        unwritable = None
        try:
            gone = self._keyring.forget(keyless - self._forgotten)
            self._forgotten = keyless
            if gone:
                _LOG.info("%d data keys, of logs of which nothing sealed is left, were let go", gone)
        except StoreFault as fault:
            unwritable = fault.text
        self._show(_KEYRING, unwritable, "check the disk and its space")

    def _asked(self, now: Now) -> _Asked:
        """While the clock is not right, it is taken to be no earlier than this box's newest block."""
        own, live = self._member.own_id, self._member.writer.chain.log
        is_right = self._quality().state is ClockState.SYNCHRONISED
        if not is_right:
            replicas = [self._member.writer.chain.replica, *self._member.witness.replicas.values()]
            newest_ns = max(replica.closed_ns for replica in replicas if replica.log.box == own)
            now = Now(now.mono_ns, max(now.utc_ns, newest_ns))
        logs = (live, *(replica.log for replica in self._member.witness.held.live()))
        return _Asked(now, is_right, logs, not self._pump.has_spare_work)

    def _read(self, asked: _Asked) -> _Seen:
        usage = self.usage()
        room = Room(usage.room_bytes, usage.disk_bytes, self.reserve_bytes)
        if asked.now.mono_ns >= self._survey_due_ns:
            self._retention.survey()
            self._log_retention.survey(asked.logs)
            self._survey_due_ns = asked.now.mono_ns + LIMITS.retention_survey_ns
        ops: Sequence[Op] = ()
        moment = Moment(asked.now.utc_ns, asked.clock_is_right, room.is_pressed, self._open_cases(asked.logs))
        spent = self._retention.spent(moment) - frozenset(asked.logs)
        if asked.may_step:
            ops = self._retention.step(moment) or self._log_retention.step(moment)
        unreadable = tuple(self._retention.unreadable.items())
        expired = frozenset(self._log_retention.expired)
        return _Seen(usage, room, ops, self._retention.oldest_ns, unreadable, expired, spent)

    def _open_cases(self, logs: Sequence[LogId]) -> frozenset[bytes]:
        """The case of the newest keyframe of every live log, and of what follows it."""
        found = set()
        for log in logs:
            length = self._store.length(log)
            for signed in self._store.headers(log, max(0, length - 1), length):
                newest = decode_signed_header(signed)
                found.add(newest.case_id)  # a block may stand apart; the room's own case is that of its keyframe
                for keyframe in self._store.headers(log, newest.keyframe_seq, newest.keyframe_seq + 1):
                    found.add(decode_signed_header(keyframe).case_id)
        return frozenset(case_id for case_id in found if case_id is not None)

    # ---- what a person must know -------------------------------------------------------------------------------

    def _judge_room(self, usage: StoreUsage, room: Room) -> None:
        free = f"{room.free_bytes / _GIB:.1f} GiB"
        self._pump.replicas_paused = self._must_pause(room)
        reserve, full, paused = None, None, None
        if room.is_below_reserve:
            days = self._trend.days_until(0)
            rate = f", full in {days:.1f} days at the present rate" if days is not None else ""
            reserve = (
                f"{free} free, {room.reserve_bytes // _GIB} GiB are to stay free{rate}; the oldest payloads go early"
            )
        if self._pump.replicas_paused:
            paused = f"{free} free: blocks of other boxes are not taken, so that this room can go on recording"
        if not self._pump.has_room or usage.disk_free_bytes < LIMITS.disk_start_bytes:
            full = "the disk is full: recording goes on only in what is free inside the ledger's own file"
        self._show(_RESERVE, reserve, "remove what is not the ledger's from its disk, or shorten retention_days")
        self._show(_PAUSED, paused, "free space on the ledger's disk; what was passed over is fetched by itself")
        self._show(_FULL, full, "free space on the ledger's disk now: recording ends when that is used up")

    def _must_pause(self, room: Room) -> bool:
        """Below half the reserve; until three quarters are free again, so as not to waver."""
        share = 3 if self._pump.replicas_paused else 2
        return room.free_bytes * 4 < room.reserve_bytes * share or not self._pump.has_room

    def _judge_retention(self, now: Now, seen: _Seen) -> None:
        late = unreadable = None
        if seen.oldest_ns is not None:
            age_days = (now.utc_ns - seen.oldest_ns) / DAY_NS
            if age_days > self._retention_days + 1 and self._quality().state is not ClockState.SYNCHRONISED:
                late = f"payloads of {age_days:.0f} days are kept: without a synchronised clock none goes by its age"
        for log, fault in seen.unreadable[:1]:
            unreadable = f"payloads of {log} are kept, for its headers cannot be read: {fault.text}"
        self._show(_CLOCK, late, "chronyc sources")
        self._show(_UNREADABLE, unreadable, "orledger verify")

    def _show(self, alert: Warn, text: str | None, next_step: str = "") -> None:
        """Raise ``alert`` with this text, or clear it."""
        utc_ns = self._now().utc_ns
        if text is None:
            self._alerts.clear(alert.id, alert.subject, utc_ns)
        else:
            shown = Warn(alert.id, alert.severity, alert.party, alert.subject, text, next_step)
            self._alerts.take(shown, utc_ns)


_RESERVE = Warn("disk.reserve", "warning", "disk", _SUBJECT, "", "")
_FULL = Warn("disk.full", "critical", "disk", _SUBJECT, "", "")
_PAUSED = Warn("disk.replicas-paused", "warning", "disk", _SUBJECT, "", "")
_LOOK = Warn("disk.unreadable", "warning", "disk", _SUBJECT, "", "")
_CLOCK = Warn("retention.clock", "warning", "operator", _SUBJECT, "", "")
_KEYRING = Warn("keyring.unwritable", "warning", "disk", _SUBJECT, "", "")
_UNREADABLE = Warn("retention.unreadable", "warning", "disk", _SUBJECT, "", "")
