"""Which sealed payloads may go, and in which order: small steps, oldest first, headers always stay.

A payload goes when it is older than the retention, or earlier, oldest first, while the disk is short of room; never
within its first 24 h and never while its case is open. What was recorded in a case is as old as the case's close, so
that the whole of it goes together; what was only announced under its id, before it opened, has its own age. Within a
log, payloads go from the front on, so that one number per log says how far they are gone; it is committed together with
the step. Whole logs are `ledger.log_retention`'s.

A block's age is told by its log's newest block and CLOCK_BOOTTIME back from there: a box that started with a wrong
clock does not make its first blocks look old. Where a clock is not synchronised, nothing goes by age.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.block import ClockState, Header, decode_signed_header
from ledger.case_rows import CaseRow
from ledger.errors import OrledgerError, StoreFault
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.ops import Op, PrunePayloads, PutSelf

DAY_NS: Final = 24 * 3600 * S_NS
FULL_PERCENT: Final = 85
_SEQ_BYTES: Final = 8


class PayloadSource(Protocol):
    """What is read of a store: committed data only; everything may raise StoreFault."""

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]: ...

    def length(self, log: LogId) -> int: ...

    def headers(self, log: LogId, first: int, end: int) -> Iterable[bytes]: ...

    def self_value(self, name: str) -> bytes | None: ...

    def case_values(self, case_id: bytes) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes the ledger may still write: free on the disk, or freed inside its own file, which never shrinks."""

    free_bytes: int
    disk_bytes: int
    reserve_bytes: int

    @property
    def is_below_reserve(self) -> bool:
        """True when less is left than the configuration wants kept free."""
        return self.free_bytes < self.reserve_bytes

    @property
    def is_pressed(self) -> bool:
        """True when payloads must go before their time."""
        return self.is_below_reserve or self.free_bytes * 100 < self.disk_bytes * (100 - FULL_PERCENT)


@dataclass(frozen=True, slots=True)
class Moment:
    """What one step is judged by: this box's UTC, whether its kernel vouches for it, whether the disk is short of room,
    and the cases open now (their payloads stay).
    """

    utc_ns: int
    clock_is_right: bool
    pressed: bool
    open_cases: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Span:
    """From when to when a case was open, as its headers say, over all logs held."""

    opened_ns: int
    closed_ns: int

    @classmethod
    def of(cls, rows: Iterable[CaseRow]) -> _Span | None:
        """None while it was not opened and closed."""
        known = list(rows)
        opened = [row.opened_ns for row in known if row.opened_ns is not None]
        closed = [row.closed_ns for row in known if row.closed_ns is not None]
        return cls(min(opened), max(closed)) if opened and closed else None


@dataclass(slots=True)
class _Front:
    """Where a log's payloads begin, when that block was closed, and whether the clock behind that was right."""

    first: int
    closed_ns: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A log's newest block: from it the age of all before is told."""

    closed_ns: int
    boot_ns: int
    is_right: bool

    @classmethod
    def of(cls, header: Header) -> _Anchor:
        return cls(header.closed_ns, header.boot_ns, header.clock.state is ClockState.SYNCHRONISED)

    def closed_at(self, header: Header) -> int:
        return self.closed_ns - (self.boot_ns - header.boot_ns)


class Retention:
    """``survey`` now and then, ``step`` as often as steps can be committed. Not to be used from two threads at once.

    ``unreadable`` holds the logs that were passed over because the disk does not give back their headers.
    """

    def __init__(self, source: PayloadSource, retention_ns: int) -> None:
        self._source = source
        self._retention_ns = retention_ns
        self._gone: dict[LogId, int] = {}
        self._fronts: dict[LogId, _Front] = {}
        self._spent: dict[LogId, tuple[int, bool]] = {}
        self._spans: dict[bytes, _Span] = {}
        self.unreadable: dict[LogId, OrledgerError] = {}

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest payload held was closed (UTC, as last surveyed); None when there is none."""
        return min((front.closed_ns for front in self._fronts.values()), default=None)

    def survey(self) -> None:
        """Find where every log's payloads begin. Raises StoreFault when the logs cannot be listed."""
        self.unreadable.clear()
        self._spans.clear()
        for log, _ in self._source.logs():
            try:
                self._survey_log(log)
            except OrledgerError as fault:
                self._pass_over(log, fault)

    def _survey_log(self, log: LogId) -> None:
        if log not in self._gone:
            self._gone[log] = pruned_end(self._source, log)
        first, length = self._gone[log], self._source.length(log)
        if first < length:
            anchor = _Anchor.of(self._header(log, length - 1))
            self._fronts[log] = _Front(first, anchor.closed_at(self._header(log, first)), anchor.is_right)
            self._spent.pop(log, None)
        elif length and log not in self._spent:
            newest = self._header(log, length - 1)
            self._spent[log] = newest.closed_ns, _Anchor.of(newest).is_right

    def spent(self, moment: Moment) -> frozenset[LogId]:
        """Logs without a payload left, as last surveyed, whose newest block is older than the retention: what their
        keys sealed is gone, here and wherever payloads are kept no longer.
        """
        if not moment.clock_is_right:
            return frozenset()
        old_ns = moment.utc_ns - self._retention_ns
        return frozenset(log for log, (closed_ns, is_right) in self._spent.items() if is_right and closed_ns < old_ns)

    def step(self, moment: Moment) -> tuple[Op, ...]:
        """At most ``LIMITS.prune_blocks`` blocks of one log, to be committed as they are; empty when nothing is due.

        Steps count as committed: after a commit that failed, begin anew.
        """
        for log, front in sorted(self._fronts.items(), key=lambda item: item[1].closed_ns):
            if not self._may_go(front, moment):
                continue
            try:
                end = self._end_of_step(log, front, moment)
            except OrledgerError as fault:
                self._pass_over(log, fault)
                continue
            if end > front.first:
                first, front.first, self._gone[log] = front.first, end, end
                if end == self._source.length(log):
                    del self._fronts[log]
                progress = PutSelf(progress_name(log), end.to_bytes(_SEQ_BYTES, "big"))
                return PrunePayloads(log, first, end), progress
        return ()

    def _end_of_step(self, log: LogId, front: _Front, moment: Moment) -> int:
        """One past the last block that may go with the front; looks at every header, for none may go by mistake."""
        length = self._source.length(log)
        anchor = _Anchor.of(self._header(log, length - 1))
        front.is_right = anchor.is_right
        seq = front.first
        for signed in self._source.headers(log, seq, min(length, seq + LIMITS.prune_blocks)):
            header = decode_signed_header(signed)
            front.closed_ns = anchor.closed_at(header)
            if header.case_id in moment.open_cases or not self._may_go(
                front, moment, self._case_closed_ns(header, moment)
            ):
                break
            seq += 1
        return seq

    def _case_closed_ns(self, header: Header, moment: Moment) -> int:
        """When the case in which a block was recorded closed; 0 for none, or by a clock that was ahead of ours."""
        if header.case_id is None:
            return 0
        span = self._spans.get(header.case_id) or self._span(header.case_id)
        if span is None or not span.opened_ns <= header.closed_ns <= span.closed_ns <= moment.utc_ns:
            return 0
        return span.closed_ns

    def _span(self, case_id: bytes) -> _Span | None:
        """Remembered until the next survey once the case is closed: it may close at any time before."""
        span = _Span.of(map(CaseRow.decode, self._source.case_values(case_id)))
        if span is not None:
            self._spans[case_id] = span
        return span

    def _may_go(self, front: _Front, moment: Moment, case_closed_ns: int = 0) -> bool:
        """Want of room does not ask for the case: it is oldest first, so that recording can go on."""
        age_ns = moment.utc_ns - front.closed_ns
        is_old = moment.utc_ns - max(front.closed_ns, case_closed_ns) > self._retention_ns
        return (is_old and moment.clock_is_right and front.is_right) or (moment.pressed and age_ns > DAY_NS)

    def _pass_over(self, log: LogId, fault: OrledgerError) -> None:
        """One damaged log must not keep the others' payloads from going."""
        self._fronts.pop(log, None)
        self.unreadable[log] = fault

    def _header(self, log: LogId, seq: int) -> Header:
        for signed in self._source.headers(log, seq, seq + 1):
            return decode_signed_header(signed)
        raise StoreFault("store.missing", f"block {seq} of {log} is not held", f"orledger verify {log.box}")


class _Facts(Protocol):
    def self_value(self, name: str) -> bytes | None: ...


def pruned_end(source: _Facts, log: LogId) -> int:
    """Retention has taken the payloads of a log before this block. Raises StoreFault."""
    return int.from_bytes(source.self_value(progress_name(log)) or b"", "big")


def progress_name(log: LogId) -> str:
    """Of the row in ``self`` that says how many payloads of a log are gone."""
    return f"pruned/{log.box}/{log.incarnation.hex()}"
