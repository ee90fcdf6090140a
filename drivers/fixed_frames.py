"""Finds frames of one length in a stream where nothing but their own form tells where they begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_MOST_LOST_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Skipped:
    """Bytes between frames that belong to none."""

    lost_bytes: int


class FixedFrames:
    """Takes bytes, gives frames of ``frame_bytes``. A place counts as a frame's only once ``in_row`` of them follow
    each other from there; from then on each one is given as it comes, until one is not ``is_frame``.

    A chance likeness is so told from a frame. Bounded: keeps less than ``in_row`` frames.
    """

    __slots__ = ("_buffer", "_frame_bytes", "_in_row", "_is_frame", "_locked", "_lost_bytes")

    def __init__(self, frame_bytes: int, is_frame: Callable[[bytes], bool], in_row: int = 3) -> None:
        self._frame_bytes = frame_bytes
        self._is_frame = is_frame
        self._in_row = in_row
        self._buffer = bytearray()
        self._locked = False
        self._lost_bytes = 0

    def feed(self, data: bytes) -> list[bytes | Skipped]:
        """Take bytes; return the frames they complete and what was skipped before them, in order."""
        self._buffer += data
        buffer, size, at = bytes(self._buffer), self._frame_bytes, 0
        found: list[bytes | Skipped] = []
        while len(buffer) - at >= (size if self._locked else size * self._in_row):
            frame = buffer[at : at + size]
            if self._locked and self._is_frame(frame):
                found.append(frame)
                at += size
            elif not self._locked and self._begins(buffer, at):
                self._locked = True
                found += self._skipped()
            elif self._locked:
                self._locked = False
            else:
                at += 1
                self._lost_bytes += 1
                if self._lost_bytes == _MOST_LOST_BYTES:
                    found += self._skipped()
        del self._buffer[:at]
        return found

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no frame."""
        lost = self._lost_bytes + len(self._buffer)
        self._buffer.clear()
        self._lost_bytes = 0
        self._locked = False
        return lost

    def _begins(self, buffer: bytes, at: int) -> bool:
        size = self._frame_bytes
        return all(self._is_frame(buffer[at + n * size : at + (n + 1) * size]) for n in range(self._in_row))

    def _skipped(self) -> list[Skipped]:
        lost, self._lost_bytes = self._lost_bytes, 0
        return [Skipped(lost)] if lost else []
