"""Sample arrays as the monitor sends them into little-endian samples, without touching them one by one.

A sample has 8 or 16 bits, of which the lower ``significant_bits`` are the value and the others may be marks: fixed
values say which bit means invalid, pacer, defibrillator, saturation or QRS (guide, "Sample Array Fixed Value
Specification").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from drivers.intellivue.objects import Metric, Scale
from drivers.intellivue.values import bad, float_value

INVALID_16: Final = -0x8000
INVALID_32: Final = -0x8000_0000

_INVALID_MASK = 1
_MARKS = {2: "pacer", 3: "defib", 4: "saturation", 5: "qrs"}
_MASK_NON_SIGNIFICANT = 0x1000
_SIGN_BIT = 0x8000
_BITS_8, _BITS_16 = 8, 16
_AND = [bytes(byte & mask for byte in range(256)) for mask in range(256)]


@dataclass(frozen=True, slots=True)
class Samples:
    """Little-endian samples of ``width`` bytes; ``invalid``: which value means none; where what was marked."""

    width: Literal[2, 4]
    data: bytes
    count: int
    invalid: int | None
    invalid_count: int
    marks: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """value = scale * sample + offset; ``known`` False: the monitor has not told, samples are bare numbers."""

    scale: float = 1.0
    offset: float = 0.0
    known: bool = False


def read_samples(raw: bytes, metric: Metric) -> Samples:
    """The samples of one array. Raises DeviceFault ``intellivue.bad-message``."""
    if metric.sample_bits == _BITS_8:
        raw = _widened(raw)
    elif metric.sample_bits != _BITS_16:
        raise bad(f"samples of {metric.sample_bits} bits are unknown")
    if len(raw) % 2:
        raise bad(f"an array of {len(raw)} B holds no whole number of samples")
    count = len(raw) // 2
    invalid_at, marks = _marked(raw, metric, count)
    mask = _value_mask(metric)
    high, low = raw[0::2].translate(_AND[mask >> 8]), raw[1::2].translate(_AND[mask & 0xFF])
    # An unsigned sample that uses the sign bit needs more room than 16 bits.
    wide = not is_signed(metric) and bool(count) and max(high) > 0x7F
    width: Literal[2, 4] = 4 if wide else 2
    data = bytearray(width * count)
    data[0::width], data[1::width] = low, high
    invalid = None if not metric.fixed_values else INVALID_32 if wide else INVALID_16
    for at in invalid_at:
        data[width * at : width * (at + 1)] = invalid.to_bytes(width, "little", signed=True) if invalid else b""
    return Samples(width, bytes(data), count, invalid, len(invalid_at), marks)


@lru_cache(maxsize=256)
def line_of(metric: Metric) -> Line:
    """The straight line through the scale's two points, or else the calibration's; a wave without a unit has none."""
    for points in (metric.scale, metric.calibration):
        line = _through(points) if points is not None else None
        if line is not None:
            return line
    return Line(known=metric.scale is not None)


def is_signed(metric: Metric) -> bool:
    """Whether samples are two's complement: then the lower end of the scale is the greater as an unsigned number."""
    points = metric.scale or metric.calibration
    return points is not None and points.lower_scaled > points.upper_scaled


def _through(points: Scale) -> Line | None:
    lower, upper = float_value(points.lower)[0], float_value(points.upper)[0]
    low, high = points.lower_scaled, points.upper_scaled
    if low > high:
        low, high = low - ((low & _SIGN_BIT) << 1), high - ((high & _SIGN_BIT) << 1)
    if lower is None or upper is None or low == high:
        return None
    try:
        scale = (float(upper) - float(lower)) / (high - low)
    except OverflowError:
        return None
    return Line(scale, float(lower) - scale * low, known=True)


def _widened(raw: bytes) -> bytes:
    out = bytearray(2 * len(raw))
    out[1::2] = raw
    return bytes(out)


@lru_cache(maxsize=256)
def _significant(metric: Metric) -> int:
    return (1 << min(metric.significant_bits, _BITS_16)) - 1


def _value_mask(metric: Metric) -> int:
    """Bits to keep: all, unless the monitor says that some are to be masked or uses them for marks."""
    significant = _significant(metric)
    marks = any(fixed & ~significant for _, fixed in metric.fixed_values)
    return significant if metric.sample_flags & _MASK_NON_SIGNIFICANT or marks else 0xFFFF


@lru_cache(maxsize=1024)
def _repeated(mask: int, count: int) -> int:
    return int.from_bytes(mask.to_bytes(2, "big") * count, "big")


def _marked(raw: bytes, metric: Metric, count: int) -> tuple[list[int], tuple[tuple[int, str], ...]]:
    """Numbers of the invalid samples, and the marks. The samples are looked at one by one only when any is marked."""
    invalid: list[int] = []
    marks: list[tuple[int, str]] = []
    if not metric.fixed_values or not count:
        return invalid, ()
    bits = int.from_bytes(raw, "big")
    samples: tuple[int, ...] = ()
    significant = _significant(metric)
    for identifier, fixed in metric.fixed_values:
        if (
            not fixed
            or (identifier != _INVALID_MASK and identifier not in _MARKS)
            or not bits & _repeated(fixed, count)
        ):
            continue
        samples = samples or struct.unpack(f">{count}H", raw)
        # Bits of the value itself can only be meant as one whole number; those beside it are a mask.
        compared = fixed if fixed & ~significant else 0xFFFF
        found = [at for at, sample in enumerate(samples) if sample & compared == fixed]
        if identifier == _INVALID_MASK:
            invalid += found
        else:
            marks += [(at, _MARKS[identifier]) for at in found]
    return invalid, tuple(sorted(marks))
