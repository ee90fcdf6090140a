"""The check values that device protocols put behind their frames. Each takes the covered bytes and gives a number.

Parameters and check values as in the catalogue of parametrised CRC algorithms (reveng) and in each maker's manual.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import reduce
from operator import xor

from fastcrc import crc64

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CRC8_POLY = 0xD5
_CRC8_CPIP_POLY = 0xA1


def sum8(data: bytes) -> int:
    """Sum of the bytes modulo 256 (GE DRI, MEDIBUS, B. Braun BCC, Nonin)."""
    return sum(data) & 0xFF


def sum16(data: bytes) -> int:
    """Sum of the bytes modulo 65,536 (BIS)."""
    return sum(data) & 0xFFFF


def complement8(data: bytes) -> int:
    """255 minus the sum modulo 256 (Fresenius Orchestra and Agilia)."""
    return 0xFF - sum8(data)


def xor8(data: bytes) -> int:
    """All bytes combined by exclusive or (Servo-i, Capnostream)."""
    return reduce(xor, data, 0)


def crc16_xmodem(data: bytes) -> int:
    """CRC-16/XMODEM: polynomial 1021, from 0000 (Nonin X-100M)."""
    return crc_hqx(data, 0)


def crc16_ccitt_false(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, also IBM-3740: polynomial 1021, from FFFF (Alaris Asena)."""
    return crc_hqx(data, 0xFFFF)


def crc16_x25(data: bytes) -> int:
    """CRC-16/X-25, also IBM-SDLC: polynomial 1021 reflected, from FFFF, complemented (Philips IntelliVue)."""
    mirrored = crc_hqx(data.translate(_MIRRORED), 0xFFFF)
    return (_MIRRORED[mirrored & 0xFF] << 8 | _MIRRORED[mirrored >> 8]) ^ 0xFFFF


def _crc8_of_byte(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ _CRC8_POLY if value & 0x80 else value << 1) & 0xFF
    return value


_CRC8_TABLE = bytes(map(_crc8_of_byte, range(256)))


def crc8_dvb_s2(data: bytes) -> int:
    """CRC-8/DVB-S2: polynomial D5, from 00 (Hamilton's block protocol)."""
    crc = 0
    for byte in data:
        crc = _CRC8_TABLE[crc ^ byte]
    return crc


def _crc8_cpip_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ _CRC8_CPIP_POLY if value & 1 else value >> 1
    return value


_CRC8_CPIP_TABLE = bytes(map(_crc8_cpip_of_byte, range(256)))


def crc8_cpip(data: bytes) -> int:
    """CRC-8 of Terumo's pump interface: polynomial 85 reflected (A1), from 00 (CDI 500 and 550)."""
    crc = 0
    for byte in data:
        crc = _CRC8_CPIP_TABLE[crc ^ byte]
    return crc


def crc64_ecma_182(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """CRC-64/ECMA-182: polynomial 42F0E1EBA9EA3693, from 0 or from that of the bytes ``before`` (OpenIGTLink)."""
    return crc64.ecma_182(bytes(data), before)
