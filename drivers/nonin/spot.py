"""Serial data formats #1 and #8: once a second three or four bytes, without a plethysmogram and without a checksum.

Status, pulse rate, saturation, and in format 8 a second status. Bit 7 is set in a frame's first byte alone. Source:
Nonin, OEM III Module Specification; as public programs read both.
"""

from __future__ import annotations

from typing import Final

from drivers.nonin.packet import NO_SATURATION, Packet, Reading, Status, rate_of, saturation_of

_BEGINS: Final = 0x80
_LOW_PERFUSION, _MARGINAL_PERFUSION = 0x10, 0x08
_STATUS: Final = ((0x40, Status.SENSOR_DISCONNECTED), (0x20, Status.OUT_OF_TRACK), (0x04, Status.ARTIFACT))
_SMART_POINT, _SENSOR_ALARM, _LOW_BATTERY = 0x20, 0x08, 0x01


def begins_spot(byte: int) -> bool:
    """Whether a frame can begin so."""
    return byte >= _BEGINS


def is_frame_1(frame: bytes) -> bool:
    """Whether these 3 bytes have the form of a frame of format 1."""
    saturation = frame[2]
    return frame[0] >= _BEGINS and max(frame[1:]) < _BEGINS and (saturation <= 100 or saturation == NO_SATURATION)


is_frame_8 = is_frame_1
"""The same of 4 bytes and format 8."""


def parse_spot(frame: bytes) -> tuple[Packet, int]:
    """The values of a frame of either format, and its status by the bits of formats 2 and 7."""
    first, rate, saturation, *more = frame
    status = 0
    for bit, meaning in _STATUS:
        status |= meaning if first & bit else 0
    if first & _LOW_PERFUSION:
        status |= Status.RED
    elif first & _MARGINAL_PERFUSION:
        status |= Status.RED | Status.GREEN
    second = more[0] if more else 0
    status |= Status.SENSOR_ALARM if second & _SENSOR_ALARM else 0
    readings = (Reading("HR", rate_of(first, rate)), Reading("SpO2", saturation_of(saturation)))
    return Packet(readings, None, bool(second & _SMART_POINT), bool(second & _LOW_BATTERY)), status
