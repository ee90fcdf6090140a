"""What a block says: quadruples ``time,address,parameter,value``, and where an address lies in the rack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SYSTEM: Final = "50100"
_BETWEEN: Final = b"\x1e"
_ADDRESS: Final = re.compile(r"501([0-3])([0-9A-O])")
_QUADRUPLE: Final = re.compile(r"(\d{1,10}),([0-9A-Za-z]{1,8}),([0-9A-Za-z_.#-]{1,32})(?:,(.*))?", re.DOTALL)
_LONGEST_VALUE: Final = 512


@dataclass(frozen=True, slots=True)
class Quadruple:
    """One parameter of one place. ``value`` None: there is none. ``doubtful``: not all of its characters are known."""

    uptime_s: int
    address: str
    parameter: str
    value: str | None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of a block that is no quadruple."""

    lost_bytes: int


def quadruples(text: bytes) -> Iterator[Quadruple | Unread]:
    """The parts of a block in their order; empty ones, as after a last separator, are none."""
    for part in text.split(_BETWEEN):
        if part:
            yield _quadruple(part)


def _quadruple(part: bytes) -> Quadruple | Unread:
    readable = part.decode("utf-8", "replace")
    found = _QUADRUPLE.fullmatch(readable.strip("\r\n "))
    if found is None or not found[1].isascii():
        return Unread(len(part))
    uptime, address, parameter, value = found.groups()
    if value in (None, "", "_NV", "_NA"):
        return Quadruple(int(uptime), address, parameter, None)
    doubtful = len(value) > _LONGEST_VALUE or "\ufffd" in value
    return Quadruple(int(uptime), address, parameter, value[:_LONGEST_VALUE], doubtful)


def slot_of(address: str) -> str | None:
    """Pillar and slot of a pump, "13" or "2A"; None for the ComDevice, a whole pillar, or no place of a rack."""
    found = _ADDRESS.fullmatch(address)
    return found[1] + found[2] if found is not None and found[1] != "0" and found[2] != "0" else None


def position_of(slot: str) -> str:
    """The same for people; slots are counted from the bottom of the pillar."""
    return f"pillar {slot[0]} slot {slot[1]}"
