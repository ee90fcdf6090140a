"""DRI records built by hand, from the layout of the specification and not with the driver's own code."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from drivers.contract import Now
from drivers.ge_dri.fields import CLASSES
from ledger.limits import S_NS
from ledger.records import LinkId

SHARED = Path(__file__).parents[3].parent / "shared" / "captures" / "frames"
LINK = LinkId(7)
T0_S = 1_790_000_000
NO_DATA = -32767


def now(elapsed_s: float = 0) -> Now:
    elapsed_ns = round(elapsed_s * S_NS)
    return Now(5_000 * S_NS + elapsed_ns, 1_800_000_000 * S_NS + elapsed_ns)


def shared_record(name: str) -> bytes:
    """A real record; skips the test where the reference files are not beside the project."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip("reference frames not beside the project")
    return bytes.fromhex(path.read_text())


def record(main_type: int, parts: list[tuple[int, bytes]], time_s: int = T0_S, number: int = 1) -> bytes:
    body, descriptors = b"", b""
    for kind, data in parts:
        descriptors += struct.pack("<hB", len(body), kind)
        body += data
    descriptors += b"\0\0\xff" if len(parts) < 8 else b""
    head = struct.pack("<hBBHIBBHh", 40 + len(body), number, 9, 4711, time_s, 1, 0, 0, main_type)
    return (head + descriptors).ljust(40, b"\0") + body


def frame(data: bytes) -> bytes:
    out = bytearray()
    for byte in data + bytes([sum(data) % 256]):
        out += bytes([0x7D, byte ^ 0x20]) if byte in (0x7D, 0x7E) else bytes([byte])
    return b"\x7e" + bytes(out) + b"\x7e"


def physiological(class_number: int = 0, time_s: int = T0_S, marker: int = 0) -> bytearray:
    """A subrecord in which every module is absent and every value invalid."""
    data = bytearray(278)
    for group in CLASSES[class_number]:
        for field in group.fields:
            struct.pack_into("<h", data, field.offset, NO_DATA)
    struct.pack_into("<I", data, 0, time_s)
    struct.pack_into("<BBH", data, 274, marker, 0, class_number << 8 | 0x91)
    return data


def put(data: bytearray, offset: int, status: int, label: int, *values: int) -> bytearray:
    """A group at this offset: status, label, values in order."""
    struct.pack_into(f"<IH{len(values)}h", data, offset, status, label, *values)
    return data


def wave(samples: list[int], status: int = 0, label: int = 0) -> bytes:
    return struct.pack(f"<hHH{len(samples)}h", len(samples), status, label, *samples)


def alarms(*lines: tuple[str, int], silence: int = 0) -> bytes:
    out = struct.pack("<5h", 0, 1, 0, 0, silence)
    for text, colour in [*lines, *[("", 0)] * (5 - len(lines))]:
        out += struct.pack("<80shhh12x", text.encode("latin-1"), 0, colour, 0)
    return out + bytes(10)
