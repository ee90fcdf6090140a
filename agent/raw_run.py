"""Raw bytes as they passed: one Raw record per run of bytes in one direction of one link.

A run ends when the other direction or another link has its turn, so that the order of Raw records is the order of
arrival, and each piece keeps its time to the microsecond: an exported capture has nothing to sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ledger.limits import LIMITS, Limits
from ledger.records import LinkId, Raw

Direction = Literal["<", ">"]
_US_NS = 1_000


class RawRun:
    """The run that is being gathered; at most one."""

    __slots__ = ("_at_us", "_data", "_direction", "_limits", "_link", "_pieces")

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._link = LinkId(0)
        self._direction: Direction = "<"
        self._at_us = 0
        self._data = bytearray()
        self._pieces: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        """Whether anything was gathered."""
        return bool(self._pieces)

    def add(self, link: LinkId, direction: Direction, data: bytes, utc_ns: int) -> Iterator[Raw]:
        """Add one piece; yields the runs this ended. ``raw_record_bytes`` and ``raw_record_pieces`` bound a run."""
        whole = memoryview(data)
        for start in range(0, len(data), self._limits.raw_record_bytes):
            yield from self._add(
                link, direction, whole[start : start + self._limits.raw_record_bytes], utc_ns // _US_NS
            )

    def end(self) -> Iterator[Raw]:
        """Yields the run gathered so far, if any, and starts anew."""
        if self._pieces:
            data, pieces = bytes(self._data), tuple(self._pieces)
            self._data.clear()
            self._pieces.clear()
            yield Raw(at_ns=self._at_us * _US_NS, link=self._link, direction=self._direction, data=data, pieces=pieces)

    def _add(self, link: LinkId, direction: Direction, piece: memoryview, at_us: int) -> Iterator[Raw]:
        if self._pieces and not self._continues(link, direction, len(piece), at_us):
            yield from self.end()
        if not self._pieces:
            self._link, self._direction, self._at_us = link, direction, at_us
        self._data += piece
        self._pieces.append((at_us - self._at_us, len(piece)))

    def _continues(self, link: LinkId, direction: Direction, size: int, at_us: int) -> bool:
        return (
            link == self._link
            and direction == self._direction
            and at_us - self._at_us >= self._pieces[-1][0]  # else UTC was set back
            and len(self._data) + size <= self._limits.raw_record_bytes
            and len(self._pieces) < self._limits.raw_record_pieces
        )
