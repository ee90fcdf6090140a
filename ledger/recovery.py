"""Restoring a box from its peers: which head to believe, what to fetch, what is checked before it is handed over.

A head is believed when w peers cosigned it. From the newest keyframe at or before it, the blocks are fetched with the
tree's frontier before the keyframe; every link, header signature and payload hash is checked, and the roots computed
over them must be the cosigned ones, which proves each block's inclusion. Cost does not depend on the log's length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid, cosignature_is_valid
from ledger.errors import NoPeer, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.messages import Answer, Get, HeadReport, Range, Want
from ledger.notices import Head
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
    """The log to believe. A report that proves nothing counts only where no other report proves anything.

    Raises NoPeer ``restore.nothing-held`` when no answer holds a block of the box, PeerFault ``restore.too-long`` when
    its newest keyframe lies too far back.
    """
    by_log: dict[LogId, dict[str, HeadReport]] = {}
    unproven: dict[LogId, dict[str, HeadReport]] = {}
    for sender, answer in answers.items():
        for report in answer.reports:
            if report.head.log.box == box and report.head.size:
                proven = _is_cosigned_by(manifest, sender, report) or _is_signed_by_writer(manifest, report)
                (by_log if proven else unproven).setdefault(report.head.log, {})[sender] = report
    if not by_log and not unproven:
        raise NoPeer(
            "restore.nothing-held", f"no peer that answered holds a block of {box}", "try again with more peers up"
        )
    candidates = [_candidate(manifest, log, holders) for log, holders in (by_log or unproven).items()]
    witnessed = [candidate for candidate in candidates if candidate.level >= Level.WITNESSED]
    fenced = [candidate for candidate in candidates if candidate.log.fenced]
    best = max(witnessed or fenced or candidates, key=lambda each: (each.log.counter, each.believed_size))
    if best.keyframe_seq + LIMITS.restore_blocks < best.newest_size:
        raise PeerFault(
            "restore.too-long", f"the newest keyframe of {best.log} lies more than {LIMITS.restore_blocks} blocks back"
        )
    return best


def choose_tails(manifest: Manifest, box: str, answers: Mapping[str, Answer], believed: Candidate) -> list[Candidate]:
    """Ends beyond the believed head, newest first: too few vouch for them among those that answered, or none may.
    When the believed head is not witnessed either, the other fenced logs are among them.

    Of each answer its newest fenced and its newest provisional log. A report need not prove itself here, because every
    header fetched must: when a log cannot be fetched or verified, the next one may be.
    """
    later: dict[LogId, dict[str, HeadReport]] = {}
    for sender, answer in answers.items():
        for fenced in (True, False):
            reports = [report for report in answer.reports
                       if report.head.log.box == box and report.head.size and report.head.log.fenced == fenced
                       and _is_beyond(report.head, believed)]  # fmt: skip
            if reports:
                newest = max(reports, key=lambda report: (report.head.log.counter, report.head.size))
                later.setdefault(newest.head.log, {})[sender] = newest
    candidates = [_bounded(_candidate(manifest, log, holders)) for log, holders in later.items()]
    return sorted(candidates, key=lambda each: (_age(each.log), each.newest_size), reverse=True)


def _bounded(tail: Candidate) -> Candidate:
    """No further from its keyframe than a restore may read: a lie about the size costs only what lies beyond."""
    end = tail.keyframe_seq + LIMITS.restore_blocks
    return replace(tail, believed_size=min(tail.believed_size, end), newest_size=min(tail.newest_size, end))


def _is_beyond(head: Head, believed: Candidate) -> bool:
    if head.log == believed.log:
        return head.size > believed.newest_size
    unsure = believed.level < Level.WITNESSED and head.log.fenced
    return unsure or _age(head.log) > _age(believed.log)


def _age(log: LogId) -> tuple[int, bool]:
    """Orders logs by when they began: a provisional log bears the counter that was burnt last before it."""
    return log.counter, not log.fenced


def _candidate(manifest: Manifest, log: LogId, holders: dict[str, HeadReport]) -> Candidate:
    quorum = manifest.quorum_of(log.box)
    cosigned = {sender: report for sender, report in holders.items() if _is_cosigned_by(manifest, sender, report)}
    sizes = sorted((report.head.size for report in cosigned.values()), reverse=True)
    signed = [report.head.size for report in holders.values() if _is_signed_by_writer(manifest, report)]
    level, believed = Level.COPIED, max(signed, default=max(report.head.size for report in holders.values()))
    if quorum.witnessed and len(sizes) >= quorum.witnessed and log.fenced:
        level, believed = Level.WITNESSED, sizes[quorum.witnessed - 1]
        if quorum.final is not None and len(sizes) >= quorum.final and sizes[quorum.final - 1] == believed:
            level = Level.FINAL
    newest = max(report.head.size for report in holders.values())
    keyframe = _keyframe_before(believed, holders.values())
    if believed <= keyframe + LIMITS.restore_blocks:
        newest = min(newest, keyframe + LIMITS.restore_blocks)  # a lie about the tail must not spoil what is believed
    return Candidate(log, level, believed, newest, keyframe, cosigned, holders)


def _keyframe_before(size: int, reports: Iterable[HeadReport]) -> int:
    """The keyframe that most reports name before ``size``, of equals the oldest; its block's header must confirm it."""
    named = Counter(report.keyframe_seq for report in reports if report.keyframe_seq < size)
    return max(named, key=lambda seq: (named[seq], -seq), default=0)


def _is_cosigned_by(manifest: Manifest, sender: str, report: HeadReport) -> bool:
    peers = {box.id: box.signing_public for box in manifest.peers_of(report.head.log.box)}
    checkpoint = Checkpoint(report.head.log.origin(manifest.site), report.head.size, report.head.root)
    return sender in peers and cosignature_is_valid(peers[sender], checkpoint, report.cosigned_s, report.cosignature)


def _is_signed_by_writer(manifest: Manifest, report: HeadReport) -> bool:
    log, head = report.head.log, report.head
    public = manifest.box(log.box).signing_public
    checkpoint = Checkpoint(log.origin(manifest.site), head.size, head.root)
    return checkpoint_signature_is_valid(public, checkpoint, report.checkpoint_signature)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that the box signed, decoded once; ``leaf`` is the hash of its signed header."""

    header: Header
    leaf: bytes
    payload: bytes


class Fetch:
    """Collects the blocks from keyframe to head, from any number of peers, and verifies them as one."""

    def __init__(self, manifest: Manifest, candidate: Candidate, key_for: KeyFor, first_id: int) -> None:
        self.candidate = candidate
        self._manifest = manifest
        self._key_for = key_for
        self._blocks: dict[int, _Block] = {}
        self._frontiers: list[bytes] = []
        self._pruned: set[int] = set()
        self._next_id = first_id

    def missing(self) -> list[tuple[int, int]]:
        """Ranges (first, end) still to be asked for."""
        first, ranges = None, []
        for seq in range(self.candidate.keyframe_seq, self.candidate.newest_size + 1):
            absent = seq < self.candidate.newest_size and seq not in self._blocks
            if seq == self.candidate.keyframe_seq and not self._frontiers:
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
        """Take what a peer sent. Every block must be the box's own and whole; the rest is proved by ``finish``.

        Raises PeerFault when it was not asked for, VerificationFailed naming the first block that is not what the box
        signed; the blocks before it are kept.
        """
        if message.log != self.candidate.log or message.first + len(message.blocks) > self.candidate.newest_size:
            raise PeerFault("range.unasked", "a peer sent blocks that were not asked for")
        if message.first == self.candidate.keyframe_seq and message.frontier:
            self._take_frontier(message.frontier)
        for seq, (signed_header, payload) in enumerate(message.blocks, message.first):
            header = self._checked(seq, signed_header)
            if header.payload_bytes and not payload:
                self._pruned.add(seq)  # there; another peer may have it still
                continue
            if len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash:
                raise VerificationFailed(
                    "block.bad-payload", f"payload of block {seq} of {header.log} is not what it signed"
                )
            self._blocks.setdefault(seq, _Block(header, leaf_hash(signed_header), payload))

    def _take_frontier(self, encoded: bytes) -> None:
        if Frontier.decode(encoded).size != self.candidate.keyframe_seq:
            raise VerificationFailed(
                "restore.frontier", f"the tree's edge before block {self.candidate.keyframe_seq} is wrong"
            )
        if encoded not in self._frontiers and len(self._frontiers) < LIMITS.boxes:
            self._frontiers.append(encoded)

    def finish(self) -> Restored:
        """Verify everything, then fold.

        Raises VerificationFailed or PeerFault naming the block, NoPeer when a data key or a range is missing.
        """
        candidate = self.candidate
        if any(first < candidate.believed_size for first, _ in self.missing()):
            self._raise_pruned()
            raise NoPeer("restore.incomplete", f"no peer could give all blocks of {candidate.log}", "try again")
        return self._restored()

    def finish_tail(self) -> Restored:
        """Verify and fold as much as came of a log that too few vouch for. Raises as ``finish``."""
        candidate = self.candidate
        end = min((first for first, _ in self.missing()), default=candidate.newest_size)
        if end <= candidate.keyframe_seq:
            self._raise_pruned()
            raise NoPeer("restore.incomplete", f"nobody gave the blocks of {candidate.log} in time", "try again")
        self.candidate = replace(candidate, believed_size=min(candidate.believed_size, end), newest_size=end)
        return self._restored()

    def _restored(self) -> Restored:
        candidate = self.candidate
        headers = self._linked_headers()
        vouching = self._vouching(headers)
        state, believed_state = RoomState(), None
        for header in headers:
            state.fold_groups(open_payload(header, self._blocks[header.seq].payload, self._key_for))
            if header.seq + 1 == candidate.believed_size:
                believed_state = decode_state(encode_state(state))
        if believed_state is None:
            raise VerificationFailed("restore.empty", f"{candidate.log} has no block at its head")
        head, count = headers[candidate.believed_size - 1 - candidate.keyframe_seq], len(headers)
        return Restored(candidate, believed_state, state, head, headers[-1], count, count, vouching)

    def _raise_pruned(self) -> None:
        """Say so when nothing but pruned payloads is missing: asking again would not bring them back."""
        missing = {seq for first, end in self.missing() for seq in range(first, end)}
        if missing and missing <= self._pruned:
            raise NoPeer(
                "restore.pruned",
                f"payloads of blocks {min(missing):,} to {max(missing):,} of {self.candidate.log} were pruned at every "
                "peer that answered: they were older than the retention, or the disks were full; headers are held",
                "try again with more peers up; else only the headers are left: orledger verify",
            )

    def _linked_headers(self) -> list[Header]:
        candidate = self.candidate
        headers: list[Header] = []
        previous: bytes | None = None
        # A peer that lies about how much it holds costs no more than the tail that nobody has.
        end = min((first for first, _ in self.missing()), default=candidate.newest_size)
        for seq in range(candidate.keyframe_seq, end):
            block = self._blocks[seq]
            header = block.header
            if previous is not None and header.previous_leaf != previous:
                raise VerificationFailed(
                    "block.broken-link", f"block {seq} of {candidate.log} does not link to the one before"
                )
            previous = block.leaf
            headers.append(header)
        if headers[0].keyframe_seq != candidate.keyframe_seq:
            raise VerificationFailed(
                "restore.keyframe", f"block {candidate.keyframe_seq} of {candidate.log} holds no keyframe"
            )
        return headers

    def _vouching(self, headers: list[Header]) -> int:
        """How many cosignatures hold for these blocks, under whichever edge of the tree most hold for.

        A root that only a few lying peers cosigned is outvoted; one that the box itself signed must agree.
        """
        candidate = self.candidate
        best, agrees = 0, False
        for encoded in self._frontiers:
            roots = self._roots_over(Frontier.decode(encoded))
            # A peer ahead of what was fetched agrees unless shown otherwise; one at least must be shown to agree.
            held = [
                report.head
                for report in candidate.cosigned.values()
                if roots.get(report.head.size, report.head.root) == report.head.root
            ]
            signed = [
                roots.get(report.head.size, report.head.root) == report.head.root
                for report in candidate.holders.values()
                if _is_signed_by_writer(self._manifest, report)
            ]
            enough = sum(1 for head in held if head.size >= candidate.believed_size) >= self._needed()
            shown = not candidate.cosigned or any(head.size in roots for head in held)
            if enough and shown and all(signed):
                best, agrees = max(best, len(held)), True
        if not agrees:
            raise VerificationFailed(
                "restore.root", f"the root of {candidate.log} at {candidate.believed_size} is not the cosigned one"
            )
        return best

    def _needed(self) -> int:
        return self._manifest.quorum_of(self.candidate.log.box).witnessed if self.candidate.level > Level.COPIED else 0

    def _roots_over(self, frontier: Frontier) -> dict[int, bytes]:
        """The roots, over the fetched blocks, at every size that a holder reported."""
        wanted = {report.head.size for report in self.candidate.holders.values()}
        roots = {}
        for seq in range(self.candidate.keyframe_seq, self.candidate.newest_size):
            if seq not in self._blocks:
                break
            frontier.append(self._blocks[seq].leaf)
            if frontier.size in wanted:
                roots[frontier.size] = frontier.root()
        return roots

    def _checked(self, seq: int, signed_header: bytes) -> Header:
        log = self.candidate.log
        header = decode_signed_header(signed_header)
        if header.log != log or header.seq != seq:
            raise VerificationFailed("restore.other-block", f"a peer sent another block in place of {seq} of {log}")
        if not header_signature_is_valid(signed_header, self._manifest.box(log.box).signing_public):
            raise VerificationFailed("block.bad-signature", f"block {seq} of {log} is not signed by {log.box}")
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


def may_be_newer(manifest: Manifest, box: str, answers: Iterable[Answer]) -> bool:
    """True when too few peers answered to rule out a newer epoch or block. One that lost memory rules out nothing."""
    return sum(not answer.is_void for answer in answers) < manifest.quorum_of(box).fence
