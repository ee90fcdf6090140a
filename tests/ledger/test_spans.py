"""Spans against plain sets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.spans import Spans

_MOST = 40
_pairs = st.tuples(st.integers(0, _MOST), st.integers(0, _MOST))
_changes = st.lists(st.tuples(st.booleans(), _pairs), max_size=20)


def made(changes: list[tuple[bool, tuple[int, int]]]) -> tuple[Spans, set[int]]:
    spans, plain = Spans(), set()
    for adds, (first, end) in changes:
        if adds:
            spans.add(first, end)
            plain |= set(range(first, end))
        else:
            spans.remove(first, end)
            plain -= set(range(first, end))
    return spans, plain


@given(_changes)
def test_they_hold_what_a_set_holds(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    spans, plain = made(changes)
    assert {number for first, end in spans for number in range(first, end)} == plain
    assert spans.count == len(plain)
    assert bool(spans) == bool(plain)
    assert spans.first == min(plain, default=None)
    assert all((number in spans) == (number in plain) for number in range(-1, _MOST + 1))
    pairs = list(spans)
    assert all(end < first for (_, end), (first, _) in pairwise(pairs)), "in order, never touching"


@given(_changes, _changes, st.integers(1, 9), st.integers(0, _MOST))
def test_the_newest_piece(
    changes: list[tuple[bool, tuple[int, int]]], others: list[tuple[bool, tuple[int, int]]], most: int, below: int
) -> None:
    spans, plain = made(changes)
    without, excluded = made(others)
    left = {number for number in plain - excluded if number < below}
    piece = spans.newest(most, below, without)
    if not left:
        assert piece is None
        return
    assert piece is not None
    first, end = piece
    assert end == max(left) + 1
    assert 1 <= end - first <= most
    assert set(range(first, end)) <= left


@given(_changes)
def test_they_survive_being_stored(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    spans, _ = made(changes)
    again = Spans.from_fields(unpack(pack(spans.fields()), 8_192, "spans"), "spans")
    assert list(again) == list(spans)


@pytest.mark.parametrize("wrong", [[[1, 1]], [[2, 1]], [[1, 3], [3, 4]], [[5, 6], [1, 2]], [[1]], [[1, "x"]], [7]])
def test_what_is_no_set_of_spans_is_refused(wrong: list[object]) -> None:
    with pytest.raises(PeerFault):
        Spans.from_fields(wrong, "spans")


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3_000)), max_size=400), st.booleans())
def test_too_many_spans_become_fewer_and_none_is_forgotten(changes: list[tuple[bool, int]], full: bool) -> None:
    spans, plain = Spans(), set()
    if full:
        spans.add(0, 3_001)
        plain = set(range(3_001))
        changes = [(False, number) for number in range(1, 3_000, 2)] + changes
    else:
        changes = [(True, number) for number in range(0, 3_000, 2)] + changes
    for adds, number in changes:
        if adds:
            spans.add(number, number + 1)
            plain.add(number)
        else:
            spans.remove(number, number + 1)
            plain.discard(number)
    assert len(list(spans)) <= LIMITS.payload_spans
    assert all(number in spans for number in plain)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3_000), max_size=700))
def test_what_is_added_or_forgotten_is_never_more_than_was_added(numbers: list[int]) -> None:
    spans, plain = Spans(), set()
    for number in (*range(0, 2 * LIMITS.payload_spans, 2), *numbers):
        spans.add_or_forget(number, number + 1)
        plain.add(number)
        assert number in spans
    assert len(list(spans)) <= LIMITS.payload_spans
    assert {number for first, end in spans for number in range(first, end)} <= plain
