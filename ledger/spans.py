"""Sets of block numbers as a few spans: which payloads are not held, which a peer said it does not hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from ledger.canonical import Fields
from ledger.errors import PeerFault
from ledger.limits import LIMITS

_BLOCKS = (1 << 32) - 1


class Spans:
    """Disjoint spans [first, end) in order, never touching.

    At most ``LIMITS.payload_spans``: beyond that the two oldest become one together with what lies between, so the set
    may hold more than was added, never less. ``add_or_forget`` errs on the other side.
    """

    __slots__ = ("_ends", "_firsts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._ends, strict=True))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number < self._ends[at]

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(self._ends) - sum(self._firsts)

    @property
    def first(self) -> int | None:
        """The smallest number; None when empty."""
        return self._firsts[0] if self._firsts else None

    def copy(self) -> Spans:
        """The same numbers, to be changed by themselves."""
        again = Spans()
        again._firsts, again._ends = list(self._firsts), list(self._ends)
        return again

    def add(self, first: int, end: int) -> None:
        """Put ``first`` to ``end`` - 1 in."""
        self._put(first, end)
        if len(self._firsts) > LIMITS.payload_spans:
            del self._firsts[1], self._ends[0]

    def add_or_forget(self, first: int, end: int) -> None:
        """Put them in; beyond the bound the span farthest from them is let go: the set may hold less, never more."""
        self._put(first, end)
        if len(self._firsts) > LIMITS.payload_spans:
            farthest = 0 if end - self._firsts[0] > self._ends[-1] - first else -1
            del self._firsts[farthest], self._ends[farthest]

    def _put(self, first: int, end: int) -> None:
        if first >= end:
            return
        low, high = bisect_left(self._ends, first), bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high], self._ends[low:high] = [first], [end]

    def remove(self, first: int, end: int) -> None:
        """Take ``first`` to ``end`` - 1 out."""
        if first >= end:
            return
        low, high = bisect_right(self._ends, first), bisect_left(self._firsts, end)
        if low >= high:
            return
        before, after = (self._firsts[low], first), (end, self._ends[high - 1])
        left = [span for span in (before, after) if span[0] < span[1]]
        self._firsts[low:high] = [span[0] for span in left]
        self._ends[low:high] = [span[1] for span in left]
        if len(self._firsts) > LIMITS.payload_spans:
            del self._firsts[1], self._ends[0]

    def newest(self, most: int, below: int, without: Spans) -> tuple[int, int] | None:
        """The last piece of at most ``most`` numbers under ``below`` that is not in ``without``; None when none is."""
        for at in range(len(self._firsts) - 1, -1, -1):
            first, end = self._firsts[at], min(self._ends[at], below)
            while first < end:
                clash = bisect_left(without._firsts, end) - 1
                if clash < 0 or without._ends[clash] <= first:
                    return max(first, end - most), end
                if without._ends[clash] < end:
                    return max(without._ends[clash], end - most), end
                end = without._firsts[clash]
        return None

    def fields(self) -> list[list[int]]:
        """For embedding."""
        return [[first, end] for first, end in self]

    @classmethod
    def from_fields(cls, value: list[Any], what: str) -> Spans:
        """Strict inverse of ``fields``; raises PeerFault."""
        spans, last = cls(), -1
        for item in value:
            take = Fields(item, 2, what)
            first, end = take.uint(_BLOCKS), take.uint(_BLOCKS)
            if not last < first < end or len(spans._firsts) >= LIMITS.payload_spans:
                raise PeerFault("codec.field", f"{what}: {first} to {end} is no span here")
            spans._firsts.append(first)
            spans._ends.append(end)
            last = end
        return spans
