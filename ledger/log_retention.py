"""Which whole logs may go: their blocks in small steps from the oldest on; the last block and its checkpoint stay.

A log goes when it is closed and a later epoch names it, all its payloads are gone, its newest block is older than the
retention and belongs to no open case, its end can be told without its blocks, and everything it names has gone before:
then nothing is left that only its first block would have named. One of which two histories were proved never goes.

The first step marks the log as expired, durably: a restart must not take an end whose successor is gone for one that no
epoch has named.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Protocol

from ledger.block import ClockState, decode_signed_header
from ledger.errors import OrledgerError
from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.ops import DropBlocks, Op, PutSelf
from ledger.replica import Replica
from ledger.retention import Moment, pruned_end
from ledger.start import linked_logs

_EXPIRED = b"\x01"


class LogSource(Protocol):
    """What is read of a store: committed data only; everything may raise StoreFault."""

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]: ...

    def length(self, log: LogId) -> int: ...

    def first_held(self, log: LogId) -> int: ...

    def headers(self, log: LogId, first: int, end: int) -> Iterable[bytes]: ...

    def tip(self, log: LogId) -> bytes | None: ...

    def self_value(self, name: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class _End:
    """A log that may go in its time: its newest block's times, whether its clock was right, and its case."""

    length: int
    closed_ns: int
    is_right: bool
    case_id: bytes | None


class LogRetention:
    """``survey`` now and then, ``step`` as often as steps can be committed. Not to be used from two threads at once.

    ``expired`` holds the logs that went or are going: their keys are needed no more.
    """

    def __init__(self, source: LogSource, retention_ns: int | None, limits: Limits = LIMITS) -> None:
        """``retention_ns`` None: logs are kept for ever."""
        self._source = source
        self._limits = limits
        self._held: frozenset[LogId] = frozenset()
        self._retention_ns = retention_ns
        self._names: dict[LogId, frozenset[LogId]] = {}
        self._ends: dict[LogId, _End] = {}
        self.expired: set[LogId] = set()

    def survey(self, live: Container[LogId]) -> None:
        """Find the logs that may go in their time; ``live`` ones never. Raises StoreFault when none can be listed."""
        self._ends.clear()
        logs = [log for log, _ in self._source.logs()]
        self._held = frozenset(logs)
        self.expired = {log for log in logs if self._source.self_value(expired_name(log)) is not None}
        if self._retention_ns is None and not self.expired:
            return
        for log in logs:
            try:
                self._survey_log(log)
            except OrledgerError:
                self._names.pop(log, None)  # damaged: it stays, and so does what names it; the audit says why
        named = {each for names in self._names.values() for each in names}
        for log in list(self._ends):
            if log in live or not (log in self.expired or log in named):
                del self._ends[log]

    def _survey_log(self, log: LogId) -> None:
        source = self._source
        length, first_held = source.length(log), source.first_held(log)
        if length == 0:  # it was opened, and its box ended before the first block
            return
        if first_held == 0 and log not in self._names:
            self._names[log] = frozenset(linked_logs(decode_signed_header(next(iter(source.headers(log, 0, 1))))))
        if first_held:
            self._names.pop(log, None)
            if first_held >= length - 1:
                return
        tip = source.tip(log)
        replica = Replica.from_tip(log, tip) if tip is not None else None
        if replica is None or replica.size != length or replica.frozen or pruned_end(source, log) < length:
            return
        newest = decode_signed_header(next(iter(source.headers(log, length - 1, length))))
        is_right = newest.clock.state is ClockState.SYNCHRONISED
        self._ends[log] = _End(length, newest.closed_ns, is_right, newest.case_id)

    def step(self, moment: Moment) -> tuple[Op, ...]:
        """At most ``LIMITS.drop_blocks`` blocks of one log, to be committed as they are; empty when nothing is due.

        Steps count as committed: after a commit that failed, begin anew.
        """
        for log, end in sorted(self._ends.items(), key=lambda item: item[1].closed_ns):
            is_new = log not in self.expired
            if is_new and not self._may_go(log, end, moment):
                continue
            first = self._source.first_held(log)
            drop = DropBlocks(log, first, min(first + self._limits.drop_blocks, end.length - 1))
            mark = (PutSelf(expired_name(log), _EXPIRED),) if is_new else ()
            self.expired.add(log)
            if drop.end > drop.first:
                return (*mark, drop)
            del self._ends[log]
            if mark:
                return mark
        return ()

    def _may_go(self, log: LogId, end: _End, moment: Moment) -> bool:
        if self._retention_ns is None or not (moment.clock_is_right and end.is_right):
            return False
        if moment.utc_ns - end.closed_ns <= self._retention_ns or end.case_id in moment.open_cases:
            return False
        return all(named in self.expired or named not in self._held for named in self._names.get(log, ()))


def expired_name(log: LogId) -> str:
    """Of the row in ``self`` that says that a log went at its retention, or is going."""
    return f"expired/{log.box}/{log.incarnation.hex()}"
