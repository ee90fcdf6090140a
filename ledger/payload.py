"""A block's payload: records grouped by feed ⇄ the bytes that are sealed.

Plain form: a msgpack map, feed to an array of rows (``ledger.record_codec``), feeds in order of their names, nothing
in any but its shortest form. Around it: zstd, then a 4-byte big-endian length in front and zeros behind, to a multiple
of ``LIMITS.payload_pad_bytes``, so that the length of the sealed bytes tells little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgpack
import zstandard

from ledger.errors import OurFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.record_codec import pack_other, records_of, tag_and_values, unpack_ext
from ledger.records import Record

CODEC_ZSTD: Final = 1
"""zstd without a dictionary: the only codec so far, named in every header (docs/adr/0007-payload-codec.md)."""

_ZSTD_LEVEL: Final = 1
_LENGTH_BYTES: Final = 4
_ZEROS: Final = bytes(LIMITS.payload_pad_bytes)
_ARRAY_16: Final = 0xDC
_USUAL_TIMES: Final = range(1 << 32, 1 << 64)
_TIME_BYTES: Final = 9
"""What an integer takes in msgpack that needs eight bytes."""
_ALONE_BYTES: Final = 2
"""A map of one, the empty name and an array of one take 3 bytes; one of the row's is the time's."""


class PayloadTooLarge(OurFault):
    """The records of one block exceed ``LIMITS.payload_plain_bytes``: they belong in two blocks."""


class _Tools:
    """Packer and zstd contexts: costly to make, not to be used by two threads at once."""

    __slots__ = ("compressor", "decompressor", "packer")

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=pack_other)
        self.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True, write_checksum=False)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=LIMITS.payload_plain_bytes)


_idle_tools: list[_Tools] = []


@contextmanager
def _tools() -> Iterator[_Tools]:
    try:
        tools = _idle_tools.pop()
    except IndexError:  # first use, or as many callers at once as there are sets
        tools = _Tools()
    try:
        yield tools
    finally:
        _idle_tools.append(tools)


class EncodedRecord(NamedTuple):
    """A record and its row as bytes, without the time: that depends on the record which comes before it in its block.

    ``size`` is what a block takes that holds nothing else.
    """

    record: Record
    head: bytes
    tail: bytes
    size: int


def encode_record(record: Record) -> EncodedRecord:
    """Check and encode one record. Raises ``OurFault`` if it holds what its type does not declare."""
    try:
        tag, values = tag_and_values(record)
        row = pack((tag, 0, *values[1:]))
        time_bytes = _TIME_BYTES if record.at_ns in _USUAL_TIMES else len(pack(record.at_ns))
    except ValueError as error:
        raise _bad_record(error) from error
    tag_end = 2 if row[0] != _ARRAY_16 else 4
    return EncodedRecord(record, row[:tag_end], row[tag_end + 1 :], len(row) + time_bytes + _ALONE_BYTES)


def encode_payload(groups: Mapping[str, Sequence[Record]], codec: int = CODEC_ZSTD) -> bytes:
    """Records grouped by feed to the bytes that are sealed. Raises as ``encode_records``."""
    return pad(compress(encode_records(groups), codec))


def payload_of(groups: Mapping[str, Sequence[EncodedRecord]], codec: int = CODEC_ZSTD) -> bytes:
    """The same of records that are encoded already. Raises as ``join_records``."""
    return pad(compress(join_records(groups), codec))


def decode_payload(data: bytes, codec: int = CODEC_ZSTD) -> dict[str, tuple[Record, ...]]:
    """The inverse of ``encode_payload``. Raises ``VerificationFailed``, and nothing else, for any other bytes."""
    return decode_records(decompress(frame_in(data), codec))


def encode_records(groups: Mapping[str, Sequence[Record]]) -> bytes:
    """Records grouped by feed to plain bytes; the same records give the same bytes, on every box.

    Raises ``OurFault`` if a record holds what its type does not declare, and ``PayloadTooLarge``.
    """
    return join_records({feed: [encode_record(record) for record in records] for feed, records in groups.items()})


def join_records(groups: Mapping[str, Sequence[EncodedRecord]]) -> bytes:
    """Encoded records grouped by feed to plain bytes. Raises ``OurFault`` for times too far apart, PayloadTooLarge."""
    parts: list[bytes] = []
    with _tools() as tools:
        packer = tools.packer
        parts.append(packer.pack_map_header(len(groups)))
        for feed in sorted(groups):
            parts += (packer.pack(feed), packer.pack_array_header(len(groups[feed])))
            before_ns = 0
            for record, head, tail, _ in groups[feed]:
                try:
                    parts += (head, packer.pack(record.at_ns - before_ns), tail)
                except ValueError as error:
                    raise _bad_record(error) from error
                before_ns = record.at_ns
    plain = b"".join(parts)
    if len(plain) > LIMITS.payload_plain_bytes:
        raise PayloadTooLarge("payload.too-large", f"the records of one block take {len(plain)} bytes")
    return plain


def _bad_record(error: ValueError) -> OurFault:
    return OurFault("payload.bad-record", f"a record cannot be written: {error}", "report the driver that made it")


def decode_records(plain: bytes) -> dict[str, tuple[Record, ...]]:
    """Plain bytes to records. Raises ``VerificationFailed`` for what ``encode_records`` would not have written."""
    try:
        return _groups_of(unpack(plain))
    except (ValueError, TypeError) as error:
        raise VerificationFailed("payload.malformed", f"a payload cannot be read: {error}") from error


def _groups_of(tree: Any) -> dict[str, tuple[Record, ...]]:
    if type(tree) is not dict or not all(type(feed) is str for feed in tree) or list(tree) != sorted(tree):
        raise ValueError("it is not a map of feeds in order")
    if not all(type(rows) is tuple for rows in tree.values()):
        raise ValueError("a feed does not hold an array of records")
    return {feed: records_of(rows) for feed, rows in tree.items()}


def pack(tree: Any) -> bytes:
    """msgpack, with the extensions of ``ledger.record_codec``. Raises ``ValueError``."""
    try:  # as _tools does, which this is too often called for
        tools = _idle_tools.pop()
    except IndexError:
        tools = _Tools()
    try:
        packed: bytes = tools.packer.pack(tree)
    finally:
        _idle_tools.append(tools)
    return packed


def unpack(data: bytes) -> Any:
    """The inverse of ``pack``; refuses with ``ValueError`` every form that ``pack`` would not have made."""
    tree = msgpack.unpackb(data, use_list=False, ext_hook=unpack_ext, strict_map_key=True)
    if pack(tree) != data:
        raise ValueError("it is not in canonical form")
    return tree


def compress(plain: bytes, codec: int = CODEC_ZSTD) -> bytes:
    """Plain bytes to one zstd frame that names its content size."""
    if codec != CODEC_ZSTD:
        raise OurFault("payload.unknown-codec", f"payload codec {codec} cannot be written")
    with _tools() as tools:
        return tools.compressor.compress(plain)


def decompress(frame: bytes | memoryview, codec: int = CODEC_ZSTD) -> bytes:
    """The inverse of ``compress``, at most ``LIMITS.payload_plain_bytes``. Raises ``VerificationFailed``."""
    if codec != CODEC_ZSTD:
        raise VerificationFailed(
            "payload.unknown-codec", f"payload codec {codec} is not known here", "read it with a newer orledger"
        )
    try:  # as _tools does, which this is too often called for
        tools = _idle_tools.pop()
    except IndexError:
        tools = _Tools()
    try:
        size = _content_size(frame)
        plain = tools.decompressor.decompress(frame, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise VerificationFailed("payload.malformed", f"a payload cannot be decompressed: {error}") from error
    finally:
        _idle_tools.append(tools)
    if len(plain) != size:
        raise VerificationFailed("payload.malformed", "a payload's content size is not what it says")
    return plain


def _content_size(frame: bytes | memoryview) -> int:
    size: int = zstandard.get_frame_parameters(frame).content_size
    if size > LIMITS.payload_plain_bytes:  # an unknown size reads as 2^64 - 1
        raise VerificationFailed("payload.oversize", "a payload names no content size, or one beyond the limit")
    return size


def pad(frame: bytes) -> bytes:
    """Length in front, zeros behind, to a multiple of ``LIMITS.payload_pad_bytes``."""
    body = len(frame).to_bytes(_LENGTH_BYTES, "big") + frame
    return body + bytes(-len(body) % LIMITS.payload_pad_bytes)


def unpad(padded: bytes) -> bytes:
    """The inverse of ``pad``. Raises ``VerificationFailed`` unless length and zeros are exactly what ``pad`` makes."""
    return bytes(frame_in(padded))


def frame_in(padded: bytes) -> memoryview:
    """As ``unpad``, without copying it."""
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    padding = -end % LIMITS.payload_pad_bytes
    if len(padded) != end + padding or not padded.endswith(_ZEROS[:padding]):
        raise VerificationFailed("payload.bad-padding", "a payload's length and padding do not agree")
    return memoryview(padded)[_LENGTH_BYTES:end]
