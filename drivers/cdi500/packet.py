"""Packets of a CDI 500 or 550: STX, device X, sequence, length, command, data, check value, ETX.

Source: operator's manual of the CDI 550, appendix C (the frame, the commands, the check value); the data of an analyte
packet as NIH's OpenSourcePerfusionSystem reads them from a CDI 500.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.checksums import crc8_cpip
from ledger.errors import DeviceFault

PARAMETERS: Final = 18
_STX: Final = b"\x02"
_HEAD: Final = re.compile(
    r"[A-Z][0-9A-Fa-f]{2}[0-9A-Fa-f]{4}(?P<command>[A-Z])(?P<sub>\d)"
    r"(?:(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d))?(?P<data>[\x20-\x7e]*)"
)
_FIELD: Final = re.compile(r"(?P<code>[0-9A-Fa-f]{2})(?P<status>[\x20-\x7e]{2})(?P<value>[\x20-\x7e]{0,12})")
_TAIL: Final = re.compile(r"[\x20-\x7e]{0,8}\x03?")
_VALUE: Final = re.compile(r" *([+-]?\d{1,5}(?:\.\d{1,3})?) *")
_CHECK_CHARS: Final = 2


@dataclass(frozen=True, slots=True)
class AnalytePacket:
    """Seconds since midnight of the monitor's clock, and (status, value) by parameter number.

    ``cause``: why it was sent, 0 the interval, 1 mark, 2 store, 3 recalibration. ``checked``: its check value is right.
    A value None is one that the monitor could not give: out of range, or no cuvette.
    """

    cause: int
    day_s: int
    fields: dict[int, tuple[str, Decimal | None]]
    checked: bool


@dataclass(frozen=True, slots=True)
class OtherPacket:
    """A packet without values, whose check value is right: "E", an error with its code as data, or an answer."""

    command: str
    sub: int
    data: str


def parse_packet(line: bytes) -> AnalytePacket | OtherPacket:
    """Take a packet apart; STX and ETX may be missing. Raises DeviceFault ``cdi500.line``."""
    try:
        head, *fields = line.removeprefix(_STX).decode("ascii").split("\t")
    except ValueError:
        raise DeviceFault("cdi500.line", "not a line of a CDI 500") from None
    if not fields:
        return _other(line)
    begun = _HEAD.fullmatch(head)
    *fields, tail = fields
    if begun is None or begun["h"] is None or begun["data"] or _TAIL.fullmatch(tail) is None:
        raise DeviceFault("cdi500.line", "a line with another head or end")
    found: dict[int, tuple[str, Decimal | None]] = {}
    for text in fields:
        match = _FIELD.fullmatch(text)
        number = int(match["code"], 16) if match is not None else -1
        if match is None or number in found:
            raise DeviceFault("cdi500.line", "a field without a code of its own")
        found[number] = match["status"], value_of(match["value"])
    if not found.keys() >= set(range(PARAMETERS)):
        raise DeviceFault("cdi500.line", "a line without a field that every line has")
    day_s = seconds_of_day(begun["h"], begun["m"], begun["s"])
    return AnalytePacket(int(begun["sub"]), day_s, found, _is_checked(line))


def value_of(text: str) -> Decimal | None:
    """A number, or None for what is none."""
    value = _VALUE.fullmatch(text)
    return Decimal(value[1]) if value is not None else None


def seconds_of_day(h: str, m: str, s: str) -> int:
    """Seconds since midnight. Raises DeviceFault ``cdi500.line`` for a time that is none."""
    hour, minute, second = int(h), int(m), int(s)
    if hour > 23 or minute > 59 or second > 59:
        raise DeviceFault("cdi500.line", "a time that is none")
    return hour * 3600 + minute * 60 + second


def _other(line: bytes) -> OtherPacket:
    text = line.removeprefix(_STX).removesuffix(b"\x03")[:-_CHECK_CHARS].decode("ascii")
    begun = _HEAD.fullmatch(text)
    if begun is None or not _is_checked(line):
        raise DeviceFault("cdi500.line", "not a line of a CDI 500")
    return OtherPacket(begun["command"], int(begun["sub"]), begun["data"])


def _is_checked(line: bytes) -> bool:
    packet = line.removesuffix(b"\x03")
    covered, check = packet[:-_CHECK_CHARS], packet[-_CHECK_CHARS:]
    return covered.startswith(_STX) and check.upper() == b"%02X" % crc8_cpip(covered)
