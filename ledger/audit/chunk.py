"""The inner loop: a run of one log's blocks, each checked against its signature, its neighbour and its payload.

Pure, and without memory between runs, so that the caller may check runs side by side; ``LogAudit`` joins them. Blocks
that are what nearly all are go through ``ledger.audit.together``; whatever else there is, and all that is wrong, is
judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from ledger.audit.findings import MEND, Finding, Severity, remark
from ledger.audit.task import Chunk, KeyFor
from ledger.audit.together import GROUP_BLOCKS, GROUP_BYTES, Together, check_together
from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.errors import PeerFault, StoreFault, VerificationFailed
from ledger.log import LogId
from ledger.notices import ClockStep
from ledger.payload import CODEC_ZSTD, decompress, frame_in
from ledger.plain_header import PlainHeader, plain_header
from ledger.record_check import holds_keyframe
from ledger.store import StoredBlock
from ledger.store.rows import BLOCK_HEAD_BYTES
from ledger.tree import leaf_hash

AnyHeader = Header | PlainHeader


class Blocks(Protocol):
    """Where the blocks come from."""

    def block(self, log: LogId, seq: int) -> StoredBlock | None:
        """One block, None when not held; raises StoreFault."""

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[StoredBlock]:
        """Blocks in order, as many as are held; raises StoreFault."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the log stood after ``size`` blocks."""

    size: int
    closed_ns: int
    keyframe_seq: int


@dataclass(slots=True)
class Checked:
    """What became of a chunk: leaf hashes up to ``bad`` or to its end, and its first and last signed header."""

    chunk: Chunk
    leaves: list[bytes] = field(default_factory=list)
    opening: bytes = b""
    closing: bytes = b""
    signatures: int = 0
    payloads: int = 0
    decoded: int = 0
    not_held: int = 0
    no_key: int = 0
    unknown_codec: int = 0
    marks: list[Mark] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    bad: Finding | None = None


class BadBlock(Exception):
    """The finding that ends a chunk."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.what)
        self.finding = finding


def check_chunk(source: Blocks, key_for: KeyFor, chunk: Chunk) -> Checked:
    """Check every block of a chunk, up to the first bad one."""
    checked = Checked(chunk)
    try:
        _run(source, key_for, chunk, checked)
    except BadBlock as bad:
        checked.bad = bad.finding
    return checked


def _run(source: Blocks, key_for: KeyFor, chunk: Chunk, checked: Checked) -> None:
    previous: AnyHeader | None = None
    for blocks in _groups(_read(source, chunk)):
        last_leaf = checked.leaves[-1] if checked.leaves else None
        together = check_together(blocks, chunk, key_for, previous, last_leaf)
        if together is not None:
            _add(checked, blocks, together)
            previous = together.headers[-1]
            continue
        for block in blocks:
            previous = _check_one(key_for, chunk, block, previous, checked)


def _groups(blocks: Iterable[StoredBlock]) -> Iterator[list[StoredBlock]]:
    """The blocks, some at a time; those before a bad one are not lost."""
    group: list[StoredBlock] = []
    size = 0
    found: BadBlock | None = None
    try:
        for block in blocks:
            group.append(block)
            size += len(block.payload)
            if len(group) >= GROUP_BLOCKS or size >= GROUP_BYTES:
                yield group
                group, size = [], 0
    except BadBlock as bad:
        found = bad
    if group:
        yield group
    if found is not None:
        raise found


def _add(checked: Checked, blocks: Sequence[StoredBlock], together: Together) -> None:
    marks = checked.chunk.marks
    checked.opening = checked.opening or blocks[0].signed_header
    checked.leaves += together.leaves
    checked.closing = blocks[-1].signed_header
    checked.signatures += together.signatures
    checked.payloads += together.decoded
    checked.decoded += together.decoded
    checked.not_held += len(blocks) - together.decoded
    if marks:
        checked.marks += [
            Mark(header.seq + 1, header.closed_ns, header.keyframe_seq)
            for header in together.headers
            if header.seq + 1 in marks
        ]


def _check_one(
    key_for: KeyFor, chunk: Chunk, block: StoredBlock, previous: AnyHeader | None, checked: Checked
) -> AnyHeader:
    """One block after ``previous``, the last before it in this chunk."""
    seq, signed, payload = block
    header = readable_header(chunk, seq, signed)
    if chunk.every_signature or seq in chunk.signed_at:
        if not header_signature_is_valid(signed, chunk.public):
            _not_signed(chunk, seq, signed)
        checked.signatures += 1
    if previous is not None:
        note = check_link(chunk, previous, checked.closing, checked.leaves[-1], header, signed)
        if note is not None:
            checked.remarks.append(note)
    else:
        checked.opening = signed
    if payload:
        _check_payload(key_for, chunk, header, block, checked)
    else:
        checked.not_held += 1
    checked.leaves.append(leaf_hash(signed))
    checked.closing = signed
    if seq + 1 in chunk.marks:
        checked.marks.append(Mark(seq + 1, header.closed_ns, header.keyframe_seq))
    return header


def _read(source: Blocks, chunk: Chunk) -> Iterator[StoredBlock]:
    """The chunk's blocks; a fault of the store is pinned to the block it is about."""
    seq = chunk.first
    try:
        for block in source.blocks(chunk.log, seq, chunk.end):
            yield block
            seq = block.seq + 1
    except StoreFault:
        while seq < chunk.end:
            yield _read_one(source, chunk, seq)
            seq += 1
    if seq < chunk.end:
        _disk(chunk, seq, "is not held, though later blocks are")


def _read_one(source: Blocks, chunk: Chunk, seq: int) -> StoredBlock:
    try:
        block = source.block(chunk.log, seq)
    except StoreFault as fault:
        _disk(chunk, seq, f"cannot be read: {fault.text}")
    if block is None:
        _disk(chunk, seq, "is not held, though later blocks are")
    return block


def readable_header(chunk: Chunk, seq: int, signed: bytes) -> AnyHeader:
    """The header that stands at ``seq``; raises BadBlock unless it says so itself."""
    plain = plain_header(signed)
    if plain is not None and plain.stands_at(chunk.log, seq) and plain.manifest_hash == chunk.manifest_hash:
        return plain
    return _any_header(chunk, seq, signed)


def _any_header(chunk: Chunk, seq: int, signed: bytes) -> Header:
    try:
        header = decode_signed_header(signed)
    except PeerFault as fault:
        _blame(chunk, seq, signed, f"has a header that cannot be read: {fault.text}")
    if header.seq != seq or header.log != chunk.log:
        _blame(chunk, seq, signed, f"has the header of block {header.seq:,} of {header.log}")
    if header.manifest_hash != chunk.manifest_hash:
        _blame(chunk, seq, signed, "names another manifest than its log")
    return header


def check_link(
    chunk: Chunk, previous: AnyHeader, previous_signed: bytes, previous_leaf: bytes, header: AnyHeader, signed: bytes
) -> Finding | None:
    """Check that ``header`` follows ``previous``; raises BadBlock, returns a remark about the box's clock."""
    seq = header.seq
    if header.previous_leaf != previous_leaf:
        if not header_signature_is_valid(previous_signed, chunk.public):
            _not_signed(chunk, seq - 1, previous_signed)
        _blame(chunk, seq, signed, f"does not link to block {seq - 1:,}")
    if header.keyframe_seq not in (seq, previous.keyframe_seq):
        if not header_signature_is_valid(previous_signed, chunk.public):
            _not_signed(chunk, seq - 1, previous_signed)
        _blame(chunk, seq, signed, f"names block {header.keyframe_seq:,} as the newest keyframe, which it is not")
    back_ns = previous.closed_ns - header.closed_ns
    if back_ns > 0 and not any(isinstance(notice, ClockStep) for notice in header.notices):
        return remark(chunk.log, seq, f"closed {back_ns / 1e9:.3f} s before block {seq - 1:,} by its own clock, "
                      "without a notice of a clock step", f"on {chunk.log.box}: chronyc tracking")  # fmt: skip
    return None


def _check_payload(key_for: KeyFor, chunk: Chunk, header: AnyHeader, block: StoredBlock, checked: Checked) -> None:
    seq, signed, payload = block
    if len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash:
        if not header_signature_is_valid(signed, chunk.public):
            _not_signed(chunk, seq, signed)
        place = _place(BLOCK_HEAD_BYTES + len(signed), len(payload))
        _disk(chunk, seq, f"payload is not what {chunk.log.box} signed ({place})")
    checked.payloads += 1
    key = key_for(header.key_id)
    if key is None:
        checked.no_key += 1
        return
    try:
        plain = key.open_payload(payload, chunk.log.incarnation, seq, header.associated_data())
    except VerificationFailed as fault:
        _blame(chunk, seq, signed, fault.text)
    if header.codec != CODEC_ZSTD:
        checked.unknown_codec += 1
        return
    try:
        has_keyframe = holds_keyframe(decompress(frame_in(plain)))
    except VerificationFailed as fault:
        _blame(chunk, seq, signed, f"payload cannot be decoded: {fault.text}")
    if has_keyframe != (header.keyframe_seq == seq):
        what = "hides a keyframe" if has_keyframe else "says that it holds a keyframe, but does not"
        _blame(chunk, seq, signed, what)
    checked.decoded += 1


def _blame(chunk: Chunk, seq: int, signed: bytes, what: str) -> NoReturn:
    """A signed header that lies is its box's fault; one whose signature does not fit was altered here."""
    if not header_signature_is_valid(signed, chunk.public):
        _not_signed(chunk, seq, signed)
    next_step = f"keep this store as evidence; compare with the other boxes: orledger verify {chunk.log.box}"
    raise BadBlock(Finding(Severity.BAD, "peer", chunk.log.box, chunk.log, seq, what, next_step))


def _not_signed(chunk: Chunk, seq: int, signed: bytes) -> NoReturn:
    place = _place(BLOCK_HEAD_BYTES, len(signed))
    _disk(chunk, seq, f"header, or its signature, is not what {chunk.log.box} signed ({place})")


def _place(offset: int, size: int) -> str:
    """Where in the stored record to look."""
    return f"bytes {offset:,} to {offset + size - 1:,} of its record"


def _disk(chunk: Chunk, seq: int, what: str) -> NoReturn:
    raise BadBlock(Finding(Severity.BAD, "disk", f"block {seq}", chunk.log, seq, what, MEND))
