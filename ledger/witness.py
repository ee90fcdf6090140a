"""The peer's side of replication: what to accept and keep of the other boxes' logs, for the ``Cosigner`` to vouch for.

Bytes and ``now`` in; durable operations and sayings out (``Outbox``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from ledger.backlog import Appended, Backlog
from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.cosigner import Cosigner
from ledger.errors import PeerFault
from ledger.forks import Forks
from ledger.held_logs import HeldLogs
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.manifest import Manifest, Role
from ledger.manifests import Manifests
from ledger.messages import BlockMessage, HeadReport, Nack, Range
from ledger.notices import Head
from ledger.ops import AppendBlock, OpenLog
from ledger.outbox import Outbox, Warn
from ledger.promises import Promises
from ledger.quota import Quota
from ledger.replica import LogReader, Recent, Replica
from ledger.signing import SigningKey
from ledger.start import linked_heads
from ledger.start_proofs import StartProofs, start_in
from ledger.tree import leaf_hash


class Witness:
    """Holds the group's logs and vouches for them. One instance per box; own old logs are held here too."""

    def __init__(self, own_id: str, key: SigningKey, manifest: Manifest, reader: LogReader, out: Outbox) -> None:
        self.own_id = own_id
        self.manifests = Manifests(own_id, manifest)
        self.quota = Quota()
        self.keeps_payloads = manifest.box(own_id).role is Role.MEMBER
        self.refused: set[LogId] = set()
        self.held = HeldLogs(own_id)
        self.replicas = self.held.replicas
        self.promises = Promises(self.manifests, self.held, out)
        self.starts = StartProofs(self.manifests, self.replicas, reader)
        self.promises.is_proved = self.starts.is_proved
        self.forks = Forks(self.manifests, out)
        self.cosigner = Cosigner(
            own_id, key, self.manifests, self.replicas, self.promises, out, keeps_payloads=self.keeps_payloads
        )
        self._ahead: set[str] = set()
        self.named: list[Head] = []
        self.is_own_incarnation: Callable[[bytes], bool] = lambda _incarnation: False
        self.on_own_found: Callable[[LogId, int], None] = lambda _log, _size: None
        self.out = out
        self._reader = reader
        self._backlog = Backlog()
        self._filling = 0

    def filled(self, replica: Replica, position: int) -> None:
        """Blocks held before are given their payloads by the operations up to ``position``."""
        self._filling = max(self._filling, position)
        self._backlog.add(Appended(max(position, self.cosigner.committed), replica, replica.size, b""))

    def on_other_header(self, sender: str, signed_header: bytes) -> None:
        """A block that is held here was sent with another header: proof, if its box signed both. Raises PeerFault."""
        header = self._checked(signed_header)
        replica = self.replicas.get(header.log)
        if replica is not None and header.seq < replica.size:
            self._on_known_seq(sender, replica, header, BlockMessage(signed_header, b"", b"", b""))

    @property
    def may_fetch_payloads(self) -> bool:
        """False while blocks wait for the disk, or the payloads fetched last do."""
        return self.keeps_payloads and self._filling <= self.cosigner.committed and not self.is_short_of_time

    @property
    def is_short_of_time(self) -> bool:
        """True while so many boxes' blocks wait for the disk that payloads and objects are to wait."""
        return self._backlog.is_short_of_time

    @property
    def backlog(self) -> int:
        """Blocks taken and not durable yet."""
        return len(self._backlog)

    @property
    def crowded(self) -> frozenset[str]:
        """Boxes of which so much waits for the disk that no more is to be asked for."""
        return self._backlog.crowded()

    @property
    def backlog_bytes(self) -> int:
        """What those weigh."""
        return self._backlog.bytes

    # ---- start -------------------------------------------------------------------------------------------------

    def load(self, replicas: Iterable[Replica], promises: dict[str, bytes], key_ids: Iterable[bytes]) -> None:
        """Take over what the disk holds."""
        self.replicas.update({replica.log: replica for replica in replicas})
        self.promises.load(promises)
        self.cosigner.load(key_ids)
        for log in self.replicas:  # all of them first: what an epoch continues may have been opened here after it
            if log.fenced and log.box != self.own_id:
                self.starts.keep(log)
        for log, replica in self.replicas.items():
            if not self.keeps_payloads:
                replica.give_up(0, replica.size)  # none is missed here
            if replica.expired:
                self.held.name([replica.newest_head()])
            first = self._reader.signed_header(log, 0)
            if first is not None:
                header = decode_signed_header(first)
                self.held.name(linked_heads(header))
                newer = log.fenced and log.counter > self.promises.of(log.box).counter
                if newer and log.box != self.own_id and self.starts.is_proved(log):
                    self.promises.on_start(log, header.manifest_hash, first)
                if self.keeps_payloads and not replica.expired and replica.pruned_end < replica.size:
                    self.cosigner.need_keys(replica, {header.key_id, *replica.cases.key_ids})

    def adopt(self, replica: Replica, named: Iterable[Head]) -> None:
        """This box's own log is closed and held like any other from here on. ``named``: by the log that follows it."""
        self.replicas[replica.log] = replica
        self.held.name(named)
        self._backlog.add(Appended(self.out.position, replica, replica.size, b""))

    # ---- blocks ------------------------------------------------------------------------------------------------

    def on_block(self, sender: str, message: BlockMessage, now: Now) -> Replica:
        """A block arrived, live; returns its log. Raises PeerFault when it is malformed, forged or a stranger's."""
        header = self._checked(message.signed_header)
        _check_payload(header, message.payload)
        if header.log.box == self.own_id:
            raise PeerFault("block.own", f"{sender} sent a block in this box's own name", "check that ids are unique")
        replica = self._replica_for(header)
        self._judge_clock(header, now.utc_ns)
        if header.seq < replica.size:
            self._on_known_seq(sender, replica, header, message)
        elif header.seq > replica.size:
            self._on_gap(replica, header.seq, message)
        else:
            self._check_has_payload(sender, header, message)
            self._accept(sender, replica, header, message)
            self._accept_waiting(sender, replica)
        return replica

    def on_range(self, sender: str, message: Range) -> None:
        """Blocks that were asked for: of others' logs, or of this box's own older ones. Raises PeerFault."""
        proven = self._proven_by_the_last(message)
        for number, (signed_header, payload) in enumerate(message.blocks):
            header = proven[number] if proven else self._checked(signed_header)
            _check_payload(header, payload)
            if header.log != message.log:
                raise PeerFault("range.other-log", f"{sender} answered with blocks of another log")
            replica = self._replica_for(header)
            if header.seq == replica.size:
                self._accept(sender, replica, header, BlockMessage(signed_header, payload, b"", b""))
        grown = self.replicas.get(message.log)
        if grown is not None:
            self._accept_waiting(sender, grown)

    def _accept_waiting(self, sender: str, replica: Replica) -> None:
        for seq in [seq for seq in replica.waiting if seq < replica.size]:
            del replica.waiting[seq]
        while (following := replica.waiting.pop(replica.size, None)) is not None and not replica.frozen:
            self._accept(sender, replica, decode_signed_header(following.signed_header), following)

    def _checked(self, signed_header: bytes) -> Header:
        header = decode_signed_header(signed_header)
        box = self.manifests.box(header.log.box)
        if not header_signature_is_valid(signed_header, box.signing_public):
            raise PeerFault("block.bad-signature", f"block {header.seq} of {header.log} is not signed by {box.id}")
        return header

    def _proven_by_the_last(self, message: Range) -> list[Header]:
        """The headers, if each names the signed one before by its hash and the last is signed: that proves them all.

        Else none: each must prove itself then, and the first that does not is refused by name.
        """
        signed_headers = [signed_header for signed_header, _ in message.blocks]
        try:
            headers = [decode_signed_header(signed_header) for signed_header in signed_headers]
        except PeerFault:
            return []
        linked = all(
            header.previous_leaf == leaf_hash(before)
            for header, before in zip(headers[1:], signed_headers[:-1], strict=True)
        )
        public = self.manifests.box(message.log.box).signing_public
        return headers if headers and linked and header_signature_is_valid(signed_headers[-1], public) else []

    def _replica_for(self, header: Header) -> Replica:
        replica = self.replicas.get(header.log)
        if replica is None:
            self.manifests.of(header.manifest_hash)
            if header.log.box == self.own_id and self.is_own_incarnation(header.log.incarnation):
                raise self.forks.own_key_elsewhere(header.log)
            self.held.check_incarnation(header.log)
            if header.log.box != self.own_id and not self.quota.take_log(header.log.box):
                raise self._refuse(header.log, "quota.logs")
            replica = Replica(header.log, header.manifest_hash)
            self.replicas[header.log] = replica
        if header.manifest_hash != replica.manifest_hash:
            raise PeerFault("block.manifest", f"{header.log} changed its manifest within the log")
        return replica

    def _refuse(self, log: LogId, reason: str) -> PeerFault:
        """Nothing more of this log is taken or asked for today."""
        self.refused.add(log)
        self.out.tell(log.box, Nack(log, reason, b""))
        return PeerFault(reason, f"{log.box} has had its day's share of this disk", f"find out why {log.box} restarts")

    def _check_has_payload(self, sender: str, header: Header, message: BlockMessage) -> None:
        log = header.log
        newer = log.fenced and log.counter > self.promises.of(log.box).counter
        needed = self.keeps_payloads and (newer or self.promises.is_current(log))
        if header.payload_bytes and not message.payload and needed:
            raise PeerFault("block.no-payload", f"{sender} sent block {header.seq} of {log} without its payload")

    def _accept(self, sender: str, replica: Replica, header: Header, message: BlockMessage) -> None:
        if replica.frozen:
            self.out.tell(sender, Nack(replica.log, "log.frozen", self.forks.proof_of(replica.log)))
            return
        if replica.log in self.starts.refuted:
            self.refused.add(replica.log)
            raise self.starts.refusal(replica.log)
        if header.previous_leaf != replica.last_leaf:
            raise PeerFault("block.broken-link", f"block {header.seq} of {header.log} does not link to the one before")
        log = replica.log
        self._backlog.check_share(log.box)
        if log.box == self.own_id:
            self.on_own_found(log, header.seq + 1)
        if header.seq == 0:
            self._open(replica, header, message.signed_header)
        if log.box != self.own_id and not self.promises.is_current(log) and not self.quota.take_block(log.box):
            raise self._refuse(log, "quota.tail")
        leaf = leaf_hash(message.signed_header)
        frontier = replica.frontier.copy()
        frontier.append(leaf)
        root = frontier.root()
        if message.root and not self._checkpoint_agrees(replica, header, message, root):
            return
        newest = Recent(frontier.size, root, leaf, message.checkpoint_signature, header.keyframe_seq)
        replica.append(header, frontier, newest, has_payload=bool(message.payload) or not self.keeps_payloads)
        if self.keeps_payloads:
            self.cosigner.need_key(replica, header.key_id)
        payload = message.payload if self.keeps_payloads else b""
        position = self.out.persist(AppendBlock(replica.log, header.seq, message.signed_header, payload))
        for row in replica.cases.note(header):
            self.out.persist(row)
        taken = len(message.signed_header) + len(payload)
        self._backlog.add(Appended(position, replica, replica.size, message.signed_header, taken))
        if header.seq == 0:
            self._settle_starts(log)

    def _settle_starts(self, here: LogId) -> None:
        """What an epoch continues is here now: its beginning is proved by that, and may be vouched for, or refuted."""
        for header, signed_header in self.starts.settle(here):
            self.promises.on_start(header.log, header.manifest_hash, signed_header)
            replica = self.replicas[header.log]
            self.refused.discard(header.log)
            self._backlog.add(Appended(self.out.position, replica, replica.size, b""))
        for log, fault in self.starts.take_refuted():
            if log.box != self.own_id:
                self.out.tell(log.box, Nack(log, fault.id, b""))
            self.out.warn(Warn(
                fault.id, "critical", "peer", log.box, f"{fault.text}: nobody vouches for it here",
                f"find out who writes under {log.box}'s key",
            ))  # fmt: skip

    def _checkpoint_agrees(self, replica: Replica, header: Header, message: BlockMessage, root: bytes) -> bool:
        if not self.forks.is_signed(replica.log, header.seq + 1, message.root, message.checkpoint_signature):
            raise PeerFault("checkpoint.bad-signature", f"checkpoint {header.seq + 1} of {header.log} is not signed")
        if message.root != root:
            self._freeze(replica, header.seq, message.signed_header, message.root + message.checkpoint_signature)
            return False
        return True

    def _open(self, replica: Replica, header: Header, signed_header: bytes) -> None:
        start = start_in(header)
        named = linked_heads(header)
        if not header.log.fenced and (named or start.promises):
            raise PeerFault("log.start", f"{header.log} is provisional, yet claims promises or names ends of others")
        if any(head.log.box != header.log.box for head in named):
            raise PeerFault("epoch.names", f"{header.log} names ends of other boxes' logs")
        if header.log.fenced and self.starts.take(header, signed_header):
            self.promises.on_start(header.log, header.manifest_hash, signed_header)
        self.held.name(named)
        self.named += [start.parent, *start.tails] if start.parent is not None else list(start.tails)
        self.out.persist(OpenLog(replica.log, header.manifest_hash))

    def _on_known_seq(self, sender: str, replica: Replica, header: Header, message: BlockMessage) -> None:
        known = replica.leaf_at(header.seq)
        if known is None:
            stored = self._reader.signed_header(replica.log, header.seq)
            known = leaf_hash(stored) if stored is not None else None
        if known is not None and known != leaf_hash(message.signed_header):
            self._freeze(replica, header.seq, message.signed_header, b"")
        elif known is not None and not self._has_second_root(
            replica, header.seq + 1, message.root, message.checkpoint_signature
        ):
            self.cosigner.tell_cosignature(replica, sender)

    def on_report(self, report: HeadReport) -> None:
        """What another box holds of a log that is held here too: two roots its writer signed are two histories."""
        replica = self.replicas.get(report.head.log)
        if replica is None:
            return
        known = replica.recent_at(report.head.size)
        if known is not None and known.root == report.head.root and not known.checkpoint_signature:
            # Blocks that came in a range brought no checkpoint signature; with it a restore can prove this head.
            if self.forks.is_signed(report.head.log, known.size, known.root, report.checkpoint_signature):
                replica.set_checkpoint_signature(known.size, report.checkpoint_signature)
        else:
            self._has_second_root(replica, report.head.size, report.head.root, report.checkpoint_signature)

    def on_proof(self, evidence: bytes, log: LogId) -> None:
        """Another box shows that this log has two histories."""
        replica = self.replicas.get(log)
        if replica is not None and not replica.frozen and self.forks.proves(replica, evidence):
            self.forks.take(replica, evidence)
            self.out.persist(replica.derived(self.cosigner.certificate(replica)))

    def show_proof(self, peer: str, log: LogId) -> None:
        """``peer`` tells of a log that is frozen here: it may not know why yet."""
        proof = self.forks.untold(peer, log)
        if proof:
            self.out.tell(peer, Nack(log, "log.frozen", proof))

    def _has_second_root(self, replica: Replica, size: int, root: bytes, signature: bytes) -> bool:
        if not self.forks.second_root(replica, size, root, signature):
            return False
        self._freeze(replica, size - 1, b"", root + signature)
        return True

    def _on_gap(self, replica: Replica, seq: int, message: BlockMessage) -> None:
        """Keep a few blocks that came early; what lies between is pulled by ``CatchUp`` from whoever has it."""
        if len(replica.waiting) >= LIMITS.out_of_order_blocks:
            return
        held: Counter[str] = Counter()
        for each in [each for each in self.replicas.values() if each.waiting]:
            held[each.log.box] += sum(_weight(early) for early in each.waiting.values())
        box, more = replica.log.box, _weight(message)
        if held.total() + more <= LIMITS.out_of_order_bytes and held[box] + more <= LIMITS.out_of_order_bytes_per_box:
            replica.waiting[seq] = message

    def _freeze(self, replica: Replica, seq: int, second_header: bytes, second_root: bytes) -> None:
        """Two histories of one log: keep the proof, vouch for nothing more of it. The room goes on recording."""
        if replica.frozen:
            return
        self.forks.freeze(replica, seq, self._header_at(replica, seq), second_header, second_root)
        self.out.persist(replica.derived(self.cosigner.certificate(replica)))

    def _header_at(self, replica: Replica, seq: int) -> bytes:
        for appended in self._backlog:
            if appended.replica is replica and appended.size == seq + 1:
                return appended.signed_header
        return self._reader.signed_header(replica.log, seq) or b""

    def _judge_clock(self, header: Header, utc_ns: int) -> None:
        box = header.log.box
        is_ahead = header.closed_ns > utc_ns + LIMITS.peer_future_ns
        if is_ahead or box in self._ahead:
            ahead_s = (header.closed_ns - utc_ns) / S_NS
            text = f"{box}'s clock is {ahead_s:.1f} s ahead of ours"
            self.out.warn(Warn("peer.clock", "warning", "peer", box, text, f"on {box}: chronyc sources", is_ahead))
        if is_ahead:
            self._ahead.add(box)
        else:
            self._ahead.discard(box)

    def committed(self, position: int, now: Now) -> None:
        """Operations up to ``position`` are durable: vouch for what they hold."""
        grown: dict[LogId, Replica] = {}
        self.cosigner.committed = max(self.cosigner.committed, position)
        for appended in self._backlog.durable(position):
            appended.replica.durable_size = appended.size
            grown[appended.replica.log] = appended.replica
        for replica in grown.values():
            self.cosigner.vouch(replica, now)


def _check_payload(header: Header, payload: bytes) -> None:
    if payload and (len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash):
        raise PeerFault("block.bad-payload", f"payload of block {header.seq} of {header.log} is not what it signed")


def _weight(message: BlockMessage) -> int:
    return len(message.signed_header) + len(message.payload)
