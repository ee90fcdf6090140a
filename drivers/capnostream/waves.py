"""The capnogram: samples, which number themselves modulo 256, gathered to records."""

from __future__ import annotations

import struct
from typing import Final

from drivers.capnostream.message import WAVE_NUMBERS, WAVE_RATE_HZ, FastStatus, Sample
from drivers.capnostream.values import wave_quality
from drivers.contract import Now
from ledger.limits import S_NS
from ledger.records import Quality, Wave

_RECORD_SAMPLES: Final = 10
_WAITING_SAMPLES: Final = 50
_INVALID: Final = -1
_STEP_NS: Final = S_NS // WAVE_RATE_HZ
_SCALE: Final = 1 / 256


class Capnogram:
    """Samples of one connection; ``take`` gives those gathered since the last one."""

    __slots__ = ("_ended_at", "_index", "_last", "_last_at", "_samples")

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._index = 0
        self._last: int | None = None
        self._last_at: Now | None = None
        self._ended_at: Now | None = None

    def restarted(self) -> None:
        """The monitor began anew: its numbers begin anywhere."""
        self._last = None

    def missing_before(self, sample: Sample, now: Now) -> int | None:
        """How many samples are missing before this one; None: it is the last one again."""
        if self._last_at is None:
            return 0
        elapsed = (now.mono_ns - self._last_at.mono_ns) // _STEP_NS
        if self._last is None:
            return max(0, elapsed - 1)
        step = (sample.number - self._last) % WAVE_NUMBERS
        rounds = max(0, round((elapsed - step) / WAVE_NUMBERS))
        step += rounds * WAVE_NUMBERS
        return step - 1 if step else None

    def suits(self, sample: Sample) -> bool:
        """Whether this sample can stand in one record with those gathered."""
        return not self._samples or wave_quality(self._samples[-1].status) == wave_quality(sample.status)

    def add(self, sample: Sample, missing: int, now: Now) -> None:
        """Gather a sample."""
        self._index += missing + 1
        self._samples.append(sample)
        self._last = sample.number
        self._last_at = self._ended_at = now

    def is_full(self, *, waits: bool) -> bool:
        """Whether a record is due; one whose unit is still to be told ``waits`` a little."""
        return len(self._samples) >= (_WAITING_SAMPLES if waits else _RECORD_SAMPLES)

    def take(self, unit: str, doubt: Quality) -> Wave | None:
        """The samples gathered, oldest first; None if there are none."""
        samples, self._samples = self._samples, []
        if not samples or self._ended_at is None:
            return None
        quality = wave_quality(samples[0].status)
        plain = [_INVALID if sample.status & FastStatus.INVALID_CO2 else sample.co2 for sample in samples]
        return Wave(
            at_ns=self._ended_at.utc_ns - (len(samples) - 1) * _STEP_NS,
            quality=quality | doubt,
            code="MDC_AWAY_CO2",
            unit=unit,
            rate=(WAVE_RATE_HZ, 1),
            index=self._index - len(samples),
            width=4,
            samples=struct.pack(f"<{len(plain)}i", *plain),
            scale=_SCALE,
            offset=0.0,
            invalid=_INVALID,
            marks=tuple((at, "end_of_breath") for at, s in enumerate(samples) if s.status & FastStatus.END_OF_BREATH),
        )
