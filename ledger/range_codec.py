"""The fields of a RANGE ⇄ canonical msgpack, in C: they carry whole logs, block by block.

What is accepted here ``ledger.message_codec`` accepts by the slower way too, with the same values; what is not, rare or
false, it judges there.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledger.canonical import UINT_MOST
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES

RANGE_BLOCKS: Final = 65_536
FRONTIER_BYTES: Final = 4_096
PAYLOAD_BYTES: Final = 2 * LIMITS.payload_plain_bytes

_Uint = Annotated[int, Meta(ge=0, le=UINT_MOST)]
_LogFields = tuple[
    Annotated[str, Meta(min_length=1, max_length=63)],
    _Uint,
    Annotated[bytes, Meta(min_length=INCARNATION_BYTES, max_length=INCARNATION_BYTES)],
    bool,
]
_Block = tuple[
    Annotated[bytes, Meta(max_length=LIMITS.signed_header_bytes)], Annotated[bytes, Meta(max_length=PAYLOAD_BYTES)]
]


class RangeFields(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """As ``ledger.messages.Range``; the log as its fields."""

    request_id: _Uint
    log: _LogFields
    first: _Uint
    frontier: Annotated[bytes, Meta(max_length=FRONTIER_BYTES)]
    blocks: Annotated[tuple[_Block, ...], Meta(max_length=RANGE_BLOCKS)]


_decode: Final = msgspec.msgpack.Decoder(RangeFields).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def encode_range(fields: RangeFields) -> bytes:
    """Canonical msgpack."""
    return _encode(fields)


def decode_range(data: bytes) -> RangeFields | None:
    """None unless ``data`` is the one canonical form of a range within its bounds."""
    try:
        fields = _decode(data)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return fields if _encode(fields) == data else None
