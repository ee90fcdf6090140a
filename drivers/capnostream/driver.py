"""Oridion (Medtronic) Capnostream: capnogram, values, limits, alarms. It asks to send, and says that it listens.

It begins communication and real-time data, keeps the link alive and asks for the protocol's revision; it has no command
that sets, names a patient, or reads stored data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec

from drivers.byte_device import ByteDevice
from drivers.capnostream.frame import LONGEST_FRAME_BYTES, Deframer, Fault, Frame, encode
from drivers.capnostream.message import (
    DEVICE_ID,
    NOT_READ,
    NUMERICS,
    REVISION,
    WAVE,
    DeviceId,
    Sample,
    parse_device_id,
    parse_revision,
    parse_sample,
    parse_values,
)
from drivers.capnostream.values import co2_unit, conditions, fast_conditions, numerics, settings, units_of
from drivers.capnostream.waves import Capnogram
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.conditions import Conditions
from drivers.contract import Heard, Now, Sendable, Spec, Transport
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Identity, Link, LinkId, LinkState, Setting

ENABLE: Final = encode(1)
START_REAL_TIME: Final = encode(4)
LINK_IS_ACTIVE: Final = encode(6)
ASK_REVISION: Final = encode(9)
_KEEP_ALIVE_NS: Final = 2 * S_NS
_ASK_AGAIN_NS: Final = 2 * S_NS
_SILENT_NS: Final = 2 * S_NS
_WITHOUT_VALUES_NS: Final = 10 * S_NS


class CapnostreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``capnostream`` feed has no options."""


@dataclass(slots=True)
class _Session:
    link: LinkId
    peer: str
    deframer: Deframer = field(default_factory=Deframer)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(S_NS))
    heard_at: Now | None = None
    values_at: Now | None = None
    ask_due_ns: int = 0
    device: DeviceId | None = None
    revision: str = ""
    identity: tuple[str, str] | None = None


def recognise(data: bytes) -> Heard | None:
    """Whole frames of known codes in these bytes."""
    heard, device = 0, ""
    for item in Deframer().feed(data):
        try:
            if isinstance(item, Frame) and item.code in _READERS:
                told = _READERS[item.code](item.payload)
                heard += 1
                device = f"Oridion Capnostream {told.serial}" if isinstance(told, DeviceId) else device
        except DeviceFault:
            continue
    return Heard(heard, device or "Oridion Capnostream") if heard else None


_READERS: Final = {WAVE: parse_sample, NUMERICS: parse_values, DEVICE_ID: parse_device_id, REVISION: parse_revision}


class Capnostream(ByteDevice):
    """Reads frames; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[CapnostreamConfig]] = Spec(
        name="capnostream",
        devices=("Oridion / Medtronic Capnostream 20, 20p",),
        transports=(Transport.SERIAL, Transport.TCP),
        config=CapnostreamConfig,
        serial_lines=("115200 8N1", "9600 8N1"),
        tx_allowed=(
            Sendable(re.compile(re.escape(ENABLE), re.DOTALL), "begin communication (1)"),
            Sendable(re.compile(re.escape(START_REAL_TIME), re.DOTALL), "send real-time data (4)"),
            Sendable(re.compile(re.escape(LINK_IS_ACTIVE), re.DOTALL), "the link is active (6)"),
            Sendable(re.compile(re.escape(ASK_REVISION), re.DOTALL), "ask for the protocol's revision (9)"),
        ),
        client_slots=1,
        silence_s=3.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="Oridion, Capnostream Data Transfer Protocols, as read by mdpnp (OpenICE) and capno-reader",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(ENABLE,),
    )

    def __init__(self, config: CapnostreamConfig) -> None:
        super().__init__()
        self._session: _Session | None = None
        self._shown = ShownValues()
        self._alarms = Conditions()
        self._sensor = Conditions()
        self._silence.follow(self._shown, self._alarms, self._sensor)
        self._silence.longest_ns = _WITHOUT_VALUES_NS
        self._settings: dict[str, Setting] = {}
        self._capnogram = Capnogram()
        self._units = 0  # not told yet

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: begin."""
        self._session = _Session(link, peer)
        self._capnogram = Capnogram()
        self._settings.clear()
        self._begin(self._session, now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        for item in session.deframer.feed(data):
            if isinstance(item, Fault):
                self._gaps.add(item.cause, now, item.lost_bytes, "no whole frame", since=session.heard_at)
                continue
            try:
                self._frame(session, item, now)
            except DeviceFault as fault:
                self._gaps.add("undecodable", now, item.wire_bytes, fault.text)
            session.heard_at = now

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        self._flush_wave()
        return session.deframer.abandon() if session is not None else 0

    def woken(self, now: Now) -> None:
        """Keep the link alive, or begin anew when the monitor is silent."""
        session = self._session
        if session is None or session.ask_due_ns > now.mono_ns:
            return
        if _is_silent(session.heard_at, now, _SILENT_NS) or _is_silent(session.values_at, now, _WITHOUT_VALUES_NS):
            self._flush_wave()
            self._begin(session, now)
            if session.heard_at is not None:
                self.send(session.link, START_REAL_TIME)
            return
        self.send(session.link, LINK_IS_ACTIVE)
        session.ask_due_ns = now.mono_ns + _KEEP_ALIVE_NS

    def due_ns(self) -> int | None:
        """When to ask again."""
        return self._session.ask_due_ns if self._session is not None else None

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: settings and the unit are told again, too."""
        super().case_changed(facts)
        self._settings.clear()

    def _begin(self, session: _Session, now: Now) -> None:
        self.send(session.link, ENABLE)
        session.ask_due_ns = now.mono_ns + _ASK_AGAIN_NS

    # Messages -------------------------------------------------------------------------------------------------

    def _frame(self, session: _Session, frame: Frame, now: Now) -> None:
        if frame.code == WAVE:
            self._sample(session, parse_sample(frame.payload), now)
        elif frame.code == NUMERICS:
            self._values(session, frame.payload, now)
        elif frame.code == DEVICE_ID:
            self._capnogram.restarted()
            for request in (ASK_REVISION, LINK_IS_ACTIVE, START_REAL_TIME):
                self.send(session.link, request)
            session.device = parse_device_id(frame.payload)
            self._identify(session, now)
        elif frame.code == REVISION:
            session.revision = parse_revision(frame.payload)
            self._identify(session, now)
        elif frame.code not in NOT_READ:
            raise DeviceFault("capnostream.code", f"message {frame.code} is none that is known")

    def _identify(self, session: _Session, now: Now) -> None:
        device = session.device
        if device is None or session.identity == (device.serial, session.revision):
            return
        known, session.identity = session.identity, (device.serial, session.revision)
        self.emit(
            Identity(at_ns=now.utc_ns, make="Oridion", model="Capnostream", serial=device.serial,
                     software=f"{device.version} {device.date}".strip(), protocol=session.revision)
        )  # fmt: skip
        if known is None or known[0] != device.serial:
            state: LinkState = "identified" if known is None else "changed"
            self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _values(self, session: _Session, payload: bytes, now: Now) -> None:
        values = parse_values(payload)
        session.values_at = now
        self._silence.heard(now)
        time = DeviceTime(values.time_s * S_NS, "local", S_NS)
        self._clocked(session, time, now)
        if self._units not in (0, units_of(values)):
            self._flush_wave()
        self._units = units_of(values)
        for setting in settings(values, time, now):
            before = self._settings.get(setting.code)
            if before is None or (before.value, before.unit) != (setting.value, setting.unit):
                self._settings[setting.code] = setting
                self.emit(setting)
        for numeric in numerics(values, time, now):
            for record in self._shown.show(numeric.device_code, numeric):
                self.emit(record)
        for event in self._alarms.update(conditions(values), now, time):
            self.emit(event)

    def _clocked(self, session: _Session, time: DeviceTime, now: Now) -> None:
        outcome = session.clock.observe(time.value_ns, now)
        if isinstance(outcome, ClockStep):
            moved = f"the monitor's clock moved by {outcome.step_ns / S_NS:+.0f} s"
            self._gaps.add("clock_jump", now, None, moved, since=session.heard_at)
        elif outcome is not None:
            self.emit(outcome)

    def _sample(self, session: _Session, sample: Sample, now: Now) -> None:
        missing = self._capnogram.missing_before(sample, now)
        if missing is None:
            return  # the same once more
        if missing:
            self._gaps.add("sequence", now, None, "waveform samples are missing", since=session.heard_at)
            self._flush_wave()
        if not self._capnogram.suits(sample):
            self._flush_wave()
        for event in self._sensor.update(fast_conditions(sample.status), now):
            self.emit(event)
        self._capnogram.add(sample, missing, now)
        if self._capnogram.is_full(waits=not self._units):
            self._flush_wave()

    def _flush_wave(self) -> None:
        unit, quality = co2_unit(self._units)
        wave = self._capnogram.take(unit, quality)
        if wave is not None:
            self.emit(wave)


def _is_silent(heard_at: Now | None, now: Now, longest_ns: int) -> bool:
    return heard_at is None or now.mono_ns - heard_at.mono_ns > longest_ns
