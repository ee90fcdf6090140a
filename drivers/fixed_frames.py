"""Finds frames of one length in a stream where nothing but their own form tells where they begin, or which form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Form = TypeVar("Form")

_MOST_LOST_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Skipped:
    """Bytes between frames that belong to none."""

    lost_bytes: int


class FixedFrames:
    """Takes bytes, gives frames of ``frame_bytes``. A place counts as a frame's only once ``in_row`` of them follow
    each other from there; from then on each one is given as it comes, until one is not ``is_frame``.

    A chance likeness is so told from a frame. For frames without a checksum, ``begins`` tells whether a byte can begin
    one: a frame is then given only once such a byte follows it, so that one with a byte too many or too few is not
    taken for one. ``is_last`` tells whether shorter bytes, up to the next that begins a frame or to a silence, are the
    device's last word: they are given as a frame is. Bounded: keeps less than ``in_row`` frames and a byte.
    """

    __slots__ = ("_begins", "_buffer", "_frame_bytes", "_in_row", "_is_frame", "_is_last", "_locked", "_lost_bytes")

    def __init__(
        self,
        frame_bytes: int,
        is_frame: Callable[[bytes], bool],
        in_row: int = 3,
        begins: Callable[[int], bool] | None = None,
        is_last: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._frame_bytes = frame_bytes
        self._is_frame = is_frame
        self._in_row = in_row
        self._begins = begins
        self._is_last = is_last
        self._buffer = bytearray()
        self._locked = False
        self._lost_bytes = 0

    def feed(self, data: bytes) -> list[bytes | Skipped]:
        """Take bytes; return the frames they complete and what was skipped before them, in order."""
        self._buffer += data
        buffer, size, at = bytes(self._buffer), self._frame_bytes, 0
        ahead = 0 if self._begins is None else 1
        found: list[bytes | Skipped] = []
        while len(buffer) - at >= (size if self._locked else size * self._in_row) + ahead:
            if self._locked and self._is_whole(buffer, at):
                found.append(buffer[at : at + size])
                at += size
            elif not self._locked and self._is_row(buffer, at):
                self._locked = True
                found += self._skipped()
            elif self._locked and (last_bytes := self._last_bytes(buffer, at)):
                found.append(buffer[at : at + last_bytes])
                at += last_bytes
            elif self._locked:
                self._locked = False
            else:
                at += 1
                self._lost_bytes += 1
                if self._lost_bytes == _MOST_LOST_BYTES:
                    found += self._skipped()
        del self._buffer[:at]
        return found

    @property
    def is_locked(self) -> bool:
        """Whether frames followed each other up to what came last."""
        return self._locked

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for those that follow."""
        return len(self._buffer)

    @property
    def holds_a_frame(self) -> bool:
        """Whether a whole frame waits for the byte after it; on a line that fell silent, ``release`` gives it out."""
        if not self._locked or not self._buffer:
            return False
        waiting = bytes(self._buffer)
        if len(waiting) == self._frame_bytes:
            return self._is_frame(waiting)
        return self._is_last is not None and self._is_last(waiting)

    def release(self) -> bytes | None:
        """The frame that waits, if one does; nothing follows it, so nothing was put in or left out."""
        if not self.holds_a_frame:
            return None
        frame = bytes(self._buffer)
        self._buffer.clear()
        return frame

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no frame."""
        lost = self._lost_bytes + len(self._buffer)
        self._buffer.clear()
        self._lost_bytes = 0
        self._locked = False
        return lost

    def _is_whole(self, buffer: bytes, at: int) -> bool:
        end = at + self._frame_bytes
        return self._is_frame(buffer[at:end]) and (self._begins is None or self._begins(buffer[end]))

    def _last_bytes(self, buffer: bytes, at: int) -> int:
        """How long the device's last word is that stands here; 0 if none does."""
        if self._is_last is None or self._begins is None:
            return 0
        end = at + 1
        while end < at + self._frame_bytes and not self._begins(buffer[end]):
            end += 1
        return end - at if end < at + self._frame_bytes and self._is_last(buffer[at:end]) else 0

    def _is_row(self, buffer: bytes, at: int) -> bool:
        for begin in range(at, at + self._in_row * self._frame_bytes, self._frame_bytes):
            if not self._is_whole(buffer, begin):
                return False
        return True

    def _skipped(self) -> list[Skipped]:
        lost, self._lost_bytes = self._lost_bytes, 0
        return [Skipped(lost)] if lost else []


class FirstOf(Generic[Form]):
    """Frames of the one form that comes first of several; ``form`` is None until it is known. Bounded as they are.

    Once that form's frames no longer follow each other, another's may: the device was exchanged, or set anew.
    """

    __slots__ = ("_candidates", "_first", "form")

    def __init__(self, candidates: Mapping[Form, FixedFrames]) -> None:
        """One candidate: it is known from the start. Of several the first one's skipped bytes are told."""
        self._candidates = dict(candidates)
        self._first = next(iter(candidates))
        self.form: Form | None = self._first if len(candidates) == 1 else None

    def feed(self, data: bytes) -> list[bytes | Skipped]:
        """Take bytes; return the frames they complete, all of one form, and what was skipped before them, in order."""
        if len(self._candidates) == 1 or self._frames.is_locked:
            return self._frames.feed(data)
        skipped: list[bytes | Skipped] = []
        told = self._frames
        told_first = sorted(self._candidates.items(), key=lambda each: each[1] is not told)
        for at in range(len(data)):
            for form, candidate in told_first:
                found = candidate.feed(data[at : at + 1])
                if candidate.is_locked:
                    self.form = form
                    if candidate is not told:
                        frames = [item for item in found if isinstance(item, bytes)]
                        lost = told.abandon() - sum(map(len, frames)) - candidate.waiting_bytes
                        found = [Skipped(lost), *frames] if lost > 0 else [*frames]
                    for other in self._candidates.values():
                        if other is not candidate:
                            other.abandon()
                    return [*skipped, *found, *candidate.feed(data[at + 1 :])]
                if candidate is told:
                    skipped += found
        return skipped

    @property
    def _frames(self) -> FixedFrames:
        return self._candidates[self._first if self.form is None else self.form]

    @property
    def holds_a_frame(self) -> bool:
        """Whether a whole frame waits for the byte after it."""
        return self.form is not None and self._frames.holds_a_frame

    def release(self) -> bytes | None:
        """The frame that nothing follows, if one waits."""
        return self._frames.release() if self.form is not None else None

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no frame."""
        return self._frames.abandon()
