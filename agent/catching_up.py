"""What this box is still copying from its peers, and how long that will take at the rate of the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ledger.instant import Now
from ledger.lacking import Lacking
from ledger.limits import LIMITS, S_NS

_SAMPLES = 15
_LASTS = 3
"""Samples in which something must be lacking: a block or two are always on their way."""


@dataclass(frozen=True, slots=True)
class Behind:
    """``left_s``: until all of it is here; None while it does not grow less."""

    lacking: Lacking
    left_s: float | None


class CatchingUp:
    """``step`` as often as wanted; it looks once a second. ``lacking``: by box, what is lacking now."""

    def __init__(self, lacking: Callable[[], Mapping[str, Lacking]]) -> None:
        self._lacking = lacking
        self._due_ns = 0
        self._samples: deque[tuple[int, Mapping[str, Lacking]]] = deque(maxlen=_SAMPLES)

    def step(self, now: Now) -> None:
        """Look, when it is time."""
        if now.mono_ns >= self._due_ns:
            self._due_ns = now.mono_ns + LIMITS.self_check_every_ns
            self._samples.append((now.mono_ns, self._lacking()))

    def boxes(self) -> dict[str, Behind]:
        """By box, in order; only boxes of which something has been lacking for some seconds."""
        if len(self._samples) < _LASTS:
            return {}
        newest_ns, newest = self._samples[-1]
        recent = [sample for _, sample in self._samples][-_LASTS:]
        found = {}
        for box in sorted(newest):
            if all(box in sample for sample in recent):
                found[box] = Behind(newest[box], self._left_s(box, newest_ns, newest[box].blocks))
        return found

    def _left_s(self, box: str, newest_ns: int, blocks: int) -> float | None:
        """By the fall since its peak among the samples: what is still learned of does not count as slowness."""
        peak_ns, peak = max(((at_ns, sample[box].blocks) for at_ns, sample in self._samples if box in sample),
                            key=lambda each: (each[1], each[0]))  # fmt: skip
        fallen, over_s = peak - blocks, (newest_ns - peak_ns) / S_NS
        return blocks * over_s / fallen if fallen > 0 and over_s > 0 else None
