"""Catch-up: what is asked of whom, how much at once, what happens when an answer fails; and how a GET is answered."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.catchup import CatchUp, serve_range
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import Get, Range, Want
from ledger.outbox import Outbox, Tell
from ledger.replica import Replica
from tests.ledger.peers import Recording, log_of

LOG = log_of(1)
Replicas = dict[LogId, Replica]


class Asking:
    def __init__(self) -> None:
        self.out = Outbox()
        self.catchup = CatchUp(self.out)
        self.replicas: Replicas = {}

    def step(self, now_ns: int = 0) -> list[tuple[str, Get]]:
        self.catchup.step(self.replicas, now_ns)
        asked = []
        for tell in self.out.take_tells():
            assert isinstance(tell, Tell)
            assert isinstance(tell.body, Get)
            asked.append((tell.to, tell.body))
        return asked

    def answer(self, get: Get, recording: Recording | None = None, count: int = 0) -> None:
        """``count`` more blocks arrive for that request; they are accepted."""
        if recording is not None:
            recording.grow(count)
            self.replicas[get.log] = recording.chain.replica
        self.catchup.answered(Range(get.request_id, get.log, get.first, b"", ()))


def test_what_is_missing_is_asked_of_whoever_has_most() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 5)
    asking.catchup.learn("or-3", LOG, 7)
    ((peer, get),) = asking.step()
    assert (peer, get.log, get.first, get.end, get.want) == ("or-3", LOG, 0, 7, Want.BLOCKS)
    assert asking.step() == [], "one request per log at a time"


def test_nothing_is_asked_that_is_here_or_frozen() -> None:
    asking, recording = Asking(), Recording(LOG)
    recording.grow(7)
    asking.replicas[LOG] = recording.chain.replica
    asking.catchup.learn("or-2", LOG, 7)
    assert asking.step() == []
    asking.catchup.learn("or-2", LOG, 9)
    recording.chain.replica.frozen = True
    assert asking.step() == []
    recording.chain.replica.frozen = False
    ((_, get),) = asking.step()
    assert (get.first, get.end) == (7, 9)


def test_an_answer_that_helped_is_followed_by_the_next_question() -> None:
    asking, recording = Asking(), Recording(LOG)
    asking.catchup.learn("or-2", LOG, 10)
    ((_, first),) = asking.step()
    asking.answer(first, recording, 4)
    ((_, second),) = asking.step()
    assert (second.first, second.end) == (4, 10)
    assert second.request_id != first.request_id


def test_a_peer_that_answers_nothing_useful_is_left_for_another() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 10)
    asking.catchup.learn("or-3", LOG, 10**9)
    ((peer, get),) = asking.step()
    assert peer == "or-3"
    asking.answer(get)
    ((peer, _),) = asking.step()
    assert peer == "or-2"


def test_after_the_time_out_another_peer_is_asked() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 9)
    asking.catchup.learn("or-3", LOG, 10)
    ((peer, _),) = asking.step()
    assert peer == "or-3"
    assert asking.step(LIMITS.range_timeout_ns - 1) == []
    ((peer, _),) = asking.step(LIMITS.range_timeout_ns)
    assert peer == "or-2"
    assert asking.step(2 * LIMITS.range_timeout_ns) == [], "nobody is left to ask"
    asking.catchup.learn("or-3", LOG, 10)
    assert [peer for peer, _ in asking.step(2 * LIMITS.range_timeout_ns)] == ["or-3"]


def test_a_peer_that_goes_away_is_forgotten_and_its_questions_asked_of_others() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 9)
    asking.catchup.learn("or-3", LOG, 10)
    asking.step()
    asking.catchup.forget("or-3")
    assert [peer for peer, _ in asking.step()] == ["or-2"]
    asking.catchup.forget("or-2")
    assert asking.step() == []
    assert asking.catchup.lacking({}) == {}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["learn", "answer", "time", "forget"]), st.integers(0, 9)), max_size=40))
def test_questions_are_bounded_whatever_happens(events: list[tuple[str, int]]) -> None:
    asking, now_ns, open_gets = Asking(), 0, dict[int, Get]()
    for event, number in events:
        match event:
            case "learn":
                asking.catchup.learn(f"or-{number % 3}", log_of(number), number)
            case "answer" if open_gets:
                asking.answer(open_gets.pop(min(open_gets)))
            case "time":
                now_ns += LIMITS.range_timeout_ns
            case _:
                asking.catchup.forget(f"or-{number % 3}")
        for _, get in asking.step(now_ns):
            open_gets[get.request_id] = get
        assert len(asking.catchup._asked) <= LIMITS.ranges_outstanding
        assert len({asked.log for asked in asking.catchup._asked.values()}) == len(asking.catchup._asked)


def invented(number: int) -> LogId:
    return LogId("or-1", number, bytes(16), fenced=True)


def test_invented_logs_do_not_fill_the_memory() -> None:
    asking = Asking()
    for number in range(LIMITS.catchup_logs_per_peer + 10):
        asking.catchup.learn("or-3", invented(number), 5)
    assert asking.catchup.claims == LIMITS.catchup_logs_per_peer
    asking.catchup.forget("or-3")
    assert asking.catchup.claims == 0


def test_logs_that_are_held_whole_leave_room_for_others() -> None:
    asking, recording = Asking(), Recording(LOG)
    recording.grow(5)
    for log in map(invented, range(LIMITS.catchup_logs_per_peer)):
        asking.catchup.learn("or-3", log, 5)
        asking.replicas[log] = recording.chain.replica
    assert asking.step() == []
    asking.catchup.learn("or-3", log_of(2), 5)
    assert [(peer, get.log) for peer, get in asking.step()] == [("or-3", log_of(2))]


def test_a_flood_of_claims_displaces_nobody() -> None:
    """or-3 claims more logs than there is room for, and a longer LOG, and answers nothing."""
    asking, recording, now_ns = Asking(), Recording(LOG), 0
    for second in range(6):
        for number in range(2 * LIMITS.catchup_logs_per_peer):
            asking.catchup.learn("or-3", invented(second * 10_000 + number), 10**6)
        asking.catchup.learn("or-3", LOG, 10**6)
        asking.catchup.learn("or-2", LOG, 40)
        asked = asking.step(now_ns)
        if second:
            assert sum(peer == "or-3" for peer, _ in asked) <= 1, "who did not answer is asked one thing at a time"
        for peer, get in asked:
            if peer == "or-2":
                asking.answer(get, recording, 8)
        now_ns += LIMITS.range_timeout_ns
    assert recording.chain.size >= 4 * 8


def test_who_answers_is_asked_before_who_claims_more_and_did_not() -> None:
    asking, recording = Asking(), Recording(LOG)
    asking.catchup.learn("or-3", LOG, 10**6)
    asking.catchup.learn("or-2", LOG, 7)
    assert [peer for peer, _ in asking.step()] == ["or-3"]
    ((peer, get),) = asking.step(LIMITS.range_timeout_ns)
    assert peer == "or-2"
    asking.answer(get, recording, 3)
    asking.catchup.learn("or-3", LOG, 10**6)
    ((peer, get),) = asking.step(LIMITS.range_timeout_ns)
    assert (peer, get.first, get.end) == ("or-2", 3, 7)


def test_how_much_is_lacking() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 9)
    asking.catchup.learn("or-3", LOG, 4)
    asking.catchup.learn("or-3", log_of(2), 4)
    assert asking.catchup.lacking({LOG: 6}) == {LOG: 3, log_of(2): 4}
    assert asking.catchup.lacking({LOG: 60, log_of(2): 4}) == {}


def test_long_stretches_take_the_bulk_connection() -> None:
    asking = Asking()
    asking.catchup.learn("or-2", LOG, 64)
    asking.catchup.learn("or-2", log_of(2), 65)
    asking.catchup.step({}, 0)
    assert [tell.bulk for tell in asking.out.take_tells()] == [False, True]


BLOCKS = [(bytes([n]) * 100, bytes([n]) * 900) for n in range(200)]


def read(_: LogId, first: int, end: int) -> list[tuple[bytes, bytes]]:
    return BLOCKS[first:end]


@settings(max_examples=60)
@given(st.integers(0, 250), st.integers(0, 250), st.sampled_from(Want), st.integers(1_000, 300_000))
def test_a_get_is_answered_in_order_and_within_the_limit(first: int, end: int, want: Want, reply_bytes: int) -> None:
    message = serve_range(Get(7, LOG, first, end, want, reply_bytes), b"edge", read)
    assert (message.request_id, message.log, message.first, message.frontier) == (7, LOG, first, b"edge")
    expected = [(h, p if want is Want.BLOCKS else b"") for h, p in BLOCKS[first:end]]
    assert list(message.blocks) == expected[: len(message.blocks)]
    size = sum(len(h) + len(p) for h, p in message.blocks)
    assert size <= reply_bytes
    assert len(message.blocks) == len(expected) or size + 1_000 > reply_bytes


def test_no_answer_is_larger_than_this_box_allows() -> None:
    message = serve_range(Get(7, LOG, 0, 900, Want.BLOCKS, 1 << 40), b"", lambda *_: [(b"h", bytes(4_096))] * 900)
    assert LIMITS.relayed_reply_bytes - 4_097 <= 4_097 * len(message.blocks) <= LIMITS.relayed_reply_bytes


def test_one_block_larger_than_the_limit_is_given_all_the_same() -> None:
    large = [(b"h", bytes(LIMITS.range_reply_bytes)), (b"h", b"p")]
    message = serve_range(Get(1, LOG, 0, 2, Want.BLOCKS), b"", lambda *_: large)
    assert message.blocks == (large[0],)
