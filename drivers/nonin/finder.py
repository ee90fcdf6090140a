"""Finds the frames of Nonin's serial data formats in a stream, and which format it is where that was not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drivers.fixed_frames import FixedFrames, Skipped
from drivers.nonin.packet import FRAME_BYTES, DataFormat, is_frame_2, is_frame_7
from drivers.nonin.spot import begins_spot, is_frame_1, is_frame_8

_SURE_IN_A_ROW: Final = 3
_LIKELY_IN_A_ROW: Final = 4
_FOUND_IN_A_ROW: Final = 8
"""Formats 1 and 8 have no checksum: where the format was not told, noise must not be taken for them."""


@dataclass(frozen=True, slots=True)
class _Form:
    frame_bytes: int
    is_frame: Callable[[bytes], bool]
    in_row: int = _SURE_IN_A_ROW
    begins: Callable[[int], bool] | None = None

    def frames(self, *, told: bool) -> FixedFrames:
        """``told``: it is known that this format comes."""
        in_row = self.in_row if told or self.begins is None else _FOUND_IN_A_ROW
        return FixedFrames(self.frame_bytes, self.is_frame, in_row, self.begins)


_FORMS: Final[dict[DataFormat, _Form]] = {
    2: _Form(FRAME_BYTES, is_frame_2),
    7: _Form(FRAME_BYTES, is_frame_7),
    8: _Form(4, is_frame_8, _LIKELY_IN_A_ROW, begins_spot),
    1: _Form(3, is_frame_1, _LIKELY_IN_A_ROW, begins_spot),
}
FORMATS: Final = tuple(_FORMS)


class FrameFinder:
    """Frames of ``data_format``, or of the first format that enough frames follow each other of. Bounded."""

    __slots__ = ("_candidates", "data_format")

    def __init__(self, data_format: DataFormat | None) -> None:
        self.data_format = data_format
        wanted = FORMATS if data_format is None else (data_format,)
        self._candidates = {each: _FORMS[each].frames(told=data_format is not None) for each in wanted}

    def feed(self, data: bytes) -> list[bytes | Skipped]:
        """Take bytes; return the frames they complete and what was skipped before them, in order."""
        if self.data_format is not None:
            return self._candidates[self.data_format].feed(data)
        skipped: list[bytes | Skipped] = []
        for at in range(len(data)):
            for each, candidate in self._candidates.items():
                found = candidate.feed(data[at : at + 1])
                if any(isinstance(item, bytes) for item in found):
                    self.data_format, self._candidates = each, {each: candidate}
                    return [*skipped, *found, *candidate.feed(data[at + 1 :])]
                if each == FORMATS[0]:
                    skipped += found
        return skipped

    @property
    def _frames(self) -> FixedFrames:
        return self._candidates[self.data_format or FORMATS[0]]

    @property
    def holds_a_frame(self) -> bool:
        """Whether a whole frame waits for the byte after it."""
        return self.data_format is not None and self._frames.holds_a_frame

    def release(self) -> bytes | None:
        """The frame that nothing follows, if one waits."""
        return self._frames.release() if self.data_format is not None else None

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no frame."""
        return self._frames.abandon()
