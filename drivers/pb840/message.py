"""The reports MISCA and MISCF of a Puritan Bennett 840 or 980: fields of fixed width between STX and ETX.

``fields.csv`` beside this module: ``message,field,kind,name,unit,refid``. ``field`` counts as in the manual: the first
after STX is 5. A blank refid has no MDC reference id that truly fits and becomes a private code of message and field.

Source: Covidien, Puritan Bennett 800 Series Operator's and Technical Reference Manual, RS-232 commands.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Final

from ledger.errors import DeviceFault
from ledger.limits import S_NS

FIRST_FIELD: Final = 5
MAX_LINE_BYTES: Final = 2_048
_MAX_FIELDS: Final = 255
_REPORT: Final = re.compile(rb"(MISC[AF]),(\d{1,4}) *,(\d{1,3}) *,\x02,?([ -~]*)\x03[ -~]{0,8}")
"""With its port set to Philips a ventilator sends four bytes more, of which no source says where they stand."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,8}(?:\.\d{1,4})?")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DATE: Final = re.compile(r"([A-Z]{3}) (\d\d) (\d{4})")
_TIME: Final = re.compile(r"(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Field:
    """What a field holds: ``kind`` is measured, setting, an alarm's kind, mode, time, date or id."""

    kind: str
    name: str
    unit: str
    code: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report: its name, the texts of its fields without padding, and their widths, which do not move."""

    name: str
    texts: tuple[str, ...]
    widths: tuple[int, ...]


@cache
def _fields() -> dict[tuple[str, int], Field]:
    text = resources.files("drivers.pb840").joinpath("fields.csv").read_text(encoding="ascii")
    return {
        (row["message"], int(row["field"])): Field(
            row["kind"], row["name"], row["unit"], row["refid"] or private(row["message"], int(row["field"]))
        )
        for row in csv.DictReader(text.splitlines())
    }


def private(report: str, number: int) -> str:
    """The code of a field that has no MDC reference id."""
    return f"MDCX_PURITAN_BENNETT_{report}_{number}"


def field_of(report: str, number: int) -> Field:
    """What a field is; one that the manual does not name is taken as it comes."""
    known = _fields().get((report, number))
    return known or Field("measured", "", "", private(report, number))


def is_named(report: str, number: int) -> bool:
    """Whether the manual names this field."""
    return (report, number) in _fields()


def parse_report(line: bytes) -> Report:
    """A line without its CR. Raises DeviceFault ``pb840.report``."""
    found = _REPORT.fullmatch(line)
    if found is None:
        raise DeviceFault("pb840.report", "not a report of the ventilator")
    texts = found[4].decode("ascii").split(",")
    if texts and not texts[-1]:
        texts.pop()  # each field has its comma
    # More than it says: with its port set to Philips the bytes that are too many may stand in a field of their own.
    if not 0 < int(found[3]) <= len(texts) <= _MAX_FIELDS:
        raise DeviceFault("pb840.report", f"{len(texts)} fields in a report of {int(found[3])}")
    return Report(found[1].decode("ascii"), tuple(text.strip() for text in texts), tuple(map(len, texts)))


def parse_value(text: str) -> Decimal | str | None:
    """A field's value: a number if it is one, None if it is blank, else the word that stands there."""
    if not text:
        return None
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def parse_minute(date: str, time: str) -> int | None:
    """Nanoseconds of a date ``NOV 22 2011`` and time ``14:51`` without zone; None if they are none."""
    day, minute = _DATE.fullmatch(date), _TIME.fullmatch(time)
    if day is None or minute is None or day[1] not in _MONTHS:
        return None
    month = _MONTHS.index(day[1]) + 1
    try:
        moment = datetime(int(day[3]), month, int(day[2]), int(minute[1]), int(minute[2]), tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * S_NS
