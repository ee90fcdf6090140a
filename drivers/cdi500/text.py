"""Lines of a CDI 500 or 550 set to ASCII output: a time and 18 columns by tabs, a title now and then.

Source: operator's manual of the CDI 550, appendix C (tabs, titles, dashes, the line on temperature); the columns and
their order as NIH's OpenSourcePerfusionSystem reads them from a CDI 500.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.cdi500.packet import seconds_of_day, value_of
from ledger.errors import DeviceFault

COLUMNS: Final = 18
_TIME: Final = re.compile(r"[\x00-\x7f]?(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d) *")
_NO_VALUE: Final = re.compile(r"[ .-]*")
_TEMPERATURE: Final = re.compile(r"[\x00-\x1f ]*(?P<at>@|37 ?C) *Temp\.? *Data[\x00-\x1f ]*", re.IGNORECASE)
_TITLE: Final = re.compile(r"\bpH\b")


@dataclass(frozen=True, slots=True)
class TextLine:
    """Seconds since midnight of the monitor's clock, and a value or None by column."""

    day_s: int
    columns: tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class TemperatureLine:
    """What temperature the blood gases are told for: "@", that of the blood, or "37C"."""

    at: str


@dataclass(frozen=True, slots=True)
class TitleLine:
    """The names of the columns; nothing in it is read."""


def parse_text(line: bytes) -> TextLine | TemperatureLine | TitleLine:
    """Take a line apart. Raises DeviceFault ``cdi500.line``."""
    try:
        text = line.decode("ascii")
    except ValueError:
        raise DeviceFault("cdi500.line", "not a line of a CDI 500") from None
    temperature = _TEMPERATURE.fullmatch(text)
    if temperature is not None:
        return TemperatureLine("@" if temperature["at"] == "@" else "37C")
    first, *columns = text.split("\t")
    begun = _TIME.fullmatch(first)
    if begun is None:
        if len(columns) >= COLUMNS // 2 and _TITLE.search(text) is not None:
            return TitleLine()
        raise DeviceFault("cdi500.line", "not a line of a CDI 500")
    if len(columns) == COLUMNS + 1 and not columns[-1].strip():
        columns.pop()  # a tab at the end
    if len(columns) != COLUMNS:
        raise DeviceFault("cdi500.line", f"a line with {len(columns)} of {COLUMNS} columns")
    day_s = seconds_of_day(begun["h"], begun["m"], begun["s"])
    return TextLine(day_s, tuple(map(_value, columns)))


def _value(text: str) -> Decimal | None:
    value = value_of(text)
    if value is None and _NO_VALUE.fullmatch(text) is None:
        raise DeviceFault("cdi500.line", "a column that is neither a number nor empty")
    return value
