from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cms50.frame import is_new_frame, is_old_frame, parse_new, parse_old

RECORDED = bytes.fromhex("01e085b396c1e1ffff")


def test_a_recorded_frame_of_firmware_7() -> None:
    assert is_new_frame(RECORDED)
    beat = parse_new(RECORDED)
    assert beat is not None
    assert (beat.pulse_rate, beat.saturation, beat.perfusion_index) == (65, 97, None)
    assert (beat.sample, beat.strength) == (0x33, 5)


@pytest.mark.parametrize(
    ("first", "second", "flag"),
    [(0x10, 0, "searching_too_long"), (0x20, 0, "saturation_drop"), (0x80, 0, "probe_off"), (0, 0x80, "searching")],
)
def test_what_firmware_7_says_beside_its_values(first: int, second: int, flag: str) -> None:
    high = 0x80 | first >> 7 | second >> 6
    beat = parse_new(bytes((1, high, 0x85 | first, 0xB3 | second, 0x96, 0xC1, 0xE1, 0xFF, 0xFF)))
    assert beat is not None
    assert (set(beat.flags), beat.sample, beat.strength) == ({flag}, 0x33, 5)


def test_no_values() -> None:
    beat = parse_new(bytes.fromhex("01e8808080fffffffF"))
    assert beat is not None
    assert (beat.pulse_rate, beat.saturation, beat.perfusion_index) == (None, None, None)
    assert parse_new(bytes.fromhex("0d8080808080808080")) is None


@given(st.integers(0, 0x7F), st.integers(1, 254), st.integers(1, 100), st.integers(0, 15))
def test_old_frames(sample: int, rate: int, saturation: int, strength: int) -> None:
    frame = bytes((0x80 | strength, sample, 0x20 | rate >> 1 & 0x40, rate & 0x7F, saturation))
    assert is_old_frame(frame)
    beat = parse_old(frame)
    assert (beat.sample, beat.pulse_rate, beat.saturation, beat.strength) == (sample, rate, saturation, strength)
    assert beat.flags == {"searching"}


@given(st.lists(st.integers(0, 255), min_size=7, max_size=7))
def test_new_frames_carry_eight_bits(data: list[int]) -> None:
    high = sum((byte >> 7) << at for at, byte in enumerate(data))
    frame = bytes((1, 0x80 | high, *(0x80 | byte for byte in data)))
    assert is_new_frame(frame)
    beat = parse_new(frame)
    assert beat is not None
    assert beat.pulse_rate == (data[3] if data[3] not in (0, 255) else None)
    assert beat.saturation == (data[4] if data[4] not in (0, 127) else None)
