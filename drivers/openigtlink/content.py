"""The content of each message type that is read (OpenIGTLink protocol 3, the page of each type)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from drivers.openigtlink.frame import Frame, decoded, text_of
from drivers.openigtlink.units import ucum_of_unit
from drivers.openigtlink.vectors import MATRIX, PLACE, POSE, POSE_WITHOUT_W, Shape, sensor_shape
from ledger.errors import DeviceFault

_STATUS: Final = struct.Struct(">Hq20s")
_TRACKED: Final = struct.Struct(">20sBx48s")
_TRACKED_POSE: Final = struct.Struct(">20sBx28s")
_TRACKED_POSE_LONG_NAME: Final = struct.Struct(">32sBx28s")
_NAMED_POSE: Final = struct.Struct(">64s32s4x28s4x20s")
_POINT: Final = struct.Struct(">64s32s4s12sf20s")
_CHILD: Final = struct.Struct(">12sQ")
_POSE_SHAPES: Final = {28: POSE, 24: POSE_WITHOUT_W, 12: PLACE}
_TOOLS: Final = {1: "tracker", 2: "6D instrument", 3: "3D instrument", 4: "5D instrument"}


@dataclass(slots=True)
class Vector:
    """One measured vector. ``name`` tells the tools of one message apart, empty where a message has one alone."""

    shape: Shape
    raw: bytes
    name: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What a device says of itself; ``code`` 1 is well."""

    code: int
    sub_code: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """One fiducial or landmark: its place as three big-endian float32 in mm, the rest in words."""

    name: str
    raw: bytes
    about: str


def bad(type_name: str, why: str) -> DeviceFault:
    """The fault of a message whose CRC is right and whose content is not."""
    return DeviceFault("openigtlink.content", f"a {type_name} message {why}")


def _transform(content: bytes) -> list[Vector]:
    if len(content) != MATRIX.size:
        raise bad("TRANSFORM", f"has {len(content)} bytes, not {MATRIX.size}")
    return [Vector(MATRIX, content)]


def _position(content: bytes) -> list[Vector]:
    shape = _POSE_SHAPES.get(len(content))
    if shape is not None:
        return [Vector(shape, content)]
    if len(content) % _NAMED_POSE.size:
        raise bad("POSITION", f"has {len(content)} bytes")
    # pyigtl sends a list of named positions under this type
    named = _NAMED_POSE.iter_unpack(content)
    return _told_apart([Vector(POSE, raw, text_of(name), text_of(group)) for name, group, raw, _ in named])


def _tracked(content: bytes) -> list[Vector]:
    if len(content) % _TRACKED.size:
        raise bad("TDATA", f"has {len(content)} bytes")
    return _tools(_TRACKED.iter_unpack(content), MATRIX)


def _tracked_poses(content: bytes) -> list[Vector]:
    for layout in (_TRACKED_POSE, _TRACKED_POSE_LONG_NAME):
        if len(content) % layout.size == 0:
            return _tools(layout.iter_unpack(content), POSE)
    raise bad("QTDATA", f"has {len(content)} bytes")


def _tools(entries: Iterator[tuple[bytes, int, bytes]], shape: Shape) -> list[Vector]:
    return _told_apart([Vector(shape, raw, text_of(name), _TOOLS.get(kind, str(kind))) for name, kind, raw in entries])


def _told_apart(vectors: list[Vector]) -> list[Vector]:
    """Several of one name, or without one, are numbered."""
    names = _numbered([vector.name for vector in vectors])
    return [Vector(v.shape, v.raw, name, v.kind) for v, name in zip(vectors, names, strict=True)]


def _numbered(names: list[str]) -> list[str]:
    taken: set[str] = set()
    for place, name in enumerate(names):
        if not name or name in taken:
            names[place] = f"{name}#{place + 1}"
        taken.add(names[place])
    return names


def _sensor(content: bytes) -> list[Vector]:
    if len(content) < 10 or len(content) != 10 + 8 * content[0]:
        raise bad("SENSOR", f"has {len(content)} bytes")
    if not content[0]:
        return []
    shape = sensor_shape(content[0], ucum_of_unit(int.from_bytes(content[2:10], "big")))
    return [Vector(shape, content[10:], "", f"status {content[1]}" if content[1] else "")]


VECTORS: Final[Mapping[str, Callable[[bytes], list[Vector]]]] = {
    "TRANSFORM": _transform,
    "POSITION": _position,
    "QTRANS": _position,
    "TDATA": _tracked,
    "QTDATA": _tracked_poses,
    "SENSOR": _sensor,
}
"""Readers of the message types that measure something. Each raises DeviceFault ``openigtlink.content``."""


def parse_status(content: bytes) -> Status:
    """Raises DeviceFault ``openigtlink.content``."""
    if len(content) < _STATUS.size:
        raise bad("STATUS", f"has only {len(content)} bytes")
    code, sub_code, name = _STATUS.unpack_from(content)
    return Status(code, sub_code, text_of(name), text_of(content[_STATUS.size :]))


def parse_string(content: bytes) -> str:
    """Raises DeviceFault ``openigtlink.content``."""
    if len(content) < 4 or len(content) - 4 < int.from_bytes(content[2:4], "big"):
        raise bad("STRING", "is cut")
    length = int.from_bytes(content[2:4], "big")
    return decoded(content[4 : 4 + length], int.from_bytes(content[:2], "big"))


def parse_points(content: bytes) -> list[Point]:
    """Raises DeviceFault ``openigtlink.content``."""
    if len(content) % _POINT.size:
        raise bad("POINT", f"has {len(content)} bytes")
    entries = list(_POINT.iter_unpack(content))
    names = _numbered([text_of(entry[0]) for entry in entries])
    return [
        Point(name, raw, _about(text_of(group), colour.hex(), diameter, text_of(owner)))
        for name, (_, group, colour, raw, diameter, owner) in zip(names, entries, strict=True)
    ]


def _about(group: str, colour: str, diameter_mm: float, owner: str) -> str:
    told = [f"group {group}"] if group else []
    told += [f"colour {colour}"]
    told += [f"diameter {diameter_mm:.7g} mm"] if diameter_mm else []
    told += [f"of image {owner}"] if owner else []
    return ", ".join(told)


def parse_capability(content: bytes) -> str:
    """The message types that a device knows. Raises DeviceFault ``openigtlink.content``."""
    if len(content) % 12:
        raise bad("CAPABILITY", f"has {len(content)} bytes")
    return " ".join(text_of(content[at : at + 12]) for at in range(0, len(content), 12))


def children(frame: Frame) -> list[Frame]:
    """The messages bound in a BIND, as if each had come by itself. Raises DeviceFault ``openigtlink.content``."""
    content = frame.content
    count = int.from_bytes(content[:2], "big")
    at = 2 + count * _CHILD.size
    if len(content) < at + 2:
        raise bad("BIND", "is cut")
    table_bytes = int.from_bytes(content[at : at + 2], "big")
    names = content[at + 2 : at + 2 + table_bytes].split(b"\0")
    at += 2 + table_bytes
    found = []
    for place in range(count):
        type_field, size = _CHILD.unpack_from(content, 2 + place * _CHILD.size)
        if at + size > len(content) or place >= len(names):
            raise bad("BIND", "says more than it holds")
        name = names[place].decode("utf-8", "replace")
        found.append(Frame(frame.version, text_of(type_field), name, frame.told_ns, content[at : at + size]))
        at += size + size % 2
    return found
