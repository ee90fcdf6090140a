"""Data Export messages built by hand, from the layout of the guide and not with the driver's own code."""

from __future__ import annotations

import struct

from drivers.contract import Driver, Emit, Now, Send
from ledger.limits import S_NS
from ledger.records import LinkId, Record

LINK = LinkId(7)
NAN = 0x007FFFFF
NUMERIC, WAVE, MDS, PATIENT, ALERTS, ENUMERATION = 0x06, 0x09, 0x21, 0x2A, 0x36, 0x05
MDS_CREATE_RESULT = bytes.fromhex("e1000002 0002 0014 0001 0001 000e 0021 0000 0000 000abd00 0d06 0000")
RELEASE_REQUEST = bytes.fromhex("0918c116618030800201 01a08062808001000000000000000000")
REFUSE = bytes.fromhex("0c03320100")

Attribute = tuple[int, bytes]


def now(elapsed_s: float = 0) -> Now:
    elapsed_ns = round(elapsed_s * S_NS)
    return Now(5_000 * S_NS + elapsed_ns, 1_800_000_000 * S_NS + elapsed_ns)


def u16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def fixed(value: int, exponent: int = 0) -> int:
    """A FLOAT as a number."""
    return (exponent & 0xFF) << 24 | (value & 0xFFFFFF)


def string(text: str) -> bytes:
    data = (text + "\0").encode("utf-16-be")
    return u16(len(data)) + data


def attributes(*items: Attribute) -> bytes:
    body = b"".join(u16(identifier, len(value)) + value for identifier, value in items)
    return u16(len(items), len(body)) + body


def counted(*items: bytes) -> bytes:
    return u16(len(items), sum(map(len, items))) + b"".join(items)


def data(operation: int, invoke_id: int, code: int, body: bytes, linked: tuple[int, int] | None = None) -> bytes:
    inner = (bytes(linked) if linked else b"") + u16(invoke_id, code, len(body)) + body
    return bytes.fromhex("e1000002") + u16(operation, len(inner)) + inner


def poll_result(
    object_class: int,
    *objects: tuple[int, tuple[Attribute, ...]],
    ticks: int = 80_000,
    sequence: int | None = None,
    linked: tuple[int, int] | None = None,
    invoke_id: int = 1,
    absolute: bytes = b"\xff" * 8,
) -> bytes:
    items = [u16(handle) + attributes(*found) for handle, found in objects]
    head = u16(1) + (u16(sequence) if sequence is not None else b"")
    reply = head + u32(ticks) + absolute + u16(1, object_class, 0) + counted(u16(0) + counted(*items))
    action = 0x0C16 if sequence is None else 0xF13B
    body = u16(0x21, 0, 0, action, len(reply)) + reply
    return data(2 if linked is None else 5, invoke_id, 7, body, linked)


def accept(extensions: int = 0x8E000000, min_poll: int = 0x0FA0, before: bytes = b"") -> bytes:
    """An accept with its presentation header of indefinite lengths; ``before``: other bytes in its session part."""
    profile = u32(0x80000000, min_poll, 0x3E4, 0x3E4, 0xFFFFFFFF, 0x60000000)
    profile += attributes((0xF001, u32(extensions) + u16(0, 0)))
    user = u32(0x80000000, 0x40000000, 0, 0x00800000, 0x20000000) + u16(0, 0) + attributes((1, profile))
    inner = bytes.fromhex("3180a0808001010000a280a003000001be80288081") + bytes((len(user),)) + user + bytes(16)
    outer = before + bytes.fromhex("0508130100160102800014020002c1") + bytes((len(inner),)) + inner
    return bytes((0x0E, len(outer))) + outer


def mds_create(*found: Attribute, invoke_id: int = 1, ticks: int = 0x000ABD00) -> bytes:
    info = u16(0x21, 0, 0) + attributes(*found)
    return data(1, invoke_id, 1, u16(0x21, 0, 0) + u32(ticks) + u16(0x0D06, len(info)) + info)


def numeric(physio_id: int, value: int, state: int = 0, unit: int = 0x0AA0) -> Attribute:
    return (0x0950, u16(physio_id, state, unit) + u32(value))


def samples(physio_id: int, values: list[int], state: int = 0) -> Attribute:
    return (0x096E, u16(physio_id, state, 2 * len(values)) + u16(*values))


def alarm(source: int, code: int, kind: int, state: int = 0, text: str = "", instance: int = 1) -> bytes:
    info = u16(instance) + u32(0x80010000) + u16(0, 0) + (string(text) if text else b"")
    return u16(source, code, kind, state, 6, 0, 0x10, 516 if text else 513, len(info)) + info


def drained(driver: Driver) -> tuple[list[Record], list[bytes]]:
    """What the driver recorded and sent since last time."""
    actions = driver.drain()
    records = [action.record for action in actions if isinstance(action, Emit)]
    return records, [action.data for action in actions if isinstance(action, Send)]
