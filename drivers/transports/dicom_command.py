"""The commands of C-STORE, by hand: the library takes some milliseconds of processor time for each."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")
_AFFECTED_SOP_CLASS: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_RESPONDED_TO: Final = 0x0120
_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE: Final = 0x1000
_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_NO_DATA_SET: Final = 0x0101


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """PS3.7 9.3.1.1, as far as it matters here. A UID is empty where the request names none."""

    message_id: int
    sop_class: str
    sop_instance: str
    has_data_set: bool


def store_request(command: bytes | bytearray) -> StoreRequest | None:
    """A C-STORE request in Implicit VR Little Endian (6.3.1); None for any other command, and for what is none."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ELEMENT.size <= len(command):
        group, element, length = _ELEMENT.unpack_from(command, at)
        at += _ELEMENT.size
        if group != 0 or at + length > len(command):
            return None
        found[element] = bytes(command[at : at + length])
        at += length
    numbers = [found.get(each, b"") for each in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE)]
    if at != len(command) or any(len(each) != _US.size for each in numbers):
        return None
    field, message_id, data_set_type = (int.from_bytes(each, "little") for each in numbers)
    if field != _C_STORE_RQ:
        return None
    uids = (found.get(each, b"") for each in (_AFFECTED_SOP_CLASS, _AFFECTED_SOP_INSTANCE))
    sop_class, sop_instance = (each.rstrip(b"\0 ").decode("ascii", "replace") for each in uids)
    return StoreRequest(message_id, sop_class, sop_instance, data_set_type != _NO_DATA_SET)


def store_response(request: StoreRequest, status: int) -> bytes:
    """PS3.7 9.3.1.2, in Implicit VR Little Endian."""
    command = b"".join([
        _uid(_AFFECTED_SOP_CLASS, request.sop_class),
        _number(_COMMAND_FIELD, _C_STORE_RSP),
        _number(_RESPONDED_TO, request.message_id),
        _number(_DATA_SET_TYPE, _NO_DATA_SET),
        _number(_STATUS, status),
        _uid(_AFFECTED_SOP_INSTANCE, request.sop_instance),
    ])  # fmt: skip
    return _ELEMENT.pack(0, 0, 4) + len(command).to_bytes(4, "little") + command


def _number(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + _US.pack(value)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value
