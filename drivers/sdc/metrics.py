"""Metric states (ISO/IEEE 11073-10207) as numerics, settings and waves."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final, Literal

from drivers.contract import Now
from drivers.sdc.description import Description, Descriptor
from drivers.sdc.xml import Element
from ledger.errors import DeviceFault
from ledger.limits import MS_NS, S_NS
from ledger.records import DeviceTime, Numeric, Quality, Setting, Wave

MOST_TEXT: Final = 4_096
"""Characters of one value that is a text; what is longer is cut (the raw report has the rest)."""
MOST_SAMPLES: Final = 65_536
MOST_ANNOTATIONS: Final = 64
MOST_DIGITS: Final = 30
_SETTINGS: Final = frozenset({"Set", "Preset"})
_DECIMALS: Final = re.compile(r"\.(\d+)")
_INT16_MAX, _INT32_MAX = (1 << 15) - 1, (1 << 31) - 1
VALIDITY: Final = {
    "Vld": Quality.GOOD, "Vldated": Quality.VALIDATED, "Ong": Quality.ONGOING, "Qst": Quality.QUESTIONABLE,
    "Calib": Quality.CALIBRATING, "Inv": Quality.INVALID, "Oflw": Quality.OVER_RANGE, "Uflw": Quality.UNDER_RANGE,
    "NA": Quality.UNAVAILABLE,
}  # fmt: skip
"""MeasurementValidity. What the standard does not know is UNCHECKED."""
MODE: Final = {"": Quality.GOOD, "Real": Quality.GOOD, "Test": Quality.TEST, "Demo": Quality.DEMO}
"""GenerationMode."""


def quality_of(value: Element | None, state: Element, mode: Quality) -> Quality:
    """The flags of a metric's value; ``mode``: those of the whole device."""
    if value is None:
        return mode | Quality.UNAVAILABLE
    told = value.first("MetricQuality")
    quality = Quality.GOOD if told is None else VALIDITY.get(told.get("Validity"), Quality.UNCHECKED)
    generated = Quality.GOOD if told is None else MODE.get(told.get("Mode"), Quality.UNCHECKED)
    activation = state.get("ActivationState", "On")
    if activation == "Fail":
        generated |= Quality.INVALID
    elif activation != "On":
        generated |= Quality.STALE  # it is switched off, and what it shows is from before
    if generated or mode:  # joining flags costs more than all else here, and is seldom needed
        quality |= generated | mode
    return quality


def time_of(text: str) -> DeviceTime | None:
    """A Timestamp: milliseconds of UTC."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 13):
        return None
    return DeviceTime(int(text) * MS_NS, "utc", MS_NS)


def decimal_of(text: str) -> Decimal:
    """An xsd:decimal. Raises DeviceFault ``sdc.bad-value``."""
    text = text.strip()
    try:
        value = Decimal(text) if len(text) <= MOST_DIGITS else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS:
        raise DeviceFault("sdc.bad-value", "a value that should be a number is none")
    return value


def numeric(descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now) -> Numeric:
    """A numeric, string or enumeration metric. Raises DeviceFault ``sdc.bad-value``."""
    told = state.first("MetricValue")
    text = told.get("Value") if told is not None else ""
    value: Decimal | str | None = None
    if told is not None and "Value" in told.attributes:
        value = decimal_of(text) if descriptor.kind == "NumericMetric" else text[:MOST_TEXT]
    quality = quality_of(told, state, mode)
    if value is None:
        quality |= Quality.UNAVAILABLE
    kind = Setting if descriptor.category in _SETTINGS else Numeric
    return kind(
        sub=description.sub_of(descriptor.mds),
        at_ns=now.utc_ns,
        device_time=time_of(told.get("DeterminationTime")) if told is not None else None,
        quality=quality,
        code=descriptor.code,
        value=value,
        unit="" if isinstance(value, str) else descriptor.unit,
        device_code=descriptor.device_code,
        channel=descriptor.handle,
    )


def distribution(descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now) -> Numeric:
    """A spectrum or the like: its samples as a text, as they were sent. Raises DeviceFault ``sdc.bad-value``."""
    told = state.first("MetricValue")
    samples = told.get("Samples").split() if told is not None else []
    if len(samples) > MOST_SAMPLES:
        raise DeviceFault("sdc.bad-value", "a distribution has too many samples")
    for sample in samples:
        decimal_of(sample)
    text = " ".join(samples)
    if len(text) > MOST_TEXT:
        text = f"{text[: text.rindex(' ', 0, MOST_TEXT - 1)]} …"
    return Numeric(
        sub=description.sub_of(descriptor.mds),
        at_ns=now.utc_ns,
        device_time=time_of(told.get("DeterminationTime")) if told is not None else None,
        quality=quality_of(told, state, mode) | (Quality.GOOD if text else Quality.UNAVAILABLE),
        code=descriptor.code,
        value=text or None,
        unit=descriptor.unit,
        device_code=f"{descriptor.device_code} over {descriptor.domain}"
        if descriptor.domain
        else descriptor.device_code,
        channel=descriptor.handle,
    )


@dataclass(slots=True)
class _Run:
    """One wave since the link came up: how many samples there were, and the device's time after the last of them."""

    index: int = 0
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Jump:
    """Samples that never came."""

    samples: int
    lost_ns: int


_TOLERANCE_MS: Final = 60
"""Determination times have milliseconds and makers round them differently; a jump below this is none."""
_LONGEST_JUMP_MS: Final = 24 * 3_600 * 1_000


class Waves:
    """The waves of one link. Bounded by the description that is given with each."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def keep(self, handles: dict[str, Descriptor]) -> None:
        """Forget what the description no longer holds."""
        self._runs = {handle: run for handle, run in self._runs.items() if handle in handles}

    def wave(
        self, descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now
    ) -> tuple[Wave | None, Jump | None]:
        """A RealTimeSampleArray state; no wave if it holds no samples. Raises DeviceFault ``sdc.bad-value``."""
        told = state.first("MetricValue")
        text = told.get("Samples") if told is not None else ""
        if told is None or not text or text.isspace():
            return None, None
        count, seconds = rate = descriptor.rate
        if not count or count > _INT32_MAX or seconds > _INT32_MAX:
            raise DeviceFault("sdc.bad-value", "a wave's description says nothing of its sample period")
        samples, digits = integers(text, descriptor.resolution_digits)
        time = time_of(told.get("DeterminationTime"))
        run = self._runs.setdefault(descriptor.handle, _Run())
        jump = _jump(run, time, descriptor.period_s)
        length_ns = len(samples) * seconds * S_NS // count
        index = run.index
        run.index += len(samples)
        run.next_ms = (time.value_ns + length_ns) // MS_NS if time is not None else None
        width, data = packed(samples)
        return Wave(
            sub=description.sub_of(descriptor.mds),
            at_ns=now.utc_ns - length_ns,
            device_time=time,
            quality=quality_of(told, state, mode),
            code=descriptor.code,
            unit=descriptor.unit,
            channel=descriptor.handle,
            rate=rate,
            index=index,
            width=width,
            samples=data,
            scale=10.0**-digits,
            offset=0.0,
            marks=_marks(told, len(samples)),
        ), jump


def integers(text: str, digits: int) -> tuple[array[int], int]:
    """Samples as whole numbers of 10^-digits, and the digits: as many as asked for, or as the text has.

    Raises DeviceFault ``sdc.bad-value`` for what is no list of decimal numbers, or for more than MOST_SAMPLES.
    """
    words = text.split()
    if len(words) > MOST_SAMPLES:
        raise DeviceFault("sdc.bad-value", "a wave has too many samples")
    digits = max(digits, max(map(len, _DECIMALS.findall(text)), default=0))
    try:
        values = list(map(float, words))
        while digits and max(map(abs, values)) * 10**digits > _INT32_MAX:
            digits -= 1
        factor = 10**digits
        return array("i", [round(value * factor) for value in values]), digits
    except (ValueError, OverflowError) as fault:  # no number, not finite, beyond 32 bits
        raise DeviceFault("sdc.bad-value", "a wave has samples that are no numbers") from fault


def packed(samples: array[int]) -> tuple[Literal[2, 4], bytes]:
    """Little-endian, in two bytes each if all fit."""
    small = max(samples) <= _INT16_MAX and min(samples) >= -_INT16_MAX
    packed = array("h", samples) if small else samples
    return (2 if small else 4), packed.tobytes()


def _jump(run: _Run, time: DeviceTime | None, period_s: Fraction) -> Jump | None:
    """Move the run on to the time at which these samples begin, if that is later than it should be."""
    if time is None or run.next_ms is None:
        return None
    late_ms = time.value_ns // MS_NS - run.next_ms
    if late_ms < _TOLERANCE_MS:
        return None
    tolerated_ms = max(_TOLERANCE_MS, int(2_000 * period_s))
    if not tolerated_ms <= late_ms <= _LONGEST_JUMP_MS:
        return None
    samples = round(Fraction(late_ms, 1_000) / period_s)
    run.index += samples
    return Jump(samples, late_ms * MS_NS)


def _marks(told: Element, count: int) -> tuple[tuple[int, str], ...]:
    """Where the device says that something is (ApplyAnnotation), with the annotation's code."""
    if len(told.children) <= 1:
        return ()
    names = []
    for _, annotation in zip(range(MOST_ANNOTATIONS), told.all("Annotation"), strict=False):
        kind = annotation.first("Type")
        names.append(kind.get("Code")[:64] if kind is not None else "")
    marks = []
    for _, applied in zip(range(MOST_ANNOTATIONS), told.all("ApplyAnnotation"), strict=False):
        name, sample = (_index(applied.get(word)) for word in ("AnnotationIndex", "SampleIndex"))
        if name < len(names) and sample < count and names[name]:
            marks.append((sample, f"annotation {names[name]}"))
    return tuple(marks)


def _index(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else MOST_SAMPLES
