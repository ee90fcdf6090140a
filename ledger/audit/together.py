"""Some blocks at a time, one step for all of them after the other: what nearly every block is, and good.

The steps are those of ``ledger.audit.chunk``, which judges everything that is not accepted here, rare or false. The
same code run for one block after another stays in the processor's caches: a fifth less time (benchmarks/bench_audit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ledger.audit.task import Chunk, KeyFor
from ledger.block import Header, header_signature_is_valid, payload_hash
from ledger.errors import VerificationFailed
from ledger.payload import CODEC_ZSTD, decompress, frame_in
from ledger.plain_header import PlainHeader, plain_run
from ledger.record_check import holds_keyframe
from ledger.store import StoredBlock
from ledger.tree import leaf_hash

GROUP_BLOCKS = 32
GROUP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Together:
    """Good blocks: their headers and leaf hashes, signatures checked, payloads read to the last record."""

    headers: Sequence[PlainHeader]
    leaves: list[bytes]
    signatures: int
    decoded: int


def check_together(
    blocks: Sequence[StoredBlock],
    chunk: Chunk,
    key_for: KeyFor,
    before: Header | PlainHeader | None,
    before_leaf: bytes | None,
) -> Together | None:
    """None unless all are good and follow ``before``, the last block before them in this chunk, and nothing is to be
    said of any: no notice, no unknown key or codec, no clock that went back.
    """
    headers = plain_run(
        [block.signed_header for block in blocks], chunk.log, blocks[0].seq, chunk.manifest_hash
    )  # fmt: skip
    if headers is None:
        return None
    leaves = [leaf_hash(block.signed_header) for block in blocks]
    if not _are_linked(headers, leaves, before, before_leaf):
        return None
    signed = [
        block.signed_header for block in blocks if chunk.every_signature or block.seq in chunk.signed_at
    ]  # fmt: skip
    if not all(header_signature_is_valid(each, chunk.public) for each in signed):
        return None
    decoded = _decoded(blocks, headers, chunk, key_for)
    return None if decoded is None else Together(headers, leaves, len(signed), decoded)


def _are_linked(
    headers: Sequence[PlainHeader],
    leaves: Sequence[bytes],
    before: Header | PlainHeader | None,
    before_leaf: bytes | None,
) -> bool:
    if [header.previous_leaf for header in headers[1:]] != leaves[:-1]:
        return False
    if before is not None and not (headers[0].previous_leaf == before_leaf and _follows(before, headers[0])):
        return False
    return all(_follows(previous, header) for previous, header in pairwise(headers))


def _follows(previous: Header | PlainHeader, header: PlainHeader) -> bool:
    is_keyframe_known = header.keyframe_seq in (header.seq, previous.keyframe_seq)
    return is_keyframe_known and previous.closed_ns <= header.closed_ns


def _decoded(
    blocks: Sequence[StoredBlock], headers: Sequence[PlainHeader], chunk: Chunk, key_for: KeyFor
) -> int | None:
    """How many payloads are held, each of them what its header says and readable to the last record."""
    held = [(header, block.payload) for header, block in zip(headers, blocks, strict=True) if block.payload]
    for header, payload in held:
        if len(payload) != header.payload_bytes or header.codec != CODEC_ZSTD:
            return None
    if [payload_hash(payload) for _, payload in held] != [header.payload_hash for header, _ in held]:
        return None
    keys = {key_id: key_for(key_id) for key_id in {header.key_id for header, _ in held}}
    opened = []
    try:
        for header, payload in held:
            key = keys[header.key_id]
            if key is None:
                return None
            sealed_with = header.associated_data()
            opened.append(key.open_payload(payload, chunk.log.incarnation, header.seq, sealed_with))
        plain = [decompress(frame_in(each)) for each in opened]
        keyframes = [holds_keyframe(each) for each in plain]
    except VerificationFailed:
        return None
    return len(held) if keyframes == [header.keyframe_seq == header.seq for header, _ in held] else None
