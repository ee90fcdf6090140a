"""What this driver may say to a monitor: associate, answer, ask for values, keep alive, choose waves, abort.

Choosing waves sets the wave priority list (``F23A``), the one confirmed set that exists here. It decides what is
exported on this association and ends with it; it changes nothing that the monitor measures, shows or alarms on.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from drivers.contract import Sendable
from drivers.intellivue.config import MAX_WAVES
from drivers.intellivue.frame import encode
from drivers.intellivue.objects import Attribute
from drivers.intellivue.rose import (
    EXTENDED_POLL,
    MDS_CREATE,
    POLL,
    Command,
    MdsCreate,
    ObjectClass,
    Operation,
)
from drivers.intellivue.session import ABORT, DATA_HEADER, RELEASE_RESPONSE, TICKS_PER_S, association_request

LAN_MTU: Final = 1_364
RS232_MTU: Final = 1_000
"""The largest messages that the guide allows, by interface."""
ACTIVE_S: Final = 600
"""How long one extended poll is good for."""

ALL_GROUPS, PATIENT_GROUP, ALERT_GROUP, STATIC_GROUP = 0x0000, 0x0807, 0x0801, 0x0811
_OBJECTS_PARTITION = 1
_TIME_PERIODIC_POLL = 0xF13E
_REPLACE = 0
_MDS_OBJECT = struct.pack(">HHH", ObjectClass.MDS, 0, 0)
_SCOPE = bytes(4)


class Ask(Enum):
    """Polls: number, object class, attribute group, extended. The number comes back in the answer."""

    NUMERICS = (1, ObjectClass.NUMERIC, ALL_GROUPS, True)
    WAVES = (2, ObjectClass.WAVE, ALL_GROUPS, True)
    ALERTS = (3, ObjectClass.ALERT_MONITOR, ALERT_GROUP, True)
    ENUMERATIONS = (4, ObjectClass.ENUMERATION, ALL_GROUPS, True)
    MDS = (5, ObjectClass.MDS, ALL_GROUPS, False)
    PATIENT = (6, ObjectClass.PATIENT, PATIENT_GROUP, False)
    NUMERICS_ONCE = (7, ObjectClass.NUMERIC, ALL_GROUPS, False)
    WAVES_ONCE = (8, ObjectClass.WAVE, ALL_GROUPS, False)
    KEEP_ALIVE = (9, ObjectClass.ALERT_MONITOR, STATIC_GROUP, False)

    @property
    def object_class(self) -> int:
        """Class of the objects asked for."""
        return int(self.value[1])

    @property
    def is_extended(self) -> bool:
        """Whether answers come by themselves until the poll ends."""
        return self.value[3]


_ASK_MEANINGS: Final = {
    Ask.NUMERICS: "send all numerics every second, for 10 minutes",
    Ask.WAVES: "send the waves every 256 ms, for 10 minutes",
    Ask.ALERTS: "send the active alarms every second, for 10 minutes",
    Ask.ENUMERATIONS: "send rhythm and other states every second, for 10 minutes",
    Ask.MDS: "tell who you are, your operating mode and your time",
    Ask.PATIENT: "tell the patient's demographic data",
    Ask.NUMERICS_ONCE: "send all numerics once, with their labels",
    Ask.WAVES_ONCE: "tell the waves' labels, rates and scales",
    Ask.KEEP_ALIVE: "tell what the alert monitor is (keeps the association alive)",
}


@dataclass(frozen=True, slots=True)
class _Any:
    """So many bytes of any value."""

    count: int


_Piece = bytes | _Any


def poll(ask: Ask, invoke_id: int) -> bytes:
    """A single or extended poll."""
    return _filled(_poll(ask), invoke_id.to_bytes(2, "big"))


def set_wave_list(text_ids: Sequence[int], invoke_id: int) -> bytes:
    """Export these waves on this association, most important first."""
    labels = struct.pack(f">{len(text_ids)}I", *text_ids)
    return _filled(_set_wave_list(len(text_ids)), invoke_id.to_bytes(2, "big"), labels)


def get_wave_list(invoke_id: int) -> bytes:
    """Tell which waves are exported on this association."""
    return _filled(_get_wave_list(), invoke_id.to_bytes(2, "big"))


def mds_create_result(invoke_id: int, event: MdsCreate) -> bytes:
    """The answer without which the monitor aborts; invoke id, context, handle and time are the event's own."""
    _, context, handle = event.managed_object
    return _filled(
        _mds_create_result(),
        invoke_id.to_bytes(2, "big"),
        struct.pack(">HH", context, handle),
        event.event_ticks.to_bytes(4, "big"),
    )


def _apdu(operation: Operation, command: Command, content: list[_Piece]) -> list[_Piece]:
    size = sum(piece.count if isinstance(piece, _Any) else len(piece) for piece in content)
    head = DATA_HEADER + struct.pack(">HH", operation, 6 + size)
    return [head, _Any(2), struct.pack(">HH", command, size), *content]


def _poll(ask: Ask) -> list[_Piece]:
    number, object_class, group, extended = ask.value
    body = struct.pack(">HHHH", number, _OBJECTS_PARTITION, object_class, group)
    if extended:
        body += struct.pack(">HHHHI", 1, 8, _TIME_PERIODIC_POLL, 4, ACTIVE_S * TICKS_PER_S)
    action = struct.pack(">HH", EXTENDED_POLL if extended else POLL, len(body))
    return _apdu(Operation.INVOKE, Command.CONFIRMED_ACTION, [_MDS_OBJECT + _SCOPE + action + body])


def _set_wave_list(count: int) -> list[_Piece]:
    size = 4 * count
    head = struct.pack(">HHHHHHH", 1, 10 + size, _REPLACE, Attribute.WAVE_PRIORITY, 4 + size, count, size)
    return _apdu(Operation.INVOKE, Command.CONFIRMED_SET, [_MDS_OBJECT + _SCOPE + head, _Any(size)])


def _get_wave_list() -> list[_Piece]:
    body = struct.pack(">HHH", 1, 2, Attribute.WAVE_PRIORITY)
    return _apdu(Operation.INVOKE, Command.GET, [_MDS_OBJECT + _SCOPE + body])


def _mds_create_result() -> list[_Piece]:
    event = struct.pack(">HH", MDS_CREATE, 0)
    content: list[_Piece] = [ObjectClass.MDS.to_bytes(2, "big"), _Any(4), _Any(4), event]
    return _apdu(Operation.RESULT, Command.CONFIRMED_EVENT, content)


def _filled(pieces: list[_Piece], *values: bytes) -> bytes:
    left = iter(values)
    return b"".join(next(left) if isinstance(piece, _Any) else piece for piece in pieces)


# What may leave --------------------------------------------------------------------------------------------------

_ANY_BYTE = rb"[\x00-\xff]"
_ANY_FRAMED = rb"(?:[^\xc0\xc1\x7d]|\x7d[\xe0\xe1\x5d])"
_FRAME_HEAD_BYTES, _FRAME_TAIL_BYTES = 5, 3
_ESCAPED = {byte: bytes((0x7D, byte ^ 0x20)) for byte in (0xC0, 0xC1, 0x7D)}


def _pattern(pieces: list[_Piece]) -> bytes:
    """Both forms of a message: as a datagram, and framed for the line, where a byte may take two."""
    size = sum(piece.count if isinstance(piece, _Any) else len(piece) for piece in pieces)
    bare, framed = b"", re.escape(b"\xc0") + _framed(b"\x11\x01" + size.to_bytes(2, "big"))
    for piece in pieces:
        if isinstance(piece, _Any):
            bare += _ANY_BYTE + rb"{%d}" % piece.count
            framed += _ANY_FRAMED + rb"{%d}" % piece.count
        else:
            bare += re.escape(piece)
            framed += _framed(piece)
    return bare + rb"|" + framed + _ANY_FRAMED + rb"{2}" + re.escape(b"\xc1")


def _framed(data: bytes) -> bytes:
    return b"".join(re.escape(_ESCAPED.get(byte, bytes((byte,)))) for byte in data)


def _sendable(meaning: str, *choices: list[_Piece]) -> Sendable:
    return Sendable(re.compile(rb"|".join(map(_pattern, choices)), re.DOTALL), meaning)


TX_ALLOWED: Final = (
    _sendable("open an association", [association_request(LAN_MTU)], [association_request(RS232_MTU)]),
    _sendable("take note of who you are (answer to the MDS create event)", _mds_create_result()),
    *(_sendable(meaning, _poll(ask)) for ask, meaning in _ASK_MEANINGS.items()),
    _sendable("tell which waves you export here", _get_wave_list()),
    _sendable(
        "export these waves, 1 to 11, here (sets this association's priority list; changes nothing on the monitor)",
        *(_set_wave_list(count) for count in range(1, MAX_WAVES + 1)),
    ),
    _sendable("confirm that the association is released", [RELEASE_RESPONSE]),
    _sendable("abort our own association, which has fallen silent", [ABORT]),
)
"""All that the driver may ever send, bare (LAN) or framed (RS-232), matched whole."""

PROBE: Final = encode(association_request(RS232_MTU))
"""Makes a silent monitor at a serial line present itself; unanswered it gives up after 10 s."""
