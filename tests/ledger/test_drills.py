"""When drills are due, what is remembered of them, and when silence about them is an alert."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import pack
from ledger.drills import GOOD, DrillBook, Drilled
from ledger.errors import PeerFault
from ledger.limits import LIMITS, S_NS

HOUR_NS = 3_600 * S_NS
DAY_NS = 24 * HOUR_NS
TOOK_NS = 87_000_000
T0 = 1_800_000_000 * S_NS


def _book(*boxes: str) -> DrillBook:
    book = DrillBook()
    book.keep(boxes, T0)
    return book


def test_the_first_drill_comes_soon_and_the_next_after_a_period() -> None:
    book = _book("or-2", "or-3")
    assert book.due(T0, DAY_NS) == []
    assert book.due(T0 + LIMITS.drill_first_ns, DAY_NS) == ["or-2", "or-3"]
    book.note("or-2", T0 + LIMITS.drill_first_ns, TOOK_NS, None)
    assert book.due(T0 + LIMITS.drill_first_ns + DAY_NS - 1, DAY_NS) == ["or-3"]
    assert book.due(T0 + LIMITS.drill_first_ns + DAY_NS, DAY_NS) == ["or-3", "or-2"]


def test_a_failed_drill_is_tried_again_sooner_and_keeps_the_last_success() -> None:
    book = _book("or-2")
    book.note("or-2", T0, TOOK_NS, None)
    book.note("or-2", T0 + DAY_NS, 5 * TOOK_NS, "no peer that answered holds a block of or-2")
    row = book.rows()[0]
    assert row.failed
    assert (row.success_ns, row.tried_ns, row.took_ns) == (T0, T0 + DAY_NS, TOOK_NS)
    assert book.due(T0 + DAY_NS + LIMITS.drill_retry_ns - 1, DAY_NS) == []
    assert book.due(T0 + DAY_NS + LIMITS.drill_retry_ns, DAY_NS) == ["or-2"]


def test_overdue_after_two_periods_without_success_whether_or_not_there_ever_was_one() -> None:
    book = _book("or-2", "or-3")
    book.note("or-2", T0 + HOUR_NS, TOOK_NS, None)
    assert book.overdue(T0 + 2 * DAY_NS, DAY_NS) == []
    assert [row.box for row in book.overdue(T0 + 2 * DAY_NS + 1, DAY_NS)] == ["or-3"]
    book.note("or-2", T0 + 2 * DAY_NS, TOOK_NS, "failed")
    assert [row.box for row in book.overdue(T0 + 2 * DAY_NS + HOUR_NS + 1, DAY_NS)] == ["or-2", "or-3"]


def test_a_clock_that_was_set_back_does_not_put_drills_off() -> None:
    book = _book("or-2")
    book.note("or-2", T0, TOOK_NS, None)
    assert book.due(T0 - DAY_NS, DAY_NS) == ["or-2"]


def test_a_box_that_left_the_group_is_forgotten_and_the_others_are_not() -> None:
    book = _book("or-2", "or-3")
    book.note("or-2", T0, TOOK_NS, None)
    assert book.keep(["or-2", "or-4"], T0 + 1)
    assert [row.box for row in book.rows()] == ["or-2", "or-4"]
    assert book.rows()[0].result == GOOD
    assert not book.keep(["or-4", "or-2"], T0 + 2)


@given(
    st.lists(
        st.tuples(st.sampled_from(["or-2", "or-3"]), st.integers(0, 1 << 62), st.none() | st.text(max_size=300)),
        max_size=8,
    )
)
def test_what_is_saved_is_what_comes_back(notes: list[tuple[str, int, str | None]]) -> None:
    book = _book("or-2", "or-3")
    for box, utc_ns, fault in notes:
        book.note(box, utc_ns, utc_ns // 2, fault)
    assert DrillBook(book.encode()).rows() == book.rows()


@pytest.mark.parametrize(
    "saved", [b"", b"\xc0", pack([]), pack([[["or-2", 1, 2]]]), pack([[["or-2", 1, 2, 3, "x" * 300, 4]]])]
)
def test_what_is_malformed_is_refused(saved: bytes) -> None:
    with pytest.raises(PeerFault):
        DrillBook(saved)


def test_rows_are_what_was_noted() -> None:
    assert _book("or-2").rows() == [Drilled("or-2", T0)]
