"""DRI records: a 40-byte header that lists up to eight subrecords, and their data. Little endian, packed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ledger.errors import DeviceFault

HEADER_BYTES = 40
_HEAD = struct.Struct("<hBBHIBBHh")
_DESCRIPTOR = struct.Struct("<hB")
_DESCRIPTORS = 8
_END_OF_LIST = 0xFF


class MainType(IntEnum):
    """r_maintype: what a record is about."""

    PHYSIOLOGICAL = 0
    WAVEFORM = 1
    ALARM = 4


@dataclass(frozen=True, slots=True)
class Subrecord:
    """One part of a record; ``kind`` is sr_type, its meaning depends on the main type."""

    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DriRecord:
    """One record. ``time_s`` is the monitor's own clock when it was sent, in seconds since 1970 of no known zone."""

    main_type: int
    number: int
    dri_level: int
    plug_id: int
    time_s: int
    subnet: int
    subrecords: tuple[Subrecord, ...]


def parse(data: bytes) -> DriRecord:
    """Take a record apart. Raises DeviceFault ``ge-dri.bad-record``."""
    if len(data) < HEADER_BYTES:
        raise DeviceFault("ge-dri.bad-record", f"a record of {len(data)} B is shorter than its header")
    length, number, level, plug_id, time_s, subnet, _, _, main_type = _HEAD.unpack_from(data)
    if length != len(data):
        raise DeviceFault("ge-dri.bad-record", f"a record of {len(data)} B says that it has {length}")
    body = data[HEADER_BYTES:]
    found: list[tuple[int, int]] = []
    for i in range(_DESCRIPTORS):
        offset, kind = _DESCRIPTOR.unpack_from(data, _HEAD.size + i * _DESCRIPTOR.size)
        if kind == _END_OF_LIST:
            break
        if not (found[-1][0] if found else 0) <= offset <= len(body):
            raise DeviceFault("ge-dri.bad-record", f"subrecord {i} begins at {offset} of {len(body)} B")
        found.append((offset, kind))
    ends = [offset for offset, _ in found[1:]] + [len(body)]
    parts = tuple(Subrecord(kind, body[offset:end]) for (offset, kind), end in zip(found, ends, strict=False))
    return DriRecord(main_type, number, level, plug_id, time_s, subnet, parts)


def build(main_type: MainType, body: bytes) -> bytes:
    """A record with one subrecord of kind 0, a command: everything else in the header is zero, as monitors expect."""
    head = _HEAD.pack(HEADER_BYTES + len(body), 0, 0, 0, 0, 0, 0, 0, main_type)
    descriptors = _DESCRIPTOR.pack(0, 0) + _DESCRIPTOR.pack(0, _END_OF_LIST)
    return (head + descriptors).ljust(HEADER_BYTES, b"\0") + body
