"""Bytes of the Philips Data Export protocol as a monitor writes and reads them (Data Export Programming Guide).

All numbers are big-endian. On the MIB/RS232 line messages are framed; on the LAN a datagram is a message.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

BOF, EOF, ESC = 0xC0, 0xC1, 0x7D
ASSOC_REQ, ASSOC_ACCEPT, ASSOC_REFUSE = 0x0D, 0x0E, 0x0C
RELEASE_REQ, RELEASE_RESP, ASSOC_ABORT = 0x09, 0x0A, 0x19
ROIV, RORS, ROER, ROLRS = 1, 2, 3, 5
CONFIRMED_EVENT, GET, CONFIRMED_SET, CONFIRMED_ACTION = 1, 3, 5, 7
NOTI_MDS_CREAT, ACT_POLL, ACT_POLL_EXT = 0x0D06, 0x0C16, 0xF13B
MDS_OBJECT = struct.pack(">HHH", 0x0021, 0, 0)
TICKS_PER_S = 8000

_SESSION = bytes.fromhex("0508130100160102800014020002")
_ACCEPT_PRESENTATION = bytes.fromhex(
    "3180a0808001010000a280a003000001a5803080800100810251010000308080010081"
    "0c2a8648ce14020100000002010000000061803080020101a0806180a180"
    "060c2a8648ce14020100000003010000a203020100a305a103020100be80288002010281"
)
REFUSE = bytes.fromhex("0c03320100")
ABORT = bytes.fromhex(
    "192e110103c129a080a0803080020101060251010000000061803080020101a080648080010100000000000000000000"
)
RELEASED = bytes.fromhex("0a18c11661803080020101a08063808001000000000000000000")

Attributes = list[tuple[int, bytes]]


_TABLE = [0] * 256
for _index in range(256):
    _value = _index
    for _ in range(8):
        _value = _value >> 1 ^ 0x8408 if _value & 1 else _value >> 1
    _TABLE[_index] = _value


def fcs(data: bytes) -> int:
    """The frame check sequence of HDLC: polynomial 8408, start FFFF, complemented."""
    register = 0xFFFF
    for byte in data:
        register = register >> 8 ^ _TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFF


def frame(message: bytes) -> bytes:
    """A message as it is sent on the line."""
    content = struct.pack(">BBH", 0x11, 0x01, len(message)) + message
    content += struct.pack("<H", fcs(content))
    out = bytearray([BOF])
    for byte in content:
        out += bytes([ESC, byte ^ 0x20]) if byte in (BOF, EOF, ESC) else bytes([byte])
    out.append(EOF)
    return bytes(out)


class FrameReader:
    """Finds the client's messages in the bytes of the line."""

    def __init__(self) -> None:
        self._content: bytearray | None = None
        self._escaped = False
        self.bad_frames = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Messages completed by these bytes."""
        found = []
        for byte in data:
            if byte == BOF:
                self.bad_frames += bool(self._content)
                self._content, self._escaped = bytearray(), False
            elif self._content is None:
                continue
            elif byte == EOF:
                message = self._message(bytes(self._content))
                self._content = None
                if message is None:
                    self.bad_frames += 1
                else:
                    found.append(message)
            elif byte == ESC:
                self._escaped = True
            else:
                self._content.append(byte ^ 0x20 if self._escaped else byte)
                self._escaped = False
        return found

    def _message(self, content: bytes) -> bytes | None:
        if self._escaped or len(content) < 6 or fcs(content[:-2]) != int.from_bytes(content[-2:], "little"):
            return None
        return content[4:-2] if content[:2] == b"\x11\x01" else None


# Values ----------------------------------------------------------------------------------------------------------


def float_type(value: float | None, decimals: int) -> bytes:
    """FLOAT-Type: exponent in one byte, mantissa in three; None is not a number."""
    if value is None or math.isnan(value):
        return b"\x00\x7f\xff\xff"
    mantissa = round(value * float(10**decimals))
    return struct.pack(">b", -decimals) + mantissa.to_bytes(3, "big", signed=True)


def string(text: str) -> bytes:
    """Length, UTF-16, and a zero behind it as monitors send it."""
    value = (text + "\0").encode("utf-16-be")
    return struct.pack(">H", len(value)) + value


def label(text: str) -> bytes:
    """VariableLabel: length and bytes, an even number."""
    value = text.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return struct.pack(">H", len(value)) + value


def absolute_time(unix_s: float) -> bytes:
    """Date and time in BCD, in whole seconds."""
    t = time.gmtime(unix_s)
    digits = f"{t.tm_year:04d}{t.tm_mon:02d}{t.tm_mday:02d}{t.tm_hour:02d}{t.tm_min:02d}{t.tm_sec:02d}00"
    return bytes.fromhex(digits)


def attribute_list(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    """Count, length, and each attribute with its id and length."""
    items = [struct.pack(">HH", identifier, len(value)) + value for identifier, value in attributes]
    return struct.pack(">HH", len(items), sum(map(len, items))) + b"".join(items)


def counted(items: list[bytes]) -> bytes:
    """Count, length, items: the form of every list."""
    return struct.pack(">HH", len(items), sum(map(len, items))) + b"".join(items)


# Messages --------------------------------------------------------------------------------------------------------


def data_message(
    operation: int, invoke_id: int, code: int, body: bytes, linked: tuple[int, int] | None = None
) -> bytes:
    """Session and presentation header, remote operation header, and what it carries."""
    inner = struct.pack(">BB", *linked) if linked else b""
    inner += struct.pack(">HHH", invoke_id, code, len(body)) + body
    return bytes.fromhex("e1000002") + struct.pack(">HH", operation, len(inner)) + inner


def accept(extensions: int, mtu: int, *, extra: bytes = b"") -> bytes:
    """An association accept. `extra`: session bytes that some software puts before the presentation part."""
    ext = struct.pack(">HHHHIHH", 1, 12, 0xF001, 8, extensions, 0, 0)
    profile = struct.pack(">IIIIII", 0x80000000, 0x0FA0, mtu, mtu, 0xFFFFFFFF, 0x60000000) + ext
    user = struct.pack(">IIIII", 0x80000000, 0x40000000, 0, 0x00800000, 0x20000000) + bytes(4)
    user += attribute_list([(1, profile)])
    presentation = _ACCEPT_PRESENTATION + bytes([len(user)]) + user + bytes(16)
    body = _SESSION + extra + _long_or_short(0xC1, presentation)
    return _long_or_short(ASSOC_ACCEPT, body)


def _long_or_short(kind: int, body: bytes) -> bytes:
    if len(body) < 0xFF:
        return bytes([kind, len(body)]) + body
    return bytes([kind, 0xFF]) + struct.pack(">H", len(body)) + body


def requested_extensions(request: bytes) -> int:
    """What an association request asks for: the options of its poll profile extension."""
    at = request.find(bytes.fromhex("f0010008"))
    return int.from_bytes(request[at + 4 : at + 8], "big") if at >= 0 else 0


@dataclass(frozen=True, slots=True)
class PollRequest:
    """A single or extended poll; `active_s` 0 for a single one."""

    invoke_id: int
    number: int
    object_class: int
    group: int
    active_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """Another remote operation of the client."""

    operation: int
    invoke_id: int
    code: int
    body: bytes


def read_request(message: bytes) -> PollRequest | Request | None:
    """A data message of the client; None if it is not one or is broken."""
    if len(message) < 14 or message[0] != 0xE1:
        return None
    operation, _, invoke_id, code, size = struct.unpack_from(">HHHHH", message, 4)
    body = message[14 : 14 + size]
    if len(body) != size:
        return None
    if operation == ROIV and code == CONFIRMED_ACTION and len(body) >= 22:
        action, _, number, _, object_class, group = struct.unpack_from(">HHHHHH", body, 10)
        active_s = 0.0
        if action == ACT_POLL_EXT and len(body) >= 34 and body[26:28] == b"\xf1\x3e":
            active_s = int.from_bytes(body[30:34], "big") / TICKS_PER_S
        return PollRequest(invoke_id, number, object_class, group, active_s)
    return Request(operation, invoke_id, code, body)


def poll_reply(
    request: PollRequest, sequence: int, ticks: int, objects: list[tuple[int, Attributes]], mtu: int
) -> list[bytes]:
    """One poll result; more than fits into a message becomes linked results and one plain result at the end."""
    parts: list[list[bytes]] = [[]]
    room = mtu - 80
    for handle, attributes in objects:
        item = struct.pack(">H", handle) + attribute_list(attributes)
        if parts[-1] and sum(map(len, parts[-1])) + len(item) > room:
            parts.append([])
        parts[-1].append(item)
    bodies = [_reply_body(request, sequence, ticks, part) for part in parts]
    if len(bodies) == 1:
        return [data_message(RORS, request.invoke_id, CONFIRMED_ACTION, bodies[0])]
    states = [1, *[2] * (len(bodies) - 2), 3]
    linked = [
        data_message(ROLRS, request.invoke_id, CONFIRMED_ACTION, body, (state, count))
        for count, (state, body) in enumerate(zip(states, bodies, strict=True), start=1)
    ]
    end = _reply_body(request, sequence, ticks, [])
    return [*linked, data_message(RORS, request.invoke_id, CONFIRMED_ACTION, end)]


def _reply_body(request: PollRequest, sequence: int, ticks: int, items: list[bytes]) -> bytes:
    extended = request.active_s > 0
    head = struct.pack(">HH", request.number, sequence) if extended else struct.pack(">H", request.number)
    contexts = [struct.pack(">H", 0) + counted(items)] if items else []
    reply = head + struct.pack(">I", ticks & 0xFFFFFFFF) + b"\xff" * 8
    reply += struct.pack(">HHH", 1, request.object_class, request.group) + counted(contexts)
    return MDS_OBJECT + struct.pack(">HH", ACT_POLL_EXT if extended else ACT_POLL, len(reply)) + reply


def mds_create(invoke_id: int, ticks: int, attributes: Attributes) -> bytes:
    """The monitor presents itself."""
    info = MDS_OBJECT + attribute_list(attributes)
    event = MDS_OBJECT + struct.pack(">IHH", ticks & 0xFFFFFFFF, NOTI_MDS_CREAT, len(info)) + info
    return data_message(ROIV, invoke_id, CONFIRMED_EVENT, event)


def error(invoke_id: int, value: int) -> bytes:
    """A remote operation error without further data."""
    return data_message(ROER, invoke_id, value, b"")
