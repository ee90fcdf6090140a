"""What this driver may say to a monitor: send numerics, send or stop waves, send alarms. Nothing else exists here."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import IntEnum
from itertools import combinations

from drivers.contract import Sendable
from drivers.ge_dri.frame import encode
from drivers.ge_dri.record import HEADER_BYTES, MainType, build

CLASSES = ("basic", "ext1", "ext2", "ext3")
MIN_INTERVAL_S = 5
MAX_INTERVAL_S = 10
MAX_WAVES = 8
MAX_WAVE_ID = 38
_DISPLAYED = 1
_WAVES_START, _WAVES_STOP = 0, 1
_END_OF_WAVES = 0xFF
_WAVE_COMMAND = struct.Struct("<hh8s20x")
_WAVE_COMMAND_HEAD_BYTES = 4


class AlarmCommand(IntEnum):
    """``STATUS`` sends the alarms once, ``ENTER_DIFFERENTIAL`` at every change."""

    STATUS = 0
    ENTER_DIFFERENTIAL = 2


def numerics_request(interval_s: int, classes: Sequence[str]) -> bytes:
    """Ask for the displayed values every ``interval_s`` seconds, of these ``CLASSES``."""
    # Bit 0 set leaves the basic class OUT; the other bits let theirs in.
    mask = sum(1 << i for i, name in enumerate(CLASSES) if (name in classes) != (i == 0))
    return encode(build(MainType.PHYSIOLOGICAL, struct.pack("<BhIh", _DISPLAYED, interval_s, mask, 0)))


def wave_request(ids: Sequence[int]) -> bytes:
    """Ask for these waves from now on; they replace those asked for before. None: stop all."""
    listed = bytes(ids) + (bytes((_END_OF_WAVES,)) if len(ids) < MAX_WAVES else b"")
    command = _WAVES_START if ids else _WAVES_STOP
    return encode(build(MainType.WAVEFORM, _WAVE_COMMAND.pack(command, 0, listed)))


def alarm_request(command: AlarmCommand) -> bytes:
    """Ask for alarms (CARESCAPE only); monitors want 2 s between two of these."""
    return encode(build(MainType.ALARM, struct.pack("<h10x", command)))


def _wave_starts() -> bytes:
    """Any 1 to 8 wave numbers; the rest of the frame is fixed, and a wrong checksum is ignored by the monitor."""
    head = b"\x7e" + build(MainType.WAVEFORM, bytes(_WAVE_COMMAND.size))[: HEADER_BYTES + _WAVE_COMMAND_HEAD_BYTES]
    number = rb"[\x01-\x%02x]" % MAX_WAVE_ID
    lists = [number + rb"{%d}\xff\0{%d}" % (n, MAX_WAVES - 1 - n) for n in range(1, MAX_WAVES)]
    lists.append(number + rb"{%d}" % MAX_WAVES)
    return re.escape(head) + rb"(?:" + rb"|".join(lists) + rb")\0{20}" + rb"(?:[^\x7d\x7e]|\x7d[\x5d\x5e])\x7e"


def _any_of(frames: list[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"|".join(map(re.escape, frames)), re.DOTALL)


def _tx_allowed() -> tuple[Sendable, ...]:
    choices = [c for n in range(1, len(CLASSES) + 1) for c in combinations(CLASSES, n)]
    numerics = [numerics_request(s, c) for s in range(MIN_INTERVAL_S, MAX_INTERVAL_S + 1) for c in choices]
    return (
        Sendable(_any_of(numerics), "send the displayed values every 5 to 10 s, of the classes chosen"),
        Sendable(re.compile(_wave_starts(), re.DOTALL), "send these waves, 1 to 8, from now on"),
        Sendable(_any_of([wave_request(())]), "send no more waves"),
        Sendable(
            _any_of([alarm_request(command) for command in AlarmCommand]), "send the alarms, now or as they change"
        ),
    )


TX_ALLOWED = _tx_allowed()
"""Every frame the driver may ever send, matched whole."""
