"""What a Contec CMS50 sends 60 times a second: 5 bytes with old firmware, 9 with firmware 7.

Old: bit 7 marks a frame's first byte. New: a type below 80, then a byte with the high bits of those that follow, all of
them from 80 on; the last word, that it stops, is shorter than a frame. Neither has a checksum. Source: public
descriptions (CMS50Dplus, CMS50Dplus7), recorded frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OLD_FRAME_BYTES: Final = 5
NEW_FRAME_BYTES: Final = 9
RATE_HZ: Final = 60
REAL_TIME: Final = 0x01
DISCONNECT: Final = 0x0D
_NO_SATURATION: Final = 0x7F
_NO_RATE: Final = 0xFF
_NO_INDEX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Beat:
    """One frame. ``sample`` is 0 to 127. None: the oximeter shows no value. ``flags`` are named as in `FLAGS`."""

    sample: int
    pulse_rate: int | None
    saturation: int | None
    perfusion_index: int | None
    strength: int
    flags: frozenset[str]


FLAGS: Final = {
    "finger_out": "finger out",
    "saturation_drop": "saturation dropping",
    "probe_error": "probe error",
    "searching": "searching for the pulse",
    "searching_too_long": "searching for the pulse for too long",
    "probe_off": "finger out or probe error",
}


def is_old_frame(frame: bytes) -> bool:
    """Whether these 5 bytes have the form of a frame of old firmware."""
    return frame[0] >= 0x80 and max(frame[1:]) < 0x80


def begins_old(byte: int) -> bool:
    """Whether a frame of old firmware can begin so."""
    return byte >= 0x80


def begins_new(byte: int) -> bool:
    """Whether a frame of firmware 7 can begin so."""
    return byte < 0x80


def is_new_frame(frame: bytes) -> bool:
    """Whether these 9 bytes have the form of a frame of firmware 7."""
    return frame[0] in (REAL_TIME, DISCONNECT) and min(frame[1:]) >= 0x80


def is_disconnect(packet: bytes) -> bool:
    """Whether these bytes, fewer than a frame's, say that the oximeter stops: type, high bits and a reason."""
    return 3 <= len(packet) < NEW_FRAME_BYTES and packet[0] == DISCONNECT and min(packet[1:]) >= 0x80


def parse_old(frame: bytes) -> Beat:
    """Take a frame of old firmware apart."""
    first, sample, third, rate, saturation = frame
    rate |= (third & 0x40) << 1
    bits = (
        ("finger_out", first & 0x10), ("saturation_drop", first & 0x20), ("probe_error", third & 0x10),
        ("searching", third & 0x20),
    )  # fmt: skip
    return Beat(
        sample=sample,
        pulse_rate=rate if rate not in (0, _NO_RATE) else None,
        saturation=saturation if saturation not in (0, _NO_SATURATION) else None,
        perfusion_index=None,
        strength=first & 0x0F,
        flags=frozenset(name for name, bit in bits if bit),
    )


def parse_new(frame: bytes) -> Beat | None:
    """Take a frame of firmware 7 apart; None for one that says that the oximeter stops."""
    if frame[0] != REAL_TIME:
        return None
    high = frame[1]
    data = [byte & 0x7F | (high >> at & 1) << 7 for at, byte in enumerate(frame[2:])]
    rate, saturation, index = data[3], data[4], data[5] | data[6] << 8
    shown = saturation not in (0, _NO_SATURATION)
    bits = (
        ("searching_too_long", data[0] & 0x10), ("saturation_drop", data[0] & 0x20), ("probe_off", data[0] & 0x80),
        ("searching", data[1] & 0x80),
    )  # fmt: skip
    return Beat(
        sample=data[1] & 0x7F,
        pulse_rate=rate if rate not in (0, _NO_RATE) else None,
        saturation=saturation if shown else None,
        perfusion_index=index if index != _NO_INDEX and shown else None,
        strength=data[0] & 0x0F,
        flags=frozenset(name for name, bit in bits if bit),
    )
