"""Samples of one signal as wave records, counted since link up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.hl7v2 import waves
from drivers.hl7v2.waves import Quantised
from ledger.limits import S_NS
from ledger.records import DeviceTime, Quality, Wave

if TYPE_CHECKING:
    from drivers.hl7v2.pcd01 import Decoding


@dataclass(frozen=True, slots=True)
class Signal:
    """What samples are of. ``rate``: (samples, seconds)."""

    code: str
    channel: str
    unit: str
    quality: Quality
    rate: tuple[int, int]


def length_ns(samples: int, rate: tuple[int, int]) -> int:
    """How long so many samples last."""
    return samples * rate[1] * S_NS // rate[0]


def records(signal: Signal, samples: Quantised, start: DeviceTime | None, into: Decoding) -> Iterator[Wave]:
    """One array, complete when it arrives: its last sample is of now. Cut where it is too long for one record."""
    rate, count = signal.rate, len(samples.samples)
    index = into.memory.samples.place((into.sub, signal.code, signal.channel), count, rate, start)
    first_ns = into.at_ns - length_ns(count, rate)
    for at in range(0, count, waves.MAX_SAMPLES):
        after_ns = length_ns(at, rate)
        time = None if start is None else DeviceTime(start.value_ns + after_ns, start.kind, start.resolution_ns)
        yield Wave(
            sub=into.sub,
            at_ns=first_ns + after_ns,
            device_time=time,
            quality=into.base_quality | signal.quality,
            code=signal.code,
            unit=signal.unit,
            channel=signal.channel,
            rate=rate,
            index=index + at,
            width=samples.width,
            samples=samples.encode(at, min(at + waves.MAX_SAMPLES, count)),
            scale=samples.scale * samples.step,
            offset=samples.offset * samples.step,
            invalid=samples.invalid,
            marks=() if samples.exact else ((0, "rounded"),),
        )
