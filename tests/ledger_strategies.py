"""Hypothesis strategies for logs, heads, notices, headers and messages, and a small site to use them in."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, Header
from ledger.log import LogId
from ledger.manifest import Box, Manifest, Role
from ledger.messages import (
    Answer,
    Ask,
    AskHoldings,
    BlockMessage,
    Cosign,
    Fence,
    Get,
    GetObject,
    GetWrap,
    HeadReport,
    Heads,
    Holding,
    ManifestOffer,
    Nack,
    ObjectPiece,
    PlainBody,
    Promise,
    Range,
    Refuse,
    SignedBody,
    StandsBy,
    Stored,
    Want,
    Wrap,
)
from ledger.notices import (
    Access,
    Alert,
    CaseBoundary,
    ClockStep,
    Drill,
    Head,
    ManifestChange,
    Notice,
    RestorePerformed,
    Start,
    StoredObject,
    StoredObjects,
    TailFound,
)
from ledger.sealing import BoxKey
from ledger.signing import SigningKey

SITE = "st-mary"
MOST = (1 << 63) - 1

seqs = st.integers(0, (1 << 32) - 1)
counts = st.integers(0, 300) | st.integers(0, MOST)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
blobs = st.binary(max_size=20)


def exactly(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


hashes = exactly(32)
logs = st.builds(LogId, names, counts, exactly(16), st.booleans())
heads = st.builds(Head, logs, counts, hashes, hashes)


def tuples_of(items: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=most).map(tuple)


notices: st.SearchStrategy[Notice] = st.one_of(
    st.builds(Start, exactly(16), tuples_of(blobs), st.none() | heads, tuples_of(heads)),
    st.builds(CaseBoundary, st.sampled_from(["open", "close"]), exactly(16)),
    st.builds(ManifestChange, counts, hashes),
    st.builds(Access, st.sampled_from(["granted", "revoked", "used"]), exactly(16)),
    st.builds(RestorePerformed, heads, st.integers(0, 255), st.integers(0, 255), st.booleans()),
    st.builds(Drill, names, st.booleans()),
    st.builds(Alert, names, st.text(max_size=8), st.booleans()),
    st.builds(ClockStep, st.integers(-(1 << 63), MOST)),
    st.builds(TailFound, heads),
    st.builds(StoredObjects, tuples_of(st.builds(StoredObject, hashes, counts, hashes))),
)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    seq = draw(counts)
    return Header(
        log=draw(logs), seq=seq, opened_ns=draw(counts), closed_ns=draw(counts), boot_ns=draw(counts),
        clock=ClockQuality(draw(st.sampled_from(ClockState)), draw(counts)), previous_leaf=draw(hashes),
        payload_hash=draw(hashes), payload_bytes=draw(st.integers(0, 2 << 20)), key_id=draw(hashes),
        codec=draw(st.integers(0, 255)), keyframe_seq=draw(st.integers(0, seq)),
        case_id=draw(st.none() | exactly(16)), manifest_hash=draw(hashes), notices=draw(tuples_of(notices, 4)),
    )  # fmt: skip


signatures = exactly(64)
reports = st.builds(HeadReport, heads, counts, st.sampled_from([b"", bytes(64)]), signatures, counts, st.booleans())
signed_by_type: dict[type, st.SearchStrategy[SignedBody]] = {
    Fence: st.builds(Fence, counts, exactly(16), exactly(16)),
    Promise: st.builds(Promise, names, counts, exactly(16), exactly(16), tuples_of(heads), tuples_of(heads)),
    Refuse: st.builds(Refuse, names, counts, exactly(16), blobs),
    Stored: st.builds(Stored, logs, counts),
    Nack: st.builds(Nack, logs, names, blobs),
    Get: st.builds(Get, counts, logs, seqs, seqs, st.sampled_from(Want), st.just(1 << 16) | counts),
    Heads: st.builds(Heads, counts, tuples_of(reports)),
    Wrap: st.builds(Wrap, logs, hashes, tuples_of(st.tuples(names, blobs))),
    GetWrap: st.builds(GetWrap, logs, hashes),
    ManifestOffer: st.builds(ManifestOffer, blobs),
    Ask: st.builds(Ask, exactly(16), names),
    Answer: st.builds(Answer, exactly(16), names, tuples_of(reports), counts, counts, st.booleans()),
    GetObject: st.builds(GetObject, counts, hashes, counts, counts),
    Holding: st.builds(Holding, hashes, counts),
    AskHoldings: st.builds(AskHoldings, tuples_of(hashes)),
    StandsBy: st.builds(StandsBy, tuples_of(names)),
}
plain_by_type: dict[type, st.SearchStrategy[PlainBody]] = {
    BlockMessage: st.builds(BlockMessage, blobs, blobs, hashes, signatures),
    Cosign: st.builds(Cosign, names, logs, counts, hashes, counts, signatures),
    Range: st.builds(Range, counts, logs, counts, blobs, tuples_of(st.tuples(blobs, blobs))),
    ObjectPiece: st.builds(ObjectPiece, counts, hashes, counts, blobs),
}
signed_bodies: st.SearchStrategy[SignedBody] = st.one_of(*signed_by_type.values())
plain_bodies: st.SearchStrategy[PlainBody] = st.one_of(*plain_by_type.values())

KEYS = {f"or-{number}": SigningKey(bytes([number]) * 32) for number in range(1, 9)}
BOX_KEYS = {f"or-{number}": BoxKey(bytes([number + 100]) * 32) for number in range(1, 9)}
SITE_KEYS = tuple(SigningKey(bytes([number]) * 32) for number in (61, 62, 63))


def make_manifest(n: int = 4, liars: int | None = None, version: int = 1) -> Manifest:
    """A site of ``n`` boxes or-1, or-2, … in one group, two of whose three site keys must sign."""
    boxes = tuple(
        Box(name, name.upper(), "theatre", Role.MEMBER, KEYS[name].public, BOX_KEYS[name].public, b"cert", "h:1")
        for name in list(KEYS)[:n]
    )
    return Manifest(SITE, version, bytes(32), boxes, liars, 1, tuple(key.public for key in SITE_KEYS), 2, None)
