from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import checksums

NINE_DIGITS = b"123456789"


def bitwise_crc16(data: bytes, start: int, *, reflected: bool) -> int:
    """CRC-16 with polynomial 1021, bit by bit, as the definition says."""
    register = start
    for byte in data:
        for bit in range(8) if reflected else range(7, -1, -1):
            carry = (register >> 15) ^ (byte >> bit & 1)
            register = (register << 1 & 0xFFFF) ^ (0x1021 if carry else 0)
    return int(f"{register:016b}"[::-1], 2) if reflected else register


@pytest.mark.parametrize(
    ("crc", "check"),
    [
        (checksums.crc16_xmodem, 0x31C3),
        (checksums.crc16_ccitt_false, 0x29B1),
        (checksums.crc16_x25, 0x906E),
        (checksums.crc8_dvb_s2, 0xBC),
        (checksums.crc8_cpip, 0x2A),
    ],
)
def test_the_catalogue_s_check_values(crc: object, check: int) -> None:
    assert callable(crc)
    assert crc(NINE_DIGITS) == check


@given(st.binary(max_size=64))
def test_the_fast_crcs_are_the_definition_s(data: bytes) -> None:
    assert checksums.crc16_xmodem(data) == bitwise_crc16(data, 0, reflected=False)
    assert checksums.crc16_ccitt_false(data) == bitwise_crc16(data, 0xFFFF, reflected=False)
    assert checksums.crc16_x25(data) == bitwise_crc16(data, 0xFFFF, reflected=True) ^ 0xFFFF


def test_what_the_makers_print() -> None:
    assert checksums.crc16_ccitt_false(b"INF") == 0x4961  # Alaris Asena
    assert checksums.crc16_ccitt_false(b"INST_SERIALNO^8002-51740") == 0x050B
    assert checksums.crc8_dvb_s2(bytes.fromhex("0231305032303030703330303003")) == 0x1B  # Hamilton
    assert checksums.complement8(b"0DC") == 0x48  # Fresenius
    assert checksums.complement8(b"1LE;dr") == 0x2C
    assert checksums.xor8(b"RCTY") == 0x1C  # Servo-i
    assert checksums.sum8(bytes.fromhex("1b51")) == 0x6C  # MEDIBUS: ESC 51H 6C


def test_sums_wrap() -> None:
    assert checksums.sum8(b"\xff\x02") == 1
    assert checksums.sum16(b"\xff" * 258) == 254
    assert checksums.xor8(b"") == 0
