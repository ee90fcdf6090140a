"""The block protocol: one command turns on what the ventilator then sends by itself.

The command: ``1``, ``0`` (no waveforms), then for each group its number, when it is sent, and three digits of a timer.
What is sent: ``1``, then after each VT a record: group, parameter, text; parameter FF ends a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from drivers.contract import Sendable
from drivers.hamilton.frame import block
from ledger.errors import DeviceFault
from ledger.limits import S_NS

IDENTIFICATIONS, VERSIONS, MONITORED, ALARMS, CONTROLS = 0x40, 0x41, 0x50, 0x60, 0x70
GROUPS: Final = frozenset({IDENTIFICATIONS, VERSIONS, MONITORED, ALARMS, CONTROLS})
_ONCE, _EACH_BREATH, _ON_CHANGE = b"1", b"2", b"3"
_MIXED_MODE: Final = b"1"
_NO_WAVEFORMS: Final = b"0"
_NO_TIMER: Final = b"000"
_VT: Final = b"\x0b"
_END_OF_GROUP: Final = 0xFF
_KEEP_ON_NS: Final = 30 * S_NS
_UNHEARD_NS: Final = 8 * S_NS


def _activate(*groups: tuple[int, bytes]) -> bytes:
    wanted = b"".join(bytes((group,)) + when + _NO_TIMER for group, when in groups)
    return block(_MIXED_MODE + _NO_WAVEFORMS + wanted)


SEND_VALUES: Final = _activate((MONITORED, _EACH_BREATH), (CONTROLS, _ON_CHANGE))
SEND_ALL: Final = _activate(
    (IDENTIFICATIONS, _ONCE), (VERSIONS, _ONCE), (MONITORED, _EACH_BREATH), (ALARMS, _ON_CHANGE), (CONTROLS, _ON_CHANGE)
)
TX_ALLOWED: Final = tuple(
    Sendable(re.compile(b"".join(b"\\x%02x" % byte for byte in data)), meaning)
    for data, meaning in (
        (SEND_ALL, "send values each breath, alarms and settings when they change, who you are once (block protocol)"),
        (SEND_VALUES, "send values each breath and settings when they change (block protocol)"),
    )
)


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One parameter and its text."""

    group: int
    parameter: int
    text: str

    @property
    def number(self) -> str:
        """Group and parameter in hexadecimal digits."""
        return f"{self.group:02X}.{self.parameter:02X}"


@dataclass(frozen=True, slots=True)
class Block:
    """One message. ``groups``: those that it tells anything of, be it that they are empty."""

    groups: frozenset[int]
    records: tuple[BlockRecord, ...]


def parse_block(body: bytes) -> Block:
    """Take a message apart. Raises DeviceFault ``hamilton.block``."""
    head, *chunks = body.split(_VT)
    if not head.startswith(_MIXED_MODE):
        raise DeviceFault("hamilton.block", "a message that is no mixed mode data")
    groups: set[int] = set()
    records: list[BlockRecord] = []
    for chunk in chunks:
        if not chunk:
            continue
        if len(chunk) < 2:
            raise DeviceFault("hamilton.block", "a record that is cut")
        groups.add(chunk[0])
        if chunk[1] != _END_OF_GROUP:
            records.append(BlockRecord(chunk[0], chunk[1], _text(chunk[2:])))
    return Block(frozenset(groups), tuple(records))


def _text(data: bytes) -> str:
    text = data.decode("latin-1")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


class Subscription:
    """When to send the command: at first, each half a minute, and soon if nothing comes, then in its other form.

    The command with all five groups is put together by the same rule as the one that is known to work with two.
    """

    def __init__(self, now_ns: int) -> None:
        self._due_ns = now_ns
        self._heard = True
        self._command = SEND_ALL

    def due(self, now_ns: int) -> list[bytes]:
        """The command, if it is due by now."""
        if now_ns < self._due_ns:
            return []
        if not self._heard:
            self._command = SEND_ALL if self._command is SEND_VALUES else SEND_VALUES
        self._heard = False
        self._due_ns = now_ns + _UNHEARD_NS
        return [self._command]

    def deadline_ns(self) -> int:
        """When ``due`` is wanted again."""
        return self._due_ns

    def heard(self, now_ns: int) -> None:
        """A message has come: the command worked."""
        if not self._heard:
            self._heard = True
            self._due_ns = now_ns + _KEEP_ON_NS
