"""What a feed could not record, until a Gap record that says so is durable.

The Gap itself may find no room or be lost with its block: then it is merged with what was lost since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ledger.records import Gap, Raw, Record

LossCause = Literal["overflow", "store_refused", "oversize"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Records (``items``) and raw bytes lost for one cause between two times, UTC ns."""

    cause: LossCause
    since_ns: int
    until_ns: int
    items: int
    raw_bytes: int

    def merged(self, other: Loss) -> Loss:
        """Both as one."""
        return replace(
            self,
            since_ns=min(self.since_ns, other.since_ns),
            until_ns=max(self.until_ns, other.until_ns),
            items=self.items + other.items,
            raw_bytes=self.raw_bytes + other.raw_bytes,
        )

    def gap(self, at_ns: int) -> Gap:
        """The record that says so."""
        return Gap(
            at_ns=at_ns,
            cause=self.cause,
            since_ns=self.since_ns,
            until_ns=self.until_ns,
            lost_bytes=self.raw_bytes or None,
            lost_items=self.items,
            detail="records lost",
        )


def loss_of(records: Sequence[Record], cause: LossCause) -> Loss:
    """What is lost with these records, of which there is at least one. A Gap stands for all the time it covers."""
    since_ns = [record.since_ns if isinstance(record, Gap) else record.at_ns for record in records]
    until_ns = [record.until_ns if isinstance(record, Gap) else record.at_ns for record in records]
    raw_bytes = sum([len(record.data) for record in records if isinstance(record, Raw)])
    return Loss(cause, min(since_ns), max(until_ns), len(records), raw_bytes)


class Losses:
    """A feed's losses not yet durably told, by cause."""

    __slots__ = ("_told", "_untold")

    def __init__(self) -> None:
        self._untold: dict[LossCause, Loss] = {}
        self._told: deque[tuple[int, Loss]] = deque()

    def add(self, loss: Loss) -> None:
        """Remember until told."""
        known = self._untold.get(loss.cause)
        self._untold[loss.cause] = loss if known is None else known.merged(loss)

    def __bool__(self) -> bool:
        """Whether there is a loss without a Gap record so far."""
        return bool(self._untold)

    def untold(self) -> list[Loss]:
        """Losses without a Gap record so far."""
        return list(self._untold.values())

    def told(self, loss: Loss, position: int) -> None:
        """A Gap record for this loss is on its way at this position."""
        del self._untold[loss.cause]
        self._told.append((position, loss))

    def durable(self, position: int) -> None:
        """Everything up to here is durable."""
        while self._told and self._told[0][0] <= position:
            self._told.popleft()

    def refused(self, first: int, last: int, loss: Loss | None) -> None:
        """Positions that will never be durable: ``loss`` is to be told, and what Gaps among it told, again."""
        again = [told for position, told in self._told if first <= position <= last]
        self._told = deque(item for item in self._told if not first <= item[0] <= last)
        for told in again:
            self.add(told)
        if loss is not None and loss.items > len(again):
            self.add(replace(loss, items=loss.items - len(again)))
