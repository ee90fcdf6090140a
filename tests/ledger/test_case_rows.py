from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, Header
from ledger.case_rows import NO_CASE, CaseRow, CaseRows
from ledger.log import LogId
from ledger.notices import CaseBoundary, Notice

LOG = LogId("or-1", 3, bytes(16), fenced=True)
CASE = bytes([7]) * 16
uints = st.integers(0, (1 << 63) - 1)


@given(st.builds(CaseRow, st.binary(min_size=32, max_size=32), uints, uints, *[st.none() | uints] * 4))
def test_a_row_comes_back(row: CaseRow) -> None:
    assert CaseRow.decode(row.encode()) == row


def header(seq: int, key: int, case_id: bytes | None, *notices: Notice) -> Header:
    return Header(
        log=LOG, seq=seq, opened_ns=0, closed_ns=seq * 10, boot_ns=0, clock=ClockQuality(ClockState.UNKNOWN, 0),
        previous_leaf=bytes(32), payload_hash=bytes(32), payload_bytes=0, key_id=bytes([key]) * 32, codec=1,
        keyframe_seq=0, case_id=case_id, manifest_hash=bytes(32), notices=notices,
    )  # fmt: skip


def test_a_row_is_written_at_the_first_block_of_a_case_and_at_its_boundaries() -> None:
    rows = CaseRows(LOG)
    told = [
        rows.note(header(0, 1, None)),
        rows.note(header(1, 1, None)),
        rows.note(header(2, 2, CASE, CaseBoundary("open", CASE))),
        rows.note(header(3, 2, CASE)),
        rows.note(header(4, 2, CASE, CaseBoundary("close", CASE))),
        rows.note(header(5, 1, None)),
    ]
    assert [len(ops) for ops in told] == [1, 0, 1, 0, 1, 0]
    assert rows.rows[NO_CASE].opened_ns is None
    assert rows.rows[CASE] == CaseRow(bytes([2]) * 32, 2, 20, 20, 4, 40)
    loaded = CaseRows(LOG)
    loaded.load((op.case_id, CaseRow.decode(op.value)) for ops in told for op in ops)
    assert loaded.rows == rows.rows
    assert loaded.note(header(6, 1, None)) == []


def test_a_case_that_is_opened_again_is_not_closed() -> None:
    rows = CaseRows(LOG)
    for seq, phase in enumerate(("open", "close", "open")):
        rows.note(header(seq, 2, CASE, CaseBoundary(phase, CASE)))  # type: ignore[arg-type]
    assert rows.rows[CASE].closed_ns is None
    assert rows.rows[CASE].opened_ns == 0
