"""Framing on the MIB/RS232 line: C0, header, user data, check value, C1 (Data Export guide, "Fixed Baudrate Protocol").

Between the flags C0, C1 and 7D are sent as 7D and the byte with bit 5 inverted; 7D C1 aborts a frame, and so does a C0
before its end. The header is 11 01 and the length of the user data; the check value is CRC-16/X-25 of header and user
data, low byte first. On the LAN there is no framing: a datagram is a message.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

from drivers.checksums import crc16_x25

MAX_USER_BYTES = 4_096
"""An association on this line agrees on 1,000 at most. Larger costs nothing; unbounded would."""

_PROTOCOL, _MESSAGE_TYPE = 0x11, 0x01
_HEADER = struct.Struct(">BBH")
_FCS_BYTES = 2
_MAX_CONTENT_BYTES = 2 * (_HEADER.size + MAX_USER_BYTES + _FCS_BYTES)
LONGEST_FRAME_BYTES = _MAX_CONTENT_BYTES + 2

_BEGIN, _END, _ESCAPE = 0xC0, 0xC1, 0x7D
_FLAGS = re.compile(rb"[\xc0\xc1]")
_SPECIAL = re.compile(rb"[\xc0\xc1\x7d]")
_ESCAPED = re.compile(rb"\x7d([^\x7d])", re.DOTALL)
"""As in HDLC a sender may escape more than it must; the check value tells whether it is right."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes on the line that are no frame; ``lost_bytes`` as they were on the line, without flags."""

    cause: Literal["checksum", "framing", "oversize"]
    lost_bytes: int


def escape(data: bytes) -> bytes:
    """Bytes as they are sent between the flags."""
    return _SPECIAL.sub(lambda found: bytes((_ESCAPE, found[0][0] ^ 0x20)), data)


def encode(message: bytes) -> bytes:
    """Frame a message."""
    content = _HEADER.pack(_PROTOCOL, _MESSAGE_TYPE, len(message)) + message
    return b"\xc0" + escape(content + crc16_x25(content).to_bytes(2, "little")) + b"\xc1"


class Deframer:
    """Finds messages in a byte stream. Every C0 begins anew, so a fault costs one frame."""

    __slots__ = ("_buffer", "_in_frame", "_length")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length = 0
        self._in_frame = False

    def feed(self, data: bytes) -> list[bytes | Fault]:
        """Take bytes; return the messages they complete and the faults between them, in order."""
        found: list[bytes | Fault] = []
        start = 0
        for flag in _FLAGS.finditer(data):
            at = flag.start()
            self._hold(data[start:at])
            start = at + 1
            outcome = self._flag(data[at])
            if outcome is not None:
                found.append(outcome)
        self._hold(data[start:])
        return found

    def abandon(self) -> Fault | None:
        """The stream ended: what was begun will never be whole."""
        length, _ = self._take()
        self._in_frame = False
        return Fault("framing", length) if length else None

    def _hold(self, part: bytes) -> None:
        self._length += len(part)
        if self._in_frame and self._length <= _MAX_CONTENT_BYTES:
            self._buffer += part
        else:
            self._buffer.clear()

    def _take(self) -> tuple[int, bytes]:
        length, content = self._length, bytes(self._buffer)
        self._buffer.clear()
        self._length = 0
        return length, content

    def _flag(self, flag: int) -> bytes | Fault | None:
        length, content = self._take()
        in_frame, self._in_frame = self._in_frame, flag == _BEGIN
        if not in_frame or flag == _BEGIN:
            return Fault("framing", length) if length else None
        if length > _MAX_CONTENT_BYTES:
            return Fault("oversize", length)
        if content[-1:] == b"\x7d":
            return Fault("framing", length)  # 7D C1: the monitor gave it up itself
        return _message(content, length)


def _message(content: bytes, length: int) -> bytes | Fault:
    plain = _unescape(content)
    if plain is None or len(plain) < _HEADER.size + _FCS_BYTES:
        return Fault("framing", length)
    if crc16_x25(plain[:-_FCS_BYTES]) != int.from_bytes(plain[-_FCS_BYTES:], "little"):
        return Fault("checksum", length)
    protocol, _, user_bytes = _HEADER.unpack_from(plain)
    if protocol != _PROTOCOL or user_bytes != len(plain) - _HEADER.size - _FCS_BYTES:
        return Fault("framing", length)
    return plain[_HEADER.size : -_FCS_BYTES]


def _unescape(content: bytes) -> bytes | None:
    escapes = content.count(b"\x7d")
    if not escapes:
        return content
    plain, replaced = _ESCAPED.subn(lambda found: bytes((found[1][0] ^ 0x20,)), content)
    return plain if replaced == escapes else None
