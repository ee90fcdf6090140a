"""Lines of an Asena pump: ``!WORD^field^…|CCCC`` and CR, with CRC-16/CCITT-FALSE over what stands between ! and |.

Source: the frames that mdpnp (OpenICE) and infupy exchange with pumps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.checksums import crc16_ccitt_false
from ledger.errors import DeviceFault

LONGEST_LINE_BYTES: Final = 512
_LINE: Final = re.compile(rb"!([\x20-\x7e\x80-\xff]{1,480})\|([0-9A-Fa-f]{4})")
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
_NUMBER: Final = re.compile(r" *([+-]?\d{1,7}(?:\.\d{0,4})?) *")
_CLOCK: Final = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)")
_MOST_HOURS: Final = re.compile(r"(\d{1,3})\+")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a pump answers: the word it was asked with, and the fields behind it."""

    word: str
    fields: tuple[str, ...]


def encode(text: str) -> bytes:
    """A line on the wire."""
    body = text.encode("ascii")
    return b"!%s|%04X\r" % (body, crc16_ccitt_false(body))


def split_line(line: bytes) -> tuple[int, bytes]:
    """How many bytes stand before the last ! of a line, begun or abandoned (ESC) and never ended; and what follows."""
    before, mark, after = line.strip().rpartition(b"!")
    return (len(before), mark + after) if mark else (0, after)


def parse_line(line: bytes) -> Reply:
    """Take a line apart.

    Raises DeviceFault ``alaris.line``, or ``alaris.crc`` when its check value is wrong.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise DeviceFault("alaris.line", "not a line of the protocol")
    if crc16_ccitt_false(match[1]) != int(match[2], 16):
        raise DeviceFault("alaris.crc", "a line whose check value is wrong")
    word, *fields = match[1].decode("latin-1").split("^")
    if _WORD.fullmatch(word) is None:
        raise DeviceFault("alaris.line", "a line without a word of the protocol")
    return Reply(word, tuple(fields))


def number_of(field: str) -> Decimal | None:
    """A number; None: the field is empty. Raises DeviceFault ``alaris.field``."""
    if not field.strip(" -"):
        return None
    match = _NUMBER.fullmatch(field)
    if match is None:
        raise DeviceFault("alaris.field", "a number that is none")
    return Decimal(match[1])


def seconds_of(field: str) -> tuple[Decimal | None, bool]:
    """A time that is left, in seconds, and whether it is more than that; None: not known. Raises DeviceFault."""
    if not field.strip(" -:"):
        return None, False
    if (match := _CLOCK.fullmatch(field.strip())) is not None:
        hours, minutes, seconds = map(int, match.groups())
        return Decimal(hours * 3600 + minutes * 60 + seconds), False
    if (match := _MOST_HOURS.fullmatch(field.strip())) is not None:
        return Decimal(int(match[1]) * 3600), True
    raise DeviceFault("alaris.field", "a time that is none")
