"""What this driver may say to a device: questions, the set-up of waves, and answers that say nothing but an echo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from drivers.contract import Sendable
from drivers.medibus.frame import command, response
from drivers.medibus.realtime import MAX_STREAMS, enable_streams

OWN_ID: Final = b"0161'orledger'01.00:04.03"
"""Evita 4 and Cicero B refuse a computer without an id number; 0161 is the number of a computer."""

CORRUPT_CODE: Final = 0x15
MAX_MULTIPLIER: Final = 255


class Code(IntEnum):
    """Commands of the protocol that this driver sends or heeds."""

    ALARMS_CP3 = 0x23
    MEASURED_CP1 = 0x24
    LOW_LIMITS_CP1 = 0x25
    HIGH_LIMITS_CP1 = 0x26
    ALARMS_CP1 = 0x27
    DATE_TIME = 0x28
    SETTINGS = 0x29
    TEXTS = 0x2A
    MEASURED_CP2 = 0x2B
    LOW_LIMITS_CP2 = 0x2C
    HIGH_LIMITS_CP2 = 0x2D
    ALARMS_CP2 = 0x2E
    NOP = 0x30
    TIME_CHANGED = 0x49
    INITIALISE = 0x51
    IDENTIFY = 0x52
    REALTIME_CONFIG = 0x53
    CONFIGURE_REALTIME = 0x54
    STOP = 0x55
    REALTIME_CHANGED = 0x56


_ASKED: Final = (
    Code.IDENTIFY, Code.NOP, Code.REALTIME_CONFIG, Code.MEASURED_CP1, Code.MEASURED_CP2,
    Code.LOW_LIMITS_CP1, Code.HIGH_LIMITS_CP1, Code.LOW_LIMITS_CP2, Code.HIGH_LIMITS_CP2, Code.ALARMS_CP1,
    Code.ALARMS_CP2, Code.ALARMS_CP3, Code.DATE_TIME, Code.SETTINGS, Code.TEXTS,
)  # fmt: skip


def configure_realtime(codes: Sequence[str], multiplier: int) -> bytes:
    """Which waves to send, in this order; of each only every ``multiplier``-th sample."""
    return command(Code.CONFIGURE_REALTIME, b"".join(b"%s%02X" % (code.encode(), multiplier) for code in codes))


def answer(code: int) -> bytes:
    """The answer to a command of the device: who we are, or the echo that suffices for every other."""
    return response(code, OWN_ID if code == Code.IDENTIFY else b"")


CORRUPT_ANSWER: Final = response(CORRUPT_CODE)


def _any_of(frames: Sequence[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"|".join(map(re.escape, frames)), re.DOTALL)


TX_ALLOWED: Final = (
    Sendable(_any_of([command(Code.INITIALISE)]), "initialise communication (ICC)"),
    Sendable(
        _any_of([command(code) for code in _ASKED]),
        "tell who you are, measured values, alarm limits, alarms, settings, texts, date and time, waves offered; or "
        "nothing at all (NOP)",
    ),
    Sendable(re.compile(rb"\x1bT(?:[0-9A-F]{4}){1,%d}[0-9A-F]{2}\r" % MAX_STREAMS), "these waves are wanted, 1 to 12"),
    Sendable(_any_of([enable_streams(count) for count in range(1, MAX_STREAMS + 1)]), "let the wanted waves flow"),
    Sendable(
        _any_of([answer(code) for code in range(0x80)]),
        "answers: who we are, or the empty echo of the device's own command (also: it could not be read)",
    ),
)
"""Every frame the driver may ever send, matched whole."""
