"""What the messages of a BIS monitor hold.

Source: the structures of Aspect Medical's serial port technical specification, as published with public software.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Final

from drivers.bis.frame import Message, check_size
from ledger.errors import DeviceFault

_HEAD: Final = struct.Struct("<BBBBHH4i4H4I")
_TREND: Final = struct.Struct("<8hiI")
_EXTRA_BYTES: Final = 12
_SPECTRA_BYTES: Final = 244
_TRENDS: Final = 3
_PLAIN_BYTES: Final = _HEAD.size + _TRENDS * _TREND.size
_EXTENDED_BYTES: Final = _PLAIN_BYTES + _TRENDS * _EXTRA_BYTES
_EEG_HEAD: Final = struct.Struct("<HH")
_MOST_CHANNELS, _MOST_RATE_HZ = 4, 512
_REVISION_BYTES: Final = 28


@dataclass(frozen=True, slots=True)
class Trend:
    """What is computed of one channel, or of both, as sent: SR, SEF95, BIS bits, BIS, two alternates, total power, EMG,
    SQI, artifact bits; ``bursts_per_min`` where extra variables are on.
    """

    values: tuple[int, ...]
    bursts_per_min: int | None


@dataclass(frozen=True, slots=True)
class Processed:
    """One second. EEG in microvolts = gain * (sample - offset); ``gain`` None: the monitor told none.

    ``impedances``: (value in 100 ohm, result bits of its test) of both channels. ``trends``: channel 1, 2, both.
    """

    amplifier_is_legal: bool
    sensor_type: int
    sensor_is_legal: bool
    quick_test: int
    gain: float | None
    offset: float
    impedances: tuple[tuple[int, int], tuple[int, int]]
    filters: int
    smoothing: int
    trends: tuple[Trend, ...]


@dataclass(frozen=True, slots=True)
class Eeg:
    """A piece of the EEG: little-endian samples of each channel."""

    rate_hz: int
    channels: tuple[bytes, ...]

    @property
    def count(self) -> int:
        """Samples of each channel."""
        return len(self.channels[0]) // 2


@dataclass(frozen=True, slots=True)
class Revision:
    """Which monitor it is."""

    serial: str
    is_vista: bool
    system: str
    protocol: str


def parse_processed(message: Message) -> Processed:
    """Processed variables, with or without spectra and extra variables. Raises DeviceFault ``bis.size``."""
    data = message.data
    check_size(message, *(size + more for size in (_PLAIN_BYTES, _EXTENDED_BYTES) for more in (0, _SPECTRA_BYTES)))
    extended = len(data) in (_EXTENDED_BYTES, _EXTENDED_BYTES + _SPECTRA_BYTES)
    told = _HEAD.unpack_from(data)
    gain_num, gain_divisor, offset_num, offset_divisor = told[6:10]
    return Processed(
        amplifier_is_legal=bool(told[1]),
        sensor_type=told[2] // 10,
        sensor_is_legal=bool(told[3]),
        quick_test=told[5],
        gain=gain_num / gain_divisor if gain_num and gain_divisor and offset_divisor else None,
        offset=offset_num / offset_divisor if offset_divisor else 0.0,
        impedances=((told[10], told[11]), (told[12], told[13])),
        filters=told[14],
        smoothing=told[15],
        trends=tuple(_trend(data, number, extended=extended) for number in range(_TRENDS)),
    )


def _trend(data: bytes, number: int, *, extended: bool) -> Trend:
    at = _HEAD.size + number * (_TREND.size + (_EXTRA_BYTES if extended else 0))
    bursts = int.from_bytes(data[at + _TREND.size : at + _TREND.size + 2], "little", signed=True) if extended else None
    return Trend(_TREND.unpack_from(data, at), bursts)


def parse_eeg(message: Message) -> Eeg:
    """A piece of the EEG. Raises DeviceFault ``bis.size`` or ``bis.eeg``."""
    data = message.data
    if len(data) <= _EEG_HEAD.size:
        raise DeviceFault("bis.size", "EEG without samples")
    channels, rate_hz = _EEG_HEAD.unpack_from(data)
    if not 1 <= channels <= _MOST_CHANNELS or not 1 <= rate_hz <= _MOST_RATE_HZ:
        raise DeviceFault("bis.eeg", f"EEG of {channels} channels at {rate_hz}/s")
    if (len(data) - _EEG_HEAD.size) % (2 * channels):
        raise DeviceFault("bis.size", "EEG that is cut inside a sample")
    samples = array("h", data[_EEG_HEAD.size :])  # its slices make no object per sample, and keep the bytes' order
    return Eeg(rate_hz, tuple(samples[channel::channels].tobytes() for channel in range(channels)))


def parse_revision(message: Message) -> Revision:
    """Which monitor it is. Raises DeviceFault ``bis.size``."""
    check_size(message, _REVISION_BYTES)
    data = message.data
    letter = chr(data[27]) if chr(data[27]).isascii() and chr(data[27]).isalpha() else ""
    number = int.from_bytes(data[24:27], "little")
    is_vista = letter == "V"
    serial = f"VT{number:05d}" if is_vista else f"{letter}{number}" if number else ""
    return Revision(serial, is_vista, _version(data[0:4]), _version(data[12:16]))


def _version(data: bytes) -> str:
    return f"{data[0]}.{data[1]:02d}"


def parse_text(message: Message) -> str:
    """The text of an error, impedance or event message, for people."""
    text = message.data.split(b"\0", 1)[0].decode("ascii", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
