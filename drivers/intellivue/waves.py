"""Wave objects into runs of samples. What was lost shows in the monitor's relative time."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

from drivers.contract import Now
from drivers.intellivue.clock import TICK_NS, MonitorClock, elapsed_ticks
from drivers.intellivue.names import channel, code_name, unit_name
from drivers.intellivue.objects import Attribute, MetricStore
from drivers.intellivue.rose import Observation, PollReply
from drivers.intellivue.samples import line_of, read_samples
from drivers.intellivue.session import TICKS_PER_S
from drivers.intellivue.values import bad, joined, state_quality, unpack
from ledger.limits import S_NS
from ledger.records import Quality, Wave

BLOCK_TICKS: Final = 2_048
"""Every wave comes in blocks of 256 ms, whatever its rate: that tells the rate before the monitor does."""
MAX_TRACKS: Final = 256
_LATE_TICKS: Final = 2 * TICKS_PER_S
_IMPLAUSIBLE_TICKS: Final = 10 * TICKS_PER_S
_GONE_NS: Final = 10 * S_NS
_HEAD = struct.Struct(">HHH")
_LIST = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class _Track:
    """Where one wave is: samples so far; length, tick and arrival of its last block."""

    index: int
    length_ticks: int
    ticks: int
    at: Now


@dataclass(frozen=True, slots=True)
class _Timing:
    """Of one block: ticks between two samples, samples by seconds, how long it lasts."""

    period_ticks: Fraction
    rate: tuple[int, int]
    length_ticks: int
    length_ns: int


@lru_cache(maxsize=256)
def _timing(period_ticks: int, count: int) -> _Timing:
    period = Fraction(period_ticks) if period_ticks else Fraction(BLOCK_TICKS, count)
    rate = TICKS_PER_S / period
    length = count * period
    return _Timing(period, (rate.numerator, rate.denominator), round(length), round(length * S_NS / TICKS_PER_S))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Waves of one observation; ``since``: samples are missing since then."""

    waves: list[Wave]
    since: Now | None


class WaveDecoder:
    """Counts each wave's samples from link up on. Bounded by ``MAX_TRACKS``, oldest out first."""

    __slots__ = ("_forms", "_metrics", "_tracks")

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._forms: OrderedDict[tuple[int, int, int, bool], int] = OrderedDict()
        self._tracks: OrderedDict[tuple[str, str], _Track] = OrderedDict()

    def decode(
        self, reply: PollReply, observation: Observation, clock: MonitorClock, mode: Quality, now: Now
    ) -> Blocks:
        """Records of one wave object. ``mode``: DEMO or TEST when the whole monitor is. Raises DeviceFault."""
        told = dict(observation.attributes)
        arrays = list(_arrays(told))
        alone = arrays[0][0] if Attribute.SAMPLES in told else None
        key = (reply.object_class, observation.context, observation.handle)
        metric = self._metrics.learn(key, alone, told)
        if arrays and alone is None:
            self._remember_singles(reply, now)
        waves: list[Wave] = []
        since: Now | None = None
        for physio_id, state, raw in arrays:
            samples = read_samples(raw, metric)
            if not samples.count:
                continue
            is_doubled = self._comes_otherwise((*key[1:], physio_id), alone is not None, now)
            # Of two under one handle the context may be the other's: the block tells the rate.
            timing = _timing(0 if is_doubled else metric.period_ticks, samples.count)
            code = code_name(metric.partition, physio_id)
            named = channel(metric.partition, physio_id, metric.text_id, metric.label)
            if not metric.text_id:
                named = self._metrics.unlabelled(key, code, now.mono_ns)
            if is_doubled and alone is None:
                named = f"{named} compound".lstrip()
            placed = self._place((code, named), reply.ticks, samples.count, timing, now)
            if placed is None:
                continue
            index, since = placed[0], placed[1] or since
            line = line_of(metric)
            quality = joined(state_quality(state), mode)
            if samples.invalid_count == samples.count:
                quality |= Quality.INVALID
            waves.append(
                Wave(
                    at_ns=now.utc_ns - timing.length_ns,
                    device_time=clock.at(reply.ticks),
                    quality=quality if line.known else quality | Quality.QUESTIONABLE,
                    code=code,
                    unit=unit_name(metric.unit),
                    channel=named,
                    rate=timing.rate,
                    index=index,
                    width=samples.width,
                    samples=samples.data,
                    scale=line.scale,
                    offset=line.offset,
                    invalid=samples.invalid,
                    marks=samples.marks,
                )
            )
        return Blocks(waves, since)

    def _comes_otherwise(self, wave: tuple[int, int, int], is_single: bool, now: Now) -> bool:
        """Whether a wave (context, handle, id) comes both alone and in a compound.

        Monitors send an ECG lead so, at two rates under one handle.
        """
        self._forms[*wave, is_single] = now.mono_ns
        while len(self._forms) > MAX_TRACKS:
            self._forms.popitem(last=False)
        other_ns = self._forms.get((*wave, not is_single))
        return other_ns is not None and now.mono_ns - other_ns < _GONE_NS

    def _remember_singles(self, reply: PollReply, now: Now) -> None:
        """The waves that come alone, behind the compound perhaps."""
        for observation in reply.observations:
            for attribute, value in observation.attributes:
                if attribute == Attribute.SAMPLES and len(value) >= _HEAD.size:
                    wave = (observation.context, observation.handle, _HEAD.unpack_from(value)[0])
                    self._forms[*wave, True] = now.mono_ns

    def _place(
        self, key: tuple[str, str], ticks: int, count: int, timing: _Timing, now: Now
    ) -> tuple[int, Now | None] | None:
        """Index of this block's first sample, and since when samples are missing; None for a block that came before."""
        track = self._tracks.get(key)
        if track is None:
            self._tracks[key] = _Track(count, timing.length_ticks, ticks, now)
            if len(self._tracks) > MAX_TRACKS:
                self._tracks.popitem(last=False)
            return 0, None
        passed_ticks = elapsed_ticks(track.ticks, ticks)
        if -_LATE_TICKS < passed_ticks <= 0:
            return None  # a datagram that came twice, or after the next one
        by_box_ticks = (now.mono_ns - track.at.mono_ns) // TICK_NS
        if abs(passed_ticks - by_box_ticks) > _IMPLAUSIBLE_TICKS:
            passed_ticks = by_box_ticks  # the monitor has restarted, and its time with it
        late_ticks = passed_ticks - track.length_ticks
        # Less than half a block is the monitor's rounding.
        missing = round(late_ticks / timing.period_ticks) if 2 * late_ticks >= track.length_ticks else 0
        index = track.index + missing
        self._tracks[key] = _Track(index + count, timing.length_ticks, ticks, now)
        return index, track.at if missing else None


def _arrays(told: dict[int, bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(physiological id, state, bytes) of each array: of a single wave, or of a compound."""
    if Attribute.SAMPLES in told:
        yield _array(told[Attribute.SAMPLES], 0)[0]
    if Attribute.COMPOUND_SAMPLES in told:
        value = told[Attribute.COMPOUND_SAMPLES]
        count, _ = unpack(_LIST, value, "a compound sample array")
        at = _LIST.size
        for _ in range(count):
            array, at = _array(value, at)
            yield array


def _array(value: bytes, at: int) -> tuple[tuple[int, int, bytes], int]:
    physio_id, state, length = unpack(_HEAD, value, "a sample array", at)
    at += _HEAD.size
    if at + length > len(value):
        raise bad(f"a sample array of {length} B has only {len(value) - at} B")
    return (physio_id, state, value[at : at + length]), at + length
