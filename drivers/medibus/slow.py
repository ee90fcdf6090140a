"""Slow data: the bodies of the responses to data requests (MEDIBUS protocol definition)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ledger.errors import DeviceFault
from ledger.records import Quality

MEASURED_BYTES: Final = 4
SETTING_BYTES: Final = 5
_CODE: Final = re.compile(r"[0-9A-Fa-f ][0-9A-Fa-f]")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_PLACEHOLDER: Final = re.compile(r"[-+*./_?]*")
_IDENTITY: Final = re.compile(
    rb"([\x20-\x26\x28-\x7e]{0,8})(?:'([^']{0,64})')?\s*([^:]{0,16})(?::(.{0,16}))?", re.DOTALL
)
# Fields are two wide, some devices pad with blanks; EvitaXL has been seen without seconds, and with English months.
_DATE_TIME: Final = re.compile(r"\s*(\d?\d):(\d\d| \d)(?::(\d\d| \d))?\s*(\d{1,2})-([A-Za-z]{3})-\s?(\d{4}|\d{1,2})\s*")
_MONTHS: Final = {
    "JAN": 1, "FEB": 2, "MAR": 3, "MRZ": 3, "APR": 4, "MAI": 5, "MAY": 5, "JUN": 6, "JUL": 7, "AUG": 8, "SEP": 9,
    "OKT": 10, "OCT": 10, "NOV": 11, "DEZ": 12, "DEC": 12,
}  # fmt: skip
_ALARM_BYTES: Final = 15
_ETX: Final = 0x03
_ESCAPES: Final = (("$&", " LOW "), ('"#', " HIGH "), ("'@", " ALARM "))


@dataclass(frozen=True, slots=True)
class Alarm:
    """One active alarm; ``priority`` 1 to 31, 31 is the highest."""

    code: str
    priority: int
    text: str


@dataclass(frozen=True, slots=True)
class Device:
    """Who a device says it is: Dräger's number of the model, its name, its software and its protocol revision."""

    number: str
    name: str
    software: str
    protocol: str


def parse_values(data: bytes, width: int) -> list[tuple[str, str]]:
    """(code, text as sent) of measured values, limits (width 4) or settings (5). Raises DeviceFault."""
    segment = 2 + width
    text = data.decode("ascii", "replace")
    if len(text) % segment:
        raise DeviceFault("medibus.bad-response", f"{len(text)} B of values are not a multiple of {segment}")
    found = [(text[at : at + 2], text[at + 2 : at + segment]) for at in range(0, len(text), segment)]
    return [(_code(code), value) for code, value in found]


def parse_value(text: str) -> tuple[Decimal | str | None, Quality]:
    """A value field: blanks may be anywhere; a device that shows dashes, stars or nothing has no value."""
    bare = text.replace(" ", "")
    if _NUMBER.fullmatch(bare):
        return Decimal(bare), Quality.GOOD
    if _PLACEHOLDER.fullmatch(bare):
        return None, Quality.UNAVAILABLE
    return text.strip(), Quality.QUESTIONABLE


def parse_alarms(data: bytes) -> list[Alarm]:
    """Active alarms. Raises DeviceFault ``medibus.bad-response``."""
    if len(data) % _ALARM_BYTES:
        raise DeviceFault("medibus.bad-response", f"{len(data)} B of alarms are not a multiple of {_ALARM_BYTES}")
    found = []
    for at in range(0, len(data), _ALARM_BYTES):
        segment = data[at : at + _ALARM_BYTES]
        found.append(Alarm(_code(segment[1:3].decode("ascii", "replace")), segment[0] - 0x30, _phrase(segment[3:])))
    return found


def parse_texts(data: bytes) -> list[tuple[str, str]]:
    """(code, text) of text messages. Raises DeviceFault ``medibus.bad-response``."""
    found = []
    at = 0
    while at < len(data):
        code = _code(data[at : at + 2].decode("ascii", "replace"))
        length = data[at + 2] - 0x30 if at + 2 < len(data) else -1
        end = at + 3 + length
        if length < 0 or end >= len(data) or data[end] != _ETX:
            raise DeviceFault("medibus.bad-response", f"text message {code} is not as long as it says")
        found.append((code, _phrase(data[at + 3 : end])))
        at = end + 1
    return found


def parse_identity(data: bytes) -> Device | None:
    """The answer to command 52; None if the device answered with an empty one. Raises DeviceFault."""
    if not data.strip():
        return None
    match = _IDENTITY.fullmatch(data)
    if match is None:
        raise DeviceFault("medibus.bad-response", "a device identification cannot be read")
    number, name, software, protocol = ((part or b"").decode("ascii", "replace").strip() for part in match.groups())
    return Device(number, name, software, protocol)


def parse_date_time(data: bytes) -> int | None:
    """Seconds since 1970 of the device's own clock, whose zone nobody tells; None if it tells no seconds.

    Raises DeviceFault ``medibus.bad-response``.
    """
    match = _DATE_TIME.fullmatch(data.decode("ascii", "replace"))
    month = _MONTHS.get(match.group(5).upper()) if match else None
    if match is None or month is None:
        raise DeviceFault("medibus.bad-response", "a date and time cannot be read")
    hour, minute, second, day, year = (int(match.group(n) or 0) for n in (1, 2, 3, 4, 6))
    century = 0 if year >= 100 else 1900 if year >= 80 else 2000
    try:
        told = datetime(century + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise DeviceFault("medibus.bad-response", "a date and time is none of the calendar") from error
    return int(told.timestamp()) if match.group(3) else None


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise DeviceFault("medibus.bad-response", "a data code is not two hex digits")
    return text.upper().replace(" ", "0")


def _phrase(data: bytes) -> str:
    text = data.decode("ascii", "replace")
    for escape, word in _ESCAPES:
        text = text.replace(escape, word)
    return " ".join(text.split())
