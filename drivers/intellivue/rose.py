"""Data messages: remote operations (invoke, result, linked result, error) and what they carry.

Everything is parsed by its lengths; what stands behind the declared length is ignored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from drivers.intellivue.values import ABSOLUTE_TIME_BYTES, attributes, bad, unpack
from ledger.errors import DeviceFault


class Operation(IntEnum):
    """Type of a remote operation."""

    INVOKE = 1
    RESULT = 2
    ERROR = 3
    LINKED_RESULT = 5


class Command(IntEnum):
    """What is invoked or answered."""

    EVENT = 0
    CONFIRMED_EVENT = 1
    GET = 3
    SET = 4
    CONFIRMED_SET = 5
    CONFIRMED_ACTION = 7


class ObjectClass(IntEnum):
    """Managed object classes (partition 1)."""

    ENUMERATION = 0x0005
    NUMERIC = 0x0006
    WAVE = 0x0009
    MDS = 0x0021
    PATIENT = 0x002A
    ALERT_MONITOR = 0x0036


MDS_CREATE = 0x0D06
POLL, EXTENDED_POLL = 0x0C16, 0xF13B
LINKED_FIRST, LINKED_MIDDLE, LINKED_LAST = 1, 2, 3

_HEADER = struct.Struct(">HHHH")
_APDU = struct.Struct(">HHH")
_LINKED = struct.Struct(">BB")
_OBJECT = struct.Struct(">HHH")
_EVENT = struct.Struct(">HHHIHH")
_ACTION = struct.Struct(">HHHHH")
_REPLY_HEAD = struct.Struct(">H")
_REPLY_TYPE = struct.Struct(">HHH")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_LIST = struct.Struct(">HH")
_CONTEXT = struct.Struct(">HHH")


@dataclass(frozen=True, slots=True)
class Message:
    """One remote operation. ``code``: the command, or of an error its error value. ``linked``: (state, count)."""

    operation: int
    invoke_id: int
    code: int
    body: bytes
    linked: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class MdsCreate:
    """The monitor presents itself: its object (class, context, handle), its time in ticks, its attributes."""

    managed_object: tuple[int, int, int]
    event_ticks: int
    attributes: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Observation:
    """Attributes of one object: its naming context and handle tell it apart."""

    context: int
    handle: int
    attributes: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class PollReply:
    """One poll result. ``sequence``: of an extended poll, 0 confirms the request; ``absolute`` is mostly FF."""

    number: int
    sequence: int | None
    ticks: int
    absolute: bytes
    object_class: int
    group: int
    observations: list[Observation]
    lost_bytes: int = 0


def parse(data: bytes) -> Message:
    """A data message from its session byte on. Raises DeviceFault ``intellivue.bad-message``."""
    _, _, operation, length = unpack(_HEADER, data, "a data message")
    body = data[_HEADER.size : _HEADER.size + length]
    if len(body) < length:
        raise bad(f"a data message of {length} B has only {len(body)} B")
    linked = None
    if operation == Operation.LINKED_RESULT:
        state, count = unpack(_LINKED, body, "a linked result")
        linked, body = (state, count), body[_LINKED.size :]
    elif operation not in (Operation.INVOKE, Operation.RESULT, Operation.ERROR):
        raise bad(f"remote operation {operation} is unknown")
    invoke_id, code, size = unpack(_APDU, body, "a remote operation")
    content = body[_APDU.size : _APDU.size + size]
    if len(content) < size:
        raise bad(f"a remote operation of {size} B has only {len(content)} B")
    return Message(operation, invoke_id, code, content, linked)


def parse_event(body: bytes) -> MdsCreate | None:
    """The monitor's own create event; None for any other event. Raises DeviceFault ``intellivue.bad-message``."""
    *managed_object, ticks, event_type, length = unpack(_EVENT, body, "an event report")
    if event_type != MDS_CREATE:
        return None
    argument = body[_EVENT.size : _EVENT.size + length]
    found, _ = attributes(argument, _OBJECT.size)
    object_class, context, handle = managed_object
    return MdsCreate((object_class, context, handle), ticks, found)


def parse_get_result(body: bytes) -> list[tuple[int, bytes]]:
    """Attributes of a get or set result. Raises DeviceFault ``intellivue.bad-message``."""
    found, _ = attributes(body, _OBJECT.size)
    return found


def parse_action_result(body: bytes) -> PollReply | None:
    """A poll result; None for the result of another action. Raises DeviceFault ``intellivue.bad-message``."""
    _, _, _, action, length = unpack(_ACTION, body, "an action result")
    if action not in (POLL, EXTENDED_POLL):
        return None
    reply = body[_ACTION.size : _ACTION.size + length]
    (number,) = unpack(_REPLY_HEAD, reply, "a poll result")
    at = _REPLY_HEAD.size
    sequence = None
    if action == EXTENDED_POLL:
        (sequence,) = unpack(_U16, reply, "a poll result", at)
        at += _U16.size
    (ticks,) = unpack(_U32, reply, "a poll result", at)
    at += _U32.size
    absolute = reply[at : at + ABSOLUTE_TIME_BYTES]
    at += ABSOLUTE_TIME_BYTES
    _, object_class, group = unpack(_REPLY_TYPE, reply, "a poll result", at)
    observations, lost_bytes = _observations(reply, at + _REPLY_TYPE.size)
    return PollReply(number, sequence, ticks, absolute, object_class, group, observations, lost_bytes)


def _observations(reply: bytes, at: int) -> tuple[list[Observation], int]:
    """Objects of all contexts, and how many bytes at the end could not be read: what is right before them is kept."""
    found: list[Observation] = []
    contexts, _ = unpack(_LIST, reply, "a poll info list", at)
    at += _LIST.size
    try:
        for _ in range(contexts):
            context, count, _ = unpack(_CONTEXT, reply, "a context", at)
            at += _CONTEXT.size
            for _ in range(count):
                (handle,) = unpack(_U16, reply, "an observation", at)
                read, end = attributes(reply, at + _U16.size)
                found.append(Observation(context, handle, read))
                at = end
    except DeviceFault:
        return found, max(1, len(reply) - at)
    return found, 0
