"""Which acknowledgements may leave."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.held_sends import HeldSends, LostTickets
from drivers.contract import Send, Ticket
from ledger.limits import LIMITS
from ledger.records import LinkId

A, B = LinkId(1), LinkId(2)


def ack(ticket: int, link: LinkId = A) -> Send:
    return Send(link, b"ack %d" % ticket, Ticket(ticket))


def recording(*positions: int) -> HeldSends:
    """Tickets 1, 2, ... on their way at these positions; 0: found no room."""
    held = HeldSends()
    for ticket, position in enumerate(positions, start=1):
        if position:
            held.recorded(Ticket(ticket), position)
        else:
            held.lost(Ticket(ticket))
    return held


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 60), st.integers(0, 5), st.integers(1, 30))
def test_a_loss_is_never_forgotten_and_none_is_invented_while_there_is_room(
    tickets: list[int], first: int, more: int, most: int
) -> None:
    lost = LostTickets(most)
    for ticket in tickets:
        lost.add(Ticket(ticket))
    truth = any(first <= ticket <= first + more for ticket in tickets)
    assert lost.any_in(first, first + more) or not truth
    if len(tickets) <= most:
        assert lost.any_in(first, first + more) == truth
    assert len(lost._ranges) <= most


def test_a_message_of_several_records_waits_for_the_last_and_fails_with_any() -> None:
    held = recording(10, 11, 12)
    assert held.hold(ack(3), 0) == "held"
    held.durable(11)
    assert held.ready() == []
    held.durable(12)
    assert held.ready() == [ack(3)]
    assert recording(10, 0, 12).hold(ack(3), 0) == "refused"
    held = recording(10, 11, 12)
    held.hold(ack(3), 0)
    assert held.refused(9, 10) == [ack(3)]


def test_one_message_lost_does_not_refuse_the_next() -> None:
    held = recording(10, 0, 12)
    assert held.hold(ack(2), 0) == "refused"
    assert held.hold(ack(3, B), 0) == "held"


def test_a_repeat_waits_for_the_first_and_shares_its_fate() -> None:
    held = recording(10, 20)
    held.hold(ack(1), 0)
    held.hold(ack(2), 0)
    assert held.hold(ack(1, B), 0) == "held"
    held.durable(10)
    assert held.ready() == [ack(1), ack(1, B)], "it does not wait for what came after"
    held = recording(10, 20)
    held.hold(ack(1), 0)
    held.hold(ack(2), 0)
    held.hold(ack(1, B), 0)
    assert held.refused(10, 10) == [ack(1), ack(1, B)]
    assert held.hold(ack(1, B), 0) == "refused"


def test_links_do_not_wait_for_each_other() -> None:
    held = recording(10, 20)
    held.hold(ack(2), 0)
    held.hold(Send(A, b"free"), 0)
    held.hold(Send(B, b"free"), 0)
    assert held.ready() == [Send(B, b"free")]
    assert held.drop_link(A) == 2
    assert len(held) == 0
    assert held.deadline_ns() is None


def test_the_bound_and_the_deadline() -> None:
    held = HeldSends(replace(LIMITS, held_sends=2, ack_timeout_ns=100))
    held.recorded(Ticket(1), 10)
    assert [held.hold(ack(1, link), at) for link, at in ((A, 5), (B, 7), (A, 8))] == ["held", "held", "full"]
    assert held.deadline_ns() == 105
    assert held.overdue(104) == []
    assert held.overdue(105) == [A]
    assert held.overdue(107) == [A, B]
