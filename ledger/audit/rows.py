"""Rows derived from a log, held against its blocks: named heads, tip, keyframes, subtrees, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.audit.chunk import Mark
from ledger.audit.findings import MEND, Finding, Severity, Vouched, on_disk, remark
from ledger.certificate import Certificate
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid, cosignature_is_valid
from ledger.errors import PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Head
from ledger.quorum import Level
from ledger.replica import Replica
from ledger.tree import Frontier


@dataclass(frozen=True, slots=True)
class Standing:
    """What the blocks themselves say: the tree's edge, newest leaf and header facts at each size asked for."""

    log: LogId
    manifest: Manifest
    first: int
    length: int
    frontiers: Mapping[int, Frontier]
    leaves: Mapping[int, bytes]
    marks: Mapping[int, Mark]

    def root(self, size: int) -> bytes | None:
        """The root at ``size``, None when the blocks do not reach it."""
        frontier = self.frontiers.get(size)
        return None if frontier is None else frontier.root()

    def signed_root_is_valid(self, size: int, root: bytes, signature: bytes) -> bool:
        """True when the log's box signed this checkpoint."""
        checkpoint = Checkpoint(self.log.origin(self.manifest.site), size, root)
        return checkpoint_signature_is_valid(self.manifest.box(self.log.box).signing_public, checkpoint, signature)

    def bad_row(self, what: str) -> Finding:
        """A row written here does not fit the blocks, which themselves are whole."""
        return on_disk(f"rows of {self.log}", what, log=self.log)

    def lost(self, size: int, who: str) -> Finding:
        """Blocks that are known to have been here, or elsewhere, are not."""
        what = f"ends here, but {who} says that it had {size:,} blocks"
        return Finding(Severity.BAD, "disk", f"blocks of {self.log}", self.log, self.length, what, MEND)

    def other_history(self, size: int, who: str) -> Finding:
        """A signed statement about this log contradicts its signed blocks."""
        what = f"{who} states another tree of {size:,} blocks than these blocks make"
        next_step = f"keep this store as evidence; treat the key of {self.log.box} as stolen until this is explained"
        return Finding(Severity.BAD, "peer", self.log.box, self.log, size - 1, what, next_step)

    def check_head(self, head: Head) -> Finding | None:
        """An epoch's start names this head as its parent or tail."""
        if head.size <= self.first:
            return None  # its last block was dropped
        root = self.root(head.size)
        if root is None:
            what = f"a later epoch continues it at {head.size:,} blocks, {self.length:,} are held here"
            return remark(self.log, None, what)
        if (root, self.leaves[head.size]) != (head.root, head.leaf):
            return self.other_history(head.size, "the epoch that names this log")
        return None


def check_tip(standing: Standing, tip: Replica | None, manifest_hash: bytes, *, has_proof: bool) -> Finding | None:
    """The tip is what a restart believes."""
    if tip is None or not tip.size:
        return None
    mark, size = standing.marks.get(tip.size), tip.size
    if mark is None:
        return standing.lost(size, "its tip")
    held = (tip.manifest_hash, tip.frontier, tip.last_leaf, tip.keyframe_seq, tip.closed_ns)
    if held != (manifest_hash, standing.frontiers[size], standing.leaves[size], mark.keyframe_seq, mark.closed_ns):
        return standing.bad_row(f"the tip at {size:,} blocks does not fit the blocks")
    signature = tip.recent[-1].checkpoint_signature
    if signature and not standing.signed_root_is_valid(size, tip.frontier.root(), signature):
        return standing.bad_row(f"the tip at {size:,} blocks holds a checkpoint signature that does not verify")
    if tip.frozen and not has_proof:
        return standing.bad_row("the log is frozen, but the proof of equivocation is gone")
    return None


def check_keyframes(standing: Standing, rows: Sequence[tuple[int, bytes]]) -> Finding | None:
    """Each row keeps the tree's edge before a keyframe, from which a restore begins."""
    for seq, data in rows:
        try:
            frontier = Frontier.decode(data)
        except PeerFault as fault:
            return standing.bad_row(f"the tree's edge before keyframe {seq:,} cannot be read: {fault.text}")
        if seq < standing.first:
            continue  # the newest row outlives its block
        expected = Frontier() if seq == 0 else standing.frontiers.get(seq)
        if expected is None:
            return standing.lost(seq, "a keyframe's row")
        if frontier != expected:
            return standing.bad_row(f"the tree's edge kept before keyframe {seq:,} does not fit the blocks")
    return None


def check_subtrees(
    standing: Standing, rows: Sequence[tuple[int, bytes]], computed: Mapping[int, bytes]
) -> Finding | None:
    """Stored hashes of full 256-leaf subtrees."""
    for index, data in rows:
        if computed.get(index) != data:
            return standing.bad_row(f"the hash of subtree {index} does not fit the blocks")
    return None


@dataclass(frozen=True, slots=True)
class Judged:
    """What the stored checkpoints prove, or the first bad one."""

    findings: tuple[Finding, ...]
    cosignatures: int
    vouched: Vouched | None


def judge_checkpoints(standing: Standing, rows: Sequence[tuple[int, Certificate]]) -> Judged:
    """Check every root, signature and cosignature; tell the best."""
    valid = 0
    best: Vouched | None = None
    remarks: list[Finding] = []
    for size, certificate in rows:
        bad = _check_certificate(standing, size, certificate)
        if bad is not None:
            return Judged((bad,), valid, best)
        valid += len(certificate.cosignatures)
        vouched = _vouched(standing, certificate)
        if vouched is not None and (best is None or (vouched.level, vouched.size) >= (best.level, best.size)):
            best = vouched
        remarks += _clock_remark(standing, certificate)
    return Judged(tuple(remarks[:1]), valid, best)


def _check_certificate(standing: Standing, size: int, certificate: Certificate) -> Finding | None:
    where = f"checkpoint {size:,}"
    log_signed = not certificate.log_signature or standing.signed_root_is_valid(
        size, certificate.root, certificate.log_signature
    )
    if certificate.size != size or not log_signed:
        return standing.bad_row(f"{where}: its signature is not one {standing.log.box} made of it")
    checkpoint = certificate.checkpoint(standing.manifest.site, standing.log)
    peers = {box.id: box for box in standing.manifest.peers_of(standing.log.box)}
    for name, time_s, signature in certificate.cosignatures:
        box = peers.get(name)
        if box is None or not cosignature_is_valid(box.signing_public, checkpoint, time_s, signature):
            return standing.bad_row(f"{where}: the cosignature in {name}'s name does not verify")
    root = standing.root(size)
    if size > standing.length:
        return standing.lost(size, f"a checkpoint signed by {standing.log.box}")
    if root is not None and root != certificate.root:
        return standing.other_history(size, where)
    return None


def _vouched(standing: Standing, certificate: Certificate) -> Vouched | None:
    mark = standing.marks.get(certificate.size)
    if mark is None:
        return None
    quorum = standing.manifest.quorum_of(standing.log.box)
    by = tuple(sorted({name for name, _, _ in certificate.cosignatures}))
    level = quorum.level(len(by), len(by)) if standing.log.fenced else Level.COPIED
    seen = min((time_s for _, time_s, _ in certificate.cosignatures), default=None)
    return Vouched(level, certificate.size, by, quorum.peers, mark.closed_ns, seen)


def _clock_remark(standing: Standing, certificate: Certificate) -> list[Finding]:
    """A block that claims a time after the moment a peer already held it."""
    mark = standing.marks.get(certificate.size)
    for name, time_s, _ in certificate.cosignatures if mark is not None else ():
        ahead_ns = mark.closed_ns - (time_s + 1) * S_NS if mark is not None else 0
        if ahead_ns > LIMITS.peer_future_ns:
            what = f"claims to have closed {ahead_ns / S_NS:.1f} s after {name} already held it"
            return [
                remark(standing.log, certificate.size - 1, what, f"compare the clocks of {standing.log.box} and {name}")
            ]
    return []
