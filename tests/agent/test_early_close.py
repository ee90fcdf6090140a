from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.early_close import EarlyClose
from ledger.limits import LIMITS, MS_NS

TICK_NS = LIMITS.tick_ns
APART_NS = LIMITS.early_close_apart_ns
OBJECT_APART_NS = LIMITS.early_close_object_apart_ns
BEFORE_TICK_NS = LIMITS.early_close_before_tick_ns
SAVED = LIMITS.early_close_saved_blocks


def test_a_lone_sender_does_not_wait() -> None:
    early = EarlyClose()
    early.ticked(TICK_NS)
    early.closed(0)
    assert early.wanted(40 * MS_NS) == 40 * MS_NS


def test_who_sends_before_the_first_tick_waits_for_it_only_when_it_is_as_good() -> None:
    early = EarlyClose()
    early.first_tick(TICK_NS)
    assert early.wanted(TICK_NS // 2) == TICK_NS // 2
    late = EarlyClose()
    late.first_tick(TICK_NS)
    assert late.wanted(TICK_NS - 1) is None


def test_never_close_to_the_block_before_nor_to_the_next_tick() -> None:
    early = EarlyClose()
    early.ticked(TICK_NS)
    early.closed(2 * MS_NS)
    assert early.wanted(3 * MS_NS) == 2 * MS_NS + APART_NS
    early.ticked(2 * TICK_NS)
    assert early.wanted(2 * TICK_NS - BEFORE_TICK_NS + 1) is None


def test_what_ticks_did_not_use_is_there_for_more_than_one_sender_between_two() -> None:
    early = EarlyClose()
    early.ticked(TICK_NS)
    for at_ns in (20 * MS_NS, 60 * MS_NS):
        due_ns = early.wanted(at_ns)
        assert due_ns == at_ns
        early.closed(due_ns)


def test_for_an_object_a_block_closes_again_before_the_tick() -> None:
    early = EarlyClose()
    early.ticked(TICK_NS)
    due_ns = early.wanted(20 * MS_NS, for_object=True)
    assert due_ns is not None
    assert early.wanted(20 * MS_NS, for_object=True) is None, "it is planned already"
    early.closed(due_ns)
    assert early.wanted(due_ns, for_object=True) == due_ns + OBJECT_APART_NS


@given(st.lists(st.tuples(st.integers(0, 10 * TICK_NS), st.booleans()), max_size=60).map(sorted), st.booleans())
def test_never_two_together_and_but_for_objects_at_most_twice_as_many(
    asked: list[tuple[int, bool]], objects: bool
) -> None:
    """Blocks at every tick, senders at any time: early ones are apart from all others, one a tick in the mean."""
    early, closings, planned = EarlyClose(), list[int](), list[int]()
    times = sorted(
        [(tick * TICK_NS, "tick", False) for tick in range(11)] + [(at_ns, "ask", of) for at_ns, of in asked]
    )
    for at_ns, what, for_object in times:
        while planned and planned[0] <= at_ns:
            closings.append(planned.pop(0))
            early.closed(closings[-1])
        if what == "tick":
            closings.append(at_ns)
            early.closed(at_ns)
            early.ticked(at_ns + TICK_NS)
        elif (due_ns := early.wanted(at_ns, for_object=for_object and objects)) is not None:
            assert at_ns <= due_ns <= at_ns + APART_NS
            planned.append(due_ns)
    apart_ns = OBJECT_APART_NS if objects else APART_NS
    assert all(
        later - before >= (apart_ns if later % TICK_NS else BEFORE_TICK_NS) for before, later in pairwise(closings)
    )
    for first in range(0 if objects else 11):
        for end in range(first, 11):
            early_ones = sum(at % TICK_NS > 0 for at in closings if first * TICK_NS <= at < end * TICK_NS)
            assert early_ones <= SAVED + end - first
