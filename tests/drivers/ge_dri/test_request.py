from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ge_dri.frame import Deframer
from drivers.ge_dri.request import (
    CLASSES,
    TX_ALLOWED,
    AlarmCommand,
    alarm_request,
    numerics_request,
    wave_request,
)

DISPLAYED_10_S = bytes.fromhex(
    "7e 31 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
    "00 00 00 01 0a 00 0e 00 00 00 00 00 49 7e"
)


def allowed(frame: bytes) -> bool:
    return any(sendable.pattern.fullmatch(frame) for sendable in TX_ALLOWED)


def test_displayed_values_of_all_classes() -> None:
    assert numerics_request(10, CLASSES) == DISPLAYED_10_S


@pytest.mark.parametrize(
    ("classes", "mask"), [(("basic",), 0), (("ext1",), 3), (("basic", "ext3"), 8), (("ext1", "ext2", "ext3"), 15)]
)
def test_the_mask_leaves_the_basic_class_out_and_lets_the_others_in(classes: tuple[str, ...], mask: int) -> None:
    (record,) = Deframer().feed(numerics_request(5, classes))
    assert isinstance(record, bytes)
    assert record[43:47] == mask.to_bytes(4, "little")


def test_waves() -> None:
    (ecg,) = Deframer().feed(wave_request([1]))
    assert isinstance(ecg, bytes)
    assert (len(ecg), sum(ecg) & 0xFF) == (0x48, 0x48)
    assert ecg[40:52] == bytes.fromhex("00 00 00 00 01 ff 00 00 00 00 00 00")
    (eight,) = Deframer().feed(wave_request([1, 4, 5, 8, 9, 13, 14, 15]))
    assert isinstance(eight, bytes)
    assert eight[44:52] == bytes([1, 4, 5, 8, 9, 13, 14, 15])
    (stop,) = Deframer().feed(wave_request([]))
    assert isinstance(stop, bytes)
    assert stop[40:46] == bytes.fromhex("01 00 00 00 ff 00")


def test_alarms() -> None:
    (record,) = Deframer().feed(alarm_request(AlarmCommand.ENTER_DIFFERENTIAL))
    assert isinstance(record, bytes)
    assert (len(record), record[14], record[40]) == (0x34, 4, 2)


def test_every_request_is_allowed() -> None:
    for n in range(1, 5):
        for classes in itertools.combinations(CLASSES, n):
            assert all(allowed(numerics_request(s, classes)) for s in range(5, 11))
    assert allowed(wave_request([]))
    assert all(allowed(alarm_request(command)) for command in AlarmCommand)


@given(st.lists(st.integers(1, 38), min_size=1, max_size=8))
def test_every_wave_request_is_allowed(ids: list[int]) -> None:
    assert allowed(wave_request(ids))


@given(st.integers(0, 100), st.integers(1, 255))
def test_no_other_byte_may_change(position: int, change: int) -> None:
    for frame in (DISPLAYED_10_S, wave_request([1, 8]), alarm_request(AlarmCommand.STATUS)):
        at = position % len(frame)
        other = frame[:at] + bytes([frame[at] ^ change]) + frame[at + 1 :]
        if allowed(other):
            # Another wave number or checksum, no other command: those are settled by the bytes around them.
            assert frame == wave_request([1, 8])
            assert at in (45, 46, len(frame) - 2)


def test_other_commands_are_not_allowed() -> None:
    assert not allowed(numerics_request(4, CLASSES))
    assert not allowed(numerics_request(0, CLASSES))
    assert not allowed(wave_request([39]))
    assert not allowed(DISPLAYED_10_S + DISPLAYED_10_S)
    assert not allowed(re.sub(rb"\xff", b"\x00", DISPLAYED_10_S))
