"""The one intake: what all feeds have to record, in one order, between two ticks. Bounded, and never silent.

Every record gets a position. The tick takes what waits, the block that holds it is committed, and then every feed hears
up to which position everything is durable, or which positions were lost. All on the loop: no locks.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from agent.losses import Loss, loss_of
from ledger.errors import OurFault
from ledger.limits import LIMITS, Limits
from ledger.payload import EncodedRecord, encode_record
from ledger.records import Object, PatientContext, Record

# One feed gone wild may fill half of the intake, never the room of the others.
_SHARE = 2
# From a quarter on, a feed whose senders can wait should let them wait.
_CROWDED = 4


class IntakeListener(Protocol):
    """What a feed hears from the intake."""

    def flush(self) -> None:
        """The tick is about to take: offer what is still held back."""

    def durable(self, position: int) -> None:
        """Everything up to here is fsynced, but for what was refused before."""

    def refused(self, first: int, last: int, loss: Loss | None, reason: str) -> None:
        """Positions ``first`` to ``last`` will never be durable; ``loss`` is what this feed had there."""


class RecordTooLarge(OurFault):
    """A record that fits into no block: its driver must cut it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one block records: ``encoded`` by feed, each in order. ``last_position`` is 0 before the first record."""

    encoded: dict[str, list[EncodedRecord]] = field(default_factory=dict)
    first_position: int = 1
    last_position: int = 0
    record_bytes: int = 0

    @property
    def groups(self) -> dict[str, list[Record]]:
        """The records themselves."""
        return {feed: [encoded.record for encoded in group] for feed, group in self.encoded.items()}


class Cut(enum.Enum):
    """Where a batch ends because of a record: not at all, before it, or after what came with it."""

    NONE = 0
    BEFORE = 1
    AFTER = 2


Judge = Callable[[PatientContext, bool], Cut]
"""Asked about each patient context in order; also told whether it would be the first record of the batch."""


class _Waiting(NamedTuple):
    position: int
    feed: str
    encoded: EncodedRecord


@dataclass(frozen=True, slots=True)
class _Taken:
    """A batch on its way to the disk, and what each feed would lose with it."""

    first: int
    last: int
    losses: dict[str, Loss]


class Intake:
    """Holds at most ``intake_records`` and ``intake_bytes``, and of one feed at most half of either."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._records: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._total_bytes = 0
        self._listeners: dict[str, IntakeListener] = {}
        self._taken: deque[_Taken] = deque()
        self._last_offered = 0
        self._last_taken = 0
        self.on_waited_for: Callable[[bool], None] = _nothing
        """Called when somebody waits for the acknowledgment of records that no block has taken yet; told whether one of
        them is an object."""

    @property
    def waiting_records(self) -> int:
        """Records not yet taken."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Their encoded size."""
        return self._total_bytes

    def objects_waiting(self) -> frozenset[bytes]:
        """The names of objects whose records no block has taken yet."""
        return frozenset(
            item.encoded.record.sha256 for item in self._waiting if isinstance(item.encoded.record, Object)
        )

    def register(self, feed: str, listener: IntakeListener) -> None:
        """Make a feed known; its name must be its own. Raises OurFault ``intake.feed-twice``."""
        if feed in self._listeners:
            raise OurFault("intake.feed-twice", f"two feeds are named {feed!r}")
        self._listeners[feed] = listener

    def unregister(self, feed: str) -> None:
        """A feed has stopped; what it offered stays."""
        self._listeners.pop(feed, None)

    def offer(self, feed: str, records: Sequence[Record]) -> int | None:
        """All of the records or, when there is no room, none and None. Returns the position of the last one.

        Raises OurFault for a record that can never be written: ``payload.bad-record`` or RecordTooLarge.
        """
        encoded = [self._encoded(record) for record in records]
        size = sum([each.size for each in encoded])
        if not self._has_room(feed, len(encoded), size):
            return None
        for each in encoded:
            self._last_offered += 1
            self._waiting.append(_Waiting(self._last_offered, feed, each))
        self._records[feed] += len(encoded)
        self._bytes[feed] += size
        self._total_bytes += size
        return self._last_offered

    def waited_for(self) -> None:
        """A sender waits until what was offered is durable."""
        if self._waiting:
            self.on_waited_for(any(type(each.encoded.record) is Object for each in self._waiting))

    def crowded(self, feed: str) -> bool:
        """Whether senders of this feed that can wait should."""
        limits = self._limits
        return (
            self._records[feed] * _CROWDED >= limits.intake_records
            or self._bytes[feed] * _CROWDED >= limits.intake_bytes
        )

    def take(self, judge: Judge | None = None) -> Batch:
        """What the next block is to hold, at most ``batch_bytes``; what is beyond waits for the next tick.

        Ends earlier where ``judge`` says so. What came with a context is what follows it of the same feed and instant.
        """
        for listener in list(self._listeners.values()):
            listener.flush()
        waiting, encoded, taken_bytes = self._waiting, dict[str, list[EncodedRecord]](), 0
        first = self._last_taken + 1
        last_of: _Waiting | None = None
        while waiting and taken_bytes + waiting[0].encoded.size <= self._limits.batch_bytes:
            item = waiting[0]
            record = item.encoded.record
            is_context = type(record) is PatientContext
            if last_of is not None and (is_context or not _came_with(item, last_of)):
                break
            if is_context and judge is not None:
                cut = judge(record, not encoded)  # type: ignore[arg-type] # its type was just looked at
                if cut is Cut.BEFORE:
                    break
                last_of = item if cut is Cut.AFTER else None
            waiting.popleft()
            encoded.setdefault(item.feed, []).append(item.encoded)
            taken_bytes += item.encoded.size
            self._last_taken = item.position
        for feed, group in encoded.items():
            self._records[feed] -= len(group)
            self._bytes[feed] -= sum([each.size for each in group])
        self._total_bytes -= taken_bytes
        batch = Batch(encoded, first, self._last_taken, taken_bytes)
        if encoded:
            losses = {feed: loss_of(records, "store_refused") for feed, records in batch.groups.items()}
            self._taken.append(_Taken(first, self._last_taken, losses))
        return batch

    def nothing(self) -> Batch:
        """A batch without records, at the place reached."""
        return Batch({}, self._last_taken + 1, self._last_taken, 0)

    def durable(self, position: int) -> None:
        """The commit of everything taken up to ``position`` is fsynced. Call on the loop."""
        if position > self._last_taken:
            raise OurFault("intake.durable-unknown", f"position {position} was never taken")
        covered = 0
        while self._taken and self._taken[0].last <= position:
            covered = self._taken.popleft().last
        if covered:
            for listener in list(self._listeners.values()):
                listener.durable(covered)

    def refuse(self, first: int, last: int, reason: str) -> None:
        """The commit of the batches within failed: they are lost. Call before ``durable`` of anything later.

        ``first`` 0: everything taken up to ``last`` that is not durable.
        """
        refused = [batch for batch in self._taken if first <= batch.first and batch.last <= last]
        self._taken = deque(batch for batch in self._taken if batch not in refused)
        lost: dict[str, Loss] = {}
        for batch in refused:
            for feed, loss in batch.losses.items():
                lost[feed] = lost[feed].merged(loss) if feed in lost else loss
        if refused:
            for feed, listener in list(self._listeners.items()):
                listener.refused(refused[0].first, refused[-1].last, lost.get(feed), reason)

    def _encoded(self, record: Record) -> EncodedRecord:
        encoded = encode_record(record)
        if encoded.size > self._limits.batch_bytes:
            raise RecordTooLarge("intake.oversize", f"a {type(record).__name__} record takes {encoded.size} bytes")
        return encoded

    def _has_room(self, feed: str, records: int, size: int) -> bool:
        limits = self._limits
        return (
            len(self._waiting) + records <= limits.intake_records
            and self._total_bytes + size <= limits.intake_bytes
            and (self._records[feed] + records) * _SHARE <= limits.intake_records
            and (self._bytes[feed] + size) * _SHARE <= limits.intake_bytes
        )


def _came_with(item: _Waiting, context: _Waiting) -> bool:
    return item.feed == context.feed and item.encoded.record.at_ns == context.encoded.record.at_ns


def _nothing(_for_object: bool) -> None:
    """Nobody listens."""
