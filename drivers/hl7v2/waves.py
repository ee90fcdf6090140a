"""Waveforms sent as numeric arrays: OBX-2 = NA (one signal) or MA (several, interleaved), with their facets.

Source: IHE PCD TF vol. 2, appendix B.8 (facets MDC_ATTR_SAMP_RATE, MDC_ATTR_DATA_RANGE below the array's OBX-4);
HL7 v2.9 chapter 7, section 7.14 (NA, MA).
"""

from __future__ import annotations

import array
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from drivers.hl7v2 import datatypes, er7
from drivers.hl7v2.structure import Obx
from ledger.limits import S_NS
from ledger.records import DeviceTime

MAX_SAMPLES = 16_384
"""Samples in one record; a longer array is cut into several, so that each fits a block with others."""

MAX_TRACKED = 1_024
"""Signals whose sample count is remembered on one connection."""

_MAX_RATE_HZ = 100_000
_MAX_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Quantised:
    """Samples as integers: number sent = scale * sample + offset. ``exact``: every decimal as sent comes back, rounded
    to the digits that were sent; otherwise the error is at most half of ``scale``. ``step``: what a 1 that was sent is
    worth in the wave's unit.
    """

    samples: tuple[int, ...]
    width: Literal[2, 4]
    scale: float
    offset: float
    invalid: int | None
    exact: bool
    step: float = 1.0

    def encode(self, start: int, stop: int) -> bytes:
        """Samples ``start`` to ``stop`` as little-endian signed integers."""
        packed = array.array("h" if self.width == 2 else "i", self.samples[start:stop])
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tobytes()


def quantise(values: Sequence[Decimal | None]) -> Quantised:
    """Turn decimals into integers of the fewest bytes that hold them all; None becomes the ``invalid`` sample."""
    present = [value for value in values if value is not None]
    found = _by_decimals(values, present, _decimals(present))
    if found is None or not found.exact:  # zeros at the end may be all that does not fit
        found = _by_decimals(values, present, _decimals([value.normalize() for value in present]))
    return found or _squeeze(values, present)


def _by_decimals(values: Sequence[Decimal | None], present: Sequence[Decimal], decimals: int) -> Quantised | None:
    """Samples in units of the last decimal sent; None if they do not fit 32 bits."""
    steps = [round(value.scaleb(decimals)) for value in present]
    highest = max(map(abs, steps), default=0)
    if highest >= 1 << 31:
        return None
    width: Literal[2, 4] = 2 if highest < 1 << 15 else 4
    exact = decimals < _MAX_DECIMALS or all(
        step == value.scaleb(decimals) for step, value in zip(steps, present, strict=True)
    )
    scale = float(Decimal(1).scaleb(-decimals))
    if len(present) == len(values):
        return Quantised(tuple(steps), width, scale, 0.0, None, exact)
    invalid = -(1 << (8 * width - 1))
    rest = iter(steps)
    whole = tuple(invalid if value is None else next(rest) for value in values)
    return Quantised(whole, width, scale, 0.0, invalid, exact)


def _decimals(values: Sequence[Decimal]) -> int:
    """Decimals of the most precise value, at most ``_MAX_DECIMALS``."""
    exponents = (value.as_tuple().exponent for value in values)
    most = max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)
    return max(0, min(most, _MAX_DECIMALS))


def _squeeze(values: Sequence[Decimal | None], present: Sequence[Decimal]) -> Quantised:
    """Spread the range of the values over 32 bits: the error is half a step of 1/2^32 of that range."""
    low, high = min(present), max(present)
    middle = (low + high) / 2
    scale = (high - low) / ((1 << 32) - 4) or Decimal(1)
    invalid = -(1 << 31)
    whole = tuple(invalid if value is None else int(((value - middle) / scale).to_integral_value()) for value in values)
    gap = invalid if len(present) < len(values) else None
    return Quantised(whole, 4, float(scale), float(middle), gap, exact=False)


def rows(obx: Obx) -> list[list[Decimal | None]]:
    """The repetitions of an NA or MA, each as numbers. Empty places and words that are no number become None."""
    marks = obx.marks
    return [
        [datatypes.number(part) for part in row.split(marks.component)] for row in er7.repetitions(obx.value_raw, marks)
    ]


def signals(obx: Obx) -> list[list[Decimal | None]]:
    """The sample rows of an NA or MA: one per signal.

    MA interleaves: each repetition is one moment, each component one signal. In NA the components run on through
    the repetitions.
    """
    told = rows(obx)
    if obx.type == "NA":
        return [[value for row in told for value in row]]
    width = max(map(len, told), default=0)
    if width * len(told) > 4 * sum(map(len, told)):  # ragged beyond sense: one long row would multiply all the others
        return []
    return [[row[at] if at < len(row) else None for row in told] for at in range(width)]


def rate_of(value: Decimal) -> tuple[int, int] | None:
    """A sample rate in Hz as (samples, seconds); None if it cannot be one."""
    if not 0 < value <= _MAX_RATE_HZ:
        return None
    ratio = Fraction(value).limit_denominator(1_000_000)
    return (ratio.numerator, ratio.denominator) if ratio.numerator else None


@dataclass(slots=True)
class _Next:
    index: int
    device_ns: int | None


class SampleCount:
    """Counts samples of each signal since link up, so that a jump of the index is a gap.

    The device's start time tells of lost samples where its resolution is fine enough: a difference of more than the
    resolution and of more than one sample is a jump. A start time before the expected one leaves the count alone.
    """

    __slots__ = ("_signals",)

    def __init__(self) -> None:
        self._signals: OrderedDict[tuple[str, str, str], _Next] = OrderedDict()

    def place(self, key: tuple[str, str, str], count: int, rate: tuple[int, int], start: DeviceTime | None) -> int:
        """The index of the first of ``count`` samples of signal ``key``."""
        known = self._signals.pop(key, None)
        index = known.index if known is not None else 0
        if known is not None and known.device_ns is not None and start is not None:
            late_ns = start.value_ns - known.device_ns
            late = late_ns * rate[0] // (rate[1] * S_NS)
            if late_ns > start.resolution_ns and late > 1:
                index += late
        after = None
        if start is not None:
            after = start.value_ns + count * rate[1] * S_NS // rate[0]
        self._signals[key] = _Next(index + count, after)
        if len(self._signals) > MAX_TRACKED:
            self._signals.popitem(last=False)
        return index
