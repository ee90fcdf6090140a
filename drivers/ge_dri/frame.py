"""DRI framing on the serial line: 7E, record and checksum escaped, 7E (S/5 Computer Interface, 12th ed.).

7E is sent as 7D 5E and 7D as 7D 5D, in the checksum too. The checksum is the 8-bit sum of the record's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_RECORD_BYTES = 4096
"""The specification says 40 + 1450. Larger costs nothing; unbounded would."""

_MAX_WIRE_BYTES = 2 * (MAX_RECORD_BYTES + 1)
LONGEST_FRAME_BYTES = _MAX_WIRE_BYTES + 2
_FLAG = b"\x7e"


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes between two flags that are no frame; ``lost_bytes`` as they were on the line."""

    cause: Literal["checksum", "framing", "oversize"]
    lost_bytes: int


def encode(record: bytes) -> bytes:
    """Frame a record."""
    content = record + bytes((sum(record) & 0xFF,))
    return _FLAG + content.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + _FLAG


class Deframer:
    """Finds records in a byte stream. Every flag ends what came before and begins anew, so a fault costs one frame."""

    __slots__ = ("_buffer", "_length", "_synchronised")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length = 0
        self._synchronised = False

    def feed(self, data: bytes) -> list[bytes | Fault]:
        """Take bytes; return the records they complete, without checksum, and the faults between them, in order."""
        found: list[bytes | Fault] = []
        *ended, rest = data.split(_FLAG)
        for part in ended:
            self._hold(part)
            outcome = self._close()
            if outcome is not None:
                found.append(outcome)
        self._hold(rest)
        return found

    def abandon(self) -> Fault | None:
        """The stream ended: what was begun will never be whole."""
        length = self._length
        self._buffer.clear()
        self._length = 0
        self._synchronised = False
        return Fault("framing", length) if length else None

    def _hold(self, part: bytes) -> None:
        self._length += len(part)
        if self._length <= _MAX_WIRE_BYTES:
            self._buffer += part
        else:
            self._buffer.clear()

    def _close(self) -> bytes | Fault | None:
        content, length = bytes(self._buffer), self._length
        self._buffer.clear()
        self._length = 0
        in_frame, self._synchronised = self._synchronised, True
        if length == 0:
            return None
        if length > _MAX_WIRE_BYTES:
            return Fault("oversize", length)
        plain = _unescape(content)
        if plain is None or not in_frame or len(plain) < 2:
            return Fault("framing", length)
        if sum(plain[:-1]) & 0xFF != plain[-1]:
            return Fault("checksum", length)
        return plain[:-1]


def _unescape(content: bytes) -> bytes | None:
    escapes = content.count(b"\x7d")
    if not escapes:
        return content
    if escapes != content.count(b"\x7d\x5e") + content.count(b"\x7d\x5d"):
        return None
    return content.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")
