"""Samples of the curves, gathered into Wave records and counted from link up on.

The check of a block comes only at its end, a breath later, and a byte lost before it gives one curve's numbers to
another. So waves are held until it has come.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from drivers.contract import Now
from drivers.servo_i.channels import Channel
from drivers.servo_i.frame import MISSING
from ledger.limits import MS_NS, S_NS
from ledger.records import Quality, Wave

_BLOCK_MS: Final = 250
_SILENT_NS: Final = 1 * S_NS
_LONGEST_HELD_NS: Final = 10 * S_NS
_MOST_MARKS: Final = 64


@dataclass(slots=True)
class _Track:
    """One curve: how far it was counted, and the samples of the block in hand."""

    channel: Channel
    index: int = 0
    counted_at_ns: int | None = None
    suspect: bool = False
    samples: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    last: Now = field(default_factory=lambda: Now(mono_ns=0, utc_ns=0))


class Curves:
    """The curves by their place in the list. What was lost is estimated from the time, as the samples carry none."""

    __slots__ = ("_by_number", "_held", "_held_since_ns", "_interval_ns", "_tracks")

    def __init__(self) -> None:
        self._by_number: dict[int, _Track] = {}
        self._tracks: list[_Track] = []
        self._interval_ns = MS_NS
        self._held: list[Wave] = []
        self._held_since_ns = 0

    def configure(self, channels: Sequence[Channel], sample_ms: int) -> None:
        """From now on curve n is the n-th of these."""
        interval_ns = max(1, sample_ms) * MS_NS
        self._tracks = []
        for channel in channels:
            track = self._by_number.setdefault(channel.number, _Track(channel))
            # Counted in other steps from here on: what was counted before keeps its place in time.
            track.index = track.index * self._interval_ns // interval_ns
            track.channel = channel
            self._tracks.append(track)
        self._interval_ns = interval_ns

    def mark(self, name: str) -> None:
        """Something happens just before the next samples."""
        for track in self._tracks:
            track.marks = [*track.marks, (len(track.samples), name)][-_MOST_MARKS:]

    def fault(self) -> None:
        """Bytes were lost: each curve may lack samples."""
        for track in self._tracks:
            track.suspect = True

    def take(self, curve: int, raw: int, now: Now) -> list[Wave]:
        """The next sample of a curve; returns what was held for too long."""
        track = self._tracks[curve]
        if track.samples and now.mono_ns - track.last.mono_ns > _SILENT_NS:
            self._hold(track)
        track.samples.append(raw)
        track.last = now
        if len(track.samples) >= max(1, _BLOCK_MS * MS_NS // self._interval_ns):
            self._hold(track)
        overdue = self._held and now.mono_ns - self._held_since_ns >= _LONGEST_HELD_NS
        return self.settle(Quality.UNCHECKED) if overdue else []

    def settle(self, doubt: Quality = Quality.GOOD) -> list[Wave]:
        """What was held, and what was begun: of this quality it is."""
        for track in self._tracks:
            if track.samples:
                self._hold(track)
        held, self._held = self._held, []
        return [replace(wave, quality=wave.quality | doubt) if doubt else wave for wave in held]

    def _hold(self, track: _Track) -> None:
        if not self._held:
            self._held_since_ns = track.last.mono_ns
        self._held.append(self._wave(track))

    def _wave(self, track: _Track) -> Wave:
        count, channel, now, interval_ns = len(track.samples), track.channel, track.last, self._interval_ns
        self._count_missing(track, count)
        rate = Fraction(S_NS, interval_ns)
        lost = all(sample == MISSING for sample in track.samples)
        wave = Wave(
            at_ns=now.utc_ns - (count - 1) * interval_ns,
            quality=Quality.UNAVAILABLE if lost else Quality.GOOD,
            code=channel.code,
            unit=channel.unit,
            channel=str(channel.number),
            rate=(rate.numerator, rate.denominator),
            index=track.index,
            width=2,
            samples=struct.pack(f"<{count}h", *track.samples),
            scale=float(channel.gain),
            offset=0.0 - float(channel.offset),
            invalid=MISSING,
            marks=tuple(mark for mark in track.marks if mark[0] < count),
        )
        track.index += count
        track.counted_at_ns = now.mono_ns
        track.samples, track.suspect = [], False
        track.marks = [(at - count, name) for at, name in track.marks if at >= count]
        return wave

    def _count_missing(self, track: _Track, count: int) -> None:
        """Advance the index over what is missing before this block."""
        if track.counted_at_ns is None:
            return
        late = (track.last.mono_ns - track.counted_at_ns) // self._interval_ns - count
        silent = late * self._interval_ns > _SILENT_NS
        if silent or (track.suspect and 2 * late >= max(2, count)):
            track.index += late
