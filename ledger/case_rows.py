"""Which cases a log holds, under which keys, and from where to where: derived from its headers, kept beside them.

Notices and header fields only: readable without a data key, and without a patient's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ledger.block import Header
from ledger.canonical import Fields, pack, unpack
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.notices import CaseBoundary
from ledger.ops import PutCase
from ledger.plain_header import PlainHeader

NO_CASE = bytes(INCARNATION_BYTES)
"""Stands for blocks of no case, which have a data key of their own too."""
_ROW_BYTES = 256


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case in one log. Times are UTC ns as its headers say. ``opened_ns`` None: only announced here so far;
    ``closed_ns`` None: not closed in this log. ``told_seq``: the newest block of one that is only announced.
    """

    key_id: bytes
    first_seq: int
    first_ns: int
    opened_ns: int | None = None
    closed_seq: int | None = None
    closed_ns: int | None = None
    told_seq: int | None = None

    def encode(self) -> bytes:
        """For the store. Without ``told_seq`` as it was written before there was one."""
        told = () if self.told_seq is None else (self.told_seq,)
        return pack(
            [self.key_id, self.first_seq, self.first_ns, self.opened_ns, self.closed_seq, self.closed_ns, *told]
        )

    @classmethod
    def decode(cls, data: bytes) -> CaseRow:
        """Strict inverse of ``encode``; raises PeerFault."""
        take = Fields(unpack(data, _ROW_BYTES, "case row"), 6, "case row", optional=1)
        key_id, first_seq, first_ns = take.raw(32), take.uint(), take.uint()
        rest = [take.optional() for _ in range(3)]
        opened_ns, closed_seq, closed_ns = (value if type(value) is int else None for value in rest)
        told_seq = take.uint() if take.has_more else None
        return cls(key_id, first_seq, first_ns, opened_ns, closed_seq, closed_ns, told_seq)


@dataclass(slots=True)
class CaseRows:
    """The cases of one log. At most ``LIMITS.cases_of_a_log``: what is beyond has its blocks, but no row."""

    log: LogId
    rows: dict[bytes, CaseRow] = field(default_factory=dict)
    key_ids: set[bytes] = field(default_factory=set)

    def load(self, rows: Iterable[tuple[bytes, CaseRow]]) -> None:
        """Take over what the store holds."""
        self.rows.update(rows)
        self.key_ids.update(row.key_id for row in self.rows.values())

    def are_changed_by(self, headers: Sequence[Header | PlainHeader]) -> bool:
        """Whether ``note`` may find anything in headers without notices."""
        if not {header.key_id for header in headers} <= self.key_ids:
            return True
        told = {header.case_id for header in headers}
        return any(row.opened_ns is None and case_id in told for case_id, row in self.rows.items())

    def note(self, header: Header | PlainHeader) -> list[PutCase]:
        """Take the next header in; the rows that are new or changed by it."""
        changed: dict[bytes, CaseRow] = {}
        case_id = header.case_id or NO_CASE
        if header.key_id not in self.key_ids:
            self.key_ids.add(header.key_id)
            if case_id not in self.rows and len(self.rows) < LIMITS.cases_of_a_log:
                changed[case_id] = CaseRow(header.key_id, header.seq, header.closed_ns)
        elif case_id != NO_CASE and case_id in self.rows and self.rows[case_id].opened_ns is None:
            changed[case_id] = replace(self.rows[case_id], told_seq=header.seq)
        for notice in header.notices:
            if isinstance(notice, CaseBoundary):
                row = changed.get(notice.case_id) or self.rows.get(notice.case_id)
                if row is not None:
                    changed[notice.case_id] = _after(row, notice, header)
        self.rows.update(changed)
        return [PutCase(changed_id, self.log, row.encode()) for changed_id, row in changed.items()]


def _after(row: CaseRow, notice: CaseBoundary, header: Header | PlainHeader) -> CaseRow:
    if notice.phase == "close":
        return replace(row, closed_seq=header.seq, closed_ns=header.closed_ns)
    opened_ns = header.closed_ns if row.opened_ns is None else row.opened_ns
    return replace(row, opened_ns=opened_ns, closed_seq=None, closed_ns=None, told_seq=None)
