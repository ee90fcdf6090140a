"""Frames of the Capnostream data transfer protocol: 85, length, code, payload, check.

The length counts code and payload; the check is the exclusive or of length, code and payload. Behind the header, 80 is
sent as 80 00 and 85 as 80 05, so that 85 only ever begins a frame. Source: Oridion, Capnostream Data Transfer
Protocols, as mdpnp (OpenICE) and capno-reader read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from drivers.checksums import xor8

HEADER: Final = 0x85
_ESCAPE: Final = 0x80
_ESCAPED: Final = {0x00: b"\x80", 0x05: b"\x85"}
_SPECIAL: Final = re.compile(rb"[\x80\x85]")
_WAVE, _WAVE_LENGTH = 0, 5
_MOST_JUNK_BYTES: Final = 1_024
LONGEST_FRAME_BYTES: Final = 1 + 2 * (1 + 255 + 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame whose check is right; ``wire_bytes`` as long as it was on the line."""

    code: int
    payload: bytes
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no frame, as they were on the line."""

    cause: Literal["checksum", "framing"]
    lost_bytes: int


def encode(code: int, payload: bytes = b"") -> bytes:
    """Frame a message."""
    plain = bytes((len(payload) + 1, code)) + payload
    plain += bytes((xor8(plain),))
    return bytes((HEADER,)) + plain.replace(b"\x80", b"\x80\x00").replace(b"\x85", b"\x80\x05")


class Deframer:
    """Finds frames in a byte stream. Every 85 begins anew, so a fault costs one frame. Holds one frame at most."""

    __slots__ = ("_escaped", "_in_frame", "_junk_bytes", "_plain", "_wire_bytes")

    def __init__(self) -> None:
        self._plain = bytearray()
        self._wire_bytes = 0
        self._in_frame = False
        self._escaped = False
        self._junk_bytes = 0

    def feed(self, data: bytes) -> list[Frame | Fault]:
        """Take bytes; return the frames they complete and the faults between them, in order."""
        found: list[Frame | Fault] = []
        at = 0
        while at < len(data):
            if data[at] == HEADER:
                found += self._begin()
                at += 1
            elif not self._in_frame:
                header_at = data.find(HEADER, at)
                junk_bytes = (header_at if header_at >= 0 else len(data)) - at
                found += self._junk(junk_bytes)
                at += junk_bytes
            else:
                plain = self._plain_ahead(data, at)
                found += self._hold(plain) if plain else self._escape(data[at])
                at += len(plain) or 1
        return found

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no whole frame."""
        lost = self._junk_bytes + self._wire_bytes
        self.__init__()  # type: ignore[misc]
        return lost

    def _begin(self) -> list[Frame | Fault]:
        lost = self._junk_bytes + self._wire_bytes
        self._junk_bytes = 0
        self._in_frame = True
        self._escaped = False
        self._plain.clear()
        self._wire_bytes = 1
        return [Fault("framing", lost)] if lost else []

    def _junk(self, junk_bytes: int) -> list[Frame | Fault]:
        told, self._junk_bytes = divmod(self._junk_bytes + junk_bytes, _MOST_JUNK_BYTES)
        return [Fault("framing", _MOST_JUNK_BYTES)] * told

    def _plain_ahead(self, data: bytes, at: int) -> bytes:
        """What comes next without any escape, up to the frame's end; of one that has not begun its length alone."""
        if self._escaped:
            return b""
        missing = self._plain[0] + 2 - len(self._plain) if self._plain else 1
        special = _SPECIAL.search(data, at, at + max(1, missing))
        return data[at : special.start() if special else at + max(1, missing)]

    def _escape(self, byte: int) -> list[Frame | Fault]:
        if not self._escaped:
            self._escaped = True
            self._wire_bytes += 1
            return []
        self._escaped = False
        plain = _ESCAPED.get(byte)
        if plain is None:
            self._wire_bytes += 1
            return self._give_up()
        return self._hold(plain)

    def _hold(self, plain: bytes) -> list[Frame | Fault]:
        self._wire_bytes += len(plain)
        self._plain += plain
        length = self._plain[0]
        if length == 0:
            return self._give_up()
        if len(self._plain) < length + 2 or (len(self._plain) == length + 2 and self._is_padded_wave()):
            return []
        return self._end()

    def _is_padded_wave(self) -> bool:
        """Some samples come with a zero too many before their check, so OpenICE has found.

        One that noise put further ahead leaves the check right as well: the status would then be a part of the CO2.
        """
        plain = self._plain
        if plain[1] != _WAVE or plain[0] != _WAVE_LENGTH or plain[-1] or not xor8(bytes(plain[:-1])):
            return False
        *ahead, status = plain[2:-1]
        return not status or 0 not in ahead

    def _give_up(self) -> list[Frame | Fault]:
        """What comes until the next 85 belongs to nothing, and is told with this."""
        self._in_frame = False
        self._junk_bytes, self._wire_bytes = self._wire_bytes, 0
        self._plain.clear()
        return []

    def _end(self) -> list[Frame | Fault]:
        plain, wire_bytes = bytes(self._plain), self._wire_bytes
        self._in_frame = False
        self._wire_bytes = 0
        self._plain.clear()
        if xor8(plain[:-1]) != plain[-1]:
            return [Fault("checksum", wire_bytes)]
        return [Frame(plain[1], plain[2 : plain[0] + 1], wire_bytes)]
