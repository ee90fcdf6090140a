"""OpenIGTLink messages as a robot writes and reads them; nothing here is shared with the recorder."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

_HEAD = struct.Struct(">H12s20sIIQQ")
_POLYNOMIAL = 0x42F0E1EBA9EA3693
_ALL = (1 << 64) - 1
_ASCII = 3


def _crc_of_byte(byte: int) -> int:
    crc = byte << 56
    for _ in range(8):
        crc = (crc << 1 ^ (_POLYNOMIAL if crc >> 63 else 0)) & _ALL
    return crc


_TABLE = [_crc_of_byte(byte) for byte in range(256)]


def crc64(data: bytes) -> int:
    """ECMA-182."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & _ALL) ^ _TABLE[crc >> 56 ^ byte]
    return crc


@dataclass(frozen=True, slots=True)
class Around:
    """What header version 2 adds: the message's id, and words about it."""

    id: int
    words: Mapping[str, str] = field(default_factory=dict)

    def wrapped(self, content: bytes) -> bytes:
        """Extended header, content, metadata."""
        index = struct.pack(">H", len(self.words)) + b"".join(
            struct.pack(">HHI", len(key), _ASCII, len(value)) for key, value in self.words.items()
        )
        text = "".join(key + value for key, value in self.words.items()).encode("ascii")
        return struct.pack(">HHII", 12, len(index), len(text), self.id) + content + index + text


@dataclass(frozen=True, slots=True)
class Head:
    """A client's question."""

    type: str
    device: str
    body: bytes


def message(kind: str, device: str, unix_s: float, content: bytes, around: Around | None = None) -> bytes:
    """One message, with header version 2 if there is something ``around`` its content."""
    body = content if around is None else around.wrapped(content)
    whole_s = int(unix_s)
    fraction = int((unix_s - whole_s) * (1 << 32))
    version = 1 if around is None else 2
    names = kind.encode("ascii"), device.encode("ascii")
    return _HEAD.pack(version, *names, whole_s, fraction, len(body), crc64(body)) + body


def heads(data: bytes) -> tuple[list[Head], bytes]:
    """The whole messages at the beginning of these bytes, and the rest."""
    found = []
    while len(data) >= _HEAD.size:
        _, kind, device, _, _, size, _ = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        if end > len(data):
            break
        found.append(Head(_text(kind), _text(device), data[_HEAD.size : end]))
        data = data[end:]
    return found, data


def _text(field_bytes: bytes) -> str:
    return field_bytes.partition(b"\0")[0].decode("ascii", "replace")
