"""The group in good weather, over the real state machines: one to four boxes, restarts, a peer away and back."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.catchup import RANGE_BLOCKS
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import NoPeer, PeerFault, VerificationFailed
from ledger.evidence import equivocation_proof
from ledger.lacking import Lacking, lacking
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.message_codec import decode_message, encode_plain, encode_signed
from ledger.messages import BlockMessage, Cosign, Fence, HeadReport, Nack, Range, Wrap
from ledger.ops import AppendBlock
from ledger.quorum import Level
from ledger.recovery import Fetch, Restored, choose
from ledger.sealing import DataKey, wrap
from ledger.signing import SigningKey
from ledger.tree import leaf_hash, root_of
from ledger.writer import State
from tests.ledger.cluster import SITE, Cluster
from tests.ledger.weather import Weather


def restore(cluster: Cluster, box: str, by: list[str]) -> Restored:
    answers = {name: cluster.boxes[name].member.answer(bytes(16), box, cluster.now) for name in by}
    candidate = choose(cluster.manifest, box, answers)
    fetch = Fetch(cluster.manifest, candidate, cluster.boxes[by[0]].keys.get, 1 << 32)
    for _ in range(20):
        for number, get in enumerate(fetch.gets(len(by))):
            server = cluster.boxes[by[number % len(by)]].member
            decoded = decode_message(encode_plain(server.serve(get)))
            assert isinstance(decoded, Range)
            fetch.on_range(decoded)
    return fetch.finish()


def test_a_box_alone_records_at_once_and_claims_nothing() -> None:
    cluster = Cluster(1)
    cluster.run(5)
    writer = cluster.boxes["or-1"].member.writer
    assert writer.state is State.LONE
    assert writer.chain.log.fenced
    assert cluster.boxes["or-1"].disk.length(writer.chain.log) == 5
    assert writer.vouching.level_of(0) is Level.LOCAL


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_group_fences_and_every_block_is_witnessed(n: int) -> None:
    cluster = Cluster(n)
    cluster.run(20)
    for name, box in cluster.boxes.items():
        writer = box.member.writer
        assert writer.state is State.FENCED
        assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size > 10
        for peer in cluster.boxes:
            if peer != name:
                assert cluster.boxes[peer].disk.logs[writer.chain.log] == box.disk.logs[writer.chain.log]


def test_final_is_claimed_only_where_the_group_tolerates_a_liar() -> None:
    small, large = Cluster(4), Cluster(5)
    small.run(20)
    large.run(20)
    assert small.boxes["or-1"].member.writer.vouching.size_at(Level.FINAL) == 0
    writer = large.boxes["or-1"].member.writer
    assert writer.vouching.size_at(Level.FINAL) == writer.chain.size


def test_the_first_log_is_provisional_and_never_cosigned_but_named_by_the_epoch() -> None:
    cluster = Cluster(3)
    provisional = cluster.boxes["or-1"].member.writer.chain.log
    cluster.run(10)
    member = cluster.boxes["or-1"].member
    assert not provisional.fenced
    assert member.writer.chain.log.fenced
    replica = cluster.boxes["or-2"].member.witness.replicas.get(provisional)
    assert replica is None or replica.cosigned_size == 0


def test_a_restarted_box_opens_a_new_epoch_that_continues_the_old_one() -> None:
    cluster = Cluster(3)
    cluster.run(20)
    old = cluster.boxes["or-1"].member.writer.chain.head()
    cluster.boot("or-1")
    cluster.link_up("or-1")
    cluster.run(20)
    writer = cluster.boxes["or-1"].member.writer
    assert writer.state is State.FENCED
    assert writer._start.parent is not None
    assert writer._start.parent.log == old.log
    assert writer.chain.log.counter > old.log.counter
    assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size


def test_a_peer_away_and_back_catches_up_and_vouches_again() -> None:
    cluster = Cluster(3)
    cluster.run(20)
    writer = cluster.boxes["or-1"].member.writer
    cluster.run(40, only=["or-1", "or-2"])
    assert writer.vouching.size_at(Level.WITNESSED) < writer.chain.size
    assert writer.vouching.size_at(Level.COPIED) == writer.chain.size
    cluster.run(30)
    assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size
    assert cluster.boxes["or-3"].disk.length(writer.chain.log) == writer.chain.size


def test_a_box_that_was_away_knows_how_much_it_lacks_of_whom() -> None:
    cluster = Cluster(3)
    cluster.run(12)
    away = cluster.boxes["or-3"].member
    assert lacking(away) == {}
    cluster.run(90, only=["or-1", "or-2"])
    missed = cluster.boxes["or-1"].member.writer.chain.size
    missed -= away.witness.replicas[cluster.boxes["or-1"].member.writer.chain.log].size
    report = cluster.boxes["or-1"].member.writer.chain.replica.report()
    assert report is not None
    away.gossip.on_heads("or-1", (report,))
    assert lacking(away) == {"or-1": Lacking(headers=missed)}
    cluster.run(60)
    assert lacking(away) == {}
    for replica in away.witness.replicas.values():
        if replica.log.box == "or-2" and replica.log.fenced:
            replica.unheld.add(2, 5)
    assert lacking(away) == {"or-2": Lacking(payloads=3)}


def test_lost_memory_is_not_forgotten_by_catching_up_before_enough_peers_spoke() -> None:
    """An older disk image, one peer within reach, and a restart: what the peer gave back must not hide the loss."""
    cluster = Cluster(4)
    cluster.run(15)
    box = cluster.boxes["or-1"]
    older = copy.deepcopy(box.disk)
    cluster.run(15)
    box.disk = older
    cluster.boot("or-1")
    box.member.peer_up("or-2")
    cluster.run(15, only=["or-1", "or-2"])
    assert not box.member.voids.is_sure
    cluster.boot("or-1")
    assert box.member.voids.void == {"or-3", "or-4"}, "or-2's live log was caught up with"
    cluster.link_up("or-1")
    cluster.run(30)
    voids = cluster.boxes["or-1"].member.voids
    assert voids.is_sure
    assert not voids.void, "it has caught up with everybody's live log"
    states = cluster.boxes["or-1"].member.witness.promises.states
    assert {name: state.void for name, state in states.items()} == {"or-1": True} | dict.fromkeys(
        ("or-2", "or-3", "or-4"), False
    ), "that it lost memory once stays known"


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_a_dead_boxs_latest_state_is_restored_from_its_peers(n: int) -> None:
    cluster = Cluster(n)
    cluster.run(130)
    dead = cluster.boxes["or-1"]
    peers = [name for name in cluster.boxes if name != "or-1"]
    restored = restore(cluster, "or-1", peers)
    assert restored.candidate.believed_size == dead.member.writer.chain.size
    assert restored.candidate.level >= Level.WITNESSED
    ((feed, value),) = restored.state.values()
    assert (feed, value.value) == ("monitor", str(dead.ticks - 1))
    assert restored.blocks <= 51


def test_a_peer_that_changes_a_byte_is_named_and_nothing_is_handed_over() -> None:
    cluster = Cluster(3)
    cluster.run(30)
    log = cluster.boxes["or-1"].member.writer.chain.log
    for name in ("or-2", "or-3"):
        blocks = cluster.boxes[name].disk.logs[log]
        header, payload = blocks[-1]
        blocks[-1] = (header, payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(VerificationFailed, match="payload of block"):
        restore(cluster, "or-1", ["or-2", "or-3"])


def test_nothing_held_is_said_plainly() -> None:
    cluster = Cluster(3)
    with pytest.raises(NoPeer, match="holds a block of or-1"):
        choose(cluster.manifest, "or-1", {"or-2": cluster.boxes["or-2"].member.answer(bytes(16), "or-1", cluster.now)})


def test_a_stolen_key_that_signs_a_second_history_leaves_a_proof_and_the_room_goes_on() -> None:
    cluster = Cluster(3)
    cluster.run(20)
    box = cluster.boxes["or-1"].member
    other = cluster.tick("or-1")
    assert box.writer.chain.log == other.log
    cluster.boxes["or-2"].member.witness.on_block("or-1", other.message(), cluster.now)
    forged = _second_block(cluster)
    cluster.boxes["or-2"].member.witness.on_block("or-1", forged, cluster.now)
    witness = cluster.boxes["or-2"].member.witness
    assert witness.replicas[other.log].frozen
    assert witness.forks.proofs == {"or-1": 1}
    assert [warning.id for warning in cluster.boxes["or-2"].member.take_warnings()] == ["fork"]


def test_the_robbed_box_is_told_and_is_vouched_for_again_in_a_new_epoch() -> None:
    cluster = Cluster(3)
    cluster.run(20)
    box = cluster.boxes["or-1"].member
    old = box.writer.chain.log
    cluster.boxes["or-3"].member.on_wire("or-1", encode_plain(_second_block(cluster)), cluster.now)
    cluster.run(5)
    assert [warning.id for warning in box.take_warnings()] == ["own-fork"]
    assert box.writer.chain.log != old
    assert box.writer.chain.size, "the room goes on recording"
    assert not box.writer.chain.log.fenced
    cluster.run(LIMITS.second_writer_wait_ns // LIMITS.tick_ns + 20)
    newest = box.writer.chain
    assert newest.log.fenced
    assert box.writer.vouching.size_at(Level.WITNESSED) >= newest.size - 1
    for peer in ("or-2", "or-3"):
        assert not cluster.boxes[peer].member.witness.replicas[newest.log].frozen


@pytest.mark.parametrize(("of", "restarted"), [("block", False), ("root", False), ("block", True)])
def test_who_has_the_proof_shows_it_to_whoever_still_vouches_for_one_history(of: str, restarted: bool) -> None:
    """Also after the robbed box is gone, and only ever what that box's key signed."""
    cluster = Cluster(3)
    cluster.run(20)
    log, two = cluster.boxes["or-1"].member.writer.chain.log, ["or-2", "or-3"]
    finder, other = cluster.boxes["or-3"], cluster.boxes["or-2"]
    cluster.run(1, recording=False)
    if of == "block":
        finder.member.on_wire("or-1", encode_plain(_second_block(cluster)), cluster.now)
    else:
        finder.member.witness.on_report(_second_root(cluster))
    if restarted:
        cluster.settle(["or-3"])
        cluster.boot("or-3")
        cluster.link_up("or-3")
    other.member.take_warnings()
    cluster.run(12, only=two)
    assert other.member.witness.replicas[log].frozen
    assert [warning.id for warning in other.member.take_warnings()] == ["fork"]
    assert other.member.witness.forks.proofs == {"or-1": 1}
    assert list(other.disk.proofs) == list(finder.disk.proofs)
    cluster.run(12, only=two)
    assert other.member.take_warnings() == []


@pytest.mark.parametrize("forged", ["headers", "seqs", "root", "other-log", "garbage", "same"])
def test_what_proves_nothing_freezes_nothing(forged: str) -> None:
    cluster = Cluster(3)
    cluster.run(20)
    log, member = cluster.boxes["or-1"].member.writer.chain.log, cluster.boxes["or-2"].member
    first, second = (header for header, _ in cluster.boxes["or-1"].disk.logs[log][2:4])
    proofs = {
        "headers": equivocation_proof(log, first, first[:-1] + bytes([first[-1] ^ 1]), b"")[1],
        "seqs": equivocation_proof(log, first, second, b"")[1],
        "root": equivocation_proof(log, second, b"", bytes(96))[1],
        "other-log": equivocation_proof(replace(log, counter=99), first, second, b"")[1],
        "garbage": b"proof",
        "same": equivocation_proof(log, first, first, b"")[1],
    }
    member.on_wire("or-3", cluster.boxes["or-3"].member.sign(Nack(log, "log.frozen", proofs[forged])), cluster.now)
    assert not member.witness.replicas[log].frozen
    assert member.take_warnings() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_root_makes_the_robbed_box_leave_its_log_too(restarted: bool) -> None:
    """Also when the peer restarts in between: the proof that it shows is on its disk."""
    cluster = Cluster(3)
    cluster.run(20)
    box, peer = cluster.boxes["or-1"].member, cluster.boxes["or-3"]
    old = box.writer.chain.log
    cluster.run(1, recording=False)
    peer.member.witness.on_report(_second_root(cluster))
    assert peer.member.witness.replicas[old].frozen
    assert box.writer.chain.log == old
    if restarted:
        ops, _ = peer.member.take_ops()
        peer.disk.commit(ops)
        cluster.boot("or-3")
        cluster.link_up("or-3")
        assert peer.member.witness.replicas[old].frozen
        assert peer.member.witness.forks.proofs == {"or-1": 1}
    cluster.run(5)
    assert [warning.id for warning in box.take_warnings()] == ["own-fork"]
    assert box.writer.chain.log != old
    assert box.writer.chain.size, "the room goes on recording"


def test_a_proof_of_our_own_root_is_no_second_history() -> None:
    cluster = Cluster(3)
    cluster.run(20)
    box = cluster.boxes["or-1"]
    chain = box.member.writer.chain
    known = chain.replica.recent_at(10)
    assert known is not None
    own = known.root + known.checkpoint_signature
    header = box.disk.logs[chain.log][9][0]
    for forged in (own, bytes(32) + known.checkpoint_signature, b"", bytes(32)):
        _, proof = equivocation_proof(chain.log, header, b"", forged)
        box.member.on_wire("or-3", cluster.boxes["or-3"].member.sign(Nack(chain.log, "log.frozen", proof)), cluster.now)
    assert box.member.writer.chain is chain
    assert not chain.replica.frozen


def _second_root(cluster: Cluster) -> HeadReport:
    """Another root of or-1's live log, signed with or-1's own key."""
    box = cluster.boxes["or-1"]
    chain = box.member.writer.chain
    report = chain.replica.report()
    assert report is not None
    checkpoint = Checkpoint(chain.log.origin(SITE), report.head.size, bytes([7]) * 32)
    signature = sign_checkpoint(box.secrets.signing, checkpoint)
    return replace(report, head=replace(report.head, root=checkpoint.root), checkpoint_signature=signature)


def _second_block(cluster: Cluster) -> BlockMessage:
    """Another block in the place of or-1's newest, signed with or-1's own key."""
    from ledger.block import decode_signed_header, sign_header

    box = cluster.boxes["or-1"]
    ops, _ = box.member.take_ops()
    box.disk.commit(ops)
    header = decode_signed_header(box.disk.logs[box.member.writer.chain.log][-1][0])
    signed = sign_header(replace(header, closed_ns=header.closed_ns + 1), box.secrets.signing)
    return BlockMessage(signed, b"", bytes(32), bytes(64))


class CosignatureBook:
    """Every cosignature that ever left a box: what was promised to the world."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.roots: dict[tuple[LogId, int], bytes] = {}
        self.sizes: dict[tuple[str, LogId], int] = {}

    def note(self, sender: str, wire: bytes) -> None:
        message = decode_message(wire)
        if not isinstance(message, Cosign):
            return
        assert message.cosigner == sender
        assert message.log.fenced, "a provisional log is never cosigned"
        assert self.roots.setdefault((message.log, message.size), message.root) == message.root
        assert self.cluster.boxes[sender].disk.length(message.log) >= message.size, "cosigned before it was durable"
        blocks = self.cluster.boxes[sender].disk.logs[message.log][: message.size]
        assert root_of(leaf_hash(header) for header, _ in blocks) == message.root
        held = self.sizes.get((sender, message.log), 0)
        self.sizes[sender, message.log] = max(held, message.size)


@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(8, 30))])
def test_bad_weather_never_splits_a_log_or_stops_a_writer_and_heals(seed: int) -> None:
    cluster = Cluster(3 + seed % 3, seed)
    weather = Weather(cluster, seed)
    book = CosignatureBook(cluster)
    land = weather.land

    def land_and_note() -> None:
        for sender, _, wire in weather.flying:
            book.note(sender, wire)
        land()

    weather.land = land_and_note  # type: ignore[method-assign]
    for step in range(60):
        if step % 15 == 0:
            weather.worsen()
        if weather.random.random() < 0.01:
            weather.restart(weather.random.choice(list(cluster.boxes)))
        sizes = {
            name: (box.member.writer.chain.log, box.member.writer.chain.size) for name, box in cluster.boxes.items()
        }
        weather.step()
        for name, (log, size) in sizes.items():
            chain = cluster.boxes[name].member.writer.chain
            assert chain.log != log or chain.size > size, "a writer stopped"
    weather.heal()
    for _ in range(70):
        weather.step()
    for _ in range(15):
        weather.step(recording=False)
    at_rest_and_agreed(cluster)
    # Whatever was ever cosigned is still held by everyone who cosigned it.
    for (sender, log), size in book.sizes.items():
        assert cluster.boxes[sender].disk.length(log) >= size


def at_rest_and_agreed(cluster: Cluster) -> None:
    """Everyone is fenced and witnessed, holds every live log whole, and no log has two histories."""
    for box in cluster.boxes.values():
        writer = box.member.writer
        assert writer.state is State.FENCED
        assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size
        assert not box.member.witness.forks.proofs
        for other in cluster.boxes.values():
            assert other.disk.logs[writer.chain.log] == box.disk.logs[writer.chain.log]
            for log, mine in box.disk.logs.items():
                theirs = other.disk.logs.get(log, [])
                shorter = min(len(mine), len(theirs))
                assert mine[:shorter] == theirs[:shorter], f"two histories of {log}"


# ---- the door: what a message must be before anything of it is looked at ------------------------------------------


def refused(cluster: Cluster, sender: str, wire: bytes) -> str:
    """The id of the fault; or-2's member must be as it was before."""
    member = cluster.boxes["or-2"].member
    member.take_wire()
    with pytest.raises((PeerFault, VerificationFailed)) as caught:
        member.on_wire(sender, wire, cluster.now)
    assert member.take_ops()[0] == []
    assert member.take_wire() == []
    return caught.value.id


def test_our_own_live_log_is_taken_from_nobody() -> None:
    cluster = Cluster(3)
    cluster.run(3)
    live = cluster.boxes["or-2"].member.writer.chain.log
    blocks = tuple(cluster.boxes["or-2"].disk.blocks(live, 0, 2))
    assert len(blocks) == 2
    assert refused(cluster, "or-1", encode_plain(Range(1, live, 0, b"", blocks))) == "range.own-live"
    assert live not in cluster.boxes["or-2"].member.witness.replicas


def test_more_blocks_than_anybody_asks_for_are_not_taken_apart_at_once() -> None:
    cluster = Cluster(2)
    cluster.run(RANGE_BLOCKS + 3, only=["or-1"])
    cluster.run(1, only=["or-2"])
    (log,) = cluster.boxes["or-1"].disk.logs
    blocks = tuple(cluster.boxes["or-1"].disk.blocks(log, 0, RANGE_BLOCKS + 1))
    assert refused(cluster, "or-1", encode_plain(Range(1, log, 0, b"", blocks))) == "range.oversize"
    member = cluster.boxes["or-2"].member
    assert log not in member.witness.replicas
    member.on_wire("or-1", encode_plain(Range(1, log, 0, b"", blocks[:-1])), cluster.now)
    assert member.witness.replicas[log].size == RANGE_BLOCKS


def under_our_incarnation(cluster: Cluster, incarnation: bytes) -> Range:
    """A first block that or-2's own key signed, in a log of another counter that or-2 did not write."""
    from ledger.block import decode_signed_header, sign_header

    box = cluster.boxes["or-2"]
    header = decode_signed_header(box.disk.logs[box.member.writer.chain.log][0][0])
    log = LogId("or-2", 1, incarnation, fenced=False)
    signed = sign_header(replace(header, log=log, payload_bytes=0), box.secrets.signing)
    return Range(1, log, 0, b"", ((signed, b""),))


def test_a_stolen_key_cannot_take_the_incarnation_of_a_log_that_we_write() -> None:
    cluster = Cluster(3)
    cluster.run(3)
    member = cluster.boxes["or-2"].member
    member.take_warnings()
    live = member.writer.chain.log
    member.writer._fence((cluster.manifest,), cluster.now.mono_ns)
    cluster.settle(["or-2"])
    assert member.writer._attempt is not None
    for incarnation in (live.incarnation, member.writer._attempt.incarnation):
        wire = encode_plain(under_our_incarnation(cluster, incarnation))
        assert refused(cluster, "or-1", wire) == "log.own-incarnation"
        assert [warning.id for warning in member.take_warnings()] == ["own-key"]
    cluster.run(5)
    assert member.writer.chain.size, "the room goes on recording"


def test_messages_of_another_site_manifest_sender_or_key_are_refused() -> None:
    cluster = Cluster(3)
    cluster.run(3)
    keys = {name: box.secrets.signing for name, box in cluster.boxes.items()}
    site, manifest_hash = cluster.manifest.site, cluster.manifest.hash
    body = Fence(99, bytes(16), bytes(16))

    def wire(site: str, manifest_hash: bytes, sender: str, key: SigningKey) -> bytes:
        return encode_signed(body, site, manifest_hash, sender, key)

    stranger = SigningKey(bytes(32))
    assert refused(cluster, "or-9", wire(site, manifest_hash, "or-9", stranger)) == "message.stranger"
    assert refused(cluster, "or-2", wire(site, manifest_hash, "or-2", keys["or-2"])) == "message.stranger"
    assert refused(cluster, "or-1", wire("elsewhere", manifest_hash, "or-1", keys["or-1"])) == "message.manifest"
    assert refused(cluster, "or-1", wire(site, bytes(32), "or-1", keys["or-1"])) == "message.manifest"
    assert refused(cluster, "or-1", wire(site, manifest_hash, "or-3", keys["or-3"])) == "message.bad-signature"
    assert refused(cluster, "or-1", wire(site, manifest_hash, "or-1", keys["or-3"])) == "message.bad-signature"
    assert refused(cluster, "or-1", wire(site, manifest_hash, "or-1", keys["or-1"])[:-1]) != ""
    cluster.boxes["or-2"].member.on_wire("or-1", wire(site, manifest_hash, "or-1", keys["or-1"]), cluster.now)
    assert cluster.boxes["or-2"].member.witness.promises.states["or-1"].counter == 99


@settings(max_examples=100)
@given(st.data())
def test_mutated_wire_bytes_change_nothing(data: st.DataObject) -> None:
    cluster, wires = quiet_group()
    wire = bytearray(data.draw(st.sampled_from(wires)))
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    member = cluster.boxes["or-2"].member
    proofs, promises = dict(member.witness.forks.proofs), dict(member.witness.promises.states)
    with suppress(PeerFault, VerificationFailed):
        member.on_wire("or-1", bytes(wire), cluster.now)
    assert member.witness.forks.proofs == proofs
    assert member.witness.promises.states == promises
    assert not any(isinstance(op, AppendBlock) for op in member.take_ops()[0])


@cache
def quiet_group() -> tuple[Cluster, list[bytes]]:
    """A group at rest, and what or-1 would say next: every signed kind that changes something, and a block."""
    cluster = Cluster(3)
    cluster.run(5)
    cluster.now_ns += 2 * S_NS
    member = cluster.boxes["or-1"].member
    member.step(cluster.now)
    cluster.tick("or-1")
    wires = [message.wire for message in member.take_wire()]
    return cluster, [*wires, member.sign(Fence(99, bytes(16), bytes(16)))]


def keyed(cluster: Cluster, log: LogId, number: int) -> tuple[bytes, dict[str, bytes]]:
    """The id of a fresh data key of ``log`` and its wraps."""
    key = DataKey(number.to_bytes(32, "big"))
    boxes = {box.id: wrap(key, log.box, log.incarnation, box.receiving_public) for box in cluster.manifest.boxes}
    return key.key_id, boxes


def later_log(number: int, box: str = "or-1") -> LogId:
    return LogId(box, 50, number.to_bytes(16, "big"), fenced=True)


def test_a_key_that_is_not_wrapped_to_us_or_is_another_one_is_refused() -> None:
    cluster = Cluster(3)
    cluster.run(3)
    member = cluster.boxes["or-1"].member
    log = later_log(1)
    key_id, wraps = keyed(cluster, log, 1)
    others = tuple((name, sealed) for name, sealed in wraps.items() if name != "or-2")
    assert refused(cluster, "or-1", member.sign(Wrap(log, key_id, others))) == "wrap.absent"
    assert refused(cluster, "or-1", member.sign(Wrap(log, bytes(32), tuple(wraps.items())))) == "wrap.mismatch"
    swapped = (("or-2", wraps["or-3"]),)
    assert refused(cluster, "or-1", member.sign(Wrap(log, key_id, swapped))) == "wrap.unsealable"
    assert cluster.boxes["or-2"].member.take_keys() == []


def test_keys_nobody_asked_for_do_not_fill_the_keyring() -> None:
    cluster = Cluster(3)
    cluster.run(3)
    liar, member = cluster.boxes["or-1"].member, cluster.boxes["or-2"].member

    def sent(log: LogId, number: int) -> bytes:
        key_id, wraps = keyed(cluster, log, number)
        return liar.sign(Wrap(log, key_id, (("somebody", bytes(80)), *wraps.items())))

    assert refused(cluster, "or-1", sent(later_log(1, "or-3"), 1)) == "wrap.unasked", "another box's log"
    for number in range(LIMITS.early_keys // 2):
        member.on_wire("or-1", sent(liar.writer.chain.log, 2 + number), cluster.now)
    for number in range(LIMITS.early_keys):
        member.on_wire("or-1", sent(later_log(number), 10 + number), cluster.now)
    member.on_wire("or-1", sent(liar.writer.chain.log, 20), cluster.now)
    member.on_wire("or-1", sent(later_log(99), 21), cluster.now)
    kept = member.take_keys()
    assert len(kept) == LIMITS.early_keys
    assert all(set(key.wraps) == {"or-1", "or-2", "or-3"} for key in kept)
