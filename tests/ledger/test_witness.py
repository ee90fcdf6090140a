"""A peer's rules one by one: what it stores, what it cosigns and when, what it promises, what it never does."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import backlog
from ledger.block import decode_signed_header, header_signature_is_valid
from ledger.catchup import RANGE_BLOCKS, CatchUp
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid, cosignature_is_valid
from ledger.errors import PeerFault
from ledger.evidence import equivocation_proof, read_proof
from ledger.limits import LIMITS, S_NS, Limits
from ledger.log import LogId
from ledger.manifest import sign_manifest
from ledger.messages import BlockMessage, Body, Cosign, Fence, Get, GetWrap, Nack, Promise, Range, Refuse, Stored
from ledger.notices import Head, Start
from ledger.ops import AppendBlock, PutDerived, PutPromise, PutProof
from ledger.outbox import Outbox
from ledger.promises import PromiseState
from ledger.replica import RECENT_LEAVES
from tests.ledger.cluster import rebuild
from tests.ledger.peers import (
    DATA_KEY,
    MANIFEST,
    NOW,
    PeerUnderTest,
    Recording,
    draft,
    fence,
    log_of,
    promise_wire,
    signed,
    start_of,
)
from tests.ledger_strategies import KEYS, SITE

T = TypeVar("T")


def only(kind: type[T], said: list[Body]) -> T:
    (found,) = [body for body in said if isinstance(body, kind)]
    return found


def refused(peer: PeerUnderTest, message: object, id: str) -> None:
    with pytest.raises(PeerFault) as caught:
        peer.witness.on_block("or-1", message, NOW)  # type: ignore[arg-type]
    assert caught.value.id == id


def fork(recording: Recording, seq: int) -> Recording:
    """The same log, written a second time from block ``seq`` on: what a cloned disk does."""
    twin = Recording(recording.chain.log, recording.start)
    twin.grow(seq)
    twin.blocks.append(
        twin.chain.close_block(draft(*((twin.start,) if seq == 0 else ()), keyframe=seq == 0, payload=b"other"))
    )
    return twin


# ---- cosigning --------------------------------------------------------------------------------------------------


def test_a_fenced_block_is_cosigned_with_a_signature_that_verifies() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    said = only(Cosign, peer.take(*recording.grow(3)))
    assert (said.cosigner, said.log, said.size, said.root) == ("or-2", recording.chain.log, 3, recording.blocks[2].root)
    checkpoint = Checkpoint(said.log.origin(SITE), 3, said.root)
    assert cosignature_is_valid(KEYS["or-2"].public, checkpoint, said.time_s, said.signature)
    assert peer.disk.logs[said.log] == [(block.signed_header, block.payload) for block in recording.blocks]


def test_nothing_is_said_before_the_commit() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    for message in recording.grow(3):
        peer.witness.on_block("or-1", message, NOW)
    assert peer.said() == []
    peer.out.committed(1)
    peer.witness.committed(1, NOW)
    assert peer.said() == []
    assert only(Cosign, peer.commit()).size == 3


def test_blocks_are_vouched_for_although_newer_ones_always_wait() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    sizes = []
    for message in recording.grow(10):
        ops, position = peer.out.take_ops()
        peer.witness.on_block("or-1", message, NOW)
        peer.disk.commit(ops)
        peer.out.committed(position)
        peer.witness.committed(position, NOW)
        sizes += [body.size for body in peer.said() if isinstance(body, Cosign)]
    assert sizes == list(range(1, 10))


def test_a_provisional_block_is_stored_and_never_cosigned() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(4, fenced=False))
    said = peer.take(*recording.grow(2))
    assert said == [Stored(recording.chain.log, 2)]
    assert peer.disk.length(recording.chain.log) == 2


@pytest.mark.parametrize("fenced", [False, True])
def test_a_second_log_under_an_incarnation_never_reaches_the_disk(fenced: bool) -> None:
    peer, first = PeerUnderTest(), Recording(log_of(4, fenced=False))
    peer.take(*first.grow(2))
    again = Recording(log_of(5, fenced=fenced, incarnation=4))
    refused(peer, again.grow(1)[0], "log.incarnation-reused")
    assert peer.out.take_ops()[0] == []
    assert peer.take(*first.grow(1)) == [Stored(first.chain.log, 3)]


@pytest.mark.parametrize("promised", [log_of(5), log_of(3, incarnation=99)])
def test_blocks_of_an_old_epoch_or_another_incarnation_are_kept_and_refused_with_evidence(promised: LogId) -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(3))
    request = fence(promised)
    peer.witness.promises.on_fence(request, request.body)  # type: ignore[arg-type]
    peer.commit()
    said = peer.take(*recording.grow(2))
    assert said == [Stored(recording.chain.log, 2), Nack(recording.chain.log, "epoch.old", request.wire)]
    assert peer.disk.length(recording.chain.log) == 2
    assert peer.witness.promises.states["or-1"].counter == promised.counter


def test_a_log_promised_away_is_not_cosigned_further() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    assert only(Cosign, peer.take(*recording.grow(2))).size == 2
    request = fence(log_of(2))
    peer.witness.promises.on_fence(request, request.body)  # type: ignore[arg-type]
    said = peer.take(*recording.grow(1))
    assert not any(isinstance(body, Cosign) for body in said)
    assert only(Nack, said).evidence == request.wire


def test_a_promise_tells_of_what_was_cosigned_however_far_the_disk_is_behind() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    cosigned = only(Cosign, peer.take(*recording.grow(3)))
    for message in recording.grow(2 * RECENT_LEAVES):
        peer.witness.on_block("or-1", message, NOW)
    request = fence(log_of(2))
    peer.witness.promises.on_fence(request, request.body)  # type: ignore[arg-type]
    (head,) = only(Promise, peer.commit()).fenced
    assert (head.log, head.size, head.root) == (cosigned.log, cosigned.size, cosigned.root)


def test_an_epoch_under_an_older_manifest_than_was_promised_is_kept_and_not_vouched_for() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(7))
    newer = replace(MANIFEST, version=2, previous_hash=MANIFEST.hash)
    peer.witness.manifests.load([(2, sign_manifest(newer, []).encode())])
    request = signed(Fence(3, bytes([3]) * 16, bytes(16)), "or-1", newer)
    peer.witness.promises.on_fence(request, request.body)  # type: ignore[arg-type]
    peer.commit()
    said = peer.take(*recording.grow(2))
    assert said == [Stored(recording.chain.log, 2), Nack(recording.chain.log, "epoch.old", request.wire)]
    assert peer.witness.promises.of("or-1").counter == 3


def test_without_the_data_key_nothing_is_cosigned_until_it_comes() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    peer.witness.cosigner.keys_held.clear()
    said = peer.take(*recording.grow(2))
    assert only(Stored, said).size == 2
    assert GetWrap(recording.chain.log, DATA_KEY.key_id) in said
    assert not any(isinstance(body, Cosign) for body in said)
    peer.witness.cosigner.on_key(bytes(32), NOW)
    assert peer.said() == []
    peer.witness.cosigner.on_key(DATA_KEY.key_id, NOW)
    assert only(Cosign, peer.said()).size == 2


def test_a_key_that_comes_before_the_commit_does_not_hurry_it() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    peer.witness.cosigner.keys_held.clear()
    for message in recording.grow(2):
        peer.witness.on_block("or-1", message, NOW)
    peer.said()
    peer.witness.cosigner.on_key(DATA_KEY.key_id, NOW)
    assert peer.said() == []
    assert only(Cosign, peer.commit()).size == 2


@settings(max_examples=40)
@given(st.data())
def test_in_any_order_with_any_repeats_one_root_per_size_and_no_smaller_size(data: st.DataObject) -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(8)
    order = data.draw(st.lists(st.integers(0, 7), max_size=30))
    fresh = 0
    for seq in [*order, *range(8)]:
        peer.witness.on_block("or-1", messages[seq], NOW)
        said = peer.commit() if data.draw(st.booleans()) else peer.said()
        for body in said:
            if isinstance(body, Cosign):
                assert body.size >= fresh
                fresh = body.size
                assert body.root == recording.blocks[body.size - 1].root
                assert peer.disk.length(body.log) >= body.size
    peer.commit()
    assert peer.disk.length(recording.chain.log) == 8
    assert peer.witness.replicas[recording.chain.log].cosigned_size == 8
    assert not peer.witness.forks.proofs


def test_a_duplicate_brings_the_newest_cosignature_again() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    first, *_ = messages = recording.grow(3)
    newest = only(Cosign, peer.take(*messages))
    assert peer.take(first) == [newest]
    assert peer.disk.length(recording.chain.log) == 3


def test_after_a_restart_a_duplicate_of_an_old_block_is_compared_with_the_disk() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    peer.take(*recording.grow(3))
    again = PeerUnderTest(peer.disk)
    again.witness.load([rebuild(*item) for item in peer.disk.logs.items()], peer.disk.promises, [DATA_KEY.key_id])
    again.take(recording.blocks[0].message())
    assert not again.witness.forks.proofs
    again.witness.on_block("or-1", recording.resigned(0, boot_ns=5), NOW)
    assert again.witness.forks.proofs == {"or-1": 1}
    fresh = PeerUnderTest(peer.disk)
    fresh.witness.load([rebuild(*item) for item in peer.disk.logs.items()], peer.disk.promises, [DATA_KEY.key_id])
    assert only(Cosign, fresh.take(*recording.grow(1))).size == 4


# ---- gaps -------------------------------------------------------------------------------------------------------


def test_blocks_that_came_early_wait_and_are_bounded() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(LIMITS.out_of_order_blocks + 12)
    assert [body for body in peer.take(*messages[2:]) if isinstance(body, Cosign)] == []
    replica = peer.witness.replicas[recording.chain.log]
    assert len(replica.waiting) == LIMITS.out_of_order_blocks
    assert peer.disk.logs == {}
    assert only(Cosign, peer.take(*messages[:2])).size == LIMITS.out_of_order_blocks + 2
    assert not replica.waiting


@pytest.mark.parametrize("heavy", ["payload", "signed_header"])
def test_blocks_that_came_early_are_bounded_in_bytes_over_all_logs(heavy: str) -> None:
    peer = PeerUnderTest()
    for number in range(1, 40):
        recording = Recording(log_of(number))
        early = recording.grow(3)[2]
        peer.take(replace(early, payload=b""))
        weighty = replace(early, **{heavy: bytes(1 << 20)})
        peer.witness.replicas[recording.chain.log].waiting[9] = weighty
        held = sum(len(getattr(one, heavy)) for each in peer.witness.replicas.values() for one in each.waiting.values())
        if held > LIMITS.out_of_order_bytes:
            break
    fresh = Recording(log_of(50))
    peer.take(fresh.grow(3)[2])
    assert not peer.witness.replicas[fresh.chain.log].waiting


def test_one_boxs_early_blocks_leave_room_for_anothers() -> None:
    peer, greedy, other = PeerUnderTest(), Recording(log_of(1)), Recording(log_of(1, box="or-3", fenced=False))
    early = greedy.grow(3)
    peer.take(early[1])
    weighty = replace(early[1], payload=bytes(LIMITS.out_of_order_bytes_per_box))
    peer.witness.replicas[greedy.chain.log].waiting[1] = weighty
    peer.take(early[2], other.grow(3)[2])
    assert peer.witness.replicas[greedy.chain.log].waiting.keys() == {1}
    assert peer.witness.replicas[other.chain.log].waiting.keys() == {2}


def take_all(peer: PeerUnderTest, messages: list[BlockMessage]) -> None:
    for message in messages:
        peer.witness.on_block("or-1", message, NOW)


@pytest.mark.parametrize("what", ["blocks", "bytes"])
def test_one_boxs_blocks_never_fill_the_queue_for_the_disk(what: str) -> None:
    peer, greedy, other = PeerUnderTest(), Recording(log_of(1)), Recording(log_of(1, box="or-3", fenced=False))
    small = Limits(commit_queue_blocks_per_box=8) if what == "blocks" else Limits(commit_queue_bytes_per_box=4_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "LIMITS", small)
        flood = greedy.grow(60)
        with pytest.raises(PeerFault, match=r"block\.flood"):
            take_all(peer, flood)
        taken = peer.witness.replicas[greedy.chain.log].size
        assert 1 < taken < 20
        assert Stored(other.chain.log, 1) in peer.take(*other.grow(1))
        assert only(Cosign, peer.take(flood[taken])).size == taken + 1
    peer.take(*flood[taken + 1 :])
    assert peer.witness.backlog_bytes == 0


def test_what_is_asked_for_finds_room_however_long_the_disk_takes() -> None:
    """As ``Member`` asks: of several logs of one box at once, until too much waits."""
    peer, catchup = PeerUnderTest(), CatchUp(Outbox())
    recordings = {log.chain.log: log for log in (Recording(log_of(number, fenced=False)) for number in range(1, 4))}
    for log, recording in recordings.items():
        recording.grow(250)
        catchup.learn("or-3", log, recording.chain.size)
    out = catchup._out
    while True:
        catchup.step(peer.witness.replicas, 0, crowded=peer.witness.crowded)
        asked = [tell.body for tell in out.take_tells() if isinstance(tell.body, Get)]
        if not asked:
            break
        for get in asked:
            blocks = recordings[get.log].blocks[get.first : get.end]
            pairs = tuple((block.signed_header, b"") for block in blocks)
            answer = Range(get.request_id, get.log, get.first, b"", pairs)
            catchup.answered(answer)
            peer.witness.on_range("or-3", answer)  # raises when it is refused
    asked_at_once = LIMITS.ranges_outstanding * RANGE_BLOCKS
    most = LIMITS.catchup_backlog_blocks_per_box + asked_at_once + LIMITS.out_of_order_blocks
    assert LIMITS.catchup_backlog_blocks_per_box <= peer.witness.backlog <= most <= LIMITS.commit_queue_blocks_per_box
    assert LIMITS.catchup_backlog_blocks + asked_at_once <= LIMITS.commit_queue_blocks
    others = log_of(1, box="or-3")
    catchup.learn("or-3", others, 5)
    catchup.step(peer.witness.replicas, 0, crowded=peer.witness.crowded)
    assert [tell.body.log for tell in out.take_tells() if isinstance(tell.body, Get)] == [others], "it has its own room"
    assert LIMITS.commit_queue_blocks_per_box < LIMITS.catchup_backlog_blocks, "one box alone pauses nobody's catch-up"


def test_one_boxs_flood_keeps_nobody_from_fetching_payloads_and_a_disk_that_is_late_for_all_does() -> None:
    peer = PeerUnderTest()
    recordings = [Recording(log_of(1, box=f"or-{number}", fenced=False)) for number in (1, 3, 4)]
    for message in recordings[0].grow(300):
        peer.witness.on_block("or-1", message, NOW)
    assert peer.witness.backlog == 300
    assert peer.witness.may_fetch_payloads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "LIMITS", Limits(payload_backlog_blocks=3 * LIMITS.payload_backlog_blocks_per_box))
        for recording in recordings[1:]:
            for message in recording.grow(LIMITS.payload_backlog_blocks_per_box):
                assert peer.witness.may_fetch_payloads
                peer.witness.on_block(recording.chain.log.box, message, NOW)
        late = [peer.witness.may_fetch_payloads]
        peer.commit()
        assert [*late, peer.witness.may_fetch_payloads] == [False, True]


def test_a_range_fills_the_gap_and_what_waited_follows() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(6)
    peer.take(messages[5])
    pairs = tuple((block.signed_header, block.payload) for block in recording.blocks[:5])
    peer.witness.on_range("or-3", Range(1, recording.chain.log, 0, b"", pairs))
    said = only(Cosign, peer.commit())
    assert (said.size, said.root) == (6, recording.blocks[5].root)


@pytest.mark.parametrize("forged", range(6))
@pytest.mark.parametrize("where", ["signature", "header"])
def test_what_is_forged_in_a_range_is_refused_by_name_and_what_stands_before_it_is_kept(
    forged: int, where: str
) -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1, fenced=False))
    recording.grow(6)
    pairs = [(block.signed_header, b"") for block in recording.blocks]
    bad = bytearray(pairs[forged][0])
    bad[-1 if where == "signature" else len(bad) - 64 - 50] ^= 1  # the latter lies within the manifest's hash
    pairs[forged] = (bytes(bad), b"")
    with pytest.raises(PeerFault) as caught:
        peer.witness.on_range("or-3", Range(1, recording.chain.log, 0, b"", tuple(pairs)))
    assert caught.value.id == "block.bad-signature"
    peer.commit()
    assert len(peer.disk.logs.get(recording.chain.log, [])) == forged


def test_a_range_without_payloads_or_of_another_log() -> None:
    peer, recording, other = PeerUnderTest(), Recording(log_of(1, fenced=False)), Recording(log_of(2))
    recording.grow(2)
    other.grow(1)
    pairs = tuple((block.signed_header, b"") for block in recording.blocks)
    peer.witness.on_range("or-3", Range(1, recording.chain.log, 0, b"", pairs))
    peer.commit()
    assert peer.disk.logs[recording.chain.log] == list(pairs)
    foreign = ((other.blocks[0].signed_header, other.blocks[0].payload),)
    with pytest.raises(PeerFault) as caught:
        peer.witness.on_range("or-3", Range(1, recording.chain.log, 2, b"", foreign))
    assert caught.value.id == "range.other-log"


def test_the_live_log_is_not_taken_without_its_payloads_for_a_cosignature_says_that_they_are_held() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    (block,) = recording.grow(1)
    refused(peer, replace(block, payload=b""), "block.no-payload")
    assert peer.commit() == []
    assert only(Cosign, peer.take(block)).size == 1


# ---- refused blocks ---------------------------------------------------------------------------------------------


def test_malformed_forged_and_foreign_blocks_are_refused_and_leave_nothing() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    first, second = recording.grow(2)
    flipped = first.signed_header[:-1] + bytes([first.signed_header[-1] ^ 1])
    refused(peer, replace(first, signed_header=flipped), "block.bad-signature")
    refused(peer, replace(first, signed_header=b"garbage"), "codec.malformed")
    refused(peer, replace(first, payload=first.payload[:-1] + b"x"), "block.bad-payload")
    refused(peer, replace(first, payload=first.payload + b"x"), "block.bad-payload")
    own = Recording(log_of(1, box="or-2"))
    refused(peer, own.grow(1)[0], "block.own")
    stranger = Recording(log_of(1, box="or-7"))
    refused(peer, stranger.grow(1)[0], "manifest.unknown-box")
    refused(peer, replace(first, checkpoint_signature=second.checkpoint_signature), "checkpoint.bad-signature")
    assert peer.commit() == []
    assert peer.disk.logs == {}


def test_a_block_that_does_not_link_is_refused() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    first, _ = recording.grow(2)
    peer.take(first)
    refused(peer, recording.resigned(1, previous_leaf=bytes(32)), "block.broken-link")
    refused(peer, recording.resigned(1, manifest_hash=bytes(32)), "block.manifest")


def test_a_first_block_needs_a_start_and_a_fenced_one_its_promises() -> None:
    peer = PeerUnderTest()
    bare = Recording(log_of(1))
    bare.grow(1)
    refused(peer, bare.resigned(0, notices=()), "log.no-start")
    unfenced = Recording(log_of(2), replace(bare.start, promises=()))
    refused(peer, unfenced.grow(1)[0], "epoch.unfenced")
    assert peer.witness.promises.states == {}


def test_a_start_names_ends_of_its_own_box_alone_and_a_provisional_one_none() -> None:
    peer, own, foreign = PeerUnderTest(), Head(log_of(3), 2, bytes(32), bytes(32)), Head(
        log_of(3, box="or-3"), 2, bytes(32), bytes(32)
    )  # fmt: skip
    for named in (own, foreign):
        provisional = Recording(log_of(4, fenced=False), Start(bytes(16), (), None, (named,)))
        refused(peer, provisional.grow(1)[0], "log.start")
    fenced = Recording(log_of(5), replace(start_of(log_of(5)), tails=(own, foreign)))
    refused(peer, fenced.grow(1)[0], "epoch.names")
    assert peer.witness.held.lacking() == {}
    assert peer.out.take_ops()[0] == []
    assert only(Cosign, peer.take(*Recording(log_of(6), replace(start_of(log_of(6)), tails=(own,))).grow(1))).size == 1
    assert peer.witness.held.lacking() == {own.log: 2}


def test_a_box_that_names_ends_without_end_has_only_the_newest_few_of_them_looked_for() -> None:
    peer, every = PeerUnderTest(), []
    for number in range(5):
        counters = range(1 + 30 * number, 31 + 30 * number)
        ends = tuple(Head(log_of(counter, fenced=False), 2, bytes(32), bytes(32)) for counter in counters)
        log = log_of(200 + number)
        peer.take(*Recording(log, replace(start_of(log), tails=ends)).grow(1))
        every += [end.log for end in ends]
    wanted = list(peer.witness.held.lacking())
    assert wanted == every[-LIMITS.wanted_logs_per_box :]
    others = log_of(1, box="or-3")
    peer.witness.held.name([Head(others, 2, bytes(32), bytes(32))])
    assert others in peer.witness.held.lacking()


def test_a_box_whose_clock_is_ahead_is_named_and_its_block_taken() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    late = NOW.utc_ns + LIMITS.peer_future_ns
    first = recording.chain.close_block(draft(recording.start, keyframe=True, closed_ns=late)).message()
    second = recording.chain.close_block(draft(closed_ns=late + 1)).message()
    peer.take(first)
    assert peer.out.take_warnings() == []
    peer.take(second)
    (warning,) = peer.out.take_warnings()
    assert (warning.id, warning.subject) == ("peer.clock", "or-1")
    assert peer.disk.length(recording.chain.log) == 2


# ---- equivocation -----------------------------------------------------------------------------------------------


def test_two_blocks_of_one_seq_freeze_the_log_with_a_proof_and_an_alert() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    peer.take(*recording.grow(3))
    second = recording.resigned(1, boot_ns=5)
    peer.witness.on_block("or-3", second, NOW)
    ops, _ = peer.out.take_ops()
    (proof,) = [op for op in ops if isinstance(op, PutProof)]
    log, first_header, second_header, _ = read_proof(proof.value)
    assert log == recording.chain.log
    assert first_header != second_header
    for header in (first_header, second_header):
        assert decode_signed_header(header).seq == 1
        assert header_signature_is_valid(header, KEYS["or-1"].public)
    assert [warning.id for warning in peer.out.take_warnings()] == ["fork"]
    assert any(isinstance(op, PutDerived) for op in ops), "frozen in the same transaction as the proof"


def test_a_frozen_log_is_vouched_for_no_more_and_every_other_log_is() -> None:
    peer, recording, other = PeerUnderTest(), Recording(log_of(1)), Recording(log_of(1, box="or-3"))
    peer.take(*recording.grow(3))
    second = recording.resigned(1, boot_ns=5)
    peer.take(second)
    _, proof = equivocation_proof(recording.chain.log, recording.blocks[1].signed_header, second.signed_header, b"")
    assert peer.take(*recording.grow(1)) == [Nack(recording.chain.log, "log.frozen", proof)]
    peer.take(*recording.grow(1))
    assert peer.disk.length(recording.chain.log) == 3
    promises = tuple(promise_wire(giver, other.chain.log) for giver in ("or-1", "or-2"))
    other.start = replace(other.start, promises=promises)
    assert only(Cosign, peer.take(*other.grow(2))).log == other.chain.log
    following = Recording(log_of(2))
    assert only(Cosign, peer.take(*following.grow(1))).log == following.chain.log


def test_a_flood_of_second_blocks_leaves_one_proof_and_one_alert() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    peer.take(*recording.grow(2))
    for boot_ns in range(5, 15):
        peer.take(recording.resigned(1, boot_ns=boot_ns))
    assert peer.witness.forks.proofs == {"or-1": 1}
    assert len(peer.out.take_warnings()) == 1


def test_blocks_that_wait_for_the_commit_when_the_fork_shows_are_not_cosigned() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    for message in recording.grow(2):
        peer.witness.on_block("or-1", message, NOW)
    peer.witness.on_block("or-1", recording.resigned(1, boot_ns=5), NOW)
    (proof,) = [op for op in peer.out._ops if isinstance(op, PutProof)]
    assert read_proof(proof.value)[1] == recording.blocks[1].signed_header
    assert not any(isinstance(body, Cosign) for body in peer.commit())
    assert peer.witness.replicas[recording.chain.log].frozen


def second_root(recording: Recording, seq: int) -> tuple[bytes, bytes]:
    root = bytes([8]) * 32
    return root, recording.checkpoint_signature(seq + 1, root)


@pytest.mark.parametrize("known", [False, True])
def test_a_second_signed_root_freezes_the_log(known: bool) -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(3)
    root, signature = second_root(recording, 2)
    peer.take(*(messages if known else messages[:2]))
    said = peer.take(replace(messages[2], root=root, checkpoint_signature=signature))
    assert not any(isinstance(body, Cosign) and body.root == root for body in said)
    assert peer.witness.replicas[recording.chain.log].frozen
    assert peer.witness.forks.proofs == {"or-1": 1}
    assert checkpoint_signature_is_valid(
        KEYS["or-1"].public, Checkpoint(recording.chain.log.origin(SITE), 3, root), signature
    )


@pytest.mark.parametrize("size", [2, 3])
def test_a_second_signed_root_in_anothers_gossip_freezes_the_log(size: int) -> None:
    peer, other, recording = PeerUnderTest(), PeerUnderTest(), Recording(log_of(1))
    recording.grow(3)
    twin = fork(recording, 1)
    twin.grow(2)
    peer.take(*(block.message() for block in recording.blocks))
    other.take(*(block.message() for block in twin.blocks[:size]))
    (report,) = other.witness.held.reports()
    peer.witness.on_report(replace(report, checkpoint_signature=bytes(64)))
    assert not peer.witness.forks.proofs
    peer.witness.on_report(report)
    (proof,) = [op for op in peer.out._ops if isinstance(op, PutProof)]
    _, header, _, second = read_proof(proof.value)
    assert header == recording.blocks[size - 1].signed_header
    checkpoint = Checkpoint(recording.chain.log.origin(SITE), size, second[:32])
    assert checkpoint_signature_is_valid(KEYS["or-1"].public, checkpoint, second[32:])
    assert second[:32] != recording.blocks[size - 1].root


def test_an_unsigned_second_root_freezes_nothing() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(2)
    peer.take(*messages)
    peer.take(replace(messages[1], root=bytes([8]) * 32))
    assert not peer.witness.replicas[recording.chain.log].frozen


def test_a_log_written_twice_is_noticed_whichever_half_came_first() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    recording.grow(4)
    twin = fork(recording, 2)
    peer.take(*(block.message() for block in recording.blocks))
    peer.take(twin.blocks[2].message())
    assert peer.witness.forks.proofs == {"or-1": 1}


# ---- fences -----------------------------------------------------------------------------------------------------


def ask(peer: PeerUnderTest, log: LogId) -> list[Body]:
    request = fence(log)
    assert isinstance(request.body, Fence)
    peer.witness.promises.on_fence(request, request.body)
    return peer.said()


def test_a_promise_leaves_only_when_it_is_durable() -> None:
    peer = PeerUnderTest()
    assert ask(peer, log_of(1)) == []
    ops, _ = peer.out.take_ops()
    assert [type(op) for op in ops] == [PutPromise]
    peer.out.committed(1)
    said = only(Promise, peer.said())
    assert (said.box, said.counter, said.incarnation) == ("or-1", 1, log_of(1).incarnation)


@pytest.mark.parametrize("later", [log_of(4), log_of(5, incarnation=99)])
def test_an_older_epoch_or_another_incarnation_is_refused_with_the_evidence(later: LogId) -> None:
    peer = PeerUnderTest()
    ask(peer, log_of(5))
    peer.commit()
    refusal = only(Refuse, ask(peer, later))
    assert (refusal.box, refusal.counter, refusal.incarnation) == ("or-1", 5, log_of(5).incarnation)
    assert refusal.evidence == fence(log_of(5)).wire
    assert peer.disk.promises["or-1"] == peer.witness.promises.states["or-1"].encode()


def test_the_same_fence_is_promised_again() -> None:
    peer = PeerUnderTest()
    ask(peer, log_of(5))
    peer.commit()
    assert isinstance(ask(peer, log_of(5))[0], Promise)


@pytest.mark.parametrize(("leap", "kind"), [(0, Promise), (1, Refuse)])
def test_the_counter_leaps_no_further_than_allowed(leap: int, kind: type) -> None:
    peer = PeerUnderTest()
    said = ask(peer, log_of(LIMITS.fence_counter_leap + leap))
    assert isinstance((said or peer.commit())[0], kind)


def test_a_promise_survives_a_restart() -> None:
    peer = PeerUnderTest()
    ask(peer, log_of(5))
    peer.commit()
    again = PeerUnderTest(peer.disk)
    again.witness.load([], peer.disk.promises, [])
    assert isinstance(ask(again, log_of(4))[0], Refuse)


def test_a_start_with_a_higher_counter_is_a_promise_too() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(7))
    peer.take(*recording.grow(1))
    refusal = only(Refuse, ask(peer, log_of(6)))
    assert refusal.evidence == recording.blocks[0].signed_header
    assert header_signature_is_valid(refusal.evidence, KEYS["or-1"].public)


def test_a_promise_reports_durable_heads_newest_epoch_first_and_unnamed_ends() -> None:
    peer = PeerUnderTest()
    recordings = [Recording(log_of(counter)) for counter in (1, 2)]
    for recording in recordings:
        peer.take(*recording.grow(2))
    loose = Recording(log_of(2, fenced=False, incarnation=50))
    peer.take(*loose.grow(3))
    for message in recordings[1].grow(1):
        peer.witness.on_block("or-1", message, NOW)
    ask(peer, log_of(3))
    peer.out.committed(peer.out.position)
    said = only(Promise, peer.said())
    sizes = [(head.log.counter, head.size) for head in said.fenced]
    assert sizes == [(2, 2), (1, 2)], "the block that is not durable yet is not reported"
    assert [(head.log, head.size) for head in said.provisional] == [(loose.chain.log, 3)]


def test_ends_that_an_epoch_named_are_not_reported_again() -> None:
    peer, loose = PeerUnderTest(), Recording(log_of(0, fenced=False, incarnation=50))
    peer.take(*loose.grow(2))
    log = log_of(1)
    start = replace(Recording(log).start, tails=(loose.chain.head(),))
    peer.take(*Recording(log, start).grow(1))
    ask(peer, log_of(2))
    assert only(Promise, peer.commit()).provisional == ()
    assert loose.chain.log not in {replica.log for replica in peer.witness.held.live()}


def restarted(peer: PeerUnderTest) -> PeerUnderTest:
    """The same box in a new process."""
    again = PeerUnderTest(peer.disk)
    again.witness.load([rebuild(log, blocks) for log, blocks in peer.disk.logs.items()], peer.disk.promises, [])
    return again


def test_what_an_epoch_names_is_lacking_until_it_is_held_to_that_end_also_after_a_restart() -> None:
    peer, loose, log = PeerUnderTest(), Recording(log_of(0, fenced=False, incarnation=50)), log_of(1)
    messages = loose.grow(3)
    start = replace(Recording(log).start, tails=(loose.chain.head(),))
    peer.take(messages[0])
    assert peer.witness.held.lacking() == {}
    peer.take(*Recording(log, start).grow(1))
    assert peer.witness.held.lacking() == restarted(peer).witness.held.lacking() == {loose.chain.log: 3}
    peer.take(messages[1])
    assert peer.witness.held.lacking() == {loose.chain.log: 3}
    peer.take(messages[2])
    assert peer.witness.held.lacking() == restarted(peer).witness.held.lacking() == {}


def test_a_key_not_held_is_asked_of_everybody_until_it_comes_also_after_a_restart() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    wanted = GetWrap(recording.chain.log, DATA_KEY.key_id)
    peer.witness.cosigner.keys_held.clear()
    assert peer.take(*recording.grow(2)).count(wanted) == 1, "its box is asked once, whatever comes under the key"
    again = restarted(peer)
    for one in (peer, again):
        for now_s in (0, 1):
            one.witness.cosigner.key_requests.step(["or-1", "or-3"], now_s * S_NS)
            assert [(tell.to, tell.body) for tell in one.out.take_tells()] == [("or-1", wanted), ("or-3", wanted)]
        one.witness.cosigner.on_key(DATA_KEY.key_id, NOW)
        one.said()
        one.witness.cosigner.key_requests.step(["or-1", "or-3"], 3_600 * S_NS)
        assert one.said() == []


def test_promise_states_survive_their_encoding() -> None:
    state = PromiseState(7, bytes([1]) * 16, bytes([2]) * 32, b"evidence")
    assert PromiseState.decode(state.encode()) == state
    for wrong in (b"", b"\xc0", state.encode()[:-1], state.encode() + b"\x00"):
        with pytest.raises(PeerFault):
            PromiseState.decode(wrong)


# ---- gossip -----------------------------------------------------------------------------------------------------


def test_reports_are_of_durable_heads_with_our_cosignature() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    messages = recording.grow(13)
    peer.take(*messages[:12])
    peer.witness.on_block("or-1", messages[12], NOW)
    (report,) = peer.witness.held.reports("or-1")
    assert report.head == Head(recording.chain.log, 12, recording.blocks[11].root, report.head.leaf)
    assert report.keyframe_seq == 10
    checkpoint = Checkpoint(recording.chain.log.origin(SITE), 12, report.head.root)
    assert cosignature_is_valid(KEYS["or-2"].public, checkpoint, report.cosigned_s, report.cosignature)
    assert checkpoint_signature_is_valid(KEYS["or-1"].public, checkpoint, report.checkpoint_signature)
    assert peer.witness.held.reports("or-3") == []


def test_a_certificate_holds_the_writers_word_and_ours() -> None:
    peer, recording = PeerUnderTest(), Recording(log_of(1))
    replica = peer.witness.on_block("or-1", recording.grow(1)[0], NOW)
    assert peer.witness.cosigner.certificate(replica) is None
    peer.commit()
    certificate = peer.witness.cosigner.certificate(replica)
    assert certificate is not None
    assert (certificate.size, certificate.log_signature) == (1, recording.blocks[0].checkpoint_signature)
    assert b"or-2" in certificate.note(MANIFEST, recording.chain.log)


def test_a_closed_log_of_our_own_is_durable_once_its_last_block_is() -> None:
    peer, own = PeerUnderTest(), Recording(log_of(1, box="or-2"))
    own.grow(2)
    for block in own.blocks:
        peer.out.persist(AppendBlock(block.log, block.seq, block.signed_header, block.payload))
    peer.witness.adopt(own.chain.replica, [])
    assert peer.witness.held.reports("or-2") == []
    assert peer.commit() == []
    assert [report.head.size for report in peer.witness.held.reports("or-2")] == [2]


def test_a_signed_fence_carries_its_sender() -> None:
    peer = PeerUnderTest()
    for sender in ("or-1", "or-3"):
        request = signed(Fence(1, bytes(16), bytes(16)), sender)
        peer.witness.promises.on_fence(request, request.body)  # type: ignore[arg-type]
    assert set(peer.witness.promises.states) == {"or-1", "or-3"}
