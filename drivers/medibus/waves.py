"""Samples of the real-time data, gathered into Wave records and counted from link up on."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from drivers.contract import Now
from drivers.medibus.codes import value_of
from drivers.medibus.realtime import RealtimeRecord, StreamConfig
from ledger.limits import MS_NS, S_NS
from ledger.records import Quality, Wave

INVALID_SAMPLE: Final = -32768
_BLOCK_NS: Final = 250 * MS_NS
_SILENT_NS: Final = 1 * S_NS


@dataclass(slots=True)
class _Track:
    """One wave: how far it was counted, and the samples of the block in hand."""

    config: StreamConfig
    interval_ns: int
    block: int
    """Samples of one Wave record: a quarter of a second, at least one."""
    index: int = 0
    counted_at_ns: int | None = None
    suspect: bool = False
    samples: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    last: Now = field(default_factory=lambda: Now(mono_ns=0, utc_ns=0))


class WaveTracks:
    """The waves by stream. What was lost is estimated from the time that passed, as the records carry none."""

    __slots__ = ("_by_code", "_streams", "_x")

    def __init__(self) -> None:
        self._by_code: dict[str, _Track] = {}
        self._streams: list[_Track] = []
        self._x = False

    @property
    def configured(self) -> bool:
        """Whether it is known which waves come."""
        return bool(self._streams)

    def configure(self, streams: Sequence[StreamConfig], multiplier: int, *, x: bool) -> list[Wave]:
        """From now on stream n is the n-th of these. Returns the blocks that were begun under the old order."""
        left = self.forget()
        self._x = x
        for config in streams:
            interval_ns = config.interval_us * multiplier * 1000
            block = max(1, _BLOCK_NS // interval_ns)
            track = self._by_code.get(config.code)
            if track is None:
                track = self._by_code[config.code] = _Track(config, interval_ns, block)
            elif track.interval_ns != interval_ns:
                # Counted in other steps from here on: what was counted before keeps its place in time.
                track.index = track.index * track.interval_ns // interval_ns
            track.config, track.interval_ns, track.block = config, interval_ns, block
            self._streams.append(track)
        return left

    def forget(self) -> list[Wave]:
        """The device has forgotten what it was to send; the counting goes on when it is asked again."""
        left = self.flush()
        self.fault()  # whatever comes until they are set up again is not counted
        self._streams = []
        return left

    def fault(self) -> None:
        """Fast bytes were lost: each wave may lack samples."""
        for track in self._streams:
            track.suspect = True

    def take(self, record: RealtimeRecord, now: Now) -> list[Wave]:
        """The samples of one moment; returns the blocks they fill."""
        found: list[Wave] = []
        for stream, value in record.samples:
            if stream >= len(self._streams):
                continue
            track = self._streams[stream]
            samples = track.samples
            if samples and now.mono_ns - track.last.mono_ns > _SILENT_NS:
                found.append(self._wave(track))
                samples = track.samples
            if record.marks:
                track.marks += [(len(samples), mark) for mark in record.marks]
            samples.append(value if value is not None and value <= track.config.max_bin else INVALID_SAMPLE)
            track.last = now
            if len(samples) >= track.block:
                found.append(self._wave(track))
        return found

    def flush(self) -> list[Wave]:
        """Blocks that are begun and may never be full."""
        return [self._wave(track) for track in self._streams if track.samples]

    def _wave(self, track: _Track) -> Wave:
        count, config, now = len(track.samples), track.config, track.last
        self._count_missing(track, now, count)
        meaning = value_of("54", config.code, x=self._x)
        rate = Fraction(S_NS, track.interval_ns)
        scale = (config.maximum - config.minimum) / config.max_bin
        lost = all(sample == INVALID_SAMPLE for sample in track.samples)
        wave = Wave(
            at_ns=now.utc_ns - (count - 1) * track.interval_ns,
            quality=Quality.INVALID if lost else Quality.GOOD,
            code=meaning.refid,
            unit=meaning.unit,
            channel=f"54:{config.code}",
            rate=(rate.numerator, rate.denominator),
            index=track.index,
            width=2,
            samples=struct.pack(f"<{count}h", *track.samples),
            scale=float(scale),
            offset=float(config.minimum),
            invalid=INVALID_SAMPLE,
            marks=tuple(track.marks),
        )
        track.index += count
        track.counted_at_ns = now.mono_ns
        track.samples, track.marks, track.suspect = [], [], False
        return wave

    @staticmethod
    def _count_missing(track: _Track, now: Now, count: int) -> None:
        """Advance the index over what is missing before this block."""
        if track.counted_at_ns is None:
            return
        elapsed_ns = now.mono_ns - track.counted_at_ns
        late = elapsed_ns // track.interval_ns - count
        silent = late * track.interval_ns > _SILENT_NS
        if silent or (track.suspect and 2 * late >= max(2, count)):
            track.index += late
