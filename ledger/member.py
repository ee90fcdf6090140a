"""One box's part in its group: writer, witness and catch-up behind one door. Bytes and ``now`` in; operations,
wire bytes and events out. The agent gives it a disk and a network; the simulation gives it worse ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from ledger.catchup import serve_range
from ledger.chain import Block, Chain, Draft
from ledger.envelopes import Envelopes
from ledger.errors import PeerFault
from ledger.fetching import Fetching
from ledger.gossip import Gossip
from ledger.instant import Now
from ledger.key_exchange import KeyExchange, Keys, KeyToKeep
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.lost_memory import LostMemory
from ledger.manifest import Manifest
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import (
    Answer,
    Ask,
    AskHoldings,
    BlockMessage,
    Cosign,
    Fence,
    Get,
    GetObject,
    GetWrap,
    Heads,
    Holding,
    ManifestOffer,
    Nack,
    ObjectBody,
    ObjectPiece,
    PlainBody,
    Promise,
    Range,
    Refuse,
    Signed,
    SignedBody,
    StandsBy,
    Stored,
    Wrap,
)
from ledger.notices import TailFound
from ledger.ops import Op, PutSelf
from ledger.outbox import Outbox, Tell, Warn
from ledger.payload_catchup import PAYLOAD_REQUESTS_FROM
from ledger.quota import QUOTA
from ledger.replica import LogReader, Replica
from ledger.sealing import BoxKey
from ledger.signing import SigningKey
from ledger.voids import Voids
from ledger.witness import Witness
from ledger.writer import OwnPast, Random, State, Writer

RESTORE_REQUESTS_FROM = 1 << 32
"""GET request ids from here on belong to restores; their answers come back as events."""
RELAYED_REQUESTS_FROM = 1 << 48
"""GET request ids from here on belong to others that this box fetches for; it never takes their answers apart."""


class Disk(LogReader, Protocol):
    """What a member may read: committed data only."""

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
        """(signed header, payload) pairs in order, as far as they are held."""

    def keyframe_frontier(self, log: LogId, seq: int) -> bytes | None:
        """The tree's frontier before keyframe ``seq``, None when it is not kept."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The private keys a box records with."""

    signing: SigningKey
    receiving: BoxKey


@dataclass(frozen=True, slots=True)
class RestoreReply:
    """An Answer or a restore's Range came in."""

    sender: str
    body: Answer | Range


@dataclass(frozen=True, slots=True)
class WireMessage:
    """Encoded and signed, ready to leave. ``to`` is a box, or "*" for every peer."""

    to: str
    wire: bytes
    kind: type
    bulk: bool


class Member:
    """One box in its group."""

    def __init__(
        self, own_id: str, secrets: Secrets, manifest: Manifest, boot_id: bytes, disk: Disk, keys: Keys, random: Random
    ) -> None:
        self.own_id = own_id
        self.out = Outbox()
        self.witness = Witness(own_id, secrets.signing, manifest, disk, self.out)
        self.writer = Writer(own_id, secrets.signing, manifest, boot_id, disk, self.out, random)
        self.manifests = self.witness.manifests
        self.voids = Voids(own_id, self.manifests, disk, self.out, random)
        self.witness.promises.may_vouch = self.voids.may_vouch
        self.witness.is_own_incarnation = self.writer.has_drawn
        self.writer.manifest_of = self._manifest_of
        self.writer.manifest_before = self.manifests.before_own
        self.writer.loose_ends = lambda: self.witness.held.unnamed(own_id)
        self.fetching = Fetching(own_id, self.witness, disk, self.out)
        self._lost_memory = LostMemory(self.voids, self.witness, self.fetching.catchup)
        self.witness.on_own_found = self._lost_memory.on_own_found
        self.events: list[RestoreReply] = []
        self.on_object: Callable[[str, ObjectBody, bytes], None] = _no_objects
        self.gossip = Gossip(own_id, self.writer, self.witness, self.fetching.catchup, self.out)
        self.keys = KeyExchange(
            own_id, secrets.receiving, self.manifests, keys, self.out, self.witness.replicas.get,
            lambda key_id: key_id in self.witness.cosigner.keys_held,
        )  # fmt: skip
        self._envelopes = Envelopes(own_id, secrets.signing, self.manifests, self.out)
        self._disk = disk
        self._next_heads_ns = 0
        self._peers_up: set[str] = set()
        self._tails_told: dict[LogId, int] = {}

    @property
    def manifest(self) -> Manifest:
        """The highest manifest that lists this box."""
        return self.manifests.own

    def _manifest_of(self, log: LogId) -> Manifest | None:
        replica = self.witness.replicas.get(log)
        return self.manifests.of(replica.manifest_hash) if replica is not None else None

    # ---- start and time ----------------------------------------------------------------------------------------

    def start(
        self, past: OwnPast, replicas: Iterable[Replica], promises: dict[str, bytes], key_ids: Iterable[bytes],
        manifests: Iterable[tuple[int, bytes]] = (), quota: bytes | None = None,
        proofs: Iterable[bytes] = (),
    ) -> None:  # fmt: skip
        """Take over what the disk holds and begin a new log at once."""
        self.manifests.load(manifests)
        if self.manifests.own is not self.manifests.newest:
            self._tell_removed()
        if quota is not None:
            self.witness.quota.load(quota)
        self.witness.load(replicas, promises, key_ids)
        self.witness.forks.load(proofs, self.witness.replicas)
        void = {box: promise.void for box, promise in self.witness.promises.states.items()}
        self.voids.start((log for log in self.witness.replicas if log.box == self.own_id), void)
        self.writer.start(past)

    def step(self, now: Now) -> None:
        """Time passes: fences, gossip, catch-up. Call a few times a second."""
        if self.witness.quota.today(now):
            self.witness.refused.clear()
        before = self.writer.chain
        self.writer.step(now.mono_ns)
        self._note_chain(before)
        self._lost_memory.step(self._peers_up, now)
        for giver, head in self.writer.lacking():
            self.fetching.catchup.learn(giver, head.log, head.size)
        if now.mono_ns >= self._next_heads_ns:
            self._next_heads_ns = now.mono_ns + LIMITS.heads_every_ns
            self.gossip.tell_heads(now)
            self._persist_derived()
            self._tell_found_tails()
            self.fetching.ask_again(self._peers_up, now)
        self.fetching.step(now)

    def _note_chain(self, before: Chain) -> None:
        """The writer may have begun another log: the one before is held like any other from here on."""
        if self.writer.chain is not before and before.size:
            self.witness.adopt(before.replica, self.writer.names())

    def _tell_found_tails(self) -> None:
        """An end of an own older log that the epoch's start did not name, once no peer is known to hold more of it."""
        if self.writer.state not in (State.FENCED, State.LONE):
            return
        for head in self.witness.held.unnamed(self.own_id):
            if head.size > self._tails_told.get(head.log, 0) and self.fetching.catchup.most(head.log) <= head.size:
                self._tails_told[head.log] = head.size
                self.writer.notice(TailFound(head))

    def _persist_derived(self) -> None:
        chain = self.writer.chain
        if chain.replica.dirty:
            self.out.persist(chain.replica.derived(self.writer.vouching.certificate()))
        for replica in self.witness.replicas.values():
            if replica.dirty:
                self.out.persist(replica.derived(self.witness.cosigner.certificate(replica)))
        if self.witness.quota.dirty:
            self.out.persist(PutSelf(QUOTA, self.witness.quota.encode()))

    def peer_up(self, peer: str) -> None:
        """A peer can be spoken to: it gets the key of the live log at once, and is asked what we may have forgotten."""
        self._peers_up.add(peer)
        self.voids.ask(peer)
        self.writer.peer_up(peer)
        self.fetching.peer_up(peer)
        self.witness.forks.peer_up(peer)
        chain = self.writer.chain
        self.keys.give(peer, chain.log, chain.data_key.key_id)

    def peer_down(self, peer: str) -> None:
        """A peer cannot be spoken to."""
        self._peers_up.discard(peer)
        self.writer.peer_down(peer)
        self.fetching.peer_down(peer)

    def enter_case(self, case_id: bytes | None) -> None:
        """What this box records from here on is of this case; None: of no case. It goes on in the next log."""
        self.writer.enter_case(case_id)

    def close_block(self, draft: Draft) -> Block:
        """Close the next block of this box's live log."""
        return self.writer.close_block(draft)

    # ---- what the world must do --------------------------------------------------------------------------------

    def take_ops(self) -> tuple[list[Op], int]:
        """Operations for the next durable transaction."""
        return self.out.take_ops()

    def committed(self, position: int, now: Now) -> None:
        """That transaction is durable."""
        self.out.committed(position)
        self.witness.committed(position, now)
        self.writer.committed(position)
        self.fetching.step(now)

    def pruned(self, log: LogId, end: int) -> None:
        """Retention takes the payloads of a log before block ``end``: they are not to be fetched again."""
        replica = self.witness.replicas.get(log)
        if replica is not None:
            replica.prune(end)

    def expired(self, logs: Iterable[LogId]) -> None:
        """Whole logs go at their retention, or begin to: nobody is told any more that they can be had here."""
        self.witness.held.expire(logs)

    def take_keys(self) -> list[KeyToKeep]:
        """Data keys to put into the keyring before anything else happens."""
        self.keys.to_keep += self.writer.data_keys.made
        self.writer.data_keys.made.clear()
        return self.keys.take()

    def key_kept(self, key_id: bytes, now: Now) -> None:
        """A data key is durable in the keyring."""
        self.witness.cosigner.on_key(key_id, now)

    def take_warnings(self) -> list[Warn]:
        """What a person should know."""
        return self.out.take_warnings()

    def take_wire(self) -> list[WireMessage]:
        """What may leave now, encoded and signed."""
        return [self._encoded(tell) for tell in self.out.take_tells()]

    def _encoded(self, tell: Tell) -> WireMessage:
        body = tell.body
        wire = encode_plain(body) if isinstance(body, PlainBody) else self.sign(body)
        return WireMessage(tell.to, wire, type(body), tell.bulk)

    def sign(self, body: SignedBody) -> bytes:
        """Wire bytes of a message in this box's name."""
        return self._envelopes.sign(body)

    # ---- what arrives ------------------------------------------------------------------------------------------

    def on_wire(self, sender: str, wire: bytes, now: Now, *, bulk: bool = False) -> None:
        """A message from ``sender``, as the transport authenticated it; answers take the connection it came by.

        Raises PeerFault or VerificationFailed: count it, report it, go on.
        """
        if sender not in self.manifests.peers():
            raise PeerFault("message.stranger", f"{sender} is not in this box's group")
        message = decode_message(wire)
        self.gossip.heard_mono_ns[sender] = now.mono_ns
        before = self.writer.chain
        try:
            if isinstance(message, Signed):
                self._envelopes.check(sender, message, now)
                self._on_signed(sender, message, now, bulk=bulk)
            else:
                self._on_plain(sender, message, now)
        finally:
            self._note_chain(before)

    def _on_signed(self, sender: str, message: Signed, now: Now, *, bulk: bool) -> None:
        match message.body:
            case Fence() as fence:
                self.witness.promises.on_fence(message, fence)
            case Promise() | Refuse() | Nack() | Stored():
                self._on_reply_to_writer(sender, message, now.mono_ns)
            case Heads() | StandsBy() as told:
                self.gossip.on_told(sender, told, now)
            case Get() as get:
                asked = get if bulk else replace(get, reply_bytes=LIMITS.range_reply_bytes)
                self.out.tell(sender, self.serve(asked), bulk=bulk)
            case Wrap() as wrapped if self.witness.keeps_payloads:
                self.keys.on_wrap(sender, wrapped)
            case GetWrap() as get_wrap:
                self.keys.on_get_wrap(sender, get_wrap)
            case Ask(nonce, box):
                self.gossip.on_ask(sender, nonce, box, now)
            case Answer() as answer:
                if not self._lost_memory.on_answer(sender, answer, self.writer.written, now):
                    self.events.append(RestoreReply(sender, answer))
            case ManifestOffer(signed_manifest):
                self.offer_manifest(signed_manifest)
            case GetObject() | Holding() | AskHoldings() as about_objects:
                self.on_object(sender, about_objects, message.wire)

    def offer_manifest(self, signed_manifest: bytes) -> bool:
        """A newer manifest, from a peer or from an operator; True when it is in force now.

        Raises PeerFault when it is malformed or lacks the signatures of either version's site keys.
        """
        if not self.manifests.take(signed_manifest, self.out):
            return False
        if self.manifests.own is self.manifests.newest:
            self.writer.adopt_manifest(self.manifests.own)
        else:
            self._tell_removed()
        return True

    def _tell_removed(self) -> None:
        self.out.warn(Warn(
            "manifest.removed", "critical", "operator", self.own_id,
            f"the site's manifest {self.manifests.newest.version} lists {self.own_id} no longer: it records alone",
            "take this box out of the room, or enrol it again",
        ))  # fmt: skip

    def _on_reply_to_writer(self, sender: str, message: Signed, now_ns: int) -> None:
        match message.body:
            case Promise() as promise:
                self.writer.on_promise(message, promise, now_ns)
            case Refuse() as refuse:
                self.writer.on_refuse(refuse, now_ns)
            case Nack() as nack:
                self.writer.on_nack(sender, nack, now_ns)
                self.witness.on_proof(nack.evidence, nack.log)
            case Stored() as stored:
                self.writer.on_stored(sender, stored)

    def _on_plain(self, sender: str, message: PlainBody, now: Now) -> None:
        if isinstance(message, BlockMessage):
            self.fetching.on_live_block(sender, self.witness.on_block(sender, message, now))
        elif isinstance(message, Cosign):
            self.writer.on_cosign(message)
        elif isinstance(message, ObjectPiece):
            self.on_object(sender, message, b"")
        elif message.request_id >= RESTORE_REQUESTS_FROM:
            self.events.append(RestoreReply(sender, message))
        elif message.request_id >= PAYLOAD_REQUESTS_FROM:
            self.fetching.on_payloads(sender, message, now)
        elif message.log == self.writer.chain.log:
            raise PeerFault("range.own-live", f"{sender} sent blocks of the log that this box itself is writing")
        else:
            self.fetching.on_blocks(sender, message, now)

    def serve(self, get: Get) -> Range:
        """Blocks that are held here, for a peer or for this box's own restore."""
        frontier = self._disk.keyframe_frontier(get.log, get.first) or b""
        live = self.writer.chain
        replica = live.replica if get.log == live.log else self.witness.replicas.get(get.log)
        for seq, known in replica.keyframes if replica else ():
            if seq == get.first:
                frontier = known
        return serve_range(get, frontier, self._disk.blocks)

    def answer(self, nonce: bytes, box: str, now: Now) -> Answer:
        """Every durable head of ``box`` held here, newest first: for this box's own restore."""
        return self.gossip.answer(nonce, box, now)


def _no_objects(_sender: str, _body: ObjectBody, _wire: bytes) -> None:
    """A box without an object folder neither gives nor takes any."""
