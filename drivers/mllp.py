"""MLLP, the framing of HL7 v2 over TCP: ``<VT> message <FS> <CR>``.

Source: HL7 Minimal Lower Layer Protocol release 1, "Transport Specification: MLLP". Pure: bytes in, messages out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ledger.limits import KIB, LIMITS

VT = 0x0B
FS = 0x1C
CR = 0x0D
FRAMING_BYTES = 3
_IDLE = frozenset(b"\x00\r\n")
"""Between messages these are fill, sent by many gateways: the CR that closes a frame, keep-alives, line feeds."""

_BEGINNINGS = (b"MSH", b"FHS", b"BHS")
"""How a message begins, or a batch. A VT before anything else is part of a text: some editors end lines with it."""

HEAD_BYTES = 4 * KIB
"""How much of an oversize message is kept, so that its sender can still be named and answered."""

RUNAWAY_FACTOR = 16
"""A message this many times over the limit has no end: the connection is of no further use."""

StrayCause = Literal["junk", "restart", "oversize", "cut"]


@dataclass(frozen=True, slots=True)
class Stray:
    """Bytes that are not a message.

    ``junk``: outside any frame. ``restart``: a frame was begun anew before it ended. ``oversize``: longer than allowed,
    ``head`` holds its beginning. ``cut``: the connection ended inside it.
    """

    cause: StrayCause
    lost_bytes: int
    head: bytes = b""


def frame(message: bytes) -> bytes:
    """One message as it goes on the wire. Raises ValueError if it holds VT or FS, which no frame should carry."""
    if VT in message or FS in message:
        raise ValueError("an MLLP message cannot hold VT (0x0B) or FS (0x1C)")
    return framed_again(message)


def framed_again(message: bytes) -> bytes:
    """A message that came in a frame, in its frame; VT in its texts is left there."""
    return b"\x0b" + message + b"\x1c\r"


class Deframer:
    """Finds messages in a stream cut anywhere. Holds at most ``limit`` bytes, whatever comes.

    A frame ends at FS: the CR after it is taken as fill, so that a sender that leaves it out is not waited for. It is
    begun anew by a VT with the beginning of a message behind it; any other VT in it belongs to the message.
    """

    __slots__ = ("_begun", "_body", "_inside", "_junk", "_limit", "_over")

    def __init__(self, limit: int = LIMITS.hl7_message_bytes) -> None:
        self._limit = limit
        self._body = bytearray()
        self._inside = False
        self._over = 0  # bytes of the present frame beyond the limit
        self._junk = 0
        self._begun = b""  # a VT inside a frame, and what came of the three bytes that tell what it is

    @property
    def runaway(self) -> bool:
        """The present frame is so far beyond the limit that no end can be hoped for: close the connection."""
        return self._over > RUNAWAY_FACTOR * self._limit

    def feed(self, data: bytes) -> list[bytes | Stray]:
        """Whole messages (without framing) and strays, in the order in which they ended."""
        out: list[bytes | Stray] = []
        at = 0
        if self._begun:
            data, self._begun = self._begun + data, b""
        while at < len(data):
            at = self._inside_frame(data, at, out) if self._inside else self._between(data, at, out)
        return out

    def end(self) -> list[bytes | Stray]:
        """What the end of the connection leaves behind; the deframer is fresh afterwards."""
        out: list[bytes | Stray] = []
        if self._inside:
            self._take(self._begun)
            self._begun = b""
            out.append(self._abandon("cut"))
        self._report_junk(out)
        self._inside = False
        return out

    def _between(self, data: bytes, at: int, out: list[bytes | Stray]) -> int:
        start = data.find(VT, at)
        stop = len(data) if start < 0 else start
        for byte in memoryview(data)[at:stop]:
            if byte not in _IDLE:
                self._junk += 1
                if self._junk >= LIMITS.frame_bytes:
                    self._report_junk(out)
        if start < 0:
            return stop
        self._report_junk(out)
        self._inside = True
        return start + 1

    def _inside_frame(self, data: bytes, at: int, out: list[bytes | Stray]) -> int:
        started = data.find(VT, at)
        ended = data.find(FS, at, started if started >= 0 else len(data))
        stop = next((found for found in (ended, started) if found >= 0), len(data))
        self._take(data[at:stop])
        if stop == len(data):
            return stop
        if data[stop] == VT:
            return self._started_again(data, stop, out)
        if self._over:
            out.append(self._abandon("oversize"))
        else:
            out.append(bytes(self._body))
            self._body.clear()
        self._inside = False
        return stop + 1

    def _started_again(self, data: bytes, at: int, out: list[bytes | Stray]) -> int:
        """A VT inside a frame: another message, or part of this one's text."""
        behind = data[at + 1 : at + 4]
        if behind in _BEGINNINGS:
            if self._body:  # a doubled VT loses nothing
                out.append(self._abandon("restart"))
        elif any(begin.startswith(behind) for begin in _BEGINNINGS):
            self._begun = data[at:]
            return len(data)
        else:
            self._take(b"\x0b")
        return at + 1

    def _take(self, data: bytes) -> None:
        room = self._limit - len(self._body)
        self._body += data[:room]
        self._over += max(0, len(data) - room)

    def _abandon(self, cause: StrayCause) -> Stray:
        oversize = self._over > 0
        lost = len(self._body) + self._over
        head = bytes(self._body[:HEAD_BYTES]) if oversize else b""
        self._body.clear()
        self._over = 0
        return Stray("oversize" if oversize else cause, lost, head)

    def _report_junk(self, out: list[bytes | Stray]) -> None:
        if self._junk:
            out.append(Stray("junk", self._junk))
            self._junk = 0
