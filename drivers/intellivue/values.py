"""The small building blocks of the protocol: FLOAT, text, absolute time, attribute lists, measurement state."""

from __future__ import annotations

import calendar
import struct
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Quality

ABSOLUTE_TIME_BYTES = 8
_CENTISECOND_NS = 10_000_000
_U16_U16 = struct.Struct(">HH")
_SPECIAL_MANTISSAS = {
    0x7FFFFF: Quality.UNAVAILABLE,  # not a number
    0x800000: Quality.INVALID,  # not at this resolution
    0x800001: Quality.INVALID,  # reserved
    0x7FFFFE: Quality.OVER_RANGE,  # + infinity
    0x800002: Quality.UNDER_RANGE,  # - infinity
}
_STATE_BITS = (
    (0x8000, Quality.INVALID),
    (0x4000, Quality.QUESTIONABLE),
    (0x2000, Quality.UNAVAILABLE),
    (0x1000, Quality.CALIBRATING),
    (0x0800, Quality.TEST),
    (0x0400, Quality.DEMO),
    (0x0080, Quality.VALIDATED),
    (0x0040, Quality.EARLY),
    (0x0020, Quality.ONGOING),
)


def bad(text: str) -> DeviceFault:
    """The monitor, or the line, sent what the protocol does not allow."""
    return DeviceFault("intellivue.bad-message", text)


def unpack(layout: struct.Struct, data: bytes, what: str, offset: int = 0) -> tuple[int, ...]:
    """Unpack whole numbers. Raises DeviceFault ``intellivue.bad-message``, naming ``what``, when bytes are missing."""
    if len(data) < offset + layout.size:
        raise bad(f"{what} ends after {max(0, len(data) - offset)} B")
    return layout.unpack_from(data, offset)


@lru_cache(maxsize=4096)
def float_value(raw: int) -> tuple[Decimal | None, Quality]:
    """A FLOAT: signed exponent of ten in the high byte, signed 24-bit mantissa. The digits are kept: 7.10 is 7.10."""
    mantissa, exponent = raw & 0xFFFFFF, raw >> 24
    special = _SPECIAL_MANTISSAS.get(mantissa)
    if special is not None:
        return None, special
    mantissa -= (mantissa & 0x800000) << 1
    exponent -= (exponent & 0x80) << 1
    if 0 < exponent <= 9:
        return Decimal(mantissa * 10**exponent), Quality.GOOD
    return Decimal(mantissa).scaleb(exponent), Quality.GOOD


@lru_cache(maxsize=1024)
def state_quality(state: int) -> Quality:
    """The bits of a measurement state that say how good a value is; alarm bits say nothing of it."""
    quality = Quality.GOOD
    if state & 0xFFE0:
        for bit, flag in _STATE_BITS:
            if state & bit:
                quality |= flag
    return quality


def joined(quality: Quality, other: Quality) -> Quality:
    """Both flags; spares the mostly idle work of joining none, which shows at some hundred values a second."""
    return quality | other if other else quality


def text(value: bytes) -> str:
    """A string attribute: length in bytes, then UTF-16 with its end marked by a zero."""
    declared = int.from_bytes(value[:2], "big")
    content = value[2 : 2 + declared]
    return content[: len(content) & ~1].decode("utf-16-be", "replace").split("\0", 1)[0].strip()


def label_text(value: bytes) -> str:
    """Latin-1 bytes that may end early by a zero (model, serial number)."""
    return value.split(b"\0", 1)[0].decode("latin-1").strip()


def absolute_time_ns(value: bytes) -> int | None:
    """Eight BCD bytes (century to hundredth) as if they were UTC; None if not set (FF or 00) or no date."""
    if len(value) < ABSOLUTE_TIME_BYTES:
        return None
    digits = value[:ABSOLUTE_TIME_BYTES].hex()
    century, year, month, day, hour, minute, second, hundredth = (digits[i : i + 2] for i in range(0, 16, 2))
    fields = century + year + month + day + hour + minute + second
    if not fields.isdecimal():
        return None
    y, mo, d, h, mi, s = int(century + year), int(month), int(day), int(hour), int(minute), int(second)
    if not (1 <= mo <= 12 and h < 24 and mi < 60 and s < 61 and y >= 1) or not 1 <= d <= calendar.monthrange(y, mo)[1]:
        return None
    ns = calendar.timegm((y, mo, d, h, mi, s)) * S_NS
    return ns + (int(hundredth) * _CENTISECOND_NS if hundredth.isdecimal() else 0)


def attributes(data: bytes, offset: int = 0) -> tuple[list[tuple[int, bytes]], int]:
    """An attribute list (count, length, then id, length, value each) and the offset behind it.

    Raises DeviceFault ``intellivue.bad-message`` when it reaches beyond the data.
    """
    count, length = unpack(_U16_U16, data, "an attribute list", offset)
    at = offset + _U16_U16.size
    end = at + length
    if end > len(data):
        raise bad(f"an attribute list of {length} B has only {len(data) - at} B")
    found = []
    for _ in range(count):
        if at + _U16_U16.size > end:
            break  # monitors have been seen to count more than they send: the length is what holds
        attribute, size = _U16_U16.unpack_from(data, at)
        at += _U16_U16.size
        if at + size > end:
            raise bad(f"attribute {attribute:04X} of {size} B reaches beyond its list")
        found.append((attribute, data[at : at + size]))
        at += size
    return found, end


def entries(value: bytes, size: int, what: str) -> Iterator[int]:
    """Offsets of equal entries behind a count and a length. Raises DeviceFault when they reach beyond the value."""
    count, _ = unpack(_U16_U16, value, what)
    if _U16_U16.size + count * size > len(value):
        raise bad(f"{what} says {count} entries in {len(value)} B")
    return iter(range(_U16_U16.size, _U16_U16.size + count * size, size))
