"""What both protocols of Hamilton's ventilators share: a frame runs from STX to CR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.checksums import crc8_dvb_s2
from ledger.errors import DeviceFault

STX: Final = b"\x02"
ETX: Final = b"\x03"
CR: Final = b"\r"
MOST_FRAME_BYTES: Final = 4_096
_MOST_LOST_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes that belong to no frame."""

    lost_bytes: int


class Deframer:
    """Takes bytes, gives frames, STX to CR. A second STX begins anew. Bounded: keeps less than a longest frame."""

    __slots__ = ("_buffer", "_lost_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost_bytes = 0

    def feed(self, data: bytes) -> list[bytes | Lost]:
        """Take bytes; return the frames they complete and what was lost before them, in order."""
        self._buffer += data
        found: list[bytes | Lost] = []
        while (end := self._buffer.find(CR)) >= 0:
            self._cut(bytes(self._buffer[: end + 1]), found)
            del self._buffer[: end + 1]
        begun = self._buffer.rfind(STX)
        keep_from = begun if begun >= 0 else len(self._buffer)
        if len(self._buffer) - keep_from >= MOST_FRAME_BYTES:
            keep_from = len(self._buffer)
        self._lost_bytes += keep_from
        del self._buffer[:keep_from]
        if self._lost_bytes >= _MOST_LOST_BYTES:
            found += self._told()
        return found

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no frame."""
        lost = self._lost_bytes + len(self._buffer)
        self._buffer.clear()
        self._lost_bytes = 0
        return lost

    def _cut(self, piece: bytes, found: list[bytes | Lost]) -> None:
        begun = piece.rfind(STX)
        if begun < 0:
            self._lost_bytes += len(piece)
            return
        self._lost_bytes += begun
        found += self._told()
        found.append(piece[begun:])

    def _told(self) -> list[Lost]:
        lost, self._lost_bytes = self._lost_bytes, 0
        return [Lost(lost)] if lost else []


def block(body: bytes) -> bytes:
    """A frame of the block protocol: STX, body, ETX, their CRC-8 in two hex digits, CR."""
    summed = STX + body + ETX
    return summed + b"%02X" % crc8_dvb_s2(summed) + CR


def block_body(frame: bytes) -> bytes:
    """What stands between STX and ETX. Raises DeviceFault ``hamilton.frame`` or ``hamilton.checksum``."""
    if len(frame) < 5 or frame[-4:-3] != ETX:
        raise DeviceFault("hamilton.frame", "a frame without its end")
    try:
        told = int(frame[-3:-1].decode("ascii"), 16)
    except ValueError:
        raise DeviceFault("hamilton.frame", "a checksum that is no number") from None
    if told != crc8_dvb_s2(frame[:-3]):
        raise DeviceFault("hamilton.checksum", "a checksum that is wrong")
    return frame[1:-4]
