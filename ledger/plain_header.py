"""Headers without notices, checked in C: all but a few of a log's blocks, for whoever reads millions of them.

What is accepted here ``ledger.block.decode_signed_header`` accepts too, with the same values; for any other bytes,
rare or false, ask that.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, gt
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ledger.block import CODEC_MOST, PAYLOAD_DOMAIN, ClockState
from ledger.canonical import UINT_MOST
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.notices import Notice
from ledger.signing import SIGNATURE_BYTES

_Uint = Annotated[int, Meta(ge=0, le=UINT_MOST)]
_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Id = Annotated[bytes, Meta(min_length=INCARNATION_BYTES, max_length=INCARNATION_BYTES)]


class PlainHeader(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """The fields of ``ledger.block.Header`` in their order, the log's in line."""

    version: Literal[1]
    box: Annotated[str, Meta(min_length=1, max_length=63)]
    counter: _Uint
    incarnation: _Id
    fenced: bool
    seq: _Uint
    opened_ns: _Uint
    closed_ns: _Uint
    boot_ns: _Uint
    clock: tuple[Annotated[int, Meta(ge=0, le=int(max(ClockState)))], _Uint]
    previous_leaf: _Hash
    payload_hash: _Hash
    payload_bytes: Annotated[int, Meta(ge=0, le=2 * LIMITS.payload_plain_bytes)]
    key_id: _Hash
    codec: Annotated[int, Meta(ge=0, le=CODEC_MOST)]
    keyframe_seq: _Uint
    case_id: _Id | None
    manifest_hash: _Hash
    no_notices: Annotated[list[Any], Meta(max_length=0)]

    @property
    def notices(self) -> tuple[Notice, ...]:
        """None, or it would not be plain."""
        return ()

    def stands_at(self, log: LogId, seq: int) -> bool:
        """True when it is block ``seq`` of this log."""
        return (
            self.seq == seq
            and self.incarnation == log.incarnation
            and self.box == log.box
            and self.counter == log.counter
            and self.fenced == log.fenced
        )

    def associated_data(self) -> bytes:
        """As ``Header.associated_data``."""
        return PAYLOAD_DOMAIN + _encode(
            (
                self.version, self.box, self.counter, self.incarnation, self.fenced, self.seq, self.opened_ns,
                self.closed_ns, self.boot_ns, self.clock, self.previous_leaf,
            )
        )  # fmt: skip


_decode: Final = msgspec.msgpack.Decoder(PlainHeader).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_keyframe_seq: Final = attrgetter("keyframe_seq")
_whose: Final = attrgetter("box", "counter", "incarnation", "fenced", "manifest_hash")


def plain_header(signed: bytes) -> PlainHeader | None:
    """The header inside, its signature NOT checked; None when it has notices, or is not what a header must be."""
    body = signed[:-SIGNATURE_BYTES]
    try:
        header = _decode(body)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    is_whole = header.keyframe_seq <= header.seq and len(signed) <= LIMITS.signed_header_bytes
    return header if is_whole and _encode(header) == body else None


def plain_run(
    signed_headers: Sequence[bytes], log: LogId, first: int, manifest_hash: bytes
) -> list[PlainHeader] | None:
    """``plain_header`` of blocks ``first`` and on of ``log``; None unless each is plain, stands at its place and is
    bound to this manifest. Their links are NOT checked.
    """
    if max(map(len, signed_headers), default=0) > LIMITS.signed_header_bytes:
        return None
    bodies = [signed[:-SIGNATURE_BYTES] for signed in signed_headers]
    try:
        headers = [_decode(body) for body in bodies]
    except ValueError:
        return None
    seqs = [header.seq for header in headers]
    if seqs != list(range(first, first + len(headers))) or any(map(gt, map(_keyframe_seq, headers), seqs)):
        return None
    if set(map(_whose, headers)) - {(log.box, log.counter, log.incarnation, log.fenced, manifest_hash)}:
        return None
    return headers if [_encode(header) for header in headers] == bodies else None
