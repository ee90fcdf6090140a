"""Finds the lines in what an ASCII device sends. Bounded; what is too long is told and skipped."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineFault:
    """A run of bytes without an end of line that is longer than a line may be."""

    lost_bytes: int


class LineSplitter:
    """Takes bytes, gives lines without their ends. Any of ``ends`` ends a line, and empty lines are not told.

    A line longer than ``longest_bytes`` becomes one `LineFault`, told when its end comes. The first line may be the
    tail of one that began before the link was up: it is given all the same, for only its reader can tell.
    """

    __slots__ = ("_buffer", "_ends", "_longest_bytes", "_lost_bytes")

    def __init__(self, longest_bytes: int, ends: bytes = b"\r\n") -> None:
        self._ends = re.compile(b"[" + re.escape(ends) + b"]")
        self._longest_bytes = longest_bytes
        self._buffer = bytearray()
        self._lost_bytes = 0

    def feed(self, data: bytes) -> list[bytes | LineFault]:
        """Take bytes; return the lines they complete, in order."""
        found: list[bytes | LineFault] = []
        *ended, rest = self._ends.split(data)
        for part in ended:
            self._hold(part)
            found += self._end()
        self._hold(rest)
        return found

    def abandon(self) -> int:
        """The link is gone: how many bytes of an unfinished line go with it."""
        lost = self._lost_bytes + len(self._buffer)
        self._buffer.clear()
        self._lost_bytes = 0
        return lost

    def _hold(self, part: bytes) -> None:
        if not self._lost_bytes and len(self._buffer) + len(part) <= self._longest_bytes:
            self._buffer += part
        elif part:
            self._lost_bytes += len(self._buffer) + len(part)
            self._buffer.clear()

    def _end(self) -> list[bytes | LineFault]:
        line, lost = bytes(self._buffer), self._lost_bytes
        self._buffer.clear()
        self._lost_bytes = 0
        if lost:
            return [LineFault(lost)]
        return [line] if line else []
