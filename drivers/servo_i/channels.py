"""What the channels of the CIE are: ``channels.csv`` beside this module, and what the ventilator says of its own.

``channels.csv``: ``channel,name,gain,offset,unit,refid``; value = raw * gain - offset. A blank refid has no MDC
reference id that truly fits and becomes ``MDCX_MAQUET_<channel>``. Source: the tables of the CIE reference manual.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Final

from drivers.servo_i.frame import MISSING
from ledger.errors import DeviceFault

_MISSING_TEXT: Final = 9999
_UNITS: Final = {
    "01": "mL", "02": "mL/s", "03": "mL/min", "04": "cm[H2O]", "05": "mL/cm[H2O]", "06": "/min", "07": "%",
    "08": "L/min", "09": "cm[H2O]/(L/s)", "10": "mm[Hg]", "11": "kPa", "12": "mbar", "13": "mV", "14": "s",
    "15": "L/s", "16": "cm[H2O]/L", "17": "L", "18": "J/L", "19": "uV", "20": "", "21": "cm[H2O]/uV",
    "22": "/min/L", "23": "min",
}  # fmt: skip
_FACTOR: Final = re.compile(r"[+-]\d{4}E[+-]00\d")
"""The manual's are from E-007 to E+000; with thousands of digits there would be no value to compute."""
_CONFIGURATION: Final = re.compile(
    r"(?P<sample_ms>\d{3});(?P<channel>\d{3}),(?P<gain>[+-]\d{4}E[+-]00\d|-+),(?P<offset>[+-]\d{4}E[+-]00\d|-+),"
    r"(?P<unit>\d\d|--),[A-Z-]{2},(?P<name>[ -:<-~]{0,40});"
)
_MODE_CHANNEL: Final = 310
_MODES: Final = {
    2: "pressure control", 3: "volume control", 4: "PRVC", 5: "volume support", 6: "SIMV (VC) + PS",
    7: "SIMV (PC) + PS", 8: "pressure support / CPAP", 10: "SIMV (PRVC) + PS", 11: "Bi-vent",
    12: "NIV pressure control", 13: "NIV pressure support", 14: "nasal CPAP", 15: "NAVA", 17: "NIV NAVA",
    18: "pressure control, no trigger",
    19: "volume control, no trigger", 20: "PRVC, no trigger", 21: "pressure support, switches to PC",
    22: "volume support, switches to VC", 23: "volume support, switches to PRVC",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: number, name for people, how raw numbers become values, UCUM unit, reference id or private code."""

    number: int
    name: str
    gain: Decimal
    offset: Decimal
    unit: str
    code: str

    def value(self, raw: int) -> Decimal | str | None:
        """The value of a raw number; None if the ventilator has none. The ventilation mode is a word if known."""
        if raw == MISSING:
            return None
        if self.number == _MODE_CHANNEL and raw in _MODES:
            return _MODES[raw]
        value = raw * self.gain - self.offset
        return value.normalize().quantize(Decimal(1)) if _exponent(self.gain) > 0 else value

    def value_of_text(self, raw: int) -> Decimal | str | None:
        """The same for the four digits of a text answer, where 9999 is no value."""
        return None if raw == _MISSING_TEXT else self.value(raw)


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _factor(text: str, otherwise: Decimal) -> Decimal:
    """``+1000E-004`` is 0.1: the digits in front hold no meaning beyond their value."""
    return Decimal(text).normalize() if _FACTOR.fullmatch(text) else otherwise


@cache
def _documented() -> dict[int, Channel]:
    text = resources.files("drivers.servo_i").joinpath("channels.csv").read_text(encoding="ascii")
    return {
        int(row["channel"]): Channel(
            int(row["channel"]),
            row["name"],
            _factor(row["gain"], Decimal(1)),
            _factor(row["offset"], Decimal(0)),
            row["unit"],
            row["refid"] or f"MDCX_MAQUET_{row['channel']}",
        )
        for row in csv.DictReader(text.splitlines())
    }


def documented(first: int, last: int) -> tuple[int, ...]:
    """The channels of the table from ``first`` to ``last``."""
    return tuple(number for number in _documented() if first <= number <= last)


def channel_of(number: int) -> Channel:
    """What the table says of a channel; one that it does not have is taken as it comes."""
    name = "ventilation mode" if number == _MODE_CHANNEL else f"channel {number}"
    unknown = Channel(number, name, Decimal(1), Decimal(0), "", f"MDCX_MAQUET_{number}")
    return _documented().get(number, unknown)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The answer to RCCO for one channel: sampling time, and the channel as the ventilator has it."""

    sample_ms: int
    channel: Channel


@dataclass(slots=True)
class Known:
    """Configurations by channel of the ventilator with this serial number; they outlive a connection."""

    serial: str = ""
    configurations: dict[int, Configuration] = field(default_factory=dict)


def parse_configuration(text: bytes) -> Configuration:
    """``<sampling time>;<channel>,<gain>,<offset>,<unit>,<type>,<name>;``. Raises DeviceFault ``servo-i.channel``."""
    told = _CONFIGURATION.fullmatch(text.decode("ascii", "replace"))
    if told is None or told["unit"] not in (*_UNITS, "--"):
        raise DeviceFault("servo-i.channel", "a channel's configuration of an unknown form")
    known = channel_of(int(told["channel"]))
    name = told["name"].strip()
    own_name = name if known.name == f"channel {known.number}" and name else known.name
    gain, offset = _factor(told["gain"], Decimal(1)), _factor(told["offset"], Decimal(0))
    channel = replace(known, gain=gain, offset=offset, name=own_name)
    unit = _UNITS.get(told["unit"], "")
    if unit != known.unit:
        # Another unit is another quantity: the table's reference id may not fit it.
        same = known.code.startswith("MDCX_") or not known.unit
        channel = replace(channel, unit=unit, code=known.code if same else f"MDCX_MAQUET_{known.number}")
    return Configuration(int(told["sample_ms"]), channel)
