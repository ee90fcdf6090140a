"""Payloads fetched after their headers: which, of whom, in which order; what is kept; when no more is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.chain import Block
from ledger.errors import PeerFault, StoreFault
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.messages import Cosign, Get, Nack, Range, Stored, Want
from ledger.payload_catchup import PAYLOAD_REQUESTS_FROM, PIECE_BLOCKS, PayloadCatchUp
from ledger.replica import Replica
from ledger.retention import DAY_NS
from tests.ledger.cluster import rebuild
from tests.ledger.peers import NOW, PeerUnderTest, Recording, log_of

LOG = log_of(1)
GROUP = ("or-1", "or-3", "or-4")


class Lacking(PeerUnderTest):
    """or-2 holds the headers of or-1's log; its payloads are asked for here."""

    def __init__(self, recording: Recording, blocks: int, held: range = range(0)) -> None:
        super().__init__()
        self.recording = recording
        self.now = NOW
        self.payloads = self.catch_up()
        pairs = tuple((block.signed_header, block.payload if block.seq in held else b"")
                      for block in recording.blocks[:blocks])  # fmt: skip
        self.witness.on_range("or-3", Range(1, recording.chain.log, 0, b"", pairs))
        self.commit()

    def catch_up(self) -> PayloadCatchUp:
        payloads = PayloadCatchUp(
            self.out, self.disk, self.witness.replicas, self.witness.promises.is_current, self.witness.on_other_header,
            self.witness.filled,
        )  # fmt: skip
        for peer in GROUP:
            payloads.peer_up(peer)
        return payloads

    @property
    def replica(self) -> Replica:
        return self.witness.replicas[self.recording.chain.log]

    def asked(self, after_ns: int = 0) -> list[tuple[str, Get]]:
        self.now = Now(self.now.mono_ns + after_ns, self.now.utc_ns + after_ns)
        self.payloads.step(self.now.mono_ns)
        tells = self.out.take_tells()
        assert all(tell.bulk for tell in tells if isinstance(tell.body, Get))
        return [(tell.to, tell.body) for tell in tells if isinstance(tell.body, Get)]

    def range_of(self, get: Get, upto: int | None = None) -> Range:
        blocks = self.recording.blocks[get.first : min(get.end, upto or get.end)]
        return Range(get.request_id, get.log, get.first, b"", tuple((b.signed_header, b.payload) for b in blocks))

    def refusal_of(self, get: Get) -> Range:
        full = self.range_of(get)
        return replace(full, blocks=tuple((header, b"") for header, _ in full.blocks))

    def answer(self, peer: str, message: Range, peers: tuple[str, ...] = GROUP) -> None:
        self.payloads.on_range(peer, message, peers, self.now)


@pytest.fixture
def long() -> Recording:
    recording = Recording(LOG)
    recording.grow(3 * PIECE_BLOCKS)
    return recording


def test_nothing_is_vouched_for_that_lacks_a_payload_and_all_is_once_it_is_here(long: Recording) -> None:
    peer = Lacking(long, 10)
    said = peer.take(long.blocks[10].message())
    assert not [body for body in said if isinstance(body, Cosign)]
    assert not [body for body in said if isinstance(body, Stored)], "nothing from block 0 on is held"
    ((giver, get),) = peer.asked()
    assert (get.first, get.end, get.want) == (0, 10, Want.BLOCKS)
    peer.answer(giver, peer.range_of(get))
    assert not [body for body in peer.said() if isinstance(body, Cosign)], "not before it is durable"
    (cosign,) = [body for body in peer.commit() if isinstance(body, Cosign)]
    assert cosign.size == 11


def test_what_is_held_from_the_front_is_said_to_be_stored(long: Recording) -> None:
    peer = Lacking(long, 10, held=range(4))
    said = peer.take(long.blocks[10].message())
    assert [body for body in said if isinstance(body, Stored)] == [Stored(LOG, 4)]


def test_the_newest_come_first_in_pieces(long: Recording) -> None:
    peer = Lacking(long, 3 * PIECE_BLOCKS)
    seen = []
    for _ in range(3):
        ((giver, get),) = peer.asked()
        assert peer.asked() == [], "one piece of a box at a time"
        seen.append((get.first, get.end))
        peer.answer(giver, peer.range_of(get))
    assert seen == [(2 * PIECE_BLOCKS, 3 * PIECE_BLOCKS), (PIECE_BLOCKS, 2 * PIECE_BLOCKS), (0, PIECE_BLOCKS)]
    assert peer.asked() == []
    assert peer.payloads.lacking == 0


def test_a_short_answer_is_taken_and_the_rest_asked_for(long: Recording) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    peer.answer(giver, peer.range_of(get, upto=15))
    ((_, again),) = peer.asked()
    assert (again.first, again.end) == (15, 20)


@pytest.mark.parametrize("how", ["without payloads", "empty", "silence"])
def test_what_one_peer_does_not_give_is_asked_of_the_others(long: Recording, how: str) -> None:
    peer = Lacking(long, 20)
    tried = []
    for _ in GROUP:
        ((giver, get),) = peer.asked()
        tried.append(giver)
        assert (get.first, get.end) == (0, 20)
        if how == "without payloads":
            peer.answer(giver, peer.refusal_of(get))
        elif how == "empty":
            peer.answer(giver, Range(get.request_id, get.log, get.first, b"", ()))
        else:
            peer.now = Now(peer.now.mono_ns + LIMITS.range_timeout_ns // 3, peer.now.utc_ns)
            assert peer.asked(0) == []
            peer.now = Now(peer.now.mono_ns + LIMITS.range_timeout_ns, peer.now.utc_ns)
    if how != "silence":
        assert sorted(tried) == sorted(GROUP)
        assert peer.asked() == [], "not asked without end"
    assert tried[0] != tried[1]


def test_refused_payloads_are_asked_for_again_after_a_pause_that_grows(long: Recording) -> None:
    peer = Lacking(long, 20)
    pauses, last_ns = [], None
    for _ in range(2_500):
        for giver, get in peer.asked(100_000_000):
            peer.answer(giver, peer.refusal_of(get))
            if giver == "or-3":
                if last_ns is not None:
                    pauses.append(peer.now.mono_ns - last_ns)
                last_ns = peer.now.mono_ns
    assert pauses[0] <= LIMITS.payload_retry_min_ns + 10**9
    assert pauses == sorted(pauses)
    assert LIMITS.payload_retry_max_ns <= pauses[-1] <= LIMITS.payload_retry_max_ns + 10**9
    assert len(pauses) < 20


def test_a_hole_that_nobody_fills_hides_nothing_behind_it(long: Recording) -> None:
    peer = Lacking(long, 3 * PIECE_BLOCKS)
    hole = range(2 * PIECE_BLOCKS - 10, 3 * PIECE_BLOCKS)
    for _ in range(400):
        for giver, get in peer.asked(10**9 // 2):
            full = peer.range_of(get)
            blocks = tuple((header, b"" if seq in hole or giver != "or-4" else payload)
                           for seq, (header, payload) in enumerate(full.blocks, get.first))  # fmt: skip
            peer.answer(giver, replace(full, blocks=blocks))
        peer.commit()
    assert list(peer.replica.unheld) == [(hole.start, hole.stop)]


def test_a_peer_that_comes_up_again_is_asked_at_once(long: Recording) -> None:
    peer = Lacking(long, 20)
    for _ in GROUP:
        ((giver, get),) = peer.asked()
        peer.answer(giver, peer.refusal_of(get))
    assert peer.asked() == []
    peer.payloads.peer_down("or-4")
    peer.payloads.peer_up("or-4")
    ((giver, _),) = peer.asked()
    assert giver == "or-4"


def test_payloads_that_do_not_fit_their_headers_are_refused_and_counted(long: Recording) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    full = peer.range_of(get)
    spoilt = tuple((header, bytes(len(payload)) if seq % 2 else payload)
                   for seq, (header, payload) in enumerate(full.blocks))  # fmt: skip
    with pytest.raises(PeerFault) as raised:
        peer.answer(giver, replace(full, blocks=spoilt))
    assert raised.value.id == "block.bad-payload"
    assert [seq for seq in range(20) if seq in peer.replica.unheld] == list(range(1, 20, 2)), "the others are kept"
    ((other, _),) = peer.asked()
    assert other != giver
    peer.commit()
    assert peer.disk.logs[LOG][1][1] == b""
    assert peer.disk.logs[LOG][2][1] == long.blocks[2].payload


def test_another_header_in_an_answer_is_judged_as_a_second_history(long: Recording) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    forged = long.resigned(3, boot_ns=99)
    blocks = list(peer.range_of(get).blocks)
    blocks[3] = (forged.signed_header, forged.payload)
    with pytest.raises(PeerFault):
        peer.answer(giver, replace(peer.range_of(get), blocks=tuple(blocks)))
    assert peer.replica.frozen
    assert peer.witness.forks.proofs == {"or-1": 1}


@pytest.mark.parametrize("header", [b"", bytes(200)])
def test_a_header_in_an_answer_that_is_none_is_refused_and_the_others_are_asked(long: Recording, header: bytes) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    blocks = list(peer.range_of(get).blocks)
    blocks[3] = (header, blocks[3][1])
    with pytest.raises(PeerFault) as raised:
        peer.answer(giver, replace(peer.range_of(get), blocks=tuple(blocks)))
    assert raised.value.id == "block.bad-payload"
    assert not peer.replica.frozen
    assert [seq for seq in range(20) if seq in peer.replica.unheld] == [3], "the others are kept"
    assert not [body for body in peer.commit() if isinstance(body, Cosign)]
    ((other, again),) = peer.asked()
    assert other != giver
    peer.answer(other, peer.range_of(again))
    (cosign,) = [body for body in peer.commit() if isinstance(body, Cosign)]
    assert cosign.size == 20


def test_a_header_that_our_disk_does_not_give_back_hinders_no_other(
    long: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    whole = peer.disk.signed_header

    def damaged(log: LogId, seq: int) -> bytes | None:
        if seq == 3:
            raise StoreFault("store.corrupt", "a page is gone")
        return whole(log, seq)

    monkeypatch.setattr(peer.disk, "signed_header", damaged)
    with pytest.raises(StoreFault):
        peer.answer(giver, peer.range_of(get))
    assert [seq for seq in range(20) if seq in peer.replica.unheld] == [3]
    assert giver not in {asked for asked, _ in peer.asked()}, "not of the same again at once"


def test_an_answer_that_was_not_asked_for_changes_nothing(long: Recording) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    for wrong in (
        replace(peer.range_of(get), request_id=get.request_id + 1),
        replace(peer.range_of(get), first=1),
        replace(peer.range_of(get), log=log_of(2)),
    ):
        peer.answer(giver, wrong)
    peer.answer("or-4" if giver != "or-4" else "or-3", peer.range_of(get))
    assert peer.payloads.lacking == 20
    peer.answer(giver, peer.range_of(get))
    assert peer.payloads.lacking == 0


def test_what_retention_took_is_not_asked_for(long: Recording) -> None:
    peer = Lacking(long, 20)
    peer.replica.prune(15)
    ((giver, get),) = peer.asked()
    assert (get.first, get.end) == (15, 20)
    peer.replica.prune(18)
    peer.answer(giver, peer.range_of(get))
    peer.commit()
    assert [bool(payload) for _, payload in peer.disk.logs[LOG]] == [False] * 18 + [True] * 2


def test_what_was_dropped_meanwhile_is_not_asked_for_again(long: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Lacking(long, 20)
    ((giver, get),) = peer.asked()
    monkeypatch.setattr(peer.disk, "signed_header", lambda _log, _seq: None)
    peer.answer(giver, peer.range_of(get))
    assert peer.asked() == []
    assert not peer.out.take_ops()[0]


def _aged(age_ns: int, old: int = 5) -> Recording:
    """A log whose first blocks are older than the last five by the boot clock."""
    recording = Recording(LOG)
    recording.grow(old)
    recording.boot_ns += age_ns
    recording.grow(5)
    return recording


@pytest.mark.parametrize(("age_ns", "left"), [(DAY_NS + 1, 0), (DAY_NS - 1, 5)])
def test_what_every_peer_pruned_is_not_waited_for_once_it_is_a_day_old(age_ns: int, left: int) -> None:
    recording = _aged(age_ns)
    peer = Lacking(recording, 10, held=range(5, 10))
    for _ in GROUP:
        assert peer.payloads.lacking == 5
        ((giver, get),) = peer.asked()
        peer.answer(giver, peer.refusal_of(get))
    assert peer.payloads.lacking == left
    assert bool([body for body in peer.commit() if isinstance(body, Cosign)]) == (left == 0)


def test_one_peer_that_says_so_is_not_enough() -> None:
    peer = Lacking(_aged(2 * DAY_NS), 10, held=range(5, 10))
    for _ in GROUP[1:]:
        ((giver, get),) = peer.asked()
        peer.answer(giver, peer.refusal_of(get))
    assert peer.payloads.lacking == 5


_OLD_BLOCKS = 40


@cache
def old() -> Recording:
    return _aged(2 * DAY_NS, _OLD_BLOCKS)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*(st.sets(st.integers(0, _OLD_BLOCKS - 1)) | st.just(set(range(_OLD_BLOCKS))) for _ in GROUP)))
def test_only_what_every_peer_denied_itself_is_given_up(denied: tuple[set[int], ...]) -> None:
    """However few spans are remembered of it, here two: of the rest they give payloads that do not fit."""
    with pytest.MonkeyPatch.context() as patch:
        peer = Lacking(old(), _OLD_BLOCKS + 5, held=range(_OLD_BLOCKS, _OLD_BLOCKS + 5))
        patch.setattr("ledger.spans.LIMITS", replace(LIMITS, payload_spans=2))
        says = dict(zip(GROUP, denied, strict=True))
        for _ in range(60):
            for name, get in peer.asked(S_NS):
                full = peer.range_of(get)
                blocks = tuple((header, b"" if seq in says[name] else b"unfit")
                               for seq, (header, _) in enumerate(full.blocks, get.first))  # fmt: skip
                with suppress(PeerFault):
                    peer.answer(name, replace(full, blocks=blocks))
        lacking = {seq for first, end in peer.replica.unheld for seq in range(first, end)}
    everywhere = set.intersection(*denied)
    assert lacking >= set(range(_OLD_BLOCKS)) - everywhere
    if len(everywhere) == _OLD_BLOCKS:
        assert not lacking


def test_the_boxes_have_their_turn_one_after_the_other() -> None:
    recordings = [Recording(log_of(1, box=box)) for box in ("or-1", "or-3", "or-4")]
    peer = PeerUnderTest()
    payloads = Lacking.catch_up(peer)  # type: ignore[arg-type]
    for recording in recordings:
        recording.grow(2)
        replica = rebuild(recording.chain.log, [(block.signed_header, b"") for block in recording.blocks])
        peer.witness.replicas[recording.chain.log] = replica
    payloads.step(0, 1)
    turns = [tell.body.log.box for tell in peer.out.take_tells() if isinstance(tell.body, Get)]
    for at_ns in range(1, 6):
        payloads.step(at_ns * LIMITS.range_timeout_ns, 1)
        turns += [tell.body.log.box for tell in peer.out.take_tells() if isinstance(tell.body, Get)]
    assert sorted(turns[:3]) == sorted(turns[3:]) == ["or-1", "or-3", "or-4"]


def test_request_ids_are_its_own(long: Recording) -> None:
    peer = Lacking(long, 20)
    ((_, get),) = peer.asked()
    assert PAYLOAD_REQUESTS_FROM < get.request_id < 1 << 32


class Machine(RuleBasedStateMachine):
    """Whatever peers answer and whenever the disk commits: no word without every payload, nothing wrong kept, and
    what honest peers hold comes in the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recording = Recording(LOG)
        self.recording.grow(30)
        self.peer = Lacking(self.recording, 20)
        self.open: list[tuple[str, Get]] = []
        self.cosigned = 0

    def _heard(self, said: Sequence[object]) -> None:
        for body in said:
            assert not isinstance(body, Nack)
            if isinstance(body, Cosign):
                held = [payload for _, payload in self.peer.disk.logs[LOG][: body.size]]
                assert held == [block.payload for block in self.recording.blocks[: body.size]]
                self.cosigned = body.size

    @rule(after_ms=st.integers(0, 5_000))
    def step(self, after_ms: int) -> None:
        self.open += self.peer.asked(after_ms * 1_000_000)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["whole", "part", "without", "empty", "spoilt"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        giver, get = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        message = self.peer.range_of(get)
        match how:
            case "part":
                message = replace(message, blocks=message.blocks[: data.draw(st.integers(1, len(message.blocks)))])
            case "without":
                message = self.peer.refusal_of(get)
            case "empty":
                message = replace(message, blocks=())
            case "spoilt":
                message = replace(message, blocks=tuple((header, b"x" * len(body)) for header, body in message.blocks))
        with suppress(PeerFault) if how == "spoilt" else nullcontext():
            self.peer.answer(giver, message)

    @rule()
    def commit(self) -> None:
        self._heard(self.peer.commit())

    @rule()
    def live_block(self) -> None:
        if self.peer.replica.size < 30:
            self.peer.witness.on_block("or-1", self.recording.blocks[self.peer.replica.size].message(), NOW)

    @rule()
    def restart(self) -> None:
        self._heard(self.peer.commit())
        again = Lacking(self.recording, 0)
        again.disk.logs, again.disk.promises = self.peer.disk.logs, self.peer.disk.promises
        replicas = [rebuild(LOG, self.peer.disk.logs[LOG])]
        keys = list(self.peer.witness.cosigner.keys_held)
        again.witness.load(replicas, self.peer.disk.promises, keys)
        again.now = self.peer.now
        self.peer, self.open = again, []

    @invariant()
    def bounded(self) -> None:
        assert self.peer.payloads.outstanding <= LIMITS.ranges_outstanding
        for seq, (_, payload) in enumerate(self.peer.disk.logs[LOG]):
            assert payload in (b"", self.recording.blocks[seq].payload)

    def teardown(self) -> None:
        for _ in range(200):
            if not self.peer.payloads.lacking:
                break
            for giver, get in self.peer.asked(10**9):
                self.peer.answer(giver, self.peer.range_of(get))
            self._heard(self.peer.commit())
        assert self.peer.payloads.lacking == 0
        self.peer.witness.on_block("or-1", self._last().message(), NOW)
        self._heard(self.peer.commit())
        assert self.cosigned == self.peer.replica.size

    def _last(self) -> Block:
        if self.peer.replica.size == 30:
            self.recording.grow(1)
        return self.recording.blocks[self.peer.replica.size]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 60))
def test_what_is_lacking_is_known_again_after_a_restart(held: list[bool], tip_at: int) -> None:
    recording = Recording(LOG)
    recording.grow(max(1, len(held)))
    replica = rebuild(LOG, [(block.signed_header, block.payload if has else b"")
                            for block, has in zip(recording.blocks, held, strict=False)]
                      or [(recording.blocks[0].signed_header, b"")])  # fmt: skip
    lacking = [seq for seq, has in enumerate(held) if not has] if held else [0]
    again = Replica.from_tip(LOG, replica.derived(None).tip)
    assert [seq for seq in range(61) if seq in again.unheld] == lacking
    again.prune(tip_at)
    assert [seq for seq in range(61) if seq in again.unheld] == [seq for seq in lacking if seq >= tip_at]
