"""Two histories of one log: keep the proof, freeze the log, tell a person. The room goes on recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ledger.block import decode_signed_header, header_signature_is_valid
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid
from ledger.errors import PeerFault
from ledger.evidence import equivocation_proof, read_proof
from ledger.log import LogId
from ledger.manifests import Manifests
from ledger.ops import PutProof
from ledger.outbox import Outbox, Warn
from ledger.replica import Replica
from ledger.tree import HASH_BYTES

_TWO = 2


class Forks:
    """Proofs of equivocation. ``proofs`` counts them by box."""

    def __init__(self, manifests: Manifests, out: Outbox) -> None:
        self.proofs: dict[str, int] = {}
        self._manifests = manifests
        self._out = out
        self._proof_of: dict[LogId, bytes] = {}
        self._told: set[tuple[str, LogId]] = set()

    def load(self, stored: Iterable[bytes], replicas: Mapping[LogId, Replica]) -> None:
        """Take over the proofs that the disk holds: what they prove stays frozen, and they are shown as before."""
        for proof in stored:
            try:
                log, *_ = read_proof(proof)
            except PeerFault as fault:
                self._out.warn(Warn(
                    "proof.unreadable", "warning", "disk", "proofs", f"a stored proof cannot be read: {fault.text}",
                    "orledger verify",
                ))  # fmt: skip
                continue
            self._proof_of[log] = proof
            self.proofs[log.box] = self.proofs.get(log.box, 0) + 1
            replica = replicas.get(log)
            if replica is not None and not replica.frozen:
                replica.frozen = replica.dirty = True

    def proves(self, replica: Replica, evidence: bytes) -> bool:
        """True when the log's own box signed what another shows: two blocks of one seq, or a root for a size at which
        another one is known here.
        """
        try:
            log, first, second, second_root = read_proof(evidence)
            if log != replica.log:
                return False
            public = self._manifests.box(log.box).signing_public
            if not all(header_signature_is_valid(signed, public) for signed in (first, second) if signed):
                return False
            headers = [decode_signed_header(signed) for signed in (first, second) if signed]
        except PeerFault:
            return False
        if any(header.log != log for header in headers) or len({header.seq for header in headers}) != 1:
            return False
        if len(headers) == _TWO:
            return first != second
        root, signature = second_root[:HASH_BYTES], second_root[HASH_BYTES:]
        return self.second_root(replica, headers[0].seq + 1, root, signature)

    def take(self, replica: Replica, evidence: bytes) -> None:
        """Another box's proof, which ``proves``: keep it as if it had been found here."""
        _, first, second, second_root = read_proof(evidence)
        seq = decode_signed_header(first or second).seq
        self.freeze(replica, seq, first, second, second_root)

    def untold(self, peer: str, log: LogId) -> bytes:
        """The proof about a log, the first time that ``peer`` is to be shown it since it can be spoken to."""
        proof = self._proof_of.get(log, b"")
        if not proof or (peer, log) in self._told:
            return b""
        self._told.add((peer, log))
        return proof

    def peer_up(self, peer: str) -> None:
        """What it was shown before may not have arrived."""
        self._told = {told for told in self._told if told[0] != peer}

    def proof_of(self, log: LogId) -> bytes:
        """The proof that froze a log; empty when there is none."""
        return self._proof_of.get(log, b"")

    def own_key_elsewhere(self, log: LogId) -> PeerFault:
        """Our own key signed a log that this process did not write, under the incarnation of one that it did."""
        box = log.box
        self._out.warn(Warn(
            "own-key", "critical", "us", box,
            f"another process signs under {box}'s key: {log} has the incarnation of a log that {box} itself is writing",
            "treat this box's key as stolen: enrol a replacement box",
        ))  # fmt: skip
        return PeerFault("log.own-incarnation", f"{log} was not written here", f"treat {box}'s key as stolen")

    def is_signed(self, log: LogId, size: int, root: bytes, signature: bytes) -> bool:
        """True when the log's box signed this checkpoint."""
        checkpoint = Checkpoint(log.origin(self._manifests.site), size, root)
        return checkpoint_signature_is_valid(self._manifests.box(log.box).signing_public, checkpoint, signature)

    def second_root(self, replica: Replica, size: int, root: bytes, signature: bytes) -> bool:
        """True when the log's box signed another root than the one known here for this size: two histories."""
        known = replica.recent_at(size)
        if known is None or not known.root or known.root == root:
            return False
        return self.is_signed(replica.log, size, root, signature)

    def freeze(self, replica: Replica, seq: int, first_header: bytes, second_header: bytes, second_root: bytes) -> None:
        """Keep the proof, vouch for nothing more of this log. ``second_root`` as in ``equivocation_proof``."""
        proof_hash, proof = equivocation_proof(replica.log, first_header, second_header, second_root)
        replica.frozen = True
        self._proof_of[replica.log] = proof
        self.proofs[replica.log.box] = self.proofs.get(replica.log.box, 0) + 1
        self._out.persist(PutProof(proof_hash, proof))
        self._out.warn(Warn(
            "fork", "critical", "peer", replica.log.box,
            f"{replica.log.box} signed two blocks {seq:,}. Log {replica.log} is frozen, the proof is kept.",
            f"orledger verify {replica.log.box}; treat {replica.log.box}'s key as stolen",
        ))  # fmt: skip
