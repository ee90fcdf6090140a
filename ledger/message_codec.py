r"""Messages as bytes, strictly: one byte of kind, then canonical msgpack, then a signature where the content does not
prove itself.

Signed kinds carry ``[site, manifest hash, sender, body]`` and an Ed25519 signature over ``orledger/message/1\n``, the
kind byte and those bytes. BLOCK, COSIGN, RANGE and OBJECT_PIECE carry no envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault
from ledger.evidence import PROOF_BYTES
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.messages import (
    MESSAGE_DOMAIN,
    NONCE_BYTES,
    Answer,
    Ask,
    AskHoldings,
    BlockMessage,
    Body,
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
    Signed,
    SignedBody,
    StandsBy,
    Stored,
    Want,
    Wrap,
)
from ledger.notices import Head
from ledger.range_codec import (
    FRONTIER_BYTES,
    PAYLOAD_BYTES,
    RANGE_BLOCKS,
    RangeFields,
    decode_range,
    encode_range,
)
from ledger.signing import SIGNATURE_BYTES, SigningKey

_HEADS = 1_024
_BLOCKS = (1 << 32) - 1
_WRAPS = 66
_NAME_BYTES = 32
_WRAP_BYTES = 256
_EVIDENCE_BYTES = PROOF_BYTES
_INC = INCARNATION_BYTES


def _heads(value: list[Any]) -> tuple[Head, ...]:
    return tuple(Head.from_fields(item, "head") for item in value)


def _reports(value: list[Any]) -> tuple[HeadReport, ...]:
    return tuple(HeadReport.from_fields(item) for item in value)


def _decode_wrap(take: Fields) -> Wrap:
    log, key_id = LogId.from_fields(take.optional(), "wrap"), take.raw(32)
    pairs = []
    for item in take.array(_WRAPS):
        pair = Fields(item, 2, "wrap")
        pairs.append((pair.text(63, 1), pair.blob(_WRAP_BYTES)))
    return Wrap(log, key_id, tuple(pairs))


def _decode_range(take: Fields) -> Range:
    request_id, log, first = take.uint(), LogId.from_fields(take.optional(), "range"), take.uint()
    frontier = take.blob(FRONTIER_BYTES)
    blocks = []
    for item in take.array(RANGE_BLOCKS):
        block = Fields(item, 2, "range's block")
        blocks.append((block.blob(LIMITS.signed_header_bytes), block.blob(PAYLOAD_BYTES)))
    return Range(request_id, log, first, frontier, tuple(blocks))


def _usual_range(wire: bytes) -> Range | None:
    """A RANGE decoded in C; None when it must be judged field by field."""
    fields = decode_range(wire[1:])
    if fields is None:
        return None
    return Range(fields.request_id, LogId(*fields.log), fields.first, fields.frontier, fields.blocks)


def _get_fields(get: Get) -> list[Any]:
    fields = [get.request_id, get.log.fields(), get.first, get.end, int(get.want)]
    return fields if get.reply_bytes == LIMITS.range_reply_bytes else [*fields, get.reply_bytes]


def _decode_get(take: Fields) -> Get:
    get = Get(take.uint(), _log(take), take.uint(_BLOCKS), take.uint(_BLOCKS), Want(take.uint(1)))
    if not take.has_more:
        return get
    reply_bytes = take.uint()
    if reply_bytes == LIMITS.range_reply_bytes:
        raise PeerFault("codec.not-canonical", "a GET names the size of answer that it has without a word")
    return replace(get, reply_bytes=reply_bytes)


def _answer_fields(answer: Answer) -> list[Any]:
    reports = [report.fields() for report in answer.reports]
    fields = [answer.nonce, answer.box, reports, answer.proofs, answer.silent_ms]
    return [*fields, True] if answer.is_void else fields


def _decode_answer(take: Fields) -> Answer:
    answer = Answer(take.raw(NONCE_BYTES), take.text(63, 1), _reports(take.array(_HEADS)), take.uint(), take.uint())
    if not take.has_more:
        return answer
    if not take.boolean():
        raise PeerFault("codec.not-canonical", "an ANSWER says what it says without a word")
    return replace(answer, is_void=True)


def _names(value: list[Any]) -> tuple[bytes, ...]:
    if any(type(name) is not bytes or len(name) != _NAME_BYTES for name in value):
        raise PeerFault("codec.field", "an object's name must be 32 bytes")
    return tuple(value)


def _boxes(value: list[Any]) -> tuple[str, ...]:
    take = Fields(value, len(value), "boxes")
    return tuple(take.text(63, 1) for _ in value)


def _log(take: Fields) -> LogId:
    return LogId.from_fields(take.optional(), "message")


# kind byte -> (class, number of fields, encode, decode). One row per kind: the wire format in one place.
_TABLE: dict[int, tuple[type, int, Callable[[Any], list[Any]], Callable[[Fields], Body]]] = {
    1: (Fence, 3, lambda m: [m.counter, m.incarnation, m.nonce],
        lambda t: Fence(t.uint(), t.raw(_INC), t.raw(NONCE_BYTES))),
    2: (Promise, 6, lambda m: [m.box, m.counter, m.incarnation, m.nonce, [h.fields() for h in m.fenced],
                               [h.fields() for h in m.provisional]],
        lambda t: Promise(t.text(63, 1), t.uint(), t.raw(_INC), t.raw(NONCE_BYTES), _heads(t.array(_HEADS)),
                          _heads(t.array(_HEADS)))),
    3: (Refuse, 4, lambda m: [m.box, m.counter, m.incarnation, m.evidence],
        lambda t: Refuse(t.text(63, 1), t.uint(), t.raw(_INC), t.blob(_EVIDENCE_BYTES))),
    4: (Stored, 2, lambda m: [m.log.fields(), m.size], lambda t: Stored(_log(t), t.uint())),
    5: (Nack, 3, lambda m: [m.log.fields(), m.reason, m.evidence],
        lambda t: Nack(_log(t), t.text(63, 1), t.blob(_EVIDENCE_BYTES))),
    6: (Get, 5, _get_fields, _decode_get),
    7: (Heads, 2, lambda m: [m.utc_ns, [r.fields() for r in m.reports]],
        lambda t: Heads(t.uint(), _reports(t.array(_HEADS)))),
    8: (Wrap, 3, lambda m: [m.log.fields(), m.key_id, [[name, sealed] for name, sealed in m.wraps]], _decode_wrap),
    9: (GetWrap, 2, lambda m: [m.log.fields(), m.key_id], lambda t: GetWrap(_log(t), t.raw(32))),
    10: (ManifestOffer, 1, lambda m: [m.signed_manifest],
         lambda t: ManifestOffer(t.blob(LIMITS.manifest_bytes))),
    11: (Ask, 2, lambda m: [m.nonce, m.box], lambda t: Ask(t.raw(NONCE_BYTES), t.text(63, 1))),
    12: (Answer, 5, _answer_fields, _decode_answer),
    13: (GetObject, 4, lambda m: [m.request_id, m.sha256, m.first, m.end],
         lambda t: GetObject(t.uint(), t.raw(_NAME_BYTES), t.uint(), t.uint())),
    14: (Holding, 2, lambda m: [m.sha256, m.sealed_bytes], lambda t: Holding(t.raw(_NAME_BYTES), t.uint())),
    15: (AskHoldings, 1, lambda m: [list(m.names)], lambda t: AskHoldings(_names(t.array(LIMITS.object_names_asked)))),
    16: (StandsBy, 1, lambda m: [list(m.boxes)], lambda t: StandsBy(_boxes(t.array(LIMITS.boxes)))),
    32: (BlockMessage, 4, lambda m: [m.signed_header, m.payload, m.root, m.checkpoint_signature],
         lambda t: BlockMessage(t.blob(LIMITS.signed_header_bytes), t.blob(PAYLOAD_BYTES), t.raw(32),
                                t.raw(SIGNATURE_BYTES))),
    33: (Cosign, 6, lambda m: [m.cosigner, m.log.fields(), m.size, m.root, m.time_s, m.signature],
         lambda t: Cosign(t.text(63, 1), _log(t), t.uint(), t.raw(32), t.uint(), t.raw(SIGNATURE_BYTES))),
    34: (Range, 5, lambda m: [m.request_id, m.log.fields(), m.first, m.frontier, [[h, p] for h, p in m.blocks]],
         _decode_range),
    35: (ObjectPiece, 4, lambda m: [m.request_id, m.sha256, m.first, m.data],
         lambda t: ObjectPiece(t.uint(), t.raw(_NAME_BYTES), t.uint(), t.blob(LIMITS.range_reply_bytes))),
}  # fmt: skip
_MORE_FIELDS = {6: 1, 12: 1}
"""Kinds with fields that may be left out, at the end."""
_KIND_OF = {row[0]: kind for kind, row in _TABLE.items()}
_FIRST_PLAIN = 32
_RANGE_KIND = _KIND_OF[Range]


def encode_plain(body: PlainBody) -> bytes:
    """Wire bytes of a message that proves itself."""
    kind = _KIND_OF[type(body)]
    if isinstance(body, Range):
        log = (body.log.box, body.log.counter, body.log.incarnation, body.log.fenced)
        return bytes([kind]) + encode_range(RangeFields(body.request_id, log, body.first, body.frontier, body.blocks))
    return bytes([kind]) + pack(_TABLE[kind][2](body))


def encode_signed(body: SignedBody, site: str, manifest_hash: bytes, sender: str, key: SigningKey) -> bytes:
    """Wire bytes of a signed message, bound to the site and the manifest."""
    kind = _KIND_OF[type(body)]
    wire = bytes([kind]) + pack([site, manifest_hash, sender, _TABLE[kind][2](body)])
    return wire + key.sign(MESSAGE_DOMAIN, wire)


def decode_message(wire: bytes) -> Signed | PlainBody:
    """Strict decoding of either family; signatures are NOT checked here. Raises PeerFault."""
    if not 2 <= len(wire) <= LIMITS.message_bytes:
        raise PeerFault("message.size", f"a message of {len(wire)} bytes is not allowed")
    row = _TABLE.get(wire[0])
    if row is None:
        raise PeerFault("message.kind", f"message kind {wire[0]} is unknown", "upgrade this box")
    _, count, _, decode = row
    if wire[0] == _RANGE_KIND and (usual := _usual_range(wire)) is not None:
        return usual
    if wire[0] >= _FIRST_PLAIN:
        return decode(Fields(unpack(wire[1:], LIMITS.message_bytes, "message"), count, "message"))  # type: ignore[return-value]
    envelope = Fields(unpack(wire[1:-SIGNATURE_BYTES], LIMITS.message_bytes, "message"), 4, "message envelope")
    site, manifest_hash, sender = envelope.text(63, 1), envelope.raw(32), envelope.text(63, 1)
    body = decode(Fields(envelope.optional(), count, "message body", optional=_MORE_FIELDS.get(wire[0], 0)))
    return Signed(site, manifest_hash, sender, body, wire)  # type: ignore[arg-type]
