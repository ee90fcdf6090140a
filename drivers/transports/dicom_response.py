"""The command of a C-STORE response, by hand: the library takes some milliseconds of processor time for each."""

from __future__ import annotations

import struct
from typing import Final

from pynetdicom.dimse_primitives import C_STORE

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")
_C_STORE_RSP: Final = 0x8001
_NO_DATA_SET: Final = 0x0101


def store_response(answer: C_STORE) -> bytes | None:
    """PS3.7 9.3.1.2, in Implicit VR Little Endian (6.3.1); None for what says more than its status."""
    message_id, status = answer.MessageIDBeingRespondedTo, answer.Status
    if message_id is None or status is None or any((answer.ErrorComment, answer.OffendingElement)):
        return None
    command = b"".join([
        _uid(0x0002, answer.AffectedSOPClassUID or ""),
        _number(0x0100, _C_STORE_RSP),
        _number(0x0120, message_id),
        _number(0x0800, _NO_DATA_SET),
        _number(0x0900, status),
        _uid(0x1000, answer.AffectedSOPInstanceUID or ""),
    ])  # fmt: skip
    return _ELEMENT.pack(0, 0, 4) + len(command).to_bytes(4, "little") + command


def _number(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + _US.pack(value)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value
