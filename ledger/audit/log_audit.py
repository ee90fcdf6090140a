"""One log's audit: its chunks joined to one chain and one tree, then every row derived from it held against that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ledger.audit.chunk import BadBlock, Blocks, Checked, Mark, check_link, readable_header
from ledger.audit.findings import RESTORE, Finding, LogReport, Severity, on_disk, remark
from ledger.audit.rows import Standing, check_keyframes, check_subtrees, check_tip, judge_checkpoints
from ledger.audit.task import Chunk
from ledger.block import Header, decode_signed_header
from ledger.certificate import Certificate
from ledger.errors import PeerFault, StoreFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Head, Start
from ledger.replica import Replica
from ledger.start import VersionOf, check_start, no_version
from ledger.store import Beginning
from ledger.tree import SUBTREE_LEAVES, Frontier

_DROPPED = (
    "were dropped at their retention, on order: no damage; the order kept the tree's edge there, which what is left is "
    "checked against"
)

CHUNK_BLOCKS = 2_048


def chunk_ahead(log: LogId, index: int, public: bytes, manifest_hash: bytes, *, every_signature: bool) -> Chunk:
    """The log's chunk of that number, to be checked before the log's end and its rows are known; see ``completed``."""
    first = index * CHUNK_BLOCKS
    return Chunk(log, first, first + CHUNK_BLOCKS, public, manifest_hash, every_signature, frozenset({0}), frozenset())


def completed(ahead: Checked, chunk: Chunk, source: Blocks) -> Checked | None:
    """What a check made ahead says of ``chunk``, with the marks that were not known then; None when it does not do.

    Nothing may have been written to these blocks since. Raises StoreFault.
    """
    signed = frozenset(seq for seq in chunk.signed_at if chunk.first <= seq < chunk.end)
    before = ahead.chunk
    same = replace(before, signed_at=chunk.signed_at, marks=chunk.marks) == chunk
    if ahead.bad is not None or not same or not (chunk.every_signature or signed <= before.signed_at):
        return None
    marks = []
    for size in sorted(chunk.marks):
        block = source.block(chunk.log, size - 1)
        if block is None:
            return None
        header = readable_header(chunk, size - 1, block.signed_header)
        marks.append(Mark(size, header.closed_ns, header.keyframe_seq))
    ahead.chunk, ahead.marks = chunk, marks
    return ahead


class LogSource(Blocks, Protocol):
    """What the audit of one log reads of a store; all may raise StoreFault."""

    def length(self, log: LogId) -> int: ...

    def beginning(self, log: LogId) -> Beginning: ...

    def tip(self, log: LogId) -> bytes | None: ...

    def subtree(self, log: LogId, index: int) -> bytes | None: ...

    def checkpoints(self, log: LogId) -> list[tuple[int, bytes]]: ...

    def keyframe_at_or_before(self, log: LogId, seq: int) -> tuple[int, bytes] | None: ...


ManifestOf = Callable[[LogId], Manifest | None]
"""That a log is bound to; None where the log or its manifest is not held."""


def no_manifest(_log: LogId) -> None:
    """Where no other log is known."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What was derived from a log and stored beside it, decoded."""

    tip: Replica | None
    checkpoints: tuple[tuple[int, Certificate], ...]
    keyframes: tuple[tuple[int, bytes], ...]
    subtrees: tuple[tuple[int, bytes], ...]


@dataclass(slots=True)
class LogAudit:
    """Feed it the chunks of ``plan`` in order until ``take`` says stop, then ``report``."""

    log: LogId
    manifest: Manifest
    rows: Rows
    length: int
    first: int
    every_signature: bool
    heads: tuple[Head, ...]
    proof_sizes: frozenset[int] = frozenset()
    version_of: VersionOf = no_version
    manifest_of: ManifestOf = no_manifest
    frontier: Frontier = field(default_factory=Frontier)
    frontiers: dict[int, Frontier] = field(default_factory=dict)
    leaves: dict[int, bytes] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    subtrees: dict[int, bytes] = field(default_factory=dict)
    counts: Checked | None = None
    findings: list[Finding] = field(default_factory=list)
    _closing: bytes = b""

    def plan(self) -> list[Chunk]:
        """The chunks, in order."""
        sizes = self._sizes()
        ends = frozenset({0, self.length - 1})
        public = self.manifest.box(self.log.box).signing_public
        return [
            Chunk(
                self.log, first, min(first + CHUNK_BLOCKS, self.length), public, self.manifest.hash,
                self.every_signature, ends, frozenset(s for s in sizes if first < s <= first + CHUNK_BLOCKS),
            )
            for first in range(self.first, self.length, CHUNK_BLOCKS)
        ]  # fmt: skip

    def _sizes(self) -> set[int]:
        sizes = {size for size, _ in self.rows.checkpoints} | {seq for seq, _ in self.rows.keyframes}
        sizes |= {head.size for head in self.heads} | self.proof_sizes
        if self.rows.tip is not None:
            sizes.add(self.rows.tip.size)
        return sizes

    def take(self, checked: Checked) -> bool:
        """Join the next chunk; False when a bad block ends the audit of this log."""
        try:
            self._join(checked)
        except BadBlock as bad:
            self.findings.append(bad.finding)
            return False
        self._add(checked)
        if checked.bad is not None:
            self.findings.append(checked.bad)
            return False
        return True

    def _join(self, checked: Checked) -> None:
        if not checked.opening:
            return
        chunk = checked.chunk
        header = readable_header(chunk, chunk.first, checked.opening)
        if self._closing:
            previous = decode_signed_header(self._closing)
            note = check_link(chunk, previous, self._closing, self.leaves[chunk.first], header, checked.opening)
            if note is not None:
                checked.remarks.insert(0, note)
        elif chunk.first == 0:
            self._check_first(decode_signed_header(checked.opening))

    def _check_first(self, header: Header) -> None:
        start = next((notice for notice in header.notices if isinstance(notice, Start)), None)
        what = None
        if start is None or any(header.previous_leaf):
            what = "is no beginning of a log: it has no start notice, or links to something before it"
        elif header.log.fenced:
            try:
                before = self.manifest_of(start.parent.log) if start.parent is not None else None
                check_start(header, start, self.manifest, before, self.version_of)
            except PeerFault as fault:
                what = fault.text
        elif start.promises or start.parent is not None:
            what = "is provisional, yet claims promises or a parent"
        if what is not None:
            next_step = f"treat the key of {self.log.box} as stolen until this is explained"
            raise BadBlock(Finding(Severity.BAD, "peer", self.log.box, self.log, 0, what, next_step))

    def _add(self, checked: Checked) -> None:
        if self.counts is None:
            self.counts = Checked(checked.chunk)
        for name in ("signatures", "payloads", "decoded", "not_held", "no_key", "unknown_codec"):
            setattr(self.counts, name, getattr(self.counts, name) + getattr(checked, name))
        self.counts.remarks += checked.remarks
        frontier, first, leaves = self.frontier, checked.chunk.first, checked.leaves
        marks = {size for size in checked.chunk.marks if first < size <= first + len(leaves)}
        at = 0
        for size in sorted({*marks, first + len(leaves)}):
            index = frontier.size // SUBTREE_LEAVES
            self.subtrees.update(enumerate(frontier.extend(leaves[at : size - first]), index))
            at = size - first
            if size in marks:
                self.frontiers[size] = frontier.copy()
                self.leaves[size] = leaves[at - 1]
        if leaves:
            self.leaves[first + len(leaves)] = leaves[-1]
        self.marks.update({mark.size: mark for mark in checked.marks})
        self._closing = checked.closing

    def report(
        self, has_proof: bool, proof_findings: Sequence[Finding], named_by: LogId | None, seconds: float
    ) -> LogReport:
        """Hold the rows against the blocks, unless a block is bad already; then everything that is known."""
        counts = self.counts or Checked(Chunk(self.log, 0, 0, b"", b"", False, frozenset(), frozenset()))
        frontiers = self.frontiers if self._knows_roots() else {}
        standing = Standing(self.log, self.manifest, self.first, self.length, frontiers, self.leaves, self.marks)
        vouched, valid = None, 0
        if self._is_good():
            self.findings += self._first_bad_row(standing, has_proof)
        if self._is_good():
            judged = judge_checkpoints(standing, self.rows.checkpoints)
            vouched, valid = judged.vouched, judged.cosignatures
            self.findings += judged.findings
        return LogReport(
            self.log, max(0, self.length - self.first), self.first, counts.signatures, counts.payloads, counts.decoded,
            counts.not_held, counts.no_key, counts.unknown_codec, len(self.rows.checkpoints), valid, vouched,
            named_by, seconds, (*self.findings, *proof_findings, *_folded(counts.remarks)),
        )  # fmt: skip

    def begin(self, beginning: Beginning) -> None:
        """Start where the log begins here; blocks that nobody ordered to be dropped are lost."""
        dropped = beginning.dropped
        ordered = dropped.end if dropped is not None else 0
        if self.length and self.first > ordered:
            what = f"and all blocks up to {self.first - 1:,} are gone, though nobody dropped them"
            self.findings.append(Finding(Severity.BAD, "disk", f"block {ordered}", self.log, ordered, what, RESTORE))
        elif self.first < ordered:
            what = f"blocks before {ordered:,} are noted as dropped, but block {self.first:,} is held"
            self.findings.append(on_disk(f"rows of {self.log}", what, log=self.log))
        elif dropped is not None and dropped.frontier is not None:
            self.frontier = dropped.frontier
            self.frontiers[self.first] = dropped.frontier.copy()

    def _knows_roots(self) -> bool:
        return self.first == 0 or self.first in self.frontiers

    def _is_good(self) -> bool:
        return all(finding.severity is not Severity.BAD for finding in self.findings)

    def _first_bad_row(self, standing: Standing, has_proof: bool) -> list[Finding]:
        """The first bad row, else what is worth knowing."""
        told = [] if not self.first else [remark(self.log, self.first, f"blocks before {self.first:,} {_DROPPED}")]
        if not self._knows_roots():
            what = f"blocks before {self.first:,} were dropped damaged: links are checked, roots cannot be computed"
            return [remark(self.log, self.first, what)]
        checks: Iterable[Finding | None] = (
            *(standing.check_head(head) for head in self.heads),
            check_tip(standing, self.rows.tip, self.manifest.hash, has_proof=has_proof),
            check_keyframes(standing, self.rows.keyframes),
            check_subtrees(standing, self.rows.subtrees, self.subtrees),
        )
        found = told + [finding for finding in checks if finding is not None]
        return [finding for finding in found if finding.severity is Severity.BAD][:1] or found


def _folded(remarks: Sequence[Finding]) -> Iterator[Finding]:
    """The first of each log's remarks, with how many more there are."""
    if remarks:
        first, more = remarks[0], len(remarks) - 1
        what = first.what + (f" ({more} more of this kind)" if more else "")
        yield Finding(first.severity, first.party, first.subject, first.log, first.seq, what, first.next_step)


def read_rows(source: LogSource, log: LogId) -> Rows:
    """Everything derived from ``log``; call before its length is read, so that no row can be ahead of its blocks.

    Raises StoreFault or PeerFault when a row cannot be read.
    """
    stored = source.tip(log)
    tip = Replica.from_tip(log, stored) if stored is not None else None
    checkpoints = tuple((size, Certificate.decode(data)) for size, data in source.checkpoints(log))
    keyframes = []
    found = source.keyframe_at_or_before(log, (1 << 63) - 1)
    while found is not None:
        keyframes.append(found)
        found = source.keyframe_at_or_before(log, found[0] - 1)
    full = range(0 if tip is None else tip.size // 256)
    subtrees = tuple((index, data) for index in full if (data := source.subtree(log, index)) is not None)
    return Rows(tip, checkpoints, tuple(keyframes), subtrees)


NO_ROWS = Rows(None, (), (), ())


def begin_log(
    source: LogSource, log: LogId, manifest: Manifest, heads: tuple[Head, ...], proof_sizes: frozenset[int], *,
    every_signature: bool, version_of: VersionOf = no_version, manifest_of: ManifestOf = no_manifest,
) -> LogAudit:  # fmt: skip
    """Read what lies beside the log; a row that cannot be read is the first finding, found after the blocks are read.

    Raises StoreFault when the store cannot even say how long the log is.
    """
    rows, fault = NO_ROWS, None
    try:
        rows = read_rows(source, log)
    except (StoreFault, PeerFault) as error:
        fault = on_disk(f"rows of {log}", f"a row derived from the blocks cannot be read: {error.text}", log=log)
    beginning = source.beginning(log)
    audit = LogAudit(log, manifest, rows, source.length(log), beginning.first, every_signature, heads, proof_sizes,
                     version_of, manifest_of)  # fmt: skip
    audit.begin(beginning)
    if fault is not None:
        audit.findings.append(fault)
    return audit
