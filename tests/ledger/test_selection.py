"""What a part of a record is: its blocks, and before them those since the keyframe, but never another case's."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, Header
from ledger.log import LogId
from ledger.notices import CaseBoundary
from ledger.selection import Chosen, Selection, cases_of

LOG = LogId("or-1", 1, bytes(16), fenced=True)
CASES = [None, bytes([1] * 16), bytes([2] * 16)]
PLAIN = Header(
    log=LOG, seq=0, opened_ns=0, closed_ns=0, boot_ns=0, clock=ClockQuality(ClockState.SYNCHRONISED, 1),
    previous_leaf=bytes(32), payload_hash=bytes(32), payload_bytes=1, key_id=bytes(32), codec=1, keyframe_seq=0,
    case_id=None, manifest_hash=bytes(32),
)  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> list[Header]:
    made, keyframe = [], 0
    for seq in range(draw(st.integers(0, 30))):
        keyframe = seq if seq == 0 or draw(st.booleans()) else keyframe
        made.append(
            replace(
                PLAIN, seq=seq, closed_ns=draw(st.integers(0, 40)), keyframe_seq=keyframe,
                case_id=draw(st.sampled_from(CASES)),
            )
        )  # fmt: skip
    return made


selections = st.builds(
    Selection, st.none() | st.integers(0, 40), st.none() | st.integers(0, 40), st.sampled_from(CASES)
)


@given(headers(), selections)
def test_chosen_are_what_is_meant_and_what_leads_to_it(log: list[Header], selection: Selection) -> None:
    chosen = list(selection.choose(log))
    seqs = [each.seq for each in chosen]
    assert seqs == sorted(set(seqs))
    meant = [each.seq for each in chosen if each.is_meant]
    assert meant == [header.seq for header in log if selection.holds(header)]
    needed = {
        before.seq
        for seq in meant
        for before in log[log[seq].keyframe_seq : seq]
        if before.case_id in (None, log[seq].case_id)
    }
    assert set(seqs) - set(meant) <= needed
    # Nothing that leads to the first block of a run is left out.
    for seq in meant:
        run = log[log[seq].keyframe_seq : seq]
        if not any(selection.holds(header) for header in run):
            assert {before.seq for before in run if before.case_id in (None, log[seq].case_id)} <= set(seqs)


def test_everything_is_everything() -> None:
    assert Selection().is_everything
    assert list(Selection().choose([PLAIN])) == [Chosen(0, is_meant=True)]
    assert not Selection(from_ns=0).is_everything


def test_the_blocks_that_open_and_close_a_case_belong_to_it() -> None:
    case = bytes([1] * 16)
    told = replace(PLAIN, notices=(CaseBoundary("open", case),))
    assert cases_of(told) == {case}
    assert Selection(case_id=case).holds(told)
    assert not Selection(case_id=bytes(16)).holds(told)


def test_nothing_of_another_patient_leads_to_a_case() -> None:
    one, two = bytes([1] * 16), bytes([2] * 16)
    log = [replace(PLAIN, seq=seq, case_id=case) for seq, case in enumerate([one, one, None, two, two])]
    assert [each.seq for each in Selection(case_id=two).choose(log)] == [2, 3, 4]
