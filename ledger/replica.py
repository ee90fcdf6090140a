"""One log as it is held here: its tree's right edge, its newest leaves, and what was cosigned. No rules, only facts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ledger.block import NO_LEAF, Header, decode_signed_header
from ledger.canonical import Fields, pack, unpack
from ledger.case_rows import CaseRows
from ledger.certificate import Certificate
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import BlockMessage, HeadReport
from ledger.notices import Head
from ledger.ops import CheckpointRow, KeyframeRow, PutDerived
from ledger.signing import SIGNATURE_BYTES
from ledger.spans import Spans
from ledger.tree import Frontier, leaf_hash

RECENT_LEAVES = 256
KEYFRAMES_KEPT = 12
_TIP_BYTES = 8_192
_FRONTIER_BYTES = 4_096


class LogReader(Protocol):
    """What state machines may read of the disk: committed data only."""

    def length(self, log: LogId) -> int:
        """Number of blocks held, contiguous from 0."""

    def signed_header(self, log: LogId, seq: int) -> bytes | None:
        """The signed header of one block, None when not held."""


class Recent(NamedTuple):
    """The log when it had ``size`` blocks: root, last leaf, the writer's checkpoint signature (empty if not known), and
    the newest keyframe.
    """

    size: int
    root: bytes
    leaf: bytes
    checkpoint_signature: bytes
    keyframe_seq: int


@dataclass(slots=True)
class Replica:
    """A log's head here. ``durable_size`` trails ``size`` by what is not committed yet.

    ``recent`` are the newest leaves, and all since the durable head: however far the disk is behind, that one is what
    promises and answers tell of.

    ``unheld`` are the blocks whose payload is not here although no retention took it: those before ``pruned_end`` are
    gone for good. ``filled_at`` is the operation that gave the newest payload to a block held before.
    ``expired``: it went, or is going, at its retention, and so did whatever named it.
    """

    log: LogId
    manifest_hash: bytes
    frontier: Frontier = field(default_factory=Frontier)
    last_leaf: bytes = NO_LEAF
    durable_size: int = 0
    keyframe_seq: int = 0
    keyframes: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=KEYFRAMES_KEPT))
    recent: deque[Recent] = field(default_factory=deque)
    cosigned_size: int = 0
    cosigned_s: int = 0
    cosignature: bytes = b""
    frozen: bool = False
    expired: bool = False
    waiting: dict[int, BlockMessage] = field(default_factory=dict)
    missing_keys: set[bytes] = field(default_factory=set)
    dirty: bool = False
    closed_ns: int = 0
    unheld: Spans = field(default_factory=Spans)
    pruned_end: int = 0
    filled_at: int = 0
    cases: CaseRows = field(init=False)

    def __post_init__(self) -> None:
        self.cases = CaseRows(self.log)

    @property
    def whole_size(self) -> int:
        """Up to where this box durably holds headers and payloads."""
        first = self.unheld.first
        return self.durable_size if first is None else min(first, self.durable_size)

    @property
    def size(self) -> int:
        """Number of blocks accepted, durable or not."""
        return self.frontier.size

    def append(self, header: Header, frontier: Frontier, newest: Recent, *, has_payload: bool = True) -> None:
        """Take the next block: the tree's edge with it, and the head it makes. The caller has checked them."""
        if header.payload_bytes and not has_payload and header.seq >= self.pruned_end:
            self.unheld.add(header.seq, header.seq + 1)
        if header.keyframe_seq == header.seq:
            self.keyframe_seq = header.seq
            self.keyframes.append((header.seq, self.frontier.encode()))
        self.frontier = frontier
        self.last_leaf = newest.leaf
        self.recent.append(newest)
        while len(self.recent) > RECENT_LEAVES and self.recent[0].size < self.durable_size:
            self.recent.popleft()
        self.closed_ns = header.closed_ns
        self.dirty = True

    def prune(self, end: int) -> None:
        """Retention took the payloads before ``end``: they are not missed any more."""
        self.pruned_end = max(self.pruned_end, end)
        self.give_up(0, end)

    def give_up(self, first: int, end: int) -> None:
        """The payloads of these blocks are held now, or will never be."""
        if self.unheld:
            self.unheld.remove(first, end)
            self.dirty = True

    def append_one(self, signed_header: bytes, *, has_payload: bool, with_root: bool) -> None:
        """Take the next block from our own disk; roots are worth computing for the newest blocks only."""
        leaf = leaf_hash(signed_header)
        header = decode_signed_header(signed_header)
        frontier = self.frontier.copy()
        frontier.append(leaf)
        root = frontier.root() if with_root else b""
        newest = Recent(frontier.size, root, leaf, b"", header.keyframe_seq)
        self.append(header, frontier, newest, has_payload=has_payload)
        self.durable_size = self.size

    def head_at(self, size: int) -> Head | None:
        """The head when the log had ``size`` blocks, if that is among the newest."""
        known = self.recent_at(size)
        return Head(self.log, size, known.root, known.leaf) if known is not None else None

    def recent_at(self, size: int) -> Recent | None:
        """What is known of the log when it had ``size`` blocks, if that is among the newest."""
        back = self.size - size
        return self.recent[-1 - back] if 0 <= back < len(self.recent) and size else None

    def newest_head(self) -> Head:
        """The head of everything accepted, durable or not; the log must have a block."""
        newest = self.recent[-1]
        return Head(self.log, newest.size, newest.root, newest.leaf)

    def set_checkpoint_signature(self, size: int, signature: bytes) -> None:
        """The writer's signature of the checkpoint at ``size``, which must be among the newest, came later."""
        at = size - self.size - 1
        self.recent[at] = self.recent[at]._replace(checkpoint_signature=signature)

    def leaf_at(self, seq: int) -> bytes | None:
        """Leaf hash of block ``seq``, if among the newest."""
        head = self.head_at(seq + 1)
        return head.leaf if head else None

    def report(self) -> HeadReport | None:
        """The durable head for gossip and answers, with our cosignature when it is of that very head."""
        known = self.recent_at(self.durable_size)
        if known is None:
            return None
        head = Head(self.log, known.size, known.root, known.leaf)
        cosigned = self.cosigned_size == head.size
        return HeadReport(
            head,
            self.cosigned_s if cosigned else 0,
            self.cosignature if cosigned else b"",
            known.checkpoint_signature,
            known.keyframe_seq,
            self.expired,
        )

    def derived(self, certificate: Certificate | None) -> PutDerived:
        """The rows that spare a restart from reading the whole log."""
        self.dirty = False
        tip = pack([
            self.manifest_hash, self.frontier.encode(), self.last_leaf, self.keyframe_seq, self._newest_signature(),
            self.frozen, self.closed_ns, self.unheld.fields(),
        ])  # fmt: skip
        checkpoints = (CheckpointRow(certificate.size, certificate.encode()),) if certificate is not None else ()
        keyframes = tuple(KeyframeRow(seq, frontier) for seq, frontier in self.keyframes)[-1:]
        return PutDerived(self.log, tip, checkpoints=checkpoints, keyframes=keyframes)

    def _newest_signature(self) -> bytes:
        return self.recent[-1].checkpoint_signature if self.recent else b""

    @classmethod
    def from_tip(cls, log: LogId, tip: bytes) -> Replica:
        """Rebuild from a tip; blocks after it must still be appended. Raises PeerFault when the tip is malformed."""
        take = Fields(unpack(tip, _TIP_BYTES, "tip"), 8, "tip")
        replica = cls(log, take.raw(32))
        replica.frontier = Frontier.decode(take.blob(_FRONTIER_BYTES))
        replica.last_leaf, replica.keyframe_seq = take.raw(32), take.uint()
        signature, replica.frozen = take.blob(SIGNATURE_BYTES), take.boolean()
        replica.closed_ns = take.uint()
        replica.unheld = Spans.from_fields(take.array(LIMITS.payload_spans), "tip")
        replica.durable_size = replica.size
        if replica.size:
            newest = Recent(replica.size, replica.frontier.root(), replica.last_leaf, signature, replica.keyframe_seq)
            replica.recent.append(newest)
        return replica


def extend(replica: Replica, blocks: Iterable[tuple[bytes, bool]]) -> None:
    """Append blocks already held on disk (signed header, is its payload held): what a start does with what the tip
    does not cover yet.
    """
    newest: deque[tuple[bytes, bool]] = deque()
    for block in blocks:
        newest.append(block)
        if len(newest) > RECENT_LEAVES:
            signed_header, has_payload = newest.popleft()
            replica.append_one(signed_header, has_payload=has_payload, with_root=False)
    for signed_header, has_payload in newest:
        replica.append_one(signed_header, has_payload=has_payload, with_root=True)
