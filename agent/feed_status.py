"""What a feed tells the status page, and the book of its gaps over 24 hours."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ledger.limits import LIMITS, S_NS
from ledger.records import Gap

DAY_NS = 24 * 3600 * S_NS

FeedState = Literal["ok", "silent", "down", "error"]


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One line of the page.

    ``device`` is what the device says it is, "" while unknown; ``devices`` counts those that said so behind this feed;
    ``last_record_ns`` is UTC, None before the first; ``gaps``, their length and causes are those of the last 24 h;
    ``gaps_since_start`` counts them by cause.
    """

    name: str
    driver: str
    device: str
    devices: int
    state: FeedState
    last_record_ns: int | None
    gaps: int
    gap_total_ns: int
    gap_causes: tuple[str, ...]
    counters: Mapping[str, int]
    gaps_since_start: Mapping[str, int] = field(default_factory=dict)


class GapBook:
    """Gaps of the last 24 hours, the newest ``gaps_remembered`` of them."""

    __slots__ = ("_gaps", "by_cause")

    def __init__(self, most: int = LIMITS.gaps_remembered) -> None:
        self.by_cause: Counter[str] = Counter()
        """How many there were since the start."""
        self._gaps: deque[tuple[int, int, str]] = deque(maxlen=most)

    def add(self, gap: Gap) -> None:
        """Count a gap; one that goes on where the last one of its cause ended is the same gap."""
        since, until = gap.since_ns, max(gap.since_ns, gap.until_ns)
        if self._gaps and since < until and self._gaps[-1][1:] == (since, gap.cause):
            since = self._gaps.pop()[0]
        else:
            self.by_cause[gap.cause] += 1
        self._gaps.append((since, until, gap.cause))

    def summary(self, utc_ns: int) -> tuple[int, int, tuple[str, ...]]:
        """Count, total length in ns and causes of what ended in the last 24 h."""
        while self._gaps and self._gaps[0][1] < utc_ns - DAY_NS:
            self._gaps.popleft()
        total_ns = sum(until - since for since, until, _ in self._gaps)
        return len(self._gaps), total_ns, tuple(sorted({cause for _, _, cause in self._gaps}))
