"""When a data key that is not held is asked for again: at once, then ever more seldom, never never."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ledger.key_requests import KeyRequests
from ledger.limits import LIMITS, S_NS
from ledger.messages import GetWrap
from ledger.outbox import Outbox
from ledger.replica import Replica
from tests.ledger.peers import log_of

PEERS = ("or-1", "or-3")


class Asking:
    """Keys ``0``, ``1``, … of one log that are not held, asked for once a second."""

    def __init__(self, keys: int) -> None:
        self.out = Outbox()
        self.replica = Replica(log_of(1), bytes(32))
        self.requests = KeyRequests(self.out)
        self.key_ids = [bytes([number]) * 32 for number in range(keys)]
        self.news = [self.requests.lacks(self.replica, key_id) for key_id in self.key_ids]
        self.now_s = 0

    def second(self, peers: tuple[str, ...] = PEERS) -> list[bytes]:
        """What is asked for, each of all peers."""
        self.requests.step(peers, self.now_s * S_NS)
        self.now_s += 1
        told = self.out.take_tells()
        asked = [tell.body.key_id for tell in told if isinstance(tell.body, GetWrap)]
        assert sorted(tell.to for tell in told) == sorted(peers * (len(asked) // max(1, len(peers))))
        return asked[:: max(1, len(peers))]

    def asked_at(self, seconds: int) -> list[int]:
        """The seconds at which anything is asked for."""
        return [now_s for now_s in range(self.now_s, self.now_s + seconds) if self.second()]


def test_a_key_that_never_comes_is_asked_for_ever_more_seldom_and_never_given_up() -> None:
    times = Asking(1).asked_at(600)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0
    assert pauses[0] == LIMITS.key_retry_min_ns // S_NS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LIMITS.key_retry_max_ns // S_NS
    assert len(times) < 30


def test_who_comes_back_may_hold_it_and_is_asked_at_once() -> None:
    asking = Asking(3)
    asking.asked_at(300)
    asking.requests.again()
    assert asking.second() == asking.key_ids[::-1]
    assert asking.second() == asking.key_ids[::-1], "what was asked for anew is soon asked for again"


def test_hundreds_of_keys_that_never_come_are_not_in_the_way_of_the_newest() -> None:
    """A box that joined later lacks all that was recorded before; what is recorded now is vouched for by its key."""
    asking = Asking(250)
    assert asking.key_ids[-1] in asking.second()
    asking.asked_at(60)
    asking.requests.again()
    assert asking.key_ids[-1] in asking.second()


def test_a_newest_key_whose_first_answer_was_lost_does_not_wait_behind_those_that_are_overdue() -> None:
    asking = Asking(250)
    newest = asking.key_ids[-1]
    times = [now_s for now_s in range(12) if newest in asking.second()]
    assert times == [0, 1, 3, 7]
    asking.requests.again()
    assert [newest in asking.second() for _ in range(2)] == [True, True]


def test_the_newest_keys_leave_the_others_half_of_the_questions() -> None:
    asking = Asking(250)
    asked = set()
    for number in range(8, 40):
        asked |= set(asking.second())
        for fresh in range(8):
            asking.requests.lacks(asking.replica, bytes([number, fresh]) * 16)
    assert len(asked & set(asking.key_ids)) == 250


def test_a_key_is_found_to_be_lacking_once() -> None:
    asking = Asking(1)
    assert asking.news == [True]
    assert not asking.requests.lacks(asking.replica, asking.key_ids[0])
    assert asking.second() == asking.key_ids
    assert asking.second() == asking.key_ids


def test_with_nobody_there_nothing_is_put_off() -> None:
    asking = Asking(1)
    for _ in range(100):
        assert asking.second(()) == []
    assert asking.second() == asking.key_ids


def test_nothing_is_asked_for_of_a_log_that_has_gone() -> None:
    asking = Asking(2)
    asking.replica.expired = True
    assert asking.asked_at(100) == []


@given(st.integers(1, 60), st.lists(st.integers(0, 59), max_size=20, unique=True))
def test_all_have_their_turn_a_few_at_a_time_and_those_that_came_no_more(keys: int, come: list[int]) -> None:
    asking = Asking(keys)
    came = {asking.key_ids[number] for number in come if number < keys}
    asking.replica.missing_keys -= came
    asked = [asking.second() for _ in range(-(-keys // (LIMITS.keys_asked // 2)) + 1)]
    assert {key_id for second in asked for key_id in second} == set(asking.key_ids) - came
    assert all(len(second) <= LIMITS.keys_asked for second in asked)
