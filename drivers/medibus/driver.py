"""Dräger ventilators and anaesthesia machines on their serial MEDIBUS or MEDIBUS.X interface.

Source: Dräger, MEDIBUS Protocol Definition (90 28 258) and MEDIBUS for Intensive Care Devices (90 28 329).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.byte_device import ByteDevice
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Now, Spec, Transport
from drivers.medibus.alarms import ActiveLists
from drivers.medibus.codes import speaks_x
from drivers.medibus.config import MedibusConfig, candidates
from drivers.medibus.dialogue import RESPONSE_NS, SILENCE_NS, Dialogue
from drivers.medibus.frame import MAX_RESPONSE_BYTES, Command, Deframer, Fast, Fault, Flow, Item, Response, command
from drivers.medibus.realtime import RealtimeFault, RealtimeReader, StreamConfig, parse_config
from drivers.medibus.recognise import recognise
from drivers.medibus.request import CORRUPT_CODE, TX_ALLOWED, Code
from drivers.medibus.slow import (
    MEASURED_BYTES,
    SETTING_BYTES,
    Device,
    parse_alarms,
    parse_date_time,
    parse_identity,
    parse_texts,
    parse_values,
)
from drivers.medibus.values import Values
from drivers.medibus.waves import WaveTracks
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, GapCause, Identity, Link, LinkId, LinkState

_UNREAD_REMEMBERED: Final = 32
_FAST_BYTES: Final = bytes(range(0x80, 0x100))
_VALUE_PAGES: Final = {
    Code.MEASURED_CP1, Code.MEASURED_CP2, Code.LOW_LIMITS_CP1, Code.HIGH_LIMITS_CP1, Code.LOW_LIMITS_CP2,
    Code.HIGH_LIMITS_CP2, Code.SETTINGS,
}  # fmt: skip
_ALARM_PAGES: Final = {Code.ALARMS_CP1, Code.ALARMS_CP2, Code.ALARMS_CP3}


@dataclass(slots=True)
class _Session:
    """What is known of one connection."""

    link: LinkId
    peer: str
    dialogue: Dialogue | None
    deframer: Deframer = field(default_factory=Deframer)
    reader: RealtimeReader = field(default_factory=RealtimeReader)
    waves: WaveTracks = field(default_factory=WaveTracks)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(S_NS))
    offered: tuple[StreamConfig, ...] = ()
    device: Device | None = None
    anew: bool = False
    told: set[str] = field(default_factory=set)
    heard_at: Now | None = None
    answered_at: Now | None = None
    fast_at: Now | None = None
    clock_at: Now | None = None
    waves_silent_since: Now | None = None
    due_ns: int = 0
    """When the dialogue wants to be asked again; never too late: fast data only put it off."""


class Medibus(ByteDevice):
    """Asks for values, limits, alarms, settings, texts and waves, answers what the device asks, records what comes.

    The values recorded last and the alarms outlive a connection, so that what ended meanwhile is told after it.
    """

    spec: ClassVar[Spec[MedibusConfig]] = Spec(
        name="medibus",
        devices=(
            "Dräger Evita 2, Evita 4, EvitaXL, Savina",
            "Dräger Evita V500, V600, V800, Babylog VN500 (MEDIBUS.X)",
            "Dräger Primus, Apollo, Fabius, Perseus, Atlan",
        ),
        transports=(Transport.SERIAL, Transport.TCP),
        config=MedibusConfig,
        serial_lines=("19200 8E1", "9600 8E1", "19200 8N1", "38400 8N1"),
        tx_allowed=TX_ALLOWED,
        passive_ok=True,
        client_slots=1,
        silence_s=3.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="Dräger MEDIBUS Protocol Definition 90 28 258 and MEDIBUS for Intensive Care Devices 90 28 329",
        longest_frame_bytes=MAX_RESPONSE_BYTES,
        recognise=recognise,
        probe_requests=(command(Code.INITIALISE), command(Code.IDENTIFY)),
    )

    def __init__(self, config: MedibusConfig) -> None:
        super().__init__()
        self._config = config
        self._session: _Session | None = None
        self._values = Values()
        self._lists = ActiveLists(self._values.limits)
        self._silence.follow(self._values, self._lists)
        self._silence.longest_ns = RESPONSE_NS
        self._x = config.dialect == "medibus-x"

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: call the device, unless we only listen."""
        dialogue = None if self._config.listen_only else self._dialogue()
        self._session = _Session(link, peer, dialogue)
        if dialogue is not None:
            self._say(link, dialogue.start(now.mono_ns))
            self._session.due_ns = dialogue.deadline_ns()

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        if data.translate(None, _FAST_BYTES):
            session.heard_at = now
            if session.dialogue is not None:
                session.dialogue.heard(now.mono_ns)
        for item in session.deframer.feed(data):
            self._take(session, item, now)
            if now.mono_ns >= session.due_ns or not isinstance(item, Fast):
                self._proceed(session, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        if session is None:
            return 0
        self.emit_all(session.waves.flush())
        fault = session.deframer.abandon()
        return fault.lost_bytes if fault is not None else 0

    def woken(self, now: Now) -> None:
        """Say what is due."""
        if self._session is not None:
            self._proceed(self._session, now)

    def due_ns(self) -> int | None:
        """When something is to be said."""
        session = self._session
        return session.due_ns if session is not None and session.dialogue is not None else None

    # Sending --------------------------------------------------------------------------------------------------

    def _dialogue(self) -> Dialogue:
        config = self._config
        periods_s = {
            Code.ALARMS_CP1: config.alarms_s,
            Code.ALARMS_CP2: config.alarms_s,
            Code.MEASURED_CP1: config.numerics_s,
            Code.MEASURED_CP2: config.numerics_s,
            Code.SETTINGS: config.settings_s,
            Code.TEXTS: config.settings_s,
            Code.LOW_LIMITS_CP1: config.limits_s,
            Code.HIGH_LIMITS_CP1: config.limits_s,
            Code.LOW_LIMITS_CP2: config.limits_s,
            Code.HIGH_LIMITS_CP2: config.limits_s,
            Code.DATE_TIME: config.clock_s,
        }
        return Dialogue(periods_s, want_waves=bool(config.waves), multiplier=config.wave_multiplier)

    def _say(self, link: LinkId, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self.send(link, frame)

    def _proceed(self, session: _Session, now: Now) -> None:
        if session.dialogue is None:
            return
        due = session.dialogue.due(now.mono_ns)
        if due.lost:
            self._lost_link(session, now, "")
        if due.waves_silent:
            self._waves_stopped(session, now)
        while session.dialogue.given_up:
            code = session.dialogue.given_up.pop()
            self._tell_once(session, "silence", f"the device does not answer command {code:02X}; not asked again", now)
        self._say(session.link, due.frames)
        session.due_ns = session.dialogue.deadline_ns()

    # Receiving ------------------------------------------------------------------------------------------------

    def _take(self, session: _Session, item: Item, now: Now) -> None:
        if isinstance(item, Fast):
            self._fast(session, item.data, now)
        elif isinstance(item, Response):
            self._response(session, item, now)
        elif isinstance(item, Command):
            self._command(session, item, now)
        elif isinstance(item, Flow):
            if session.dialogue is not None:
                self._say(session.link, session.dialogue.flow(item, now.mono_ns))
        else:
            self._fault(session, item, now)

    def _fault(self, session: _Session, fault: Fault, now: Now) -> None:
        self._gaps.add(fault.cause, now, fault.lost_bytes)
        if session.dialogue is None:
            return
        if fault.was == "command":
            self._say(session.link, session.dialogue.answer_corrupt())
        elif fault.was == "response":
            session.dialogue.garbled(now.mono_ns)

    def _command(self, session: _Session, command: Command, now: Now) -> None:
        dialogue = session.dialogue
        if command.code in (Code.INITIALISE, Code.STOP):
            if dialogue is not None and dialogue.running:
                what = "ended" if command.code == Code.STOP else "began anew"
                self._lost_link(session, now, f"the device {what} the communication")
            self._forget_waves(session)
        elif command.code == Code.REALTIME_CHANGED:
            self._forget_waves(session)
        elif command.code == Code.CONFIGURE_REALTIME and dialogue is None:
            self._overheard_choice(session, command.argument)
        if dialogue is not None:
            self._say(session.link, dialogue.command(command.code, now.mono_ns))

    def _response(self, session: _Session, response: Response, now: Now) -> None:
        code, dialogue = response.code, session.dialogue
        session.answered_at = now
        self._silence.heard(now)
        try:
            self._read(session, response, now)
        except DeviceFault as fault:
            self._gaps.add("undecodable", now, len(response.data), fault.text)
        if dialogue is None:
            return
        if code == CORRUPT_CODE:
            self._say(session.link, dialogue.misunderstood(now.mono_ns))
        else:
            self._say(session.link, dialogue.answered(code, now.mono_ns))

    def _read(self, session: _Session, response: Response, now: Now) -> None:
        code, data, page = response.code, response.data, f"{response.code:02X}"
        if code in _VALUE_PAGES:
            width = SETTING_BYTES if code == Code.SETTINGS else MEASURED_BYTES
            self.emit_all(self._values.take(page, parse_values(data, width), now, x=self._x))
        elif code in _ALARM_PAGES:
            self.emit_all(self._lists.alarms(page, parse_alarms(data), now, x=self._x))
        elif code == Code.TEXTS:
            self.emit_all(self._lists.texts(page, parse_texts(data), now))
        elif code == Code.DATE_TIME:
            self._date_time(session, data, now)
        elif code == Code.IDENTIFY:
            self._identify(session, data, now)
        elif code == Code.REALTIME_CONFIG:
            offer = parse_config(data)
            for fault in offer.faults:
                self._tell_once(session, "undecodable", fault, now)
            self._offer(session, offer.streams, now)
        elif code == Code.CONFIGURE_REALTIME:
            if not session.waves.configured:  # another computer chose, and we did not hear what
                self._configure_waves(session, self._wanted(session, now), self._config.wave_multiplier)
        elif code == Code.INITIALISE:
            self._forget_waves(session)
        elif data:
            self._tell_once(
                session, "undecodable", f"the answers to command {page} are not decoded, only kept raw", now
            )

    def _identify(self, session: _Session, data: bytes, now: Now) -> None:
        device = parse_identity(data)
        if device is None:
            self._tell_once(session, "undecodable", "the device does not say who it is", now)
            return
        if self._config.dialect == "auto" and self._x != speaks_x(device.name):
            self._x = not self._x
        if self._x and session.dialogue is not None:
            session.dialogue.also_ask(Code.ALARMS_CP3, self._config.alarms_s)
        before, session.device = session.device, device
        if before == device and not session.anew:
            return  # both sides called at once
        protocol = f"MEDIBUS {device.protocol}".strip() + (f", device id {device.number}" if device.number else "")
        identity = Identity(
            at_ns=now.utc_ns, make="Dräger", model=device.name, software=device.software, protocol=protocol
        )
        self.emit(identity)
        state: LinkState = "identified" if before is None or before == device else "changed"
        session.anew = False
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _date_time(self, session: _Session, data: bytes, now: Now) -> None:
        device_s = parse_date_time(data) if data else None
        if device_s is None:
            return  # it has no clock, or one that tells no seconds: nothing to follow it by
        outcome = session.clock.observe(device_s * S_NS, now)
        if isinstance(outcome, ClockStep):
            moved = f"the device's clock moved by {outcome.step_ns / S_NS:+.0f} s"
            self._gaps.add("clock_jump", now, None, moved, since=session.clock_at)
        elif outcome is not None:
            self.emit(outcome)
        session.clock_at = now

    # Waves ----------------------------------------------------------------------------------------------------

    def _offer(self, session: _Session, offered: tuple[StreamConfig, ...], now: Now) -> None:
        session.offered = offered
        chosen = self._wanted(session, now)
        if session.dialogue is not None:
            session.dialogue.offered([config.code for config in chosen])
        # Now and not when the device confirms: streams that were let flow before flow at once.
        self._configure_waves(session, chosen, self._config.wave_multiplier)

    def _wanted(self, session: _Session, now: Now) -> tuple[StreamConfig, ...]:
        """Of the waves that the device offers those of the configuration, in its order."""
        by_code = {config.code: config for config in session.offered}
        chosen: list[StreamConfig] = []
        for name in self._config.waves:
            found = next((by_code[code] for code in candidates(name) if code in by_code), None)
            if found is None:
                self._tell_once(session, "silence", f"{name} was asked for, but the device has no such wave", now)
            elif found not in chosen:
                chosen.append(found)
        return tuple(chosen)

    def _overheard_choice(self, session: _Session, argument: bytes) -> None:
        """Another computer chooses waves; only with the device's offer is it known what they mean."""
        by_code = {config.code: config for config in session.offered}
        text = argument.decode("ascii", "replace").upper()
        pairs = [(text[at : at + 2], text[at + 2 : at + 4]) for at in range(0, len(text), 4)]
        if pairs and all(code in by_code for code, _ in pairs) and len({multiplier for _, multiplier in pairs}) == 1:
            try:
                multiplier = int(pairs[0][1], 16)
            except ValueError:
                return
            self._configure_waves(session, tuple(by_code[code] for code, _ in pairs), max(1, multiplier))

    def _configure_waves(self, session: _Session, streams: tuple[StreamConfig, ...], multiplier: int) -> None:
        self.emit_all(session.waves.configure(streams, multiplier, x=self._x))
        session.reader.reset()

    def _forget_waves(self, session: _Session) -> None:
        self.emit_all(session.waves.forget())
        session.reader.reset()

    def _fast(self, session: _Session, data: bytes, now: Now) -> None:
        if not session.waves.configured:
            self._tell_once(session, "undecodable", "waves came whose order is not known; they are only kept raw", now)
            return
        for found in session.reader.feed(data):
            if isinstance(found, RealtimeFault):
                self._gaps.add("framing", now, found.lost_bytes, "waves")
                session.waves.fault()
                continue
            if session.waves_silent_since is not None:
                self._silent(session.waves_silent_since, now, "waves came again")
                session.waves_silent_since = None
            session.fast_at = now
            if session.dialogue is not None:
                session.dialogue.heard_fast(now.mono_ns)
            self.emit_all(session.waves.take(found, now))

    def _waves_stopped(self, session: _Session, now: Now) -> None:
        self.emit_all(session.waves.flush())
        if session.waves_silent_since is None and session.fast_at is not None:
            self._silent(session.fast_at, now, "no waves came; asked again")
            session.waves_silent_since = now

    # What is missing ------------------------------------------------------------------------------------------

    def _lost_link(self, session: _Session, now: Now, detail: str) -> None:
        """Say so, unless nothing at all came: that is the shell's to tell."""
        session.anew = True
        answered_ns = session.answered_at.mono_ns if session.answered_at is not None else 0
        if detail or now.mono_ns - answered_ns >= SILENCE_NS:  # answers to another computer's questions tell as much
            self.fell_silent(now)
        heard = max((at.mono_ns for at in (session.heard_at, session.fast_at) if at is not None), default=0)
        if detail or now.mono_ns - heard < SILENCE_NS:
            since = session.answered_at or now
            self._silent(since, now, detail or "the device gave no answer; called anew")

    def _silent(self, since: Now, now: Now, detail: str) -> None:
        self.emit(Gap(at_ns=now.utc_ns, cause="silence", since_ns=since.utc_ns, until_ns=now.utc_ns, detail=detail))

    def _tell_once(self, session: _Session, cause: GapCause, detail: str, now: Now) -> None:
        if detail in session.told or len(session.told) >= _UNREAD_REMEMBERED:
            return
        session.told.add(detail)
        self.emit(Gap(at_ns=now.utc_ns, cause=cause, since_ns=now.utc_ns, until_ns=now.utc_ns, detail=detail))
