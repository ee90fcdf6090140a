"""What a message measures, as vectors of floats: matrices, poses, sensor arrays; as text and as samples of waves.

A vector's bytes stay as they came until a wave is made of many of them. Floats become 32-bit integers with a power of
16 as the scale, chosen for each record from its largest value: 27 to 30 bits of that remain, more than the 24 of a
float32, so that every value within an eighth of the largest is exact and a smaller one is off by less than the largest
divided by 2^27. Below the shape's own floor (about a nanometre) nothing is resolved.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

NO_SAMPLE: Final = -(1 << 31)
_BITS: Final = 30
_LEAST_EXPONENT: Final = -300
_LENGTH_FLOOR: Final = -20
_RATIO_FLOOR: Final = -28


@dataclass(frozen=True, slots=True)
class Shape:
    """What a vector's numbers are. ``elements``: (name, unit, least exponent of the scale); ``rows`` of the text."""

    code: str
    elements: tuple[tuple[str, str, int], ...]
    kind: Literal["f", "d"]
    unit: str
    rows: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Bytes of one vector."""
        return len(self.elements) * (4 if self.kind == "f" else 8)

    def values(self, raw: bytes | bytearray) -> tuple[float, ...]:
        """The numbers of one or more vectors, one after the other."""
        return struct.unpack(f">{len(raw) // (4 if self.kind == 'f' else 8)}{self.kind}", raw)

    def text(self, raw: bytes) -> Decimal | str:
        """One vector, as state holds it: a number if it is one, else its rows, exact to the last bit."""
        told = [(_float32_text if self.kind == "f" else _float64_text)(value) for value in self.values(raw)]
        if len(told) == 1 and math.isfinite(float(told[0])):
            return Decimal(told[0])
        return "; ".join(" ".join(told[place] for place in row) for row in self.rows)

    def whole(self, raw: bytes) -> bool:
        """Whether all its numbers are numbers."""
        return all(map(math.isfinite, self.values(raw)))

    @property
    def no_value(self) -> bytes:
        """A vector of NaN: in a wave, samples without a value."""
        return struct.pack(f">{len(self.elements)}{self.kind}", *[math.nan] * len(self.elements))


def _shape(code: str, lengths: str, ratios: str, rows: tuple[tuple[int, ...], ...]) -> Shape:
    elements = [(name, "1", _RATIO_FLOOR) for name in ratios.split()]
    places = [(name, "mm", _LENGTH_FLOOR) for name in lengths.split()]
    both = [*places, *elements] if code != "TRANSFORM" else [*elements, *places]
    return Shape(f"MDCX_OPENIGTLINK_{code}", tuple(both), "f", "mm", rows)


MATRIX: Final = _shape(
    "TRANSFORM", "TX TY TZ", "R11 R21 R31 R12 R22 R32 R13 R23 R33", ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
)
"""Three rows of the 4 × 4 matrix; the protocol sends its columns: three of the linear part, then the translation."""
POSE: Final = _shape("POSITION", "X Y Z", "QX QY QZ QW", ((0, 1, 2), (3, 4, 5, 6)))
POSE_WITHOUT_W: Final = _shape("POSITION", "X Y Z", "QX QY QZ", ((0, 1, 2), (3, 4, 5)))
PLACE: Final = _shape("POSITION", "X Y Z", "", ((0, 1, 2),))
POINT: Final = _shape("POINT", "X Y Z", "", ((0, 1, 2),))


@lru_cache(maxsize=256)
def sensor_shape(length: int, unit: str) -> Shape:
    """The shape of a SENSOR message's array."""
    elements = tuple((str(place + 1), unit, _LEAST_EXPONENT) for place in range(length))
    return Shape("MDCX_OPENIGTLINK_SENSOR", elements, "d", unit, (tuple(range(length)),))


def quantised(values: Sequence[float], least_exponent: int) -> tuple[bytes, float]:
    """32-bit little-endian samples and their scale: value = scale * sample. What is no number is ``NO_SAMPLE``."""
    finite = [value for value in values if math.isfinite(value)]
    largest = max(map(abs, finite), default=0.0)
    exponent = math.frexp(largest)[1] - _BITS if largest else _RATIO_FLOOR
    exponent = max(least_exponent, _LEAST_EXPONENT, -(-exponent // 4) * 4)
    factor = 2.0**-exponent
    if len(finite) == len(values):
        samples = [round(value * factor) for value in values]
    else:
        samples = [round(value * factor) if math.isfinite(value) else NO_SAMPLE for value in values]
    return struct.pack(f"<{len(samples)}i", *samples), 2.0**exponent


def _float32_text(value: float) -> str:
    """The shorter of 7 and 9 digits that gives the same float32."""
    short = f"{value:.7g}"
    try:
        same = struct.pack(">f", float(short)) == struct.pack(">f", value)
    except OverflowError:  # the largest float32, rounded up
        same = False
    return short if same else f"{value:.9g}"


def _float64_text(value: float) -> str:
    text = repr(value)
    return text.removesuffix(".0")
