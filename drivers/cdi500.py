"""Terumo CDI 500 in-line blood gas monitor on the heart-lung machine: a line of text at a steady pace. It never sends.

Source: the layout as NIH's OpenSourcePerfusionSystem reads it. How the line's check value is made is not published, so
it is not checked: a line counts only when it has all its fields, each with its own code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final, Literal

import msgspec

from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Spec, Transport
from drivers.line_device import LineDevice, LineSession
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Identity, Numeric, Quality

_LONGEST_LINE_BYTES: Final = 512
_HEAD: Final = re.compile(r"\x02?(?P<serial>[\x21-\x7e ]{1,24}?)(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)")
_FIELD: Final = re.compile(r"(?P<code>[0-9A-Fa-f]{2})(?P<status>[\x20-\x7e]{2})(?P<value>[\x20-\x7e]{0,12})")
_TAIL: Final = re.compile(r"[\x20-\x7e]{0,8}\x03?")
_VALUE: Final = re.compile(r" *([+-]?\d{1,5}(?:\.\d{1,3})?) *")
_CALM: Final = frozenset(("00", "  "))
_DAY_S: Final = 86_400


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
"""By their number on the line. Pressures have the unit that the monitor is set to."""


class Cdi500Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``cdi500`` feed.

    ``pressure_unit``: the unit of pCO2 and pO2 that the monitor is set to, "mmHg" or "kPa"; the line does not tell.
    Raises ValueError naming the option.
    """

    pressure_unit: Literal["mmHg", "kPa"] = "mmHg"


@dataclass(frozen=True, slots=True)
class CdiLine:
    """One line: seconds since midnight of the monitor's clock, and (status, value) by parameter number.

    A value None is one that the monitor could not give: out of range, or no cuvette.
    """

    serial: str
    day_s: int
    fields: dict[int, tuple[str, Decimal | None]]


def parse_line(line: bytes) -> CdiLine:
    """Take a line apart. Raises DeviceFault ``cdi500.line``."""
    try:
        head, *fields, tail = line.decode("ascii").split("\t")
    except ValueError:  # not ASCII, or fewer than two fields
        raise DeviceFault("cdi500.line", "not a line of a CDI 500") from None
    begun = _HEAD.fullmatch(head)
    if begun is None or _TAIL.fullmatch(tail) is None or len(fields) < len(_PARAMETERS):
        raise DeviceFault(
            "cdi500.line", f"a line with {len(fields)} of {len(_PARAMETERS)} fields, or with another head"
        )
    day_s = int(begun["h"]) * 3600 + int(begun["m"]) * 60 + int(begun["s"])
    found: dict[int, tuple[str, Decimal | None]] = {}
    for text in fields:
        match = _FIELD.fullmatch(text)
        number = int(match["code"], 16) if match is not None else -1
        if match is None or number in found:
            raise DeviceFault("cdi500.line", "a field without a code of its own")
        value = _VALUE.fullmatch(match["value"])
        found[number] = match["status"], Decimal(value[1]) if value is not None else None
    if not found.keys() >= set(range(len(_PARAMETERS))):
        raise DeviceFault("cdi500.line", "a line without a field that every line has")
    if day_s >= _DAY_S:
        raise DeviceFault("cdi500.line", "a time that is none")
    return CdiLine(begun["serial"].strip(), day_s, found)


def recognise(data: bytes) -> Heard | None:
    """Whole lines of a CDI 500 in these bytes."""
    heard = 0
    for line in re.split(rb"[\r\n]+", data):
        try:
            parse_line(line)
        except DeviceFault:
            continue
        heard += 1
    return Heard(heard, "Terumo CDI 500") if heard else None


class Cdi500(LineDevice):
    """Reads lines; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[Cdi500Config]] = Spec(
        name="cdi500",
        devices=("Terumo CDI 500 blood parameter monitoring system",),
        transports=(Transport.SERIAL,),
        config=Cdi500Config,
        serial_lines=("9600 8N1",),
        passive_ok=True,
        silence_s=30.0,
        records=frozenset({"numeric", "event", "gap", "identity", "link"}),
        source="NIH, OpenSourcePerfusionSystem (public implementation); the maker's document is not public",
        longest_frame_bytes=_LONGEST_LINE_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: Cdi500Config) -> None:
        super().__init__(_LONGEST_LINE_BYTES)
        self._pressure_unit = "mm[Hg]" if config.pressure_unit == "mmHg" else "kPa"
        self._shown = ShownValues()
        self._conditions = Conditions()
        self._silence.follow(self._shown, self._conditions)

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is none of the monitor's."""
        told = parse_line(line)
        self.identified(session, Identity(at_ns=now.utc_ns, make="Terumo", model="CDI 500", serial=told.serial))
        # A time of day without a date: kept as such, and no offset can be told from it.
        time = DeviceTime(told.day_s * S_NS, "local", S_NS)
        for number, (_, value) in sorted(told.fields.items()):
            parameter = _parameter(number)
            quality = Quality.UNCHECKED | (Quality.UNAVAILABLE if value is None else Quality.GOOD)
            numeric = Numeric(
                at_ns=now.utc_ns,
                device_time=time,
                quality=quality,
                code=parameter.code,
                value=value,
                unit=self._pressure_unit if parameter.unit is None else parameter.unit,
                device_code=f"{number:02X} {parameter.name}".strip(),
                channel=parameter.channel,
            )
            for record in self._shown.show(f"{number:02X}", numeric):
                self.emit(record)
        for event in self._conditions.update(_conditions(told), now, time):
            self.emit(event)


def _parameter(number: int) -> _Parameter:
    """What a later monitor may tell beyond those known is kept under its number."""
    known = number < len(_PARAMETERS)
    return _PARAMETERS[number] if known else _Parameter("", f"MDCX_TERUMO_{number:02X}", "", "")


def _conditions(told: CdiLine) -> Iterator[Condition]:
    """Status characters have no published meaning: kept as they are, from their start to their end."""
    for number, (status, _) in sorted(told.fields.items()):
        if status not in _CALM:
            device_code = f"{number:02X}.{status.strip()}"
            code = f"MDCX_TERUMO_STATUS_{number:02X}"
            yield Condition(device_code, "advisory", "unknown", code, _parameter(number).code, "", device_code)
