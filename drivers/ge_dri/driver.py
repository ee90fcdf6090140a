"""GE / Datex-Ohmeda S/5, CARESCAPE Bx50 and B-series monitors on their serial computer interface (DRI).

Source: GE, S/5 Computer Interface (M1017617) and S/5 DRI Specification (8005313), 12th editions.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.byte_device import ByteDevice
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Heard, Now, Spec, Transport
from drivers.ge_dri.alarms import AlarmTracker, parse_alarms
from drivers.ge_dri.config import GeDriConfig
from drivers.ge_dri.frame import LONGEST_FRAME_BYTES, Deframer, Fault
from drivers.ge_dri.numerics import AUXILIARY, DISPLAYED, NumericsDecoder, monitor_time, parse_aux
from drivers.ge_dri.record import DriRecord, MainType, Subrecord, parse
from drivers.ge_dri.request import CLASSES, MAX_INTERVAL_S, MIN_INTERVAL_S, TX_ALLOWED, numerics_request
from drivers.ge_dri.schedule import RETRY_NS, Schedule
from drivers.ge_dri.waves import BY_NAME, KINDS, WaveDecoder
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, GapCause, Identity, Link, LinkId, LinkState

_DRI_YEARS: Final = {
    2: "1995", 3: "1997", 4: "1998", 5: "1999", 6: "2001", 7: "2002", 8: "2003", 9: "2005", 10: "2009", 11: "2015",
}  # fmt: skip
_UNREAD_REMEMBERED: Final = 32


def recognise(data: bytes) -> Heard | None:
    """Records with a right checksum and a header that makes sense."""
    found = []
    for item in Deframer().feed(data):
        if isinstance(item, bytes):
            with contextlib.suppress(DeviceFault):
                found.append(parse(item))
    year = _DRI_YEARS.get(found[-1].dri_level) if found else None
    return Heard(len(found), f"DRI level {found[-1].dri_level} ({year})" if year else "") if found else None


@dataclass(slots=True)
class _Session:
    """What is known of one connection."""

    link: LinkId
    peer: str
    schedule: Schedule
    deframer: Deframer = field(default_factory=Deframer)
    waves: WaveDecoder = field(default_factory=WaveDecoder)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(S_NS))
    identity: tuple[int, int] | None = None
    heard_at: Now | None = None
    unread: set[tuple[int, int]] = field(default_factory=set)
    waves_due: Now | None = None
    waves_seen: set[int] = field(default_factory=set)
    waves_heard_at: Now | None = None
    waves_silent_since: Now | None = None


class GeDri(ByteDevice):
    """Asks for numerics, waves and alarms, and records what comes.

    The values recorded last and the alarms outlive a connection, so that what ended meanwhile is told after it.
    """

    spec: ClassVar[Spec[GeDriConfig]] = Spec(
        name="ge-dri",
        devices=(
            "GE CARESCAPE B450, B650, B850 (Bx50)",
            "GE B105, B125, B20, B40",
            "GE / Datex-Ohmeda S/5 Anesthesia, Critical Care and Compact Monitors",
        ),
        transports=(Transport.SERIAL,),
        config=GeDriConfig,
        serial_lines=("19200 8E1", "115200 8E1"),
        tx_allowed=TX_ALLOWED,
        client_slots=1,
        silence_s=2.0 * MAX_INTERVAL_S + RETRY_NS / S_NS,
        records=frozenset({"numeric", "wave", "event", "gap", "identity", "link", "clock"}),
        source="GE S/5 Computer Interface M1017617 and DRI Specification 8005313, 12th ed.",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(numerics_request(MIN_INTERVAL_S, CLASSES),),
    )

    def __init__(self, config: GeDriConfig) -> None:
        super().__init__()
        self._config = config
        self._wanted = tuple(BY_NAME[name].number for name in config.waves)
        self._session: _Session | None = None
        self._numerics = NumericsDecoder()
        self._alarms = AlarmTracker()
        self._silence.follow(self._numerics, self._alarms)
        self._silence.longest_ns = config.numerics_s * S_NS + RETRY_NS

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask for everything."""
        config = self._config
        schedule = Schedule(config.numerics_s, config.classes, self._wanted, alarms=config.carescape)
        self._session = _Session(link, peer, schedule)
        for frame in schedule.start(now.mono_ns):
            self.send(link, frame)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        for item in session.deframer.feed(data):
            if isinstance(item, Fault):
                self._lost(session, item.cause, item.lost_bytes, "", now)
            else:
                self._take(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        fault = session.deframer.abandon() if session is not None else None
        return fault.lost_bytes if fault is not None else 0

    def woken(self, now: Now) -> None:
        """Ask again for what did not come."""
        session = self._session
        if session is None:
            return
        due = session.schedule.due(now.mono_ns)
        if due.waves_silent:
            self._waves_silent(session, now)
        for frame in due.frames:
            self.send(session.link, frame)

    def due_ns(self) -> int | None:
        """When to ask again."""
        return self._session.schedule.deadline_ns() if self._session is not None else None

    # Records --------------------------------------------------------------------------------------------------

    def _take(self, session: _Session, data: bytes, now: Now) -> None:
        try:
            record = parse(data)
        except DeviceFault as fault:
            self._lost(session, "undecodable", len(data), fault.text, now)
            return
        self._identify(session, record, now)
        self._observe_clock(session, record, now)
        session.heard_at = now
        if record.main_type == MainType.PHYSIOLOGICAL:
            session.schedule.heard(MainType.PHYSIOLOGICAL, now.mono_ns)
            self._silence.heard(now)
            self._physiological(session, record, now)
        elif record.main_type == MainType.WAVEFORM:
            session.schedule.heard(MainType.WAVEFORM, now.mono_ns)
            self._waveforms(session, record, now)
        elif record.main_type == MainType.ALARM:
            session.schedule.heard(MainType.ALARM, now.mono_ns)
            self._alarm(session, record, now)
        else:
            self._unread(session, record.main_type, -1, now)

    def _identify(self, session: _Session, record: DriRecord, now: Now) -> None:
        identity = (record.plug_id, record.dri_level)
        if session.identity == identity:
            return
        state: LinkState = "identified" if session.identity is None else "changed"
        session.identity = identity
        year = _DRI_YEARS.get(record.dri_level, "unknown")
        self.emit(
            Identity(
                at_ns=now.utc_ns,
                make="GE HealthCare / Datex-Ohmeda",
                model="monitor with DRI computer interface",
                protocol=f"DRI level {record.dri_level} ({year})",
                position=f"plug {record.plug_id}, subnet {record.subnet}",
            )
        )
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _observe_clock(self, session: _Session, record: DriRecord, now: Now) -> None:
        outcome = session.clock.observe(record.time_s * S_NS, now) if record.time_s else None
        if not isinstance(outcome, ClockStep):
            if outcome is not None:
                self.emit(outcome)
            return
        moved = f"the monitor's clock moved by {outcome.step_ns / S_NS:+.0f} s"
        self._gaps.add("clock_jump", now, None, moved, since=session.heard_at)
        for frame in session.schedule.restart(now.mono_ns):  # it may have restarted, and then it has forgotten all
            self.send(session.link, frame)

    def _physiological(self, session: _Session, record: DriRecord, now: Now) -> None:
        aux = None
        for part in record.subrecords:
            if part.kind == AUXILIARY:
                try:
                    aux = parse_aux(part.data)
                except DeviceFault as fault:
                    self._lost(session, "undecodable", len(part.data), fault.text, now)
        for part in record.subrecords:
            if part.kind == DISPLAYED:
                try:
                    records = self._numerics.decode(part.data, aux, now)
                except DeviceFault as fault:
                    self._lost(session, "undecodable", len(part.data), fault.text, now)
                    continue
                for found in records:
                    self.emit(found)
            elif part.kind != AUXILIARY:
                self._unread(session, record.main_type, part.kind, now)

    def _waveforms(self, session: _Session, record: DriRecord, now: Now) -> None:
        if session.waves_silent_since is not None:
            self._silent(session.waves_silent_since, now, "waves came again")
            session.waves_silent_since = None
        session.waves_heard_at = now
        for part in record.subrecords:
            if part.kind in KINDS:
                self._wave(session, part, record.time_s, now)
            else:
                self._unread(session, record.main_type, part.kind, now)
        self._tell_missing_waves(session, now)

    def _wave(self, session: _Session, part: Subrecord, time_s: int, now: Now) -> None:
        session.waves_seen.add(part.kind)
        try:
            records = session.waves.decode(part.kind, part.data, time_s, now)
        except DeviceFault as fault:
            self._lost(session, "undecodable", len(part.data), fault.text, now)
            return
        for found in records:
            self.emit(found)

    def _alarm(self, session: _Session, record: DriRecord, now: Now) -> None:
        for part in record.subrecords:
            try:
                message = parse_alarms(part.data)
            except DeviceFault as fault:
                self._lost(session, "undecodable", len(part.data), fault.text, now)
                continue
            for event in self._alarms.update(message, monitor_time(record.time_s), now):
                self.emit(event)

    # What is missing ------------------------------------------------------------------------------------------

    def _lost(self, session: _Session, cause: GapCause, lost_bytes: int, detail: str, now: Now) -> None:
        self._gaps.add(cause, now, lost_bytes, detail)
        session.waves.line_fault()
        session.schedule.line_fault(now.mono_ns)

    def _unread(self, session: _Session, main_type: int, kind: int, now: Now) -> None:
        """Say once per connection that something is sent which this driver does not read; it is kept raw."""
        if (main_type, kind) in session.unread or len(session.unread) >= _UNREAD_REMEMBERED:
            return
        session.unread.add((main_type, kind))
        what = f"records of main type {main_type}" + (f", subrecord {kind}," if kind >= 0 else "")
        self.emit(
            Gap(
                at_ns=now.utc_ns,
                cause="undecodable",
                since_ns=now.utc_ns,
                until_ns=now.utc_ns,
                detail=f"{what} are not decoded on this connection, only kept raw",
            )
        )

    def _waves_silent(self, session: _Session, now: Now) -> None:
        heard_at = session.waves_heard_at
        if heard_at is not None and session.waves_silent_since is None:
            self._silent(heard_at, now, "no waves came; asked again")
            session.waves_silent_since = now
        session.waves_due = None
        session.waves_seen.clear()

    def _silent(self, since: Now, now: Now, detail: str) -> None:
        self.emit(Gap(at_ns=now.utc_ns, cause="silence", since_ns=since.utc_ns, until_ns=now.utc_ns, detail=detail))

    def _tell_missing_waves(self, session: _Session, now: Now) -> None:
        """Some seconds after waves began, name those that were asked for and do not come: the monitor never says."""
        if session.waves_due is None:
            session.waves_due = now
        missing = [KINDS[number].name for number in self._wanted if number not in session.waves_seen]
        if missing and now.mono_ns - session.waves_due.mono_ns >= RETRY_NS:
            detail = f"asked for but not sent: {', '.join(missing)} (no such module, or too many waves)"
            self._silent(session.waves_due, now, detail)
            session.waves_seen.update(self._wanted)
