"""Frames and packets of Nonin's serial data formats #2 and #7 (Nonin, OEM III Module Specification).

A frame is 5 bytes, 75 a second; 25 frames are a packet, whose first frame bears SYNC. Each frame brings one sample of
the plethysmogram and one byte of the packet's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

FRAME_BYTES: Final = 5
PACKET_FRAMES: Final = 25
RATE_HZ: Final = 75
DataFormat = Literal[1, 2, 7, 8]
_NO_RATE: Final = 511
NO_SATURATION: Final = 127
_SMART_POINT, _LOW_BATTERY = 0x20, 0x01


class Status:
    """Bits of each frame's status byte; bit 7 is always set. RED and GREEN together: marginal perfusion."""

    SYNC: Final = 0x01
    GREEN: Final = 0x02
    RED: Final = 0x04
    SENSOR_ALARM: Final = 0x08
    OUT_OF_TRACK: Final = 0x10
    ARTIFACT: Final = 0x20
    SENSOR_DISCONNECTED: Final = 0x40


class Frame(NamedTuple):
    """One frame: ``sample`` is 0 to 255 in format 2, 0 to 65,535 in format 7; ``data`` is its byte of the packet."""

    status: int
    sample: int
    data: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a packet. ``value`` None: the oximeter could not compute it."""

    name: str
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Packet:
    """The values of 25 frames, the firmware's revision if it is told, and two conditions."""

    readings: tuple[Reading, ...]
    revision: int | None
    smart_point: bool
    low_battery: bool


def is_frame_2(frame: bytes) -> bool:
    """Whether these 5 bytes have the form of a frame of format 2."""
    return frame[0] == 1 and frame[1] >= 0x80 and sum(frame[:4]) & 0xFF == frame[4]


def is_frame_7(frame: bytes) -> bool:
    """Whether these 5 bytes have the form of a frame of format 7."""
    return frame[0] >= 0x80 and sum(frame[:4]) & 0xFF == frame[4]


def parse_frame(frame: bytes, data_format: DataFormat) -> Frame:
    """Take a frame apart that has the form of its format."""
    if data_format == 2:
        return Frame(frame[1] & 0x7F, frame[2], frame[3])
    return Frame(frame[0] & 0x7F, frame[1] << 8 | frame[2], frame[3])


_RATES: Final = (("HR", 0), ("E-HR", 13), ("HR-D", 19), ("E-HR-D", 21))
_SATURATIONS: Final = (("SpO2", 2), ("SpO2-D", 8), ("SpO2 Fast", 9), ("SpO2 B-B", 10), ("E-SpO2", 15), ("E-SpO2-D", 16))


def parse_packet(data: bytes) -> Packet:
    """The values of a packet's 25 bytes."""
    readings = [Reading(name, rate_of(data[at], data[at + 1])) for name, at in _RATES]
    readings += [Reading(name, saturation_of(data[at])) for name, at in _SATURATIONS]
    return Packet(tuple(readings), data[3], bool(data[7] & _SMART_POINT), bool(data[7] & _LOW_BATTERY))


def rate_of(high: int, low: int) -> Decimal | None:
    """A pulse rate of nine bits, two of them in ``high``; 511 is none."""
    value = (high & 0x03) << 7 | low & 0x7F
    return None if value == _NO_RATE else Decimal(value)


def saturation_of(byte: int) -> Decimal | None:
    """A saturation of seven bits; 127 is none."""
    value = byte & 0x7F
    return None if value == NO_SATURATION else Decimal(value)
