from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from drivers.nonin.packet import is_frame_2, is_frame_7, parse_frame, parse_packet

BYTE = st.integers(0, 255)
SEVEN_BITS = st.integers(0, 127)


def frame_2(status: int, sample: int, data: int) -> bytes:
    body = bytes((1, 0x80 | status, sample, data))
    return body + bytes((sum(body) & 0xFF,))


def frame_7(status: int, sample: int, data: int) -> bytes:
    body = bytes((0x80 | status, *sample.to_bytes(2, "big"), data))
    return body + bytes((sum(body) & 0xFF,))


@given(SEVEN_BITS, BYTE, SEVEN_BITS)
def test_a_frame_of_format_2(status: int, sample: int, data: int) -> None:
    wire = frame_2(status, sample, data)
    assert is_frame_2(wire)
    told = parse_frame(wire, 2)
    assert (told.status, told.sample, told.data) == (status, sample, data)


@given(SEVEN_BITS, st.integers(0, 65_535), SEVEN_BITS)
def test_a_frame_of_format_7(status: int, sample: int, data: int) -> None:
    wire = frame_7(status, sample, data)
    assert is_frame_7(wire)
    told = parse_frame(wire, 7)
    assert (told.status, told.sample, told.data) == (status, sample, data)


@given(SEVEN_BITS, BYTE, SEVEN_BITS, st.integers(0, 4), st.integers(1, 255))
def test_one_changed_byte_is_no_frame(status: int, sample: int, data: int, at: int, change: int) -> None:
    wire = bytearray(frame_2(status, sample, data))
    wire[at] = (wire[at] + change) & 0xFF
    assert not is_frame_2(bytes(wire))


def test_a_reserved_byte_may_be_anything_and_reserved_bits_do_not_count() -> None:
    for data in (0x80, 0xFF):
        assert is_frame_7(bytes((0x81, 1, 2, data, (0x84 + data) % 256)))
        assert is_frame_2(bytes((1, 0x81, 2, data, (0x84 + data) % 256)))
    packet = parse_packet(bytes((0x80, 0x80 | 72, 0x80 | 97, *[0x80] * 22)))
    values = {reading.name: reading.value for reading in packet.readings}
    assert (values["HR"], values["SpO2"]) == (Decimal(72), Decimal(97))


def test_rates_have_nine_bits_and_no_value_has_its_number() -> None:
    data = bytearray(25)
    data[0], data[1], data[2] = 0x02, 0x0A, 98
    data[3] = 27
    data[7] = 0x21
    data[13], data[14], data[15] = 0x03, 0x7F, 127
    packet = parse_packet(bytes(data))
    values = {reading.name: reading.value for reading in packet.readings}
    assert (values["HR"], values["SpO2"]) == (Decimal(266), Decimal(98))
    assert (values["E-HR"], values["E-SpO2"]) == (None, None)
    assert (packet.revision, packet.smart_point, packet.low_battery) == (27, True, True)


@given(st.integers(0, 511), st.sampled_from((0, 13, 19, 21)))
def test_any_rate_is_read(rate: int, at: Literal[0, 13, 19, 21]) -> None:
    data = bytearray(25)
    data[at], data[at + 1] = rate >> 7, rate & 0x7F
    name = {0: "HR", 13: "E-HR", 19: "HR-D", 21: "E-HR-D"}[at]
    (value,) = [reading.value for reading in parse_packet(bytes(data)).readings if reading.name == name]
    assert value == (None if rate == 511 else rate)
