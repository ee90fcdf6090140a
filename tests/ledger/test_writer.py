"""The writer's state machine, driven by hand: fences, promises, refusals, nacks, rolls, and what a START holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger import writer as module
from ledger.block import decode_signed_header, sign_header
from ledger.chain import Block
from ledger.errors import PeerFault
from ledger.evidence import equivocation_proof
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.message_codec import encode_signed
from ledger.messages import Body, Fence, Nack, Promise, Refuse, Stored, Wrap
from ledger.notices import Head, Start
from ledger.ops import OpenLog, PutSelf
from ledger.outbox import Outbox, Warn
from ledger.quorum import Level
from ledger.sealing import unwrap
from ledger.start import check_start
from ledger.tree import leaf_hash
from ledger.writer import OwnPast, State, Writer
from tests.ledger.cluster import MemoryDisk
from tests.ledger.peers import MANIFEST, Recording, draft, fence, log_of, signed
from tests.ledger_strategies import BOX_KEYS, KEYS, SITE, make_manifest

PEERS = ("or-2", "or-3", "or-4")


class WriterUnderTest:
    """or-1's writer over a disk in memory; everything asked for is committed at once."""

    def __init__(self, past: OwnPast = OwnPast(0, ()), peers: int = 3) -> None:  # noqa: B008 - frozen
        self.disk = MemoryDisk()
        self.out = Outbox()
        self.manifest = make_manifest(peers + 1)
        self._secrets = 0
        self.writer = Writer("or-1", KEYS["or-1"], self.manifest, bytes(16), self.disk, self.out, self._random)
        self.writer.start(past)
        self.now_ns = 0
        self.ops: list[object] = []

    def _random(self, count: int) -> bytes:
        self._secrets += 1
        return self._secrets.to_bytes(count, "big")

    def is_in(self, state: State) -> bool:
        return self.writer.state is state

    def up(self, *peers: str) -> None:
        for peer in peers or PEERS:
            self.writer.peer_up(peer)

    def step(self, after_ns: int = 0) -> list[Body]:
        self.now_ns += after_ns
        self.writer.step(self.now_ns)
        return self.commit()

    def commit(self) -> list[Body]:
        ops, position = self.out.take_ops()
        self.ops += ops
        self.disk.commit(ops)
        self.out.committed(position)
        return [tell.body for tell in self.out.take_tells()]

    def record(self, count: int = 1) -> list[Block]:
        blocks = [self.writer.close_block(draft(keyframe=True)) for _ in range(count)]
        self.commit()
        return blocks

    def fence(self) -> Fence:
        """What is asked of the peers now."""
        (found,) = [body for body in self.step() if isinstance(body, Fence)]
        return found

    def promise(self, asked: Fence, *givers: str, fenced: tuple[Head, ...] = (), loose: tuple[Head, ...] = ()) -> None:
        for giver in givers:
            body = Promise("or-1", asked.counter, asked.incarnation, asked.nonce, fenced, loose)
            self.writer.on_promise(signed(body, giver, self.manifest), body, self.now_ns)

    def fenced(self) -> WriterUnderTest:
        """Up, promised and in its first epoch."""
        self.up()
        self.promise(self.fence(), "or-2", "or-3")
        self.step()
        assert self.is_in(State.FENCED)
        return self

    def start(self) -> Start:
        (block,) = self.record()
        assert block.seq == 0
        notice = decode_signed_header(block.signed_header).notices[0]
        assert isinstance(notice, Start)
        return notice

    def warnings(self) -> list[Warn]:
        return self.out.take_warnings()


def own_fence(counter: int, key: str = "or-1") -> bytes:
    return encode_signed(Fence(counter, bytes(16), bytes(16)), SITE, MANIFEST.hash, "or-1", KEYS[key])


def head(counter: int, size: int, *, fenced: bool = True, incarnation: int = 0) -> Head:
    """An end whose last header is, on the disk, no bytes at all."""
    return Head(log_of(counter, fenced=fenced, incarnation=incarnation), size, bytes([size % 256]) * 32, leaf_hash(b""))


# ---- recording never waits --------------------------------------------------------------------------------------


def test_every_start_records_at_once_in_a_provisional_log_of_its_last_counter() -> None:
    under = WriterUnderTest(OwnPast(7, (head(7, 20),)))
    log = under.writer.chain.log
    assert (under.writer.state, log.counter, log.fenced) == (State.PROVISIONAL, 7, False)
    assert under.start() == Start(bytes(16), (), None, ())
    assert under.disk.length(log) == 1
    assert [op.log for op in under.ops if isinstance(op, OpenLog)] == [log]


def test_alone_it_opens_a_fenced_epoch_that_continues_its_disk() -> None:
    loose = head(3, 4, fenced=False, incarnation=9)
    under = WriterUnderTest(OwnPast(7, (head(6, 50), head(7, 20), loose)), peers=0)
    assert (under.writer.state, under.writer.chain.log.counter, under.writer.chain.log.fenced) == (State.LONE, 8, True)
    start = under.start()
    assert start.parent == head(7, 20)
    assert set(start.tails) == {head(6, 50), loose}
    assert PutSelf("counter", (8).to_bytes(8, "big")) in under.ops


def test_the_data_key_goes_wrapped_to_every_box_of_the_group() -> None:
    under = WriterUnderTest()
    (sent,) = [body for body in under.commit() if isinstance(body, Wrap)]
    made = under.writer.data_keys.made[0]
    assert (sent.log, sent.key_id, dict(sent.wraps)) == (made.log, made.key.key_id, made.wraps)
    assert set(made.wraps) == {"or-1", "or-2", "or-3", "or-4"}
    for name, wrapped in made.wraps.items():
        assert unwrap(wrapped, "or-1", made.log.incarnation, made.key.key_id, BOX_KEYS[name]) == made.key


def test_no_two_logs_share_a_data_key_or_an_incarnation() -> None:
    under = WriterUnderTest().fenced()
    first, second = under.writer.data_keys.made
    assert first.key.key_id != second.key.key_id
    assert under.writer.chain.log.incarnation != first.log.incarnation


# ---- fencing ----------------------------------------------------------------------------------------------------


def test_it_asks_for_a_fence_once_enough_peers_are_up_and_its_counter_is_durable() -> None:
    under = WriterUnderTest(OwnPast(7, ()))
    under.up("or-2")
    assert not any(isinstance(body, Fence) for body in under.step())
    under.up("or-3")
    under.writer.step(0)
    assert not any(isinstance(tell.body, Fence) for tell in under.out.take_tells()), "not before the commit"
    (asked,) = [body for body in under.commit() if isinstance(body, Fence)]
    assert (under.writer.state, asked.counter) == (State.FENCING, 8)
    assert PutSelf("counter", (8).to_bytes(8, "big")) in under.ops
    under.writer.peer_down("or-3")
    assert under.is_in(State.FENCING)


def test_without_promises_it_gives_up_and_tries_again_with_a_higher_counter_less_and_less_often() -> None:
    under = WriterUnderTest()
    under.up()
    waits: list[int] = []
    counters = []
    for _ in range(5):
        counters.append(under.fence().counter)
        assert not any(isinstance(body, Fence) for body in under.step(LIMITS.fence_timeout_ns - 1))
        assert under.is_in(State.FENCING)
        under.step(1)
        assert under.is_in(State.PROVISIONAL)
        waits.append(under.writer._next_attempt_ns - under.now_ns)
        assert under.step(waits[-1] - 1) == []
        under.now_ns += 1
    assert counters == [1, 2, 3, 4, 5]
    assert waits == [1 * S_NS, 2 * S_NS, 4 * S_NS, 5 * S_NS, 5 * S_NS]


def test_recording_goes_on_while_it_fences_and_the_epoch_names_what_was_recorded() -> None:
    under = WriterUnderTest()
    under.up()
    under.record(2)
    asked = under.fence()
    under.record(3)
    provisional = under.writer.chain
    under.promise(asked, "or-2", "or-3")
    under.step()
    assert under.is_in(State.FENCED)
    start = under.start()
    assert start.tails == (provisional.head(),)
    assert start.tails[0].size == 5
    assert under.writer.names() == [provisional.head()]


def test_the_start_holds_promises_that_every_peer_accepts() -> None:
    under = WriterUnderTest()
    under.up()
    under.record()
    asked = under.fence()
    under.promise(asked, "or-2", "or-4")
    under.step()
    (block,) = under.record()
    header = decode_signed_header(block.signed_header)
    start = header.notices[0]
    assert isinstance(start, Start)
    assert len(start.promises) == 2
    assert (header.log.counter, header.log.incarnation) == (asked.counter, asked.incarnation)
    check_start(header, start, MANIFEST)


def test_one_promise_too_few_or_one_given_twice_does_not_fence() -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    under.promise(asked, "or-2", "or-2")
    under.step()
    assert under.is_in(State.FENCING)
    under.promise(asked, "or-3")
    under.step()
    assert under.is_in(State.FENCED)


@pytest.mark.parametrize("changes", [{"counter": 2}, {"incarnation": bytes(16)}, {"nonce": bytes(16)}])
def test_a_promise_for_another_attempt_does_not_count(changes: dict[str, object]) -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    under.promise(replace(asked, **changes), *PEERS)  # type: ignore[arg-type]
    under.step()
    assert under.is_in(State.FENCING)
    other = Promise("or-2", asked.counter, asked.incarnation, asked.nonce, (), ())
    for giver in PEERS:
        under.writer.on_promise(signed(other, giver), other, 0)
    under.step()
    assert under.is_in(State.FENCING)


def test_a_promise_after_the_attempt_does_not_count() -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    under.step(LIMITS.fence_timeout_ns)
    under.promise(asked, *PEERS)
    under.step()
    assert under.is_in(State.PROVISIONAL)


def test_a_promise_counts_once_the_heads_it_reports_are_held() -> None:
    under, old = WriterUnderTest(), Recording(log_of(5))
    old.grow(3)
    under.up()
    asked = under.fence()
    under.promise(asked, "or-2", "or-3", fenced=(old.chain.head(),))
    under.step(LIMITS.promise_headers_ns - 1)
    assert under.is_in(State.FENCING)
    assert list(under.writer.lacking()) == [("or-2", old.chain.head()), ("or-3", old.chain.head())]
    under.disk.logs[old.chain.log] = [(block.signed_header, block.payload) for block in old.blocks]
    under.step()
    assert under.is_in(State.FENCED)
    assert under.start().parent == old.chain.head()


def test_a_giver_that_never_delivers_is_dropped_and_cannot_prolong_the_attempt() -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    for _ in range(20):
        under.promise(asked, "or-2", "or-3", fenced=(head(9, 10),))
        under.step(LIMITS.promise_headers_ns // 10)
    assert not under.writer.chain.log.fenced
    attempt = under.writer._attempt
    assert attempt is None or attempt.counter > asked.counter


def test_honest_promises_suffice_beside_one_that_lies() -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    under.promise(asked, "or-2", fenced=(head(1 << 40, 1 << 40),))
    under.promise(asked, "or-3", "or-4")
    under.step()
    assert under.is_in(State.FENCED)
    assert under.start().parent is None


def test_a_promise_that_reports_ends_of_another_box_counts_for_nothing() -> None:
    under, others = WriterUnderTest(), Recording(log_of(5, box="or-3"))
    blocks = others.grow(2)
    under.disk.logs[others.chain.log] = [(block.signed_header, block.payload) for block in blocks]
    under.up()
    asked = under.fence()
    with pytest.raises(PeerFault, match="or-2 promised or-1"):
        under.promise(asked, "or-2", fenced=(others.chain.head(),))
    under.promise(asked, "or-3")
    under.step()
    assert under.is_in(State.FENCING)
    under.promise(asked, "or-4")
    under.step()
    start = under.start()
    assert (start.parent, len(start.promises)) == (None, 2)
    assert all(tail.log.box == "or-1" for tail in start.tails)


def test_what_an_epoch_says_of_ends_that_are_held_here_is_our_own_word_not_a_givers() -> None:
    under, old = WriterUnderTest(), Recording(log_of(5))
    old.grow(3)
    true = old.chain.head()
    under.disk.logs[old.chain.log] = [(block.signed_header, block.payload) for block in old.blocks]
    under.writer.loose_ends = lambda: [true]
    under.up()
    asked = under.fence()
    under.promise(asked, "or-2", fenced=(replace(true, root=bytes(32)),))
    under.promise(asked, "or-3", fenced=(true,))
    under.step()
    assert under.start().parent == true


def test_the_parent_is_the_highest_epoch_not_the_longest_log() -> None:
    past = OwnPast(6, (head(5, 200), head(6, 3)))
    under = WriterUnderTest(past)
    for own in past.heads:
        under.disk.logs[own.log] = [(b"", b"")] * own.size
    under.up()
    loose = head(6, 2, fenced=False, incarnation=80)
    under.disk.logs[loose.log] = [(b"", b"")] * 2
    asked = under.fence()
    assert asked.counter == 7
    under.promise(asked, "or-2", fenced=(head(5, 200),), loose=(loose,))
    under.promise(asked, "or-3")
    under.step()
    start = under.start()
    assert start.parent == head(6, 3)
    assert set(start.tails) == {head(5, 200), loose}


def test_more_loose_ends_than_a_header_can_hold_do_not_stop_the_recording() -> None:
    ends = tuple(
        Head(LogId("or-1", 0, (n + 1000).to_bytes(16, "big"), fenced=False), 1, bytes(32), bytes(32))
        for n in range(600)
    )
    under = WriterUnderTest(OwnPast(0, ends))
    under.record(3)
    live = under.writer.chain.head()
    start = under.fenced().start()
    assert live in start.tails
    assert 1 < len(start.tails) < len(ends)


# ---- refusals and nacks -----------------------------------------------------------------------------------------


def refuse(counter: int, evidence: bytes) -> Refuse:
    return Refuse("or-1", counter, bytes(16), evidence)


def test_a_refusal_without_evidence_of_our_own_key_is_ignored() -> None:
    under = WriterUnderTest()
    under.up()
    asked = under.fence()
    foreign = Recording(log_of(90, box="or-2"))
    provisional = Recording(log_of(90, fenced=False))
    foreign.grow(1)
    provisional.grow(1)
    for evidence in (
        b"", b"garbage", own_fence(90, key="or-2"), own_fence(90)[:-1], foreign.blocks[0].signed_header,
        provisional.blocks[0].signed_header, signed(Stored(log_of(90), 1), "or-1").wire,
        fence(log_of(90, box="or-2")).wire,
        own_fence(asked.counter - 1),
    ):  # fmt: skip
        under.writer.on_refuse(refuse(90, evidence), 0)
        assert under.is_in(State.FENCING)
    under.promise(asked, "or-2", "or-3")
    under.step()
    assert under.is_in(State.FENCED)


@pytest.mark.parametrize("by_start", [False, True])
def test_a_refusal_with_evidence_is_answered_with_a_higher_counter_at_most_once_a_second(by_start: bool) -> None:
    under = WriterUnderTest()
    under.up()
    under.fence()
    recording = Recording(log_of(40))
    recording.grow(1)
    evidence = recording.blocks[0].signed_header if by_start else own_fence(40)
    under.writer.on_refuse(refuse(40, evidence), 0)
    assert under.is_in(State.PROVISIONAL)
    assert under.step(LIMITS.fence_retry_min_ns - 1) == []
    (asked,) = under.step(1)
    assert isinstance(asked, Fence)
    assert asked.counter == 41


def test_a_nack_about_our_own_lost_attempt_only_fences_again() -> None:
    under = WriterUnderTest().fenced()
    log = under.writer.chain.log
    under.writer._counter = 9
    under.writer.on_nack("or-2", Nack(log, "epoch.old", own_fence(9)), under.now_ns)
    assert under.is_in(State.PROVISIONAL)
    assert under.writer.chain.log == log, "recording goes on in the same log"
    assert under.warnings() == []
    assert under.fence().counter == 10


def test_a_nack_with_a_later_epoch_of_our_key_is_a_second_writer() -> None:
    under = WriterUnderTest().fenced()
    nack = Nack(under.writer.chain.log, "epoch.old", own_fence(50))
    for _ in range(3):
        under.writer.on_nack("or-2", nack, under.now_ns)
    (warning,) = under.warnings()
    assert (warning.id, warning.severity) == ("second-writer", "critical")
    assert under.is_in(State.PROVISIONAL)
    assert not under.writer.chain.log.fenced
    assert not any(isinstance(body, Fence) for body in under.step(LIMITS.second_writer_wait_ns - 1))
    (asked,) = under.step(1)
    assert isinstance(asked, Fence)
    assert asked.counter == 51


def second_header(under: WriterUnderTest, seq: int, key: str = "or-1") -> bytes:
    """A block of the live log that or-1 never wrote."""
    header = decode_signed_header(under.disk.logs[under.writer.chain.log][0][0])
    return sign_header(replace(header, seq=seq, keyframe_seq=0, boot_ns=77), KEYS[key])


def frozen(log: LogId, first: bytes, second: bytes) -> Nack:
    return Nack(log, "log.frozen", equivocation_proof(log, first, second, b"")[1])


@pytest.mark.parametrize("came_first", [False, True])
@pytest.mark.parametrize("seq", [0, 1, 299, 300, 5_000])
def test_a_nack_with_a_block_of_our_key_that_we_never_wrote_closes_the_log(seq: int, came_first: bool) -> None:
    under = WriterUnderTest().fenced()
    under.record(300)
    old = under.writer.chain
    ours, second = under.disk.logs[old.log][min(seq, 299)][0], second_header(under, seq)
    nack = frozen(old.log, second, ours) if came_first else frozen(old.log, ours, second)
    for _ in range(3):
        under.writer.on_nack("or-2", nack, under.now_ns)
    (warning,) = under.warnings()
    assert (warning.id, warning.severity) == ("own-fork", "critical")
    assert old.replica.frozen
    assert under.writer.chain.log != old.log
    assert under.is_in(State.PROVISIONAL)
    under.record()
    assert not any(isinstance(body, Fence) for body in under.step(LIMITS.second_writer_wait_ns - 1))
    assert any(isinstance(body, Fence) for body in under.step(1))


@pytest.mark.parametrize("seq", [0, 299])
def test_a_nack_with_our_own_block_or_anothers_signature_changes_nothing(seq: int) -> None:
    under = WriterUnderTest().fenced()
    under.record(300)
    log = under.writer.chain.log
    ours = under.disk.logs[log][seq][0]
    for evidence in (ours, second_header(under, seq, key="or-2"), b"", b"garbage"):
        under.writer.on_nack("or-2", frozen(log, ours, evidence), under.now_ns)
    assert under.writer.chain.log == log
    assert under.warnings() == []


@pytest.mark.parametrize("evidence", [b"", b"garbage", own_fence(50, key="or-2"), own_fence(1)])
def test_a_nack_that_proves_nothing_changes_nothing(evidence: bytes) -> None:
    under = WriterUnderTest().fenced()
    under.writer.on_nack("or-2", Nack(under.writer.chain.log, "epoch.old", evidence), under.now_ns)
    under.writer.on_nack("or-2", Nack(log_of(77), "epoch.old", own_fence(50)), under.now_ns)
    assert under.is_in(State.FENCED)
    assert under.warnings() == []


# ---- rolling ----------------------------------------------------------------------------------------------------


def roll(under: WriterUnderTest) -> LogId:
    old = under.writer.chain.log
    asked = under.fence()
    under.promise(asked, "or-2", "or-3", fenced=(under.writer.chain.head(),))
    under.step()
    assert under.is_in(State.FENCED)
    assert under.start().parent == Head(old, *_size_root_leaf(under, old))
    return old


def _size_root_leaf(under: WriterUnderTest, log: LogId) -> tuple[int, bytes, bytes]:
    from tests.ledger.cluster import rebuild

    newest = rebuild(log, under.disk.logs[log]).newest_head()
    return newest.size, newest.root, newest.leaf


def test_the_epoch_rolls_at_its_most_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", replace(LIMITS, epoch_blocks=4))
    under = WriterUnderTest().fenced()
    under.record(3)
    assert not any(isinstance(body, Fence) for body in under.step(S_NS))
    under.record(1)
    old = roll(under)
    assert under.writer.chain.log.counter == old.counter + 1


def test_the_epoch_rolls_after_a_day() -> None:
    under = WriterUnderTest().fenced()
    under.record(3)
    under.step()
    assert not any(isinstance(body, Fence) for body in under.step(LIMITS.epoch_ns - 1))
    under.step(1)
    assert under.is_in(State.FENCING)


def test_a_roll_that_fails_goes_on_in_the_old_fenced_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", replace(LIMITS, epoch_blocks=4))
    under = WriterUnderTest().fenced()
    under.record(4)
    log = under.writer.chain.log
    under.fence()
    under.record(1)
    under.step(LIMITS.fence_timeout_ns)
    assert (under.writer.state, under.writer.chain.log, under.writer.chain.size) == (State.FENCED, log, 5)
    assert not any(isinstance(body, Fence) for body in under.step(LIMITS.fence_retry_min_ns - 1))
    assert any(isinstance(body, Fence) for body in under.step(1))


def test_a_box_alone_rolls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", replace(LIMITS, epoch_blocks=4))
    under = WriterUnderTest(peers=0)
    under.record(4)
    old = under.writer.chain
    under.step()
    assert under.writer.chain.log.counter == old.log.counter + 1
    assert under.start().parent == old.head()


def test_a_log_is_durable_up_to_what_was_committed_of_it_also_when_another_has_begun() -> None:
    under = WriterUnderTest().fenced()
    under.record(2)
    _, two = under.out.take_ops()
    under.writer.committed(two)
    left = under.writer.chain.replica
    assert (left.size, left.durable_size) == (2, 2)
    under.writer.close_block(draft())
    assert left.durable_size == 2
    under.writer._open_provisional()
    under.writer.close_block(draft(keyframe=True))
    begun = under.writer.chain.replica
    assert (left.durable_size, begun.durable_size) == (2, 0)
    _, all_of_it = under.out.take_ops()
    under.writer.committed(all_of_it)
    assert (left.durable_size, begun.durable_size) == (3, 1)


# ---- vouching ---------------------------------------------------------------------------------------------------


def test_words_about_another_log_than_the_live_one_count_for_nothing() -> None:
    under = WriterUnderTest().fenced()
    under.record(3)
    under.writer.on_stored("or-2", Stored(log_of(55), 3))
    assert under.writer.vouching.size_at(Level.COPIED) == 0
    under.writer.on_stored("or-2", Stored(under.writer.chain.log, 3))
    assert under.writer.vouching.size_at(Level.COPIED) == 3
