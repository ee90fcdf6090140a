"""Numbers about the running box: rings of recent durations, read by status and by the benchmarks."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from itertools import accumulate

_KEPT = 4_096
_BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)
_BOUNDS_NS = tuple(int(bound * 1e6) for bound in _BOUNDS_MS)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations since the start: (upper bound in s, how many were at most that), the last bound being infinite."""

    buckets: tuple[tuple[float, int], ...]
    sum_s: float


class Durations:
    """The newest durations of one kind, in ns."""

    __slots__ = ("_buckets", "_total_ns", "_values", "count", "worst_ns")

    def __init__(self) -> None:
        self._buckets = [0] * (len(_BOUNDS_NS) + 1)
        self._total_ns = 0
        self._values: deque[int] = deque(maxlen=_KEPT)
        self.count = 0
        self.worst_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one."""
        self._values.append(duration_ns)
        self._buckets[bisect_left(_BOUNDS_NS, duration_ns)] += 1
        self._total_ns += duration_ns
        self.count += 1
        self.worst_ns = max(self.worst_ns, duration_ns)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the newest, 0 before the first."""
        return _ms(_p99(sorted(self._values) or [0]))

    def histogram(self) -> Histogram:
        """All since the start."""
        bounds = (*(bound / 1_000 for bound in _BOUNDS_MS), float("inf"))
        return Histogram(tuple(zip(bounds, accumulate(self._buckets), strict=True)), self._total_ns / 1e9)

    def summary(self, newest: int | None = None) -> dict[str, float | int]:
        """Count, p50, p99 and worst in ms of all, or of the ``newest`` so many; zeros before the first."""
        values = list(self._values)[-newest:] if newest else list(self._values)
        ordered = sorted(values) or [0]
        return {
            "count": len(values) if newest else self.count,
            "p50_ms": _ms(ordered[len(ordered) // 2]),
            "p99_ms": _ms(_p99(ordered)),
            "worst_ms": _ms(ordered[-1] if newest else self.worst_ns),
        }


class Statistics:
    """What this process measured of itself since it started."""

    def __init__(self) -> None:
        self.tick_late = Durations()
        self.tick_work = Durations()
        self.commit = Durations()
        self.closed_to_durable = Durations()
        self.closed_to_witnessed = Durations()
        self.blocks = 0
        self.payload_bytes = 0
        self.peer_faults: dict[str, int] = {}
        self.first_record_ns: int | None = None

    def document(self, newest: int | None = None) -> dict[str, object]:
        """For ``status --json`` and the benchmarks; of durations only the ``newest`` so many, or all that are kept."""
        return {
            "blocks": self.blocks,
            "payload_bytes": self.payload_bytes,
            "tick_late": self.tick_late.summary(newest),
            "tick_work": self.tick_work.summary(newest),
            "commit": self.commit.summary(newest),
            "closed_to_durable": self.closed_to_durable.summary(newest),
            "closed_to_witnessed": self.closed_to_witnessed.summary(newest),
            "peer_faults": dict(self.peer_faults),
        }


def _p99(ordered: list[int]) -> int:
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 3)
