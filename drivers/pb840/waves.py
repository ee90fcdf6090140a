"""The waveform port of a Puritan Bennett 840 or 980: for each breath ``BS, S:<number>,``, a line of flow and pressure
every 20 ms, and ``BE``.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from drivers.contract import Now
from ledger.limits import S_NS
from ledger.records import Quality, Wave

RATE_HZ: Final = 50
INVALID: Final = -32_768
_INTERVAL_NS: Final = S_NS // RATE_HZ
_BLOCK: Final = 12
_SILENT_NS: Final = 1 * S_NS
_SCALE: Final = 0.01
_START: Final = re.compile(rb"BS, *S: *(\d{1,6}) *,?")
_END: Final = re.compile(rb"BE,?")
_SAMPLE: Final = re.compile(rb"([-+]?\d{1,3})\.(\d\d) *, *([-+]?\d{1,3})\.(\d\d) *,?")
"""Always two decimals: a line with fewer has lost a digit."""
_WAVES: Final = (("flow", "MDC_FLOW_AWAY", "L/min"), ("pressure", "MDC_PRESS_AWAY", "cm[H2O]"))


@dataclass(frozen=True, slots=True)
class BreathStart:
    """A breath begins; ``number`` counts them."""

    number: int


@dataclass(frozen=True, slots=True)
class BreathEnd:
    """A breath has ended."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Flow and pressure in hundredths."""

    flow: int
    pressure: int


def parse_wave_line(line: bytes) -> BreathStart | BreathEnd | Sample | None:
    """A line of the waveform port; None if it is none."""
    line = line.strip(b" \t\0")
    if (sample := _SAMPLE.fullmatch(line)) is not None:
        return Sample(_hundredths(sample[1], sample[2]), _hundredths(sample[3], sample[4]))
    if (start := _START.fullmatch(line)) is not None:
        return BreathStart(int(start[1]))
    return BreathEnd() if _END.fullmatch(line) else None


def _hundredths(whole: bytes, part: bytes) -> int:
    number = int(whole + part)
    return number if abs(number) <= -INVALID - 1 else INVALID


class WaveBlocks:
    """Gathers samples into pairs of Wave records, counted from link up on."""

    __slots__ = ("_counted_at_ns", "_index", "_last", "_lost", "_marks", "_samples")

    def __init__(self) -> None:
        self._index = 0
        self._samples: list[Sample] = []
        self._marks: list[tuple[int, str]] = []
        self._last = Now(mono_ns=0, utc_ns=0)
        self._counted_at_ns: int | None = None
        self._lost = 0

    def mark(self, name: str) -> None:
        """Something happens just before the next sample."""
        self._marks = [*self._marks, (len(self._samples), name)][-8:]

    def lost(self) -> list[Wave]:
        """A line could not be read: it may have been a sample."""
        found = self.flush()
        self._lost += 1
        return found

    def take(self, sample: Sample, now: Now) -> list[Wave]:
        """The next sample; returns what it fills."""
        found = self.flush() if self._samples and now.mono_ns - self._last.mono_ns > _SILENT_NS else []
        self._samples.append(sample)
        self._last = now
        return found + (self.flush() if len(self._samples) >= _BLOCK else [])

    def flush(self) -> list[Wave]:
        """What was begun."""
        samples, self._samples = self._samples, []
        marks, self._marks = self._marks, []
        if not samples:
            self._marks = marks
            return []
        count = len(samples)
        self._skip(count)
        columns = ([sample.flow for sample in samples], [sample.pressure for sample in samples])
        waves = [
            Wave(
                at_ns=self._last.utc_ns - (count - 1) * _INTERVAL_NS,
                quality=Quality.UNCHECKED,
                code=code,
                unit=unit,
                channel=channel,
                rate=(RATE_HZ, 1),
                index=self._index,
                width=2,
                samples=struct.pack(f"<{count}h", *column),
                scale=_SCALE,
                offset=0.0,
                invalid=INVALID,
                marks=tuple(marks),
            )
            for (channel, code, unit), column in zip(_WAVES, columns, strict=True)
        ]
        self._index += count
        self._counted_at_ns = self._last.mono_ns
        return waves

    def _skip(self, count: int) -> None:
        """Advance the index over lines that were lost, or over a silence."""
        lost, self._lost = self._lost, 0
        if self._counted_at_ns is None:
            return
        late = (self._last.mono_ns - self._counted_at_ns) // _INTERVAL_NS - count
        self._index += late if late * _INTERVAL_NS > _SILENT_NS else lost
