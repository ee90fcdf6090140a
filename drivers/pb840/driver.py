"""Puritan Bennett 840 and 980 ventilators on their serial ports (DCI reports, waveforms).

Source: Covidien, Puritan Bennett 800 Series Operator's and Technical Reference Manual, RS-232 commands. Reports have no
checksum, so one counts only when its fields have the widths of the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, cast

from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Sendable, Spec, Transport
from drivers.line_device import NOISE, LineDevice, LineSession, ShapeGuard
from drivers.pb840.config import Pb840Config
from drivers.pb840.message import (
    FIRST_FIELD,
    MAX_LINE_BYTES,
    Report,
    field_of,
    is_named,
    parse_minute,
    parse_report,
    parse_value,
)
from drivers.pb840.waves import BreathEnd, BreathStart, Sample, WaveBlocks, parse_wave_line
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, EventKind, Identity, LinkId, Numeric, Priority, Quality, Setting

_ASK: Final = {"MISCF": b"SNDF\r", "MISCA": b"SNDA\r"}
_ANSWER_NS: Final = 4 * S_NS
_TRIES: Final = 2
_CLOCK_POLL_S: Final = 4.0
_QUIET: Final = ("", "NORMAL", "RESET", "OFF")
_PRIORITIES: Final[dict[str, Priority]] = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_BREATHS_WRAP: Final = 60_000
_WORDS: Final = frozenset((*_QUIET, *_PRIORITIES, "ALARM", "ON"))
_SIGNS: Final = re.compile(r"[A-Za-z0-9 .:/+-]*")
_ALARMS: Final = ("physiological_alarm", "technical_alarm", "mode")


def recognise(data: bytes) -> Heard | None:
    """Whole reports, or whole breaths of waves, in these bytes."""
    reports, device, marks = 0, "", 0
    for line in re.split(rb"[\r\n]+", data):
        if isinstance(parse_wave_line(line), BreathStart | BreathEnd):
            marks += 1
            continue
        try:
            report = parse_report(line)
        except DeviceFault:
            continue
        reports += 1
        device = f"Puritan Bennett {_identity(report)[0]}".strip()
    if reports:
        return Heard(reports, device)
    return Heard(marks, "Puritan Bennett, waveforms", (("port", "waves"),)) if marks else None


def _identity(report: Report) -> tuple[str, str]:
    """Model and serial number; 840 if it says none."""
    text = report.texts[1] if len(report.texts) > 1 else ""
    model, _, serial = text.partition(" ")
    return (model, serial.strip()) if serial else ("840", model)


class Pb840(LineDevice):
    """Asks for reports, or listens to waves; what was shown last and the alarms outlive a connection."""

    spec: ClassVar[Spec[Pb840Config]] = Spec(
        name="pb840",
        devices=("Puritan Bennett 840", "Puritan Bennett 980"),
        transports=(Transport.SERIAL, Transport.TCP),
        config=Pb840Config,
        serial_lines=("9600 8N1", "38400 8N1"),
        tx_allowed=(
            Sendable(re.compile(rb"SNDF\r"), "send settings, measured values and alarms (SNDF)"),
            Sendable(re.compile(rb"SNDA\r"), "send the shorter report of older software (SNDA)"),
        ),
        passive_ok=True,
        silence_s=15.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="Covidien, Puritan Bennett 800 Series Operator's and Technical Reference Manual",
        longest_frame_bytes=2 * MAX_LINE_BYTES,
        recognise=recognise,
        probe_requests=(b"SNDF\r",),
    )

    def __init__(self, config: Pb840Config) -> None:
        super().__init__(MAX_LINE_BYTES, clock_resolution_ns=round(config.poll_s * S_NS), noise=NOISE)
        self._config = config
        self._report = "MISCA" if config.report == "MISCA" else "MISCF"
        self._shown = ShownValues()
        self._set: dict[str, object] = {}
        self._alarms = Conditions()
        self._silence.follow(self._shown, self._alarms)
        self._silence.longest_ns = max(self._silence.longest_ns, round(2 * config.poll_s * S_NS))
        self._begin()

    def _begin(self) -> None:
        self._shapes = ShapeGuard()
        self._waves = WaveBlocks()
        self._breath: int | None = None
        self._minute_ns: int | None = None
        self._ask_ns: int | None = None
        self._unanswered = 0
        self._was_read = False

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask, unless it sends by itself."""
        super().opened(link, peer, now)
        self._begin()
        if self._config.port == "reports":
            self._ask(now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        self.emit_all(self._waves.flush())
        return super().closed(now)

    def woken(self, now: Now) -> None:
        """Ask again."""
        if self._ask_ns is not None and now.mono_ns >= self._ask_ns:
            self._ask(now)

    def due_ns(self) -> int | None:
        """When to ask."""
        return self._ask_ns

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: settings are told again, too."""
        super().case_changed(facts)
        self._set.clear()

    def _ask(self, now: Now) -> None:
        session = self._session
        if session is None:
            return
        if self._unanswered >= _TRIES and self._config.report == "auto" and not self._was_read:
            self._report = "MISCA" if self._report == "MISCF" else "MISCF"
            self._unanswered = 0
        self._unanswered += 1
        self._ask_ns = now.mono_ns + max(_ANSWER_NS, round(self._config.poll_s * S_NS))
        self.send(session.link, _ASK[self._report])

    # Lines ----------------------------------------------------------------------------------------------------

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line: a report, or one of the waveform port. Raises DeviceFault when it is neither."""
        found = parse_wave_line(line)
        if isinstance(found, Sample):
            self.emit_all(self._waves.take(found, now))
        elif isinstance(found, BreathStart):
            self._begins(session, found.number, now)
        elif found is None and self._config.port == "waves":
            self.emit_all(self._waves.lost())
            raise DeviceFault("pb840.wave", "no line of waveforms")
        elif found is None:
            self._unanswered = 0  # it answers, even if this cannot be read
            self._take_report(session, parse_report(line), now)

    def _begins(self, session: LineSession, number: int, now: Now) -> None:
        before, self._breath = self._breath, number
        if before is not None and before + 1 < number < before + _BREATHS_WRAP:
            self.lost("sequence", 0, f"{number - before - 1} breaths between {before} and {number} are missing", now)
        self._waves.mark("inspiration")
        self.identified(session, Identity(at_ns=now.utc_ns, make="Puritan Bennett", model="ventilator",
                                          protocol="waveforms"))  # fmt: skip

    def _take_report(self, session: LineSession, report: Report, now: Now) -> None:
        if not self._shapes.trusts((report.name, report.widths, tuple(_odd(report)))):
            raise DeviceFault("pb840.fields", "other widths or words of fields than in the report before")
        self._was_read = True
        if self._ask_ns is not None:
            self._ask_ns = now.mono_ns + round(self._config.poll_s * S_NS)
        model, serial = _identity(report)
        self.identified(session, Identity(at_ns=now.utc_ns, make="Puritan Bennett", model=model, serial=serial,
                                          protocol=report.name))  # fmt: skip
        time = self._clock(session, report, now)
        self.emit_all(self._values(report, time, now))
        self.emit_all(self._alarms.update(_conditions(report), now, time))

    def _clock(self, session: LineSession, report: Report, now: Now) -> DeviceTime | None:
        """The ventilator tells whole minutes: only where one begins is its clock known well."""
        texts = {field_of(report.name, number).kind: text for number, text in _numbered(report)}
        minute_ns = parse_minute(texts.get("date", ""), texts.get("time", ""))
        if minute_ns is None:
            return None
        before, self._minute_ns = self._minute_ns, minute_ns
        if before is not None and before != minute_ns and self._config.poll_s <= _CLOCK_POLL_S:
            self.clocked(session, minute_ns, now)
        return DeviceTime(minute_ns, "local", 60 * S_NS)

    def _values(self, report: Report, time: DeviceTime | None, now: Now) -> Iterator[Numeric]:
        for number, text in _numbered(report):
            field = field_of(report.name, number)
            slot = f"{report.name}:{number}"
            if field.kind not in ("measured", "setting") or not (text or is_named(report.name, number)):
                continue
            value = parse_value(text)
            record = Numeric if field.kind == "measured" else Setting
            quality = Quality.UNCHECKED | (Quality.UNAVAILABLE if value is None else Quality.GOOD)
            numeric = record(at_ns=now.utc_ns, device_time=time, quality=quality, code=field.code, value=value,
                             unit="" if isinstance(value, str) else field.unit, device_code=slot)  # fmt: skip
            if record is Setting and slot in self._shown and self._set.get(slot) == value:
                continue  # a setting is told when it changes
            self._set[slot] = value
            yield from self._shown.show(slot, numeric)
        yield from self._shown.withdraw(now.utc_ns, lambda slot: not slot.startswith(report.name))


def _numbered(report: Report) -> Iterator[tuple[int, str]]:
    return enumerate(report.texts, FIRST_FIELD)


def _odd(report: Report) -> Iterator[int]:
    """Fields that damage may have changed, for there is no checksum: words no alarm has, signs no field has."""
    for number, text in _numbered(report):
        is_alarm = field_of(report.name, number).kind in _ALARMS
        if text not in _WORDS if is_alarm else _SIGNS.fullmatch(text) is None:
            yield number


def _conditions(report: Report) -> Iterator[Condition]:
    for number, text in _numbered(report):
        field = field_of(report.name, number)
        if field.kind in _ALARMS and text not in _QUIET:
            yield Condition(
                alarm_id=f"{report.name}:{number}",
                kind=cast(EventKind, field.kind),
                priority="none" if field.kind == "mode" else _PRIORITIES.get(text, "unknown"),
                code=field.code,
                text=field.name,
                device_code=f"{report.name}:{number}",
                device_priority=text,
            )
