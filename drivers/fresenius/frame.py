"""The line of an Orchestra base: STX, module, text, check, ETX; between and within them ENQ, ACK and NAK with a code.

The check is two hexadecimal digits, 255 minus the sum of what stands before it. Source: infupy, which speaks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from drivers.checksums import complement8

STX, ETX, ENQ, ACK, DC4, NAK = 0x02, 0x03, 0x05, 0x06, 0x14, 0x15
LONGEST_CONTENT_BYTES: Final = 120
"""The protocol says that a message has 80 at most."""
LONGEST_FRAME_BYTES: Final = LONGEST_CONTENT_BYTES + 2
_MOST_JUNK_BYTES: Final = 1_024
_CONTENT: Final = re.compile(rb"(\d?)([A-Z])(?:;([\x20-\x7e]*))?")
_LEAST_CONTENT_BYTES: Final = 3
_SPECIAL: Final = bytes((STX, ETX, ENQ, ACK, NAK))
_RUNS: Final = re.compile(rb"[^\x02\x03\x05\x06\x15]+|[\x02\x03\x05\x06\x15]")


@dataclass(frozen=True, slots=True)
class Reply:
    """``module``: a digit, empty for a pump without a base. ``status``: C done, I refused, E and M told unasked."""

    module: str
    status: str
    text: str
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class Control:
    """ENQ, ACK, or NAK with its ``code``."""

    byte: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no message. ``is_frame``: they came between STX and ETX, and want a NAK."""

    cause: Literal["checksum", "framing", "oversize"]
    lost_bytes: int
    is_frame: bool = False


def encode(module: str, text: str) -> bytes:
    """A message on the wire."""
    body = (module + text).encode("ascii")
    return b"\x02%s%02X\x03" % (body, complement8(body))


class Deframer:
    """Finds messages in a byte stream. An STX begins anew, so a fault costs one message. Bounded."""

    __slots__ = ("_content", "_in_frame", "_junk_bytes", "_nak")

    def __init__(self) -> None:
        self._content = bytearray()
        self._in_frame = False
        self._junk_bytes = 0
        self._nak = False

    def feed(self, data: bytes) -> list[Reply | Control | Fault]:
        """Take bytes; return what they complete, in order."""
        found: list[Reply | Control | Fault] = []
        for run in _RUNS.findall(data):
            found += self._take(run[0]) if run[0] in _SPECIAL else self._take_text(run)
        return found

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no whole message."""
        lost = self._junk_bytes + (len(self._content) + 1 if self._in_frame else 0) + self._nak
        self._content.clear()
        self._in_frame = self._nak = False
        self._junk_bytes = 0
        return lost

    def _take_text(self, text: bytes) -> list[Reply | Control | Fault]:
        found: list[Reply | Control | Fault] = []
        if self._in_frame:
            room = LONGEST_CONTENT_BYTES + 1 - len(self._content)
            found += self._hold(text[:room])
            text = text[room:]
        if self._nak and text:
            self._nak = False
            found.append(Control(NAK, chr(text[0])))
            text = text[1:]
        told, self._junk_bytes = divmod(self._junk_bytes + len(text), _MOST_JUNK_BYTES)
        return found + [Fault("framing", _MOST_JUNK_BYTES)] * told

    def _take(self, byte: int) -> list[Reply | Control | Fault]:
        """One byte that may be more than text."""
        if byte == ENQ:
            return [Control(ENQ)]
        if byte == STX:
            return self._begin()
        if self._in_frame:
            return self._end() if byte == ETX else self._hold(bytes((byte,)))
        if self._nak:
            self._nak = False
            return [Control(NAK, chr(byte))]
        if byte == ACK:
            return [Control(ACK)]
        if byte == NAK:
            self._nak = True
            return []
        return self._take_text(bytes((byte,)))

    def _junk(self) -> list[Reply | Control | Fault]:
        lost, self._junk_bytes = self._junk_bytes, 0
        return [Fault("framing", lost)] if lost else []

    def _begin(self) -> list[Reply | Control | Fault]:
        if self._in_frame:
            self._junk_bytes += len(self._content) + 1
        self._junk_bytes += self._nak
        self._nak = False
        self._in_frame = True
        self._content.clear()
        return self._junk()

    def _hold(self, text: bytes) -> list[Reply | Control | Fault]:
        self._content += text
        if len(self._content) <= LONGEST_CONTENT_BYTES:
            return []
        lost = len(self._content) + 1
        self._in_frame = False
        self._content.clear()
        return [Fault("oversize", lost)]

    def _end(self) -> list[Reply | Control | Fault]:
        content = bytes(self._content)
        self._in_frame = False
        self._content.clear()
        return [_parse(content)]


def _parse(content: bytes) -> Reply | Fault:
    wire_bytes = len(content) + 2
    if len(content) < _LEAST_CONTENT_BYTES:
        return Fault("framing", wire_bytes)
    body, check = content[:-2], content[-2:]
    if check.upper() != b"%02X" % complement8(body):
        return Fault("checksum", wire_bytes, is_frame=True)
    match = _CONTENT.fullmatch(body)
    if match is None:
        return Fault("framing", wire_bytes, is_frame=True)
    module, status, text = (part.decode("ascii") for part in (match[1], match[2], match[3] or b""))
    return Reply(module, status, text, wire_bytes)
