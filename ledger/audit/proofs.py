"""Facts a store keeps beside its logs: manifests, promises, proofs of equivocation, checked for what they claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.audit.findings import Finding, on_disk
from ledger.block import decode_signed_header, header_signature_is_valid
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid
from ledger.errors import PeerFault
from ledger.evidence import proof_hash, read_proof
from ledger.log import LogId
from ledger.manifest import Manifest, SignedManifest
from ledger.message_codec import decode_message
from ledger.messages import Fence, Signed
from ledger.promises import NO_PROMISE, PromiseState
from ledger.tree import HASH_BYTES, Frontier, leaf_hash


def check_manifests(rows: Iterable[tuple[int, bytes]]) -> tuple[dict[bytes, Manifest], list[Finding]]:
    """Manifests by hash, up to the first that is not properly signed by its own and its predecessor's site keys."""
    known: dict[bytes, Manifest] = {}
    previous: Manifest | None = None
    for version, data in rows:
        try:
            signed = SignedManifest.decode(data)
            signed.check(previous)
        except (PeerFault, ValueError) as fault:
            return known, [on_disk(f"manifest {version}", f"manifest {version} does not verify: {_text(fault)}")]
        if signed.manifest.version != version:
            return known, [on_disk(f"manifest {version}", f"manifest {signed.manifest.version} stands in its place")]
        previous = signed.manifest
        known[previous.hash] = previous
    return known, []


def check_promises(rows: Mapping[str, bytes], manifests: Sequence[Manifest]) -> list[Finding]:
    """Each promise must be what its evidence, signed by the box it was given to, asked for."""
    found = []
    for box, data in sorted(rows.items()):
        try:
            what = _promise_fault(box, PromiseState.decode(data), manifests)
        except PeerFault as fault:
            what = fault.text
        if what is not None:
            found.append(on_disk(f"promise about {box}", f"the promise about {box} does not verify: {what}"))
    return found


def _promise_fault(box: str, promise: PromiseState, manifests: Sequence[Manifest]) -> str | None:
    if promise == replace(NO_PROMISE, void=promise.void):
        return None  # it says that memory was lost, and nothing else
    manifest = next((known for known in manifests if known.hash == promise.manifest_hash), None)
    if manifest is None:
        return "it is bound to a manifest that is not held"
    public = manifest.box(box).signing_public
    if header_signature_is_valid(promise.evidence, public):
        log = decode_signed_header(promise.evidence).log
        asked = (log.box, log.counter, log.incarnation)
    else:
        message = decode_message(promise.evidence)
        if not isinstance(message, Signed) or not isinstance(message.body, Fence) or not message.is_signed_by(public):
            return f"its evidence is not signed by {box}"
        asked = (message.sender, message.body.counter, message.body.incarnation)
    return None if asked == (box, promise.counter, promise.incarnation) else "its evidence asked for something else"


@dataclass(frozen=True, slots=True)
class Proof:
    """Stored evidence of equivocation: two headers of one seq, or one header and a root signed with it."""

    hash: bytes
    log: LogId
    first: bytes
    second: bytes
    second_root: bytes
    seq: int

    def fault(self, manifest: Manifest, frontier: Frontier | None, stored_leaf: bytes | None) -> str | None:
        """None when it proves that the log's box signed two histories. ``frontier`` is the tree's edge before ``seq``,
        ``stored_leaf`` the leaf held at ``seq``.
        """
        public = manifest.box(self.log.box).signing_public
        if not header_signature_is_valid(self.second, public):
            return f"its header is not signed by {self.log.box}"
        if self.second_root:
            return self._root_fault(manifest, public, frontier)
        first_leaf = leaf_hash(self.first) if self.first else stored_leaf
        if first_leaf is None or first_leaf == leaf_hash(self.second):
            return "it does not hold two different blocks"
        if not self.first:
            return None
        header = decode_signed_header(self.first)
        if (header.log, header.seq) != (self.log, self.seq) or not header_signature_is_valid(self.first, public):
            return f"its first header is not block {self.seq:,} signed by {self.log.box}"
        return None

    def _root_fault(self, manifest: Manifest, public: bytes, frontier: Frontier | None) -> str | None:
        root, signature = self.second_root[:HASH_BYTES], self.second_root[HASH_BYTES:]
        checkpoint = Checkpoint(self.log.origin(manifest.site), self.seq + 1, root)
        if not checkpoint_signature_is_valid(public, checkpoint, signature):
            return f"its checkpoint is not signed by {self.log.box}"
        if frontier is None:
            return "the blocks before it are not held, so its root cannot be compared"
        edge = frontier.copy()
        edge.append(leaf_hash(self.second))
        return "its root is that of the blocks" if edge.root() == root else None


def read_proofs(rows: Mapping[bytes, bytes]) -> tuple[list[Proof], list[Finding]]:
    """Every stored proof, and those that cannot be read or do not stand under their hash."""
    proofs, found = [], []
    for hash_, data in sorted(rows.items()):
        name = f"proof {hash_.hex()[:8]}"
        try:
            log, first, second, second_root = read_proof(data)
            header = decode_signed_header(second)
        except PeerFault as fault:
            found.append(on_disk(name, f"{name} cannot be read: {fault.text}"))
            continue
        if proof_hash(data) != hash_ or header.log != log:
            found.append(on_disk(name, f"{name} is not what was kept under that hash"))
            continue
        proofs.append(Proof(hash_, log, first, second, second_root, header.seq))
    return proofs, found


def _text(fault: Exception) -> str:
    return fault.text if isinstance(fault, PeerFault) else str(fault)
