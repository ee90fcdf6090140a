"""MLLP, the framing of HL7 v2 over TCP: ``<VT> message <FS> <CR>``.

Source: HL7 Minimal Lower Layer Protocol release 1, "Transport Specification: MLLP". Pure: bytes in, messages out.
"""

from __future__ import annotations

from typing import Literal

from ledger.dataclass import dataclass
from ledger.limits import KIB, LIMITS

VT = 0x0B
FS = 0x1C
CR = 0x0D
FRAMING_BYTES = 3
_IDLE = frozenset(b"\x00\r\n")
"""Between messages these are fill, sent by many gateways: the CR that closes a frame, keep-alives, line feeds."""

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
    """One message as it goes on the wire. Raises ValueError if it holds VT or FS, which no frame can carry."""
    if VT in message or FS in message:
        raise ValueError("an MLLP message cannot hold VT (0x0B) or FS (0x1C)")
    return b"\x0b" + message + b"\x1c\r"


class Deframer:
    """Finds messages in a stream cut anywhere. Holds at most ``limit`` bytes, whatever comes.

    A frame ends at FS: the CR after it is taken as fill, so that a sender that leaves it out is not waited for.
    """

    __slots__ = ("_body", "_inside", "_junk", "_limit", "_over")

    def __init__(self, limit: int = LIMITS.hl7_message_bytes) -> None:
        self._limit = limit
        self._body = bytearray()
        self._inside = False
        self._over = 0  # bytes of the present frame beyond the limit
        self._junk = 0

    @property
    def runaway(self) -> bool:
        """The present frame is so far beyond the limit that no end can be hoped for: close the connection."""
        return self._over > RUNAWAY_FACTOR * self._limit

    def feed(self, data: bytes) -> list[bytes | Stray]:
        """Whole messages (without framing) and strays, in the order in which they ended."""
        out: list[bytes | Stray] = []
        at = 0
        while at < len(data):
            at = self._inside_frame(data, at, out) if self._inside else self._between(data, at, out)
        return out

    def end(self) -> list[bytes | Stray]:
        """What the end of the connection leaves behind; the deframer is fresh afterwards."""
        out: list[bytes | Stray] = []
        if self._inside:
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
        ends = [found for found in (data.find(FS, at), data.find(VT, at)) if found >= 0]
        stop = min(ends, default=len(data))
        room = self._limit - len(self._body)
        self._body += data[at : min(stop, at + room)]
        self._over += max(0, stop - at - room)
        if not ends:
            return stop
        if data[stop] == VT:
            out.append(self._abandon("restart"))
        elif self._over:
            out.append(self._abandon("oversize"))
            self._inside = False
        else:
            out.append(bytes(self._body))
            self._body.clear()
            self._inside = False
        return stop + 1

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
