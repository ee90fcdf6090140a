"""Waveform results of HL7 chapter 7 (ORU^W01): channel definitions, times and arrays in OBX of their own.

The second subcomponent of OBX-3 says what an OBX is: CHN (channels, type CD), TIM (time of the next sample), WAV (NA or
MA), ANO (annotation). OBX-4 ties those of one group. Source: HL7 v2.5 chapter 7, sections 7.14 to 7.18; data types CD,
CSU and CCP in chapter 2A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from drivers.hl7v2 import datatypes, er7, wave_records, waves
from drivers.hl7v2.structure import Obx, Order
from drivers.hl7v2.wave_records import Signal
from ledger.records import DeviceTime

if TYPE_CHECKING:
    from drivers.hl7v2.pcd01 import Decoding

_MOST_CHANNELS: Final = 128
_MOST_TEXT: Final = 256
_MOST_CALIBRATION: Final = Decimal(10) ** 30


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel of a CHN. Value = (number sent - ``baseline``) * ``step``, in ``unit``."""

    label: str = ""
    sensitivity: Decimal | None = None
    unit: str = ""
    correction: Decimal | None = None
    baseline: Decimal | None = None
    rate: tuple[int, int] | None = None

    @property
    def step(self) -> float:
        """What a 1 that was sent is worth; 1 where no sensitivity is told."""
        if self.sensitivity is None:
            return 1.0
        return float(self.sensitivity * (self.correction if self.correction is not None else 1))


@dataclass(slots=True)
class _Group:
    code: str = ""
    channels: list[_Channel] = field(default_factory=list)
    start: DeviceTime | None = None


def decode(order: Order, into: Decoding) -> None:
    """Append the waves of one OBR. What cannot be read, and annotations, are counted in ``into.unread``."""
    groups: dict[str, _Group] = {}
    for obx in order.observations:
        part = obx.waveform_part
        if not part:
            continue
        group = groups.setdefault(obx.segment.get(4).strip(), _Group())
        if part == "CHN":
            group.code = _code(obx)
            group.channels = list(_channels(obx))
        elif part == "TIM":
            group.start = into.moment(obx.value_raw)
        elif part != "WAV" or not _samples(order, obx, group, into):
            into.unread += 1


def _samples(order: Order, obx: Obx, group: _Group, into: Decoding) -> bool:
    """One WAV: as many rows as there are channels. In NA a repetition is a channel, in MA a moment."""
    rows = waves.signals(obx) if obx.type == "MA" else waves.rows(obx)
    start, told = group.start or into.time(order, obx), group.start
    group.start = None  # of what follows an array of unknown length, nobody knows when it was
    if obx.type not in {"NA", "MA"} or not rows or len(rows) != len(group.channels):
        return False
    longest_ns, whole = 0, True
    for number, (channel, row) in enumerate(zip(group.channels, rows, strict=True), start=1):
        if channel.rate is not None:
            longest_ns = max(longest_ns, wave_records.length_ns(len(row), channel.rate))
        if channel.rate is None or not channel.step or not any(value is not None for value in row):
            whole = False
            continue
        place = channel.label or "/".join(filter(None, (obx.segment.get(4).strip(), str(number))))
        signal = Signal(group.code, place[:_MOST_TEXT], channel.unit, obx.quality, channel.rate)
        quantised = waves.quantise(row)
        baseline = float(channel.baseline) if channel.baseline is not None else 0.0
        scaled = replace(quantised, step=channel.step, offset=quantised.offset - baseline)
        into.records.extend(wave_records.records(signal, scaled, start, into))
    if told is not None and longest_ns:  # the next array goes on where this one ended
        group.start = replace(told, value_ns=told.value_ns + longest_ns)
    return whole


def _code(obx: Obx) -> str:
    """OBX-3 without its suffix."""
    first, *rest = obx.segment.get(3).split(obx.marks.component)
    bare = first.split(obx.marks.subcomponent)[0]
    return datatypes.coded(obx.marks.component.join([bare, *rest]), obx.marks).code[:_MOST_TEXT]


def _channels(obx: Obx) -> Iterator[_Channel]:
    """The repetitions of a CD; what one leaves out is as in the one before it."""
    marks, before = obx.marks, _Channel()
    for raw in er7.repetitions(obx.value_raw, marks)[:_MOST_CHANNELS]:
        parts = [*raw.split(marks.component), *[""] * 6][:6]
        (_, name), sources, gain, calibration = (
            [*er7.subcomponents(part, marks), "", ""][:most] for part, most in zip(parts, (2, 2, 4, 2), strict=False)
        )
        hertz = datatypes.number(er7.unescape(parts[4], marks))
        sensitivity, correction, baseline = (_calibration(told) for told in (gain[0], *calibration))
        told_unit = marks.component.join(parts[2].split(marks.subcomponent)[1:4])
        before = replace(
            before,
            label=name or "-".join(filter(None, sources)),
            sensitivity=before.sensitivity if sensitivity is None else sensitivity,
            unit=datatypes.unit(told_unit, marks)[:_MOST_TEXT] if told_unit else before.unit,
            correction=before.correction if correction is None else correction,
            baseline=before.baseline if baseline is None else baseline,
            rate=before.rate if hertz is None else waves.rate_of(hertz),
        )
        yield before


def _calibration(told: str) -> Decimal | None:
    """A number of a channel's definition; one that no converter has is none."""
    value = datatypes.number(told)
    return value if value is not None and abs(value) < _MOST_CALIBRATION else None
