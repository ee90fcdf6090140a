"""Restoring a box from its peers: which head to believe, what to fetch, what is checked before it is handed over.

A head is believed when w peers cosigned it. From the newest keyframe at or before it, the blocks are fetched with the
tree's frontier before the keyframe; every link, header signature and payload hash is checked, and the roots computed
over them must be the cosigned ones, which proves each block's inclusion. Cost does not depend on the log's length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid, cosignature_is_valid
from ledger.errors import NoPeer, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.messages import Answer, Get, HeadReport, Range, Want
from ledger.payload import decode_payload
from ledger.quorum import Level
from ledger.records import Record
from ledger.sealing import DataKey
from ledger.state import RoomState, decode_state, encode_state
from ledger.tree import Frontier, leaf_hash

KeyFor = Callable[[bytes], DataKey | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A log that answers put forward. ``believed_size`` is the highest size of level ``level``; ``newest_size`` the
    longest any peer holds; ``cosigned`` who cosigned how much (verified).
    """

    log: LogId
    level: Level
    believed_size: int
    newest_size: int
    keyframe_seq: int
    cosigned: Mapping[str, HeadReport]
    holders: Mapping[str, HeadReport]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored and why it can be believed. ``state`` is at ``head_size`` (believed), ``newest_state`` at
    ``newest_size``: the tail between is signed by the box but not vouched for at that level.
    """

    candidate: Candidate
    state: RoomState
    newest_state: RoomState
    head: Header
    newest: Header
    blocks: int
    signatures: int
    cosignatures: int


def choose(manifest: Manifest, box: str, answers: Mapping[str, Answer]) -> Candidate:
    """The log to believe.

    Raises NoPeer ``restore.nothing-held`` when no answer holds a block of the box, PeerFault when an answer carries a
    cosignature its sender did not make.
    """
    by_log: dict[LogId, dict[str, HeadReport]] = {}
    for sender, answer in answers.items():
        for report in answer.reports:
            if report.head.log.box == box and report.head.size:
                by_log.setdefault(report.head.log, {})[sender] = report
    if not by_log:
        raise NoPeer(
            "restore.nothing-held", f"no peer that answered holds a block of {box}", "try again with more peers up"
        )
    candidates = [_candidate(manifest, log, holders) for log, holders in by_log.items()]
    witnessed = [candidate for candidate in candidates if candidate.level >= Level.WITNESSED]
    if witnessed:
        return max(witnessed, key=lambda candidate: (candidate.log.counter, candidate.believed_size))
    fenced = [candidate for candidate in candidates if candidate.log.fenced]
    return max(fenced or candidates, key=lambda candidate: (candidate.log.counter, candidate.newest_size))


def _candidate(manifest: Manifest, log: LogId, holders: dict[str, HeadReport]) -> Candidate:
    quorum = manifest.quorum_of(log.box)
    cosigned = {sender: report for sender, report in holders.items() if report.cosignature}
    for sender, report in cosigned.items():
        checkpoint = Checkpoint(log.origin(manifest.site), report.head.size, report.head.root)
        public = manifest.box(sender).signing_public
        if not cosignature_is_valid(public, checkpoint, report.cosigned_s, report.cosignature):
            raise PeerFault("cosign.bad-signature", f"{sender} answered with a cosignature that it did not make")
    sizes = sorted((report.head.size for report in cosigned.values()), reverse=True)
    signed = [report.head.size for report in holders.values() if _is_signed_by_writer(manifest, report)]
    newest = max(signed, default=max(report.head.size for report in holders.values()))
    level, believed = Level.COPIED, newest
    if quorum.witnessed and len(sizes) >= quorum.witnessed and log.fenced:
        level, believed = Level.WITNESSED, sizes[quorum.witnessed - 1]
        if quorum.final is not None and len(sizes) >= quorum.final and sizes[quorum.final - 1] == believed:
            level = Level.FINAL
    newest = max(newest, believed)
    keyframe = min(believed - 1, *(report.keyframe_seq for report in holders.values()))
    if keyframe + LIMITS.restore_blocks < newest:
        raise PeerFault(
            "restore.too-long", f"the newest keyframe of {log} lies more than {LIMITS.restore_blocks} blocks back"
        )
    return Candidate(log, level, believed, newest, keyframe, cosigned, holders)


def _is_signed_by_writer(manifest: Manifest, report: HeadReport) -> bool:
    log, head = report.head.log, report.head
    public = manifest.box(log.box).signing_public
    checkpoint = Checkpoint(log.origin(manifest.site), head.size, head.root)
    return checkpoint_signature_is_valid(public, checkpoint, report.checkpoint_signature)


class Fetch:
    """Collects the blocks from keyframe to head, from any number of peers, and verifies them as one."""

    def __init__(self, manifest: Manifest, candidate: Candidate, key_for: KeyFor, first_id: int) -> None:
        self.candidate = candidate
        self._manifest = manifest
        self._key_for = key_for
        self._blocks: dict[int, tuple[bytes, bytes]] = {}
        self._frontier: bytes | None = None
        self._next_id = first_id

    def missing(self) -> list[tuple[int, int]]:
        """Ranges (first, end) still to be asked for."""
        first, ranges = None, []
        for seq in range(self.candidate.keyframe_seq, self.candidate.newest_size + 1):
            absent = seq < self.candidate.newest_size and seq not in self._blocks
            if seq == self.candidate.keyframe_seq and self._frontier is None:
                absent = True
            if absent and first is None:
                first = seq
            elif not absent and first is not None:
                ranges.append((first, seq))
                first = None
        return ranges

    def gets(self, peers: int) -> list[Get]:
        """Requests that share what is missing out among ``peers`` askings."""
        total = sum(end - first for first, end in self.missing())
        step = max(1, -(-total // max(1, peers)))
        out = []
        for first, end in self.missing():
            for start in range(first, end, step):
                self._next_id += 1
                out.append(Get(self._next_id, self.candidate.log, start, min(end, start + step), Want.BLOCKS))
        return out

    def on_range(self, message: Range) -> None:
        """Take what a peer sent; nothing of it is believed before ``finish``. Raises PeerFault when out of range."""
        if message.log != self.candidate.log or message.first + len(message.blocks) > self.candidate.newest_size:
            raise PeerFault("range.unasked", "a peer sent blocks that were not asked for")
        if message.first == self.candidate.keyframe_seq and message.frontier:
            self._frontier = message.frontier
        for offset, pair in enumerate(message.blocks):
            self._blocks.setdefault(message.first + offset, pair)

    def finish(self) -> Restored:
        """Verify everything, then fold.

        Raises VerificationFailed or PeerFault naming the block, NoPeer when a data key or a range is missing.
        """
        candidate = self.candidate
        if self.missing() or self._frontier is None:
            raise NoPeer("restore.incomplete", f"no peer could give all blocks of {candidate.log}", "try again")
        frontier = Frontier.decode(self._frontier)
        if frontier.size != candidate.keyframe_seq:
            raise VerificationFailed(
                "restore.frontier", f"the tree's edge before block {candidate.keyframe_seq} is wrong"
            )
        roots = self._cosigned_roots()
        state, believed_state = RoomState(), None
        head = newest = None
        previous: bytes | None = None
        for seq in range(candidate.keyframe_seq, candidate.newest_size):
            signed_header, payload = self._blocks[seq]
            newest = self._checked(seq, signed_header, payload, previous)
            previous = leaf_hash(signed_header)
            frontier.append(previous)
            if frontier.size in roots and frontier.root() != roots[frontier.size]:
                raise VerificationFailed(
                    "restore.root", f"the root of {candidate.log} at {frontier.size} is not the cosigned one"
                )
            state.fold_groups(open_payload(newest, payload, self._key_for))
            if frontier.size == candidate.believed_size:
                head = newest
                believed_state = decode_state(encode_state(state))
        if head is None or newest is None or believed_state is None:
            raise VerificationFailed("restore.empty", f"{candidate.log} has no block at its head")
        count = candidate.newest_size - candidate.keyframe_seq
        return Restored(candidate, believed_state, state, head, newest, count, count, len(candidate.cosigned))

    def _cosigned_roots(self) -> dict[int, bytes]:
        candidate = self.candidate
        roots = {report.head.size: report.head.root for report in candidate.cosigned.values()}
        for report in candidate.holders.values():
            if not _is_signed_by_writer(self._manifest, report):
                continue
            if roots.setdefault(report.head.size, report.head.root) != report.head.root:
                raise VerificationFailed("restore.two-roots", f"{candidate.log} has two roots at {report.head.size}")
        return roots

    def _checked(self, seq: int, signed_header: bytes, payload: bytes, previous: bytes | None) -> Header:
        log = self.candidate.log
        header = decode_signed_header(signed_header)
        if header.log != log or header.seq != seq:
            raise VerificationFailed("restore.other-block", f"a peer sent another block in place of {seq} of {log}")
        if not header_signature_is_valid(signed_header, self._manifest.box(log.box).signing_public):
            raise VerificationFailed("block.bad-signature", f"block {seq} of {log} is not signed by {log.box}")
        if previous is not None and header.previous_leaf != previous:
            raise VerificationFailed("block.broken-link", f"block {seq} of {log} does not link to the one before")
        if len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash:
            raise VerificationFailed("block.bad-payload", f"payload of block {seq} of {log} is not what it signed")
        return header


def open_payload(header: Header, payload: bytes, key_for: KeyFor) -> dict[str, tuple[Record, ...]]:
    """The records of one block.

    Raises NoPeer ``restore.no-key`` without the data key, VerificationFailed when it does not open.
    """
    key = key_for(header.key_id)
    if key is None:
        raise NoPeer(
            "restore.no-key",
            f"this box holds no data key for {header.log}",
            "restore on a box that this data was wrapped to",
        )
    if key.key_id != header.key_id:
        raise VerificationFailed("wrap.mismatch", f"the key held for {header.log} is another one")
    plain = key.open_payload(payload, header.log.incarnation, header.seq, header.associated_data())
    return decode_payload(plain, header.codec)


def may_be_newer(manifest: Manifest, box: str, answered: int) -> bool:
    """True when too few peers answered to rule out a newer epoch or block."""
    return answered < manifest.quorum_of(box).fence
