"""Finds the frames of Nonin's serial data formats in a stream, and which format it is where that was not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drivers.fixed_frames import FirstOf, FixedFrames
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


def finder(data_format: DataFormat | None) -> FirstOf[DataFormat]:
    """Finds frames of ``data_format``, or of the first format that enough frames follow each other of."""
    if data_format is not None:
        return FirstOf({data_format: _FORMS[data_format].frames(told=True)})
    return FirstOf({each: form.frames(told=False) for each, form in _FORMS.items()})
