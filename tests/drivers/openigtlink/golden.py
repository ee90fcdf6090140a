"""Messages as the C library's own tests have them (Testing/igtlutil), with its CRCs; and a second way to write one."""

from __future__ import annotations

import struct

MATRIX = bytes.fromhex(
    "bf7473cd3e4959e6be63dd98be4959e63e12491b3f7852d63e63dd983f7852d6bdc830ae42383660419bc46742383660"
)
TRANSFORM = (
    bytes.fromhex(
        "0001 5452414e53464f524d000000 4465766963654e616d6500000000000000000000 00000000499602d2 0000000000000030"
        "f6dd2b8eb4df6dd2"
    )
    + MATRIX
)
SENSOR = bytes.fromhex(
    "0001 53454e534f52000000000000 4465766963654e616d6500000000000000000000 00000000499602d4 000000000000003a"
    "637b8008662020e7 06 00 00443e0000000000 40fe240c7ae147ae 40c81cd6c8b43958 40934a456d5cfaad 405edd3be22e5de1"
    "4028b0fcb4f1e4b4 3ff3c0ca2a5b1d5d"
)
TDATA = bytes.fromhex(
    "0001 544441544100000000000000 4465766963654e616d6500000000000000000000 00000000499602d4 00000000000000d2"
    "5c7cebfd27676877"
) + b"".join(f"Tracker{place}".encode().ljust(20, b"\0") + b"\x02\0" + MATRIX for place in range(3))


def crc64(data: bytes) -> int:
    """Bit by bit, as ECMA-182 defines it."""
    crc = 0
    for byte in data:
        crc ^= byte << 56
        for _ in range(8):
            crc = (crc << 1) ^ (0x142F0E1EBA9EA3693 if crc >> 63 else 0)
    return crc


def message(
    kind: str, device: str, content: bytes, at_s: float = 0.0, message_id: int | None = None, extra: bytes = b""
) -> bytes:
    """Header version 2 if there is an id; ``extra``: more in its extended header."""
    version, body = 1, content
    if message_id is not None:
        version = 2
        body = struct.pack(">HHII", 12 + len(extra), 0, 0, message_id) + extra + content
    stamp = round(at_s * (1 << 32))
    head = struct.pack(">H12s20sQQQ", version, kind.encode(), device.encode(), stamp, len(body), crc64(body))
    return head + body
