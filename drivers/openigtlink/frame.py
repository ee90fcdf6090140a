"""OpenIGTLink messages on the wire: header (58 bytes), body, and from header version 2 on what surrounds the content.

Header: version, type[12], device[20], timestamp (32.32 fixed point, seconds since 1970), body size, CRC-64 of the body.
Body of header version 2: extended header (own size, size of the metadata's index, of its texts, message id), content,
metadata. Big endian. Sources: OpenIGTLink protocol 3 (header, unit and message pages), the C++ library's structures.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

from drivers.checksums import crc64_ecma_182
from ledger.errors import DeviceFault
from ledger.limits import KIB, LIMITS, MIB, S_NS

HEADER: Final = struct.Struct(">H12s20sQQQ")
HEADER_BYTES: Final = HEADER.size
_TYPE_BYTES: Final = 12
_HEADER_AT_ONCE: Final = struct.Struct(">H32sQQQ")
"""The same, type and device name in one."""
_AROUND_BYTES: Final = 12 * KIB
"""Room for the extended header and usual metadata beside the largest content."""
MOST_KEPT_BYTES: Final = LIMITS.frame_bytes + _AROUND_BYTES
LONGEST_FRAME_BYTES: Final = HEADER_BYTES + MOST_KEPT_BYTES
_BULK: Final = frozenset(
    ("IMAGE", "VIDEO", "NDARRAY", "POLYDATA", "LBMETA", "IMGMETA", "COLORT", "COLORTABLE", "TRAJ", "BIND", "VIDEOMETA")
)
_MOST_BULK_BYTES: Final = 256 * MIB
_CONTENT_BYTES: Final = {"TRANSFORM": 48, "QTRANS": 28, "SENSOR": 10 + 255 * 8}
"""The largest content of types of bounded size: a header that claims more is none."""
_METADATA_BYTES: Final = 8 * KIB
_BEGIN: Final = re.compile(rb"\x00[\x01-\x03][\x21-\x7e]")
_TYPE: Final = re.compile(rb"([\x21-\x7e]{1,12})[\x00 ]*")
_EXTENDED: Final = struct.Struct(">HHII")
_INDEX: Final = struct.Struct(">HHI")
_JUNK_TOLD_BYTES: Final = 64 * KIB
_NAMES_REMEMBERED: Final = 1_024
ENCODINGS: Final = {3: "ascii", 4: "latin-1", 106: "utf-8", 1013: "utf-16-be", 1014: "utf-16-le", 1015: "utf-16"}
"""IANA MIBenum of the character sets that are read."""


@dataclass(slots=True)
class Frame:
    """One message whose CRC is right. ``told_ns``: its timestamp in ns since 1970, None if unused.

    ``message_id`` is None under header version 1; ``extension`` is what an extended header holds beyond the known.
    """

    version: int
    type: str
    device: str
    told_ns: int | None
    content: bytes
    message_id: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    extension: bytes = b""


@dataclass(frozen=True, slots=True)
class Bulk:
    """A message too large to be kept in a record, passed over; its CRC was right."""

    type: str
    device: str
    told_ns: int | None
    size: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that could not be used."""

    cause: Literal["checksum", "framing", "undecodable"]
    lost_bytes: int
    detail: str


@dataclass(slots=True)
class _Head:
    version: int
    type: str
    device: str
    timestamp: int
    size: int
    crc: int


def padded(text: str, size: int) -> bytes:
    """ASCII text in a field of ``size`` bytes, filled with zeros."""
    return text.encode("ascii")[:size].ljust(size, b"\0")


def encode(type_name: str, device: str = "", body: bytes = b"") -> bytes:
    """A message with header version 1 and no timestamp: what every version understands."""
    head = HEADER.pack(1, padded(type_name, 12), padded(device, 20), 0, len(body), crc64_ecma_182(body))
    return head + body


def text_of(field: bytes) -> str:
    """A field's text up to the first zero; what is no UTF-8 in it is marked."""
    return field.partition(b"\0")[0].decode("utf-8", "replace").strip()


def decoded(data: bytes, encoding: int) -> str:
    """A text in the character set of this MIBenum; of an unknown set, or against it, bytes are shown in hex."""
    return data.decode(ENCODINGS.get(encoding, "ascii"), "backslashreplace").rstrip("\0")


class Deframer:
    """Cuts a stream into messages and finds the way back after damage. Holds at most one message that is kept."""

    __slots__ = ("_buffer", "_bulk", "_bulk_crc", "_bulk_left", "_damaged", "_junk", "_names")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._bulk: _Head | None = None
        self._bulk_left = self._bulk_crc = 0
        self._junk = 0
        self._damaged = False
        self._names: dict[bytes, tuple[str, str, int]] = {}

    def feed(self, data: bytes) -> list[Frame | Bulk | Fault]:
        """What is whole now, in order."""
        found: list[Frame | Bulk | Fault] = []
        at = 0
        if self._bulk is not None:
            at = self._pass_over(data, 0, found)
        buffer = self._buffer
        buffer += data[at:] if at else data
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            head = self._head(at)
            if head is None or (head.size > MOST_KEPT_BYTES and self._junk):
                at = self._next_begin(at, found)
                continue
            start = at + HEADER_BYTES
            if head.size > MOST_KEPT_BYTES:
                self._bulk, self._bulk_left, self._bulk_crc = head, head.size, 0
                at = start + self._pass_over(buffer, start, found) - start
                continue
            end = start + head.size
            if end > len(buffer):
                break
            body = bytes(buffer[start:end])
            if crc64_ecma_182(body) != head.crc:
                self._damaged = True
                at = self._next_begin(at, found)
                continue
            self._tell_junk(found)
            found.append(_frame(head, body))
            at = end
        del buffer[:at]
        return found

    def abandon(self) -> Fault | None:
        """The stream is over: what was begun and never ended."""
        lost = self._junk + len(self._buffer)
        if self._bulk is not None:
            lost += self._bulk.size - self._bulk_left
        self._buffer.clear()
        self._bulk, self._junk, self._damaged = None, 0, False
        return Fault("framing", lost, "cut by the end of the connection") if lost else None

    def _head(self, at: int) -> _Head | None:
        version, names, timestamp, size, crc = _HEADER_AT_ONCE.unpack_from(self._buffer, at)
        if not 1 <= version <= 3:
            return None
        known = self._names.get(names) or self._named(names)
        if known is None:
            return None
        type_name, device, most = known
        if size > most and (version == 1 or size > most + _METADATA_BYTES):
            return None
        return _Head(version, type_name, device, timestamp, size, crc)

    def _named(self, names: bytes) -> tuple[str, str, int] | None:
        """Type, device, and the largest content of the type; None if the type's field holds no type."""
        match = _TYPE.fullmatch(names, 0, _TYPE_BYTES)
        if match is None:
            return None
        known = match[1].decode("ascii"), text_of(names[_TYPE_BYTES:]), _most_bytes(match[1].decode("ascii"))
        if len(self._names) < _NAMES_REMEMBERED:
            self._names[names] = known
        return known

    def _next_begin(self, at: int, found: list[Frame | Bulk | Fault]) -> int:
        """Where after ``at`` a header might begin; what lies before is junk."""
        match = _BEGIN.search(self._buffer, at + 1)
        begin = match.start() if match is not None else max(at + 1, len(self._buffer) - 2)
        self._junk += begin - at
        while self._junk >= _JUNK_TOLD_BYTES:
            found.append(Fault(self._cause(), _JUNK_TOLD_BYTES, "no OpenIGTLink messages"))
            self._junk -= _JUNK_TOLD_BYTES
        return begin

    def _cause(self) -> Literal["checksum", "framing"]:
        return "checksum" if self._damaged else "framing"

    def _tell_junk(self, found: list[Frame | Bulk | Fault]) -> None:
        if self._junk:
            detail = "the CRC-64 of a message is wrong" if self._damaged else "bytes between messages"
            found.append(Fault(self._cause(), self._junk, detail))
        self._junk, self._damaged = 0, False

    def _pass_over(self, data: bytes | bytearray, at: int, found: list[Frame | Bulk | Fault]) -> int:
        """Go on through a large body; returns where in ``data`` it ends, or the end of ``data``."""
        head = self._bulk
        if head is None:
            return at
        end = min(len(data), at + self._bulk_left)
        self._bulk_crc = crc64_ecma_182(data[at:end], self._bulk_crc)
        self._bulk_left -= end - at
        if not self._bulk_left:
            if self._bulk_crc == head.crc:
                found.append(Bulk(head.type, head.device, _ns_of(head.timestamp), head.size))
            else:
                found.append(Fault("checksum", HEADER_BYTES + head.size, f"the CRC-64 of a large {head.type} is wrong"))
            self._bulk = None
        return end


def _most_bytes(type_name: str) -> int:
    content = _CONTENT_BYTES.get(type_name)
    if content is None:
        return _MOST_BULK_BYTES if type_name in _BULK else MOST_KEPT_BYTES - _METADATA_BYTES
    return content


def _ns_of(timestamp: int) -> int | None:
    if not timestamp:
        return None
    return (timestamp >> 32) * S_NS + ((timestamp & 0xFFFFFFFF) * S_NS >> 32)


def _frame(head: _Head, body: bytes) -> Frame | Fault:
    told_ns = _ns_of(head.timestamp)
    if head.version == 1 or not body:
        return Frame(head.version, head.type, head.device, told_ns, body)
    try:
        content, message_id, metadata, extension = _opened(body)
    except DeviceFault as fault:
        return Fault("undecodable", HEADER_BYTES + len(body), fault.text)
    return Frame(head.version, head.type, head.device, told_ns, content, message_id, metadata, extension)


def _opened(body: bytes) -> tuple[bytes, int, tuple[tuple[str, str], ...], bytes]:
    """Content, id, metadata and the rest of the extended header. Raises DeviceFault ``openigtlink.extended``."""
    if len(body) < _EXTENDED.size:
        raise DeviceFault("openigtlink.extended", "an extended header is cut")
    size, index_bytes, text_bytes, message_id = _EXTENDED.unpack_from(body)
    end = len(body) - index_bytes - text_bytes
    if size < _EXTENDED.size or end < size:
        raise DeviceFault("openigtlink.extended", "an extended header's sizes do not fit the message")
    metadata = _metadata(body, end, index_bytes) if index_bytes else ()
    return body[size:end], message_id, metadata, body[_EXTENDED.size : size]


def _metadata(body: bytes, at: int, index_bytes: int) -> tuple[tuple[str, str], ...]:
    count = int.from_bytes(body[at : at + 2], "big")
    if index_bytes != 2 + count * _INDEX.size:
        raise DeviceFault("openigtlink.extended", "the metadata's index does not fit its size")
    text_at, pairs = at + index_bytes, []
    for entry in range(count):
        key_bytes, encoding, value_bytes = _INDEX.unpack_from(body, at + 2 + entry * _INDEX.size)
        value_at = text_at + key_bytes
        if value_at + value_bytes > len(body):
            raise DeviceFault("openigtlink.extended", "a metadata value is cut")
        key = body[text_at:value_at].decode("utf-8", "backslashreplace")
        pairs.append((key, decoded(body[value_at : value_at + value_bytes], encoding)))
        text_at = value_at + value_bytes
    return tuple(pairs)
