"""Terumo CDI 500 and 550 in-line blood gas monitors on the heart-lung machine: a line at a steady pace. Never sends.

Both outputs that the monitor can be set to are read, packets and ASCII, whichever comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final, Literal

import msgspec

from drivers.cdi500.packet import AnalytePacket, OtherPacket, parse_packet
from drivers.cdi500.text import TemperatureLine, TextLine, TitleLine, parse_text
from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Spec, Transport
from drivers.line_device import LineDevice, LineSession
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Identity, LinkId, Numeric, Quality

_LONGEST_LINE_BYTES: Final = 512
_ENDS: Final = b"\r\n\x03"
_CALM: Final = frozenset(("00", "  "))
_MATCHES_TO_TRUST: Final = 3
_SHORTEST_SILENCE_NS: Final = 30 * S_NS
_LONGEST_SILENCE_NS: Final = 900 * S_NS
_CAUSES: Final = {1: "mark", 2: "store", 3: "recalibration"}


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    code: str
    unit: str | None
    channel: str


_PARAMETERS: Final = (
    _Parameter("pH", "MDC_CONC_PH_ART", "[pH]", "arterial"),
    _Parameter("pCO2", "MDC_CONC_PCO2_ART", None, "arterial"),
    _Parameter("pO2", "MDC_CONC_PO2_ART", None, "arterial"),
    _Parameter("temperature", "MDC_TEMP_ART", "Cel", "arterial"),
    _Parameter("SO2", "MDC_SAT_O2_ART", "%", "arterial"),
    _Parameter("HCO3", "MDC_CONC_HCO3_GEN", "mmol/L", "arterial"),
    _Parameter("BE", "MDC_BASE_EXCESS_BLD_ART", "mmol/L", "arterial"),
    _Parameter("K", "MDC_CONC_K_GEN", "mmol/L", ""),
    _Parameter("VO2", "MDC_SAT_O2_CONSUMP", "mL/min", ""),
    _Parameter("pH", "MDC_CONC_PH_VEN", "[pH]", "venous"),
    _Parameter("pCO2", "MDC_CONC_PCO2_VEN", None, "venous"),
    _Parameter("pO2", "MDC_CONC_PO2_VEN", None, "venous"),
    _Parameter("temperature", "MDC_TEMP_VEN", "Cel", "venous"),
    _Parameter("SO2", "MDC_SAT_O2_VEN", "%", "venous"),
    _Parameter("HCO3", "MDC_CONC_HCO3_GEN", "mmol/L", "venous"),
    _Parameter("BE", "MDCX_TERUMO_0F", "mmol/L", "venous"),
    _Parameter("Hct", "MDC_CONC_HCT_GEN", "%", ""),
    _Parameter("Hgb", "MDCX_TERUMO_11", "g/dL", ""),
)
"""By their number in a packet. Pressures have the unit that the monitor is set to."""

_COLUMNS: Final[tuple[int | _Parameter, ...]] = (
    0, 1, 2, 3, 5, 6,
    _Parameter("SO2 calculated", "MDC_SAT_O2_ART", "%", "arterial"),
    7, 8,
    _Parameter("Q", "MDCX_TERUMO_Q", "L/min", ""),
    _Parameter("BSA", "MDCX_TERUMO_BSA", "m2", ""),
    9, 10, 11, 12,
    _Parameter("SO2 measured", "MDC_SAT_O2", "%", ""),
    16, 17,
)  # fmt: skip
"""The columns of an ASCII line: the number of a parameter that packets have too, or one that they have not."""


class Cdi500Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``cdi500`` feed.

    ``pressure_unit``: the unit of pCO2 and pO2 that the monitor is set to, "mmHg" or "kPa"; the line does not tell.
    Raises ValueError naming the option.
    """

    pressure_unit: Literal["mmHg", "kPa"] = "mmHg"


def parse_line(line: bytes) -> AnalytePacket | OtherPacket | TextLine | TemperatureLine | TitleLine:
    """Take a line of either output apart. Raises DeviceFault ``cdi500.line``."""
    try:
        return parse_text(line)
    except DeviceFault:
        return parse_packet(line)


def recognise(data: bytes) -> Heard | None:
    """Whole lines with values of a CDI 500 in these bytes."""
    heard = 0
    for line in re.split(b"[" + _ENDS + b"]+", data):
        try:
            heard += isinstance(parse_line(line), AnalytePacket | TextLine)
        except DeviceFault:
            continue
    return Heard(heard, "Terumo CDI 500") if heard else None


class Cdi500(LineDevice):
    """Reads lines; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[Cdi500Config]] = Spec(
        name="cdi500",
        devices=("Terumo CDI 500 and 550 blood parameter monitoring systems",),
        transports=(Transport.SERIAL,),
        config=Cdi500Config,
        serial_lines=("9600 8N1",),
        passive_ok=True,
        silence_s=30.0,
        records=frozenset({"numeric", "event", "gap", "identity", "link"}),
        source="Terumo, CDI 550 operator's manual, appendix C; NIH, OpenSourcePerfusionSystem (public implementation)",
        longest_frame_bytes=_LONGEST_LINE_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: Cdi500Config) -> None:
        super().__init__(_LONGEST_LINE_BYTES, _ENDS)
        self._pressure_unit = "mm[Hg]" if config.pressure_unit == "mmHg" else "kPa"
        self._shown = ShownValues()
        self._conditions = Conditions()
        self._temperature_mode = Conditions()
        self._temperature: Condition | None = None
        self._matches = 0
        self._paced_at: Now | None = None
        self._silence.follow(self._shown, self._conditions, self._temperature_mode)

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        super().opened(link, peer, now)
        self._matches, self._paced_at = 0, None

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is none of the monitor's."""
        match parse_line(line):
            case AnalytePacket() as packet:
                unchecked = self._unchecked(session, packet, now)
                if packet.cause not in _CAUSES:
                    self._wait(now)
                self._identified(session, now)
                self._take_packet(packet, unchecked, now)
            case TextLine() as text:
                self._wait(now)
                self._identified(session, now)
                self._take_text(text, now)
            case TemperatureLine() as temperature:
                self._temperature = _temperature_mode(temperature)
                self._tell_temperature(now, None)
            case OtherPacket(command="E", data=data):
                self.emit(_once(now, "technical_alarm", f"error-{data}", "MDCX_TERUMO_ERROR", data))
            case OtherPacket() | TitleLine():
                pass  # nothing of the patient's

    def _unchecked(self, session: LineSession, packet: AnalytePacket, now: Now) -> Quality:
        """How sure a packet is. Raises DeviceFault for one that is damaged.

        The check value is published for the CDI 550: an older monitor may make it in another way. It counts once it was
        right three times on end, until nothing could be read for so long that this may be another monitor.
        """
        heard_at = session.heard_at
        is_same = heard_at is not None and now.mono_ns - heard_at.mono_ns < self._silence.longest_ns
        if packet.checked:
            self._matches += 1
        elif self._matches >= _MATCHES_TO_TRUST and is_same:
            raise DeviceFault("cdi500.line", "check value")
        else:
            self._matches = 0
        return Quality.GOOD if self._matches >= _MATCHES_TO_TRUST else Quality.UNCHECKED

    def _wait(self, now: Now) -> None:
        """The interval is set at the monitor, from six seconds to minutes: silence is what is longer than it was.

        Of what the monitor sends at each; titles and what a key brings come between.
        """
        if self._paced_at is not None:
            longest_ns = (now.mono_ns - self._paced_at.mono_ns) * 5 // 2
            self._silence.longest_ns = min(max(longest_ns, _SHORTEST_SILENCE_NS), _LONGEST_SILENCE_NS)
        self._paced_at = now

    def _identified(self, session: LineSession, now: Now) -> None:
        self.identified(session, Identity(at_ns=now.utc_ns, make="Terumo", model="CDI 500"))

    def _take_packet(self, packet: AnalytePacket, unchecked: Quality, now: Now) -> None:
        time = _time(packet.day_s)
        for number, (_, value) in sorted(packet.fields.items()):
            self._show(f"{number:02X}", _parameter(number), value, unchecked, now, time)
        for event in self._conditions.update(_conditions(packet), now, time):
            self.emit(event)
        cause = _CAUSES.get(packet.cause)
        if cause is not None:
            self.emit(_once(now, "marker", cause, f"MDCX_TERUMO_{cause.upper()}", f"A{packet.cause}", time))

    def _take_text(self, text: TextLine, now: Now) -> None:
        time = _time(text.day_s)
        for named, value in zip(_COLUMNS, text.columns, strict=True):
            number, parameter = (f"{named:02X}", _PARAMETERS[named]) if isinstance(named, int) else ("", named)
            self._show(number, parameter, value, Quality.UNCHECKED, now, time)
        self._tell_temperature(now, time)

    def _tell_temperature(self, now: Now, time: DeviceTime | None) -> None:
        """The monitor says it only when it changes."""
        if self._temperature is not None:
            for event in self._temperature_mode.update([self._temperature], now, time):
                self.emit(event)

    def _show(
        self, number: str, parameter: _Parameter, value: Decimal | None, quality: Quality, now: Now, time: DeviceTime
    ) -> None:
        device_code = f"{number} {parameter.name}".strip()
        numeric = Numeric(
            at_ns=now.utc_ns,
            device_time=time,
            quality=quality | (Quality.UNAVAILABLE if value is None else Quality.GOOD),
            code=parameter.code,
            value=value,
            unit=self._pressure_unit if parameter.unit is None else parameter.unit,
            device_code=device_code,
            channel=parameter.channel,
        )
        for record in self._shown.show(device_code, numeric):
            self.emit(record)


def _time(day_s: int) -> DeviceTime:
    """A time of day without a date: kept as such, and no offset can be told from it."""
    return DeviceTime(day_s * S_NS, "local", S_NS)


def _parameter(number: int) -> _Parameter:
    """What a later monitor may tell beyond those known is kept under its number."""
    known = number < len(_PARAMETERS)
    return _PARAMETERS[number] if known else _Parameter("", f"MDCX_TERUMO_{number:02X}", "", "")


def _conditions(packet: AnalytePacket) -> Iterator[Condition]:
    """Status characters have no published meaning: kept as they are, from their start to their end."""
    for number, (status, _) in sorted(packet.fields.items()):
        if status not in _CALM:
            device_code = f"{number:02X}.{status.strip()}"
            code = f"MDCX_TERUMO_STATUS_{number:02X}"
            yield Condition(device_code, "advisory", "unknown", code, _parameter(number).code, "", device_code)


def _temperature_mode(line: TemperatureLine) -> Condition:
    text = "values at 37 degrees" if line.at == "37C" else "values at the temperature of the blood"
    return Condition(line.at, "mode", "none", "MDCX_TERUMO_TEMPERATURE", "", text, line.at)


def _once(
    now: Now,
    kind: Literal["marker", "technical_alarm"],
    alarm_id: str,
    code: str,
    device_code: str,
    time: DeviceTime | None = None,
) -> Event:
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        kind=kind,
        alarm_id=alarm_id,
        phase="once",
        priority="unknown" if kind == "technical_alarm" else "none",
        code=code,
        device_code=device_code,
    )
