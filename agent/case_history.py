"""Cases as this box's store knows them: its own and those of the boxes whose logs it holds. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.reading import Reader
from ledger.case_rows import NO_CASE, CaseRow
from ledger.errors import OperatorFault
from ledger.log import LogId
from ledger.records import CaseChange
from ledger.state import LEDGER_FEED, RoomState


@dataclass(frozen=True, slots=True)
class KnownCase:
    """One case over all logs: times are UTC ns by its box's clock. ``opened_ns`` None: only announced so far."""

    case_id: bytes
    box: str
    opened_ns: int | None
    closed_ns: int | None
    parts: tuple[tuple[LogId, CaseRow], ...]
    keys_held: int

    @property
    def is_erased_here(self) -> bool:
        """None of its data keys is here."""
        return not self.keys_held


def known_cases(reader: Reader, box: str | None = None) -> list[KnownCase]:
    """Every case, the newest last. Raises StoreFault, and PeerFault when a row is damaged."""
    parts: dict[tuple[str, bytes], list[tuple[LogId, CaseRow]]] = {}
    for case_id, log, data in reader.store.cases():
        if case_id != NO_CASE and (box is None or log.box == box):
            parts.setdefault((log.box, case_id), []).append((log, CaseRow.decode(data)))
    cases = [_known(reader, case_id, owner, rows) for (owner, case_id), rows in parts.items()]
    return sorted(cases, key=lambda case: case.parts[0][1].first_ns)


def _known(reader: Reader, case_id: bytes, box: str, rows: list[tuple[LogId, CaseRow]]) -> KnownCase:
    rows.sort(key=lambda row: row[1].first_ns)
    opened = [row.opened_ns for _, row in rows if row.opened_ns is not None]
    last = rows[-1][1]
    held = sum(1 for _, row in rows if reader.key_for(row.key_id) is not None)
    return KnownCase(case_id, box, min(opened, default=None), last.closed_ns, tuple(rows), held)


def find_case(cases: Iterable[KnownCase], name: str) -> KnownCase:
    """The case whose id begins so. Raises OperatorFault ``case.unknown``, ``case.ambiguous``."""
    wanted = name.replace("-", "").strip().lower()
    found = [case for case in cases if wanted and case.case_id.hex().startswith(wanted)]
    if not found:
        raise OperatorFault("case.unknown", f"no case {name!r} is known here", "orledger case list")
    if len(found) > 1:
        ids = ", ".join(case.case_id.hex() for case in found)
        raise OperatorFault("case.ambiguous", f"{name!r} begins several cases: {ids}", "write more of it")
    return found[0]


def context_of(reader: Reader, case: KnownCase) -> CaseChange | None:
    """The last context of a case, from its newest keyframe on; None where nothing of it can be read here.

    Raises NoPeer ``restore.no-key`` without its data key, VerificationFailed.
    """
    for log, row in reversed(case.parts):
        end = reader.store.length(log) if row.closed_seq is None else row.closed_seq
        keyframe = reader.store.keyframe_at_or_before(log, max(0, end - 1))
        first = max(row.first_seq, keyframe[0] if keyframe is not None else 0)
        found: CaseChange | None = None
        for block in reader.blocks(log, first, end):
            if block.groups is None or block.header.case_id != case.case_id:
                continue
            for record in block.groups.get(LEDGER_FEED, ()):
                state = RoomState()
                state.fold(LEDGER_FEED, record)
                told = state.case()
                found = told if told is not None and told.case_id == case.case_id else found
        if found is not None:
            return found
    return None
