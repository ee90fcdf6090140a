"""Messages of a Capnostream: waveform sample, values with alarms and limits, device identification, revision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ledger.errors import DeviceFault

WAVE, NUMERICS, DEVICE_ID, REVISION = 0, 1, 4, 9
NOT_READ: Final = frozenset((2, 3, 10, 12, 21, 22, 55, 56, 57, 58, 60))
"""Answers to what is not asked: patient identification, events, stored trends, settings. Kept raw only."""
NO_VALUE: Final = 0xFF
WAVE_RATE_HZ: Final = 20
WAVE_NUMBERS: Final = 256
_WAVE_BYTES, _NUMERICS_BYTES = 4, 27
_DEVICE_ID: Final = re.compile(rb"V(.{5}) (.{10}) (\S{2,12}) *", re.DOTALL)


class FastStatus:
    """Bits that come with every sample."""

    INVALID_CO2: Final = 0x01
    INITIALISATION: Final = 0x02
    OCCLUSION: Final = 0x04
    END_OF_BREATH: Final = 0x08
    SELF_MAINTENANCE: Final = 0x10
    PURGING: Final = 0x20
    FILTER_LINE_OFF: Final = 0x40
    CO2_MALFUNCTION: Final = 0x80


class SlowStatus:
    """Bits that come with every set of values."""

    NEONATAL: Final = 0x01
    ALARMS_PAUSED: Final = 0x02
    ALARMS_OFF: Final = 0x04
    HIGH_ALARM_SOUNDS: Final = 0x08
    LOW_ALARM_SOUNDS: Final = 0x10
    ADVISORY_SOUNDS: Final = 0x20
    PULSE_BEEP_OFF: Final = 0x40
    MASIMO: Final = 0x80


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: ``co2`` in 1/256 of the unit; ``number`` counts up modulo 256."""

    number: int
    co2: int
    status: int


@dataclass(frozen=True, slots=True)
class Values:
    """One set of values. ``fields`` are bytes 4 to 26 of the message by their place; 255: no value."""

    time_s: int
    fields: bytes

    def __getitem__(self, at: int) -> int:
        """The byte at this place of the message."""
        return self.fields[at - 4]


@dataclass(frozen=True, slots=True)
class DeviceId:
    """What the monitor says of itself: software version, its date (MM/DD/YYYY), serial number.

    ``version`` is the whole text where that has another form than the published one.
    """

    version: str
    date: str
    serial: str


def parse_sample(payload: bytes) -> Sample:
    """Raises DeviceFault ``capnostream.length``."""
    if len(payload) < _WAVE_BYTES:
        raise DeviceFault("capnostream.length", "a waveform message that is too short")
    return Sample(payload[0], payload[1] << 8 | payload[2], payload[3])


def parse_values(payload: bytes) -> Values:
    """Raises DeviceFault ``capnostream.length`` or ``capnostream.shifted``: its unit is none, it won a byte.

    In a message of the published length another unit is one that is not known here.
    """
    if len(payload) < _NUMERICS_BYTES:
        raise DeviceFault("capnostream.length", "a message of values that is too short")
    if payload[25] not in (1, 2, 3) and (len(payload) > _NUMERICS_BYTES or payload[25] == 0):
        raise DeviceFault("capnostream.shifted", "values whose unit of CO2 is none of the protocol's")
    return Values(int.from_bytes(payload[:4], "big"), payload[4:_NUMERICS_BYTES])


def parse_device_id(payload: bytes) -> DeviceId:
    """Raises DeviceFault ``capnostream.device-id``."""
    match = _DEVICE_ID.fullmatch(payload)
    if not payload.isascii() or not payload.decode("ascii").isprintable():
        raise DeviceFault("capnostream.device-id", "an identification that is no text")
    if match is None:
        return DeviceId(payload.decode("ascii").strip(), "", "")
    version, date, serial = (field.decode("ascii").strip() for field in match.groups())
    return DeviceId(version, date, serial)


def parse_revision(payload: bytes) -> str:
    """A letter and a number. Raises DeviceFault ``capnostream.length``."""
    if len(payload) < 2 or not 0x20 < payload[0] < 0x7F:
        raise DeviceFault("capnostream.length", "a protocol revision that is not of the protocol's form")
    return f"{payload[0]:c}{payload[1]}"
