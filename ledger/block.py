r"""The micro-block's signed header: the leaf of the log's tree, readable without any data key.

Layout (docs/architecture.md, "Blocks"): a canonical msgpack array of 19 fields, then 64 bytes of Ed25519 signature over
``orledger/block/1\n`` and the array. The header binds the payload by its hash; the payload can be dropped.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.notices import Notice, notice_fields, notice_from_fields
from ledger.signing import SIGNATURE_BYTES, SigningKey, signature_is_valid

BLOCK_DOMAIN = b"orledger/block/1\n"
PAYLOAD_DOMAIN = b"orledger/payload/1\n"
HEADER_VERSION = 1
NO_LEAF = bytes(32)
"""Previous leaf hash of block 0."""
CODEC_MOST = 255
_FIELDS = 19
_SEALED_UP_TO = 11


class ClockState(enum.IntEnum):
    """How far the box's UTC is to be trusted."""

    UNKNOWN = 0
    UNSYNCHRONISED = 1
    SYNCHRONISED = 2


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """State of synchronisation and the clock's own estimate of its error."""

    state: ClockState
    error_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One block's header. Times are UTC ns, but ``boot_ns`` is CLOCK_BOOTTIME; ``case_id`` is random or None;
    ``keyframe_seq`` is the newest block at or before this one that holds a keyframe.
    """

    log: LogId
    seq: int
    opened_ns: int
    closed_ns: int
    boot_ns: int
    clock: ClockQuality
    previous_leaf: bytes
    payload_hash: bytes
    payload_bytes: int
    key_id: bytes
    codec: int
    keyframe_seq: int
    case_id: bytes | None
    manifest_hash: bytes
    notices: tuple[Notice, ...] = ()

    def _sealed_fields(self) -> list[object]:
        clock = [int(self.clock.state), self.clock.error_ns]
        return [
            HEADER_VERSION, self.log.box, self.log.counter, self.log.incarnation, self.log.fenced, self.seq,
            self.opened_ns, self.closed_ns, self.boot_ns, clock, self.previous_leaf,
        ]  # fmt: skip

    def associated_data(self) -> bytes:
        """What the payload's cipher authenticates beside it: the fields before the payload hash."""
        return PAYLOAD_DOMAIN + pack(self._sealed_fields())

    def encode(self) -> bytes:
        """The canonical array, unsigned."""
        notices = [notice_fields(notice) for notice in self.notices]
        return pack(
            [*self._sealed_fields(), self.payload_hash, self.payload_bytes, self.key_id, self.codec,
             self.keyframe_seq, self.case_id, self.manifest_hash, notices]
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Strict inverse of ``encode``; raises PeerFault."""
        value = unpack(data, LIMITS.signed_header_bytes, "block header")
        take = Fields(value, _FIELDS, "block header")
        if take.uint() != HEADER_VERSION:
            raise PeerFault("block.version", f"block header version {value[0]} is unknown", "upgrade this box")
        log = LogId(take.text(63, 1), take.uint(), take.raw(INCARNATION_BYTES), take.boolean())
        seq, opened, closed, boot = take.uint(), take.uint(), take.uint(), take.uint()
        clock = Fields(take.optional(), 2, "clock quality")
        quality = ClockQuality(ClockState(clock.uint(2)), clock.uint())
        previous, payload_hash, payload_bytes = take.raw(32), take.raw(32), take.uint(2 * LIMITS.payload_plain_bytes)
        key_id, codec, keyframe_seq = take.raw(32), take.uint(CODEC_MOST), take.uint(seq)
        case_id = take.optional()
        if case_id is not None and (type(case_id) is not bytes or len(case_id) != INCARNATION_BYTES):
            raise PeerFault("codec.field", "block header: the case id must be 16 bytes or nil")
        manifest_hash = take.raw(32)
        notices = tuple(notice_from_fields(item) for item in take.array(LIMITS.notices))
        return cls(
            log=log, seq=seq, opened_ns=opened, closed_ns=closed, boot_ns=boot, clock=quality,
            previous_leaf=previous, payload_hash=payload_hash, payload_bytes=payload_bytes, key_id=key_id,
            codec=codec, keyframe_seq=keyframe_seq, case_id=case_id, manifest_hash=manifest_hash, notices=notices,
        )  # fmt: skip


def sign_header(header: Header, key: SigningKey) -> bytes:
    """The signed header: the tree's entry. Raises PeerFault ``codec.oversize`` beyond a tlog-tiles entry's 65,535."""
    body = header.encode()
    if len(body) + SIGNATURE_BYTES > LIMITS.signed_header_bytes:
        raise PeerFault("codec.oversize", f"block header of {len(body)} bytes is over the limit")
    return body + key.sign(BLOCK_DOMAIN, body)


def decode_signed_header(signed: bytes) -> Header:
    """The header inside, its signature NOT checked."""
    if len(signed) > LIMITS.signed_header_bytes:
        raise PeerFault("codec.oversize", f"signed header of {len(signed)} bytes is over the limit")
    return Header.decode(signed[:-SIGNATURE_BYTES])


def header_signature_is_valid(signed: bytes, public_key: bytes) -> bool:
    """True when the box that owns ``public_key`` signed this header."""
    return signature_is_valid(public_key, BLOCK_DOMAIN, signed[:-SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:])


def payload_hash(sealed: bytes) -> bytes:
    """SHA-256 of the sealed payload, as the header states it."""
    return hashlib.sha256(sealed).digest()
