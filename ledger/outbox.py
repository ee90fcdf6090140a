"""What a state machine asks of the world: durable operations, and sayings that leave only once those are durable."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from ledger.errors import Party
from ledger.messages import Body
from ledger.ops import Op

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Tell:
    """Send ``body`` to a box, or to every peer; ``bulk`` takes the connection that live blocks do not share."""

    to: str
    body: Body
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class Warn:
    """Something a person should know, once per change. ``active`` False clears it."""

    id: str
    severity: Literal["critical", "warning", "info"]
    party: Party
    subject: str
    text: str
    next_step: str
    active: bool = True


class Outbox:
    """Operations in order; sayings held until the operations before them are committed."""

    def __init__(self) -> None:
        self._ops: list[Op] = []
        self._position = 0
        self._committed = 0
        self._held: deque[tuple[int, Tell]] = deque()
        self._ready: list[Tell] = []
        self._warnings: list[Warn] = []

    @property
    def position(self) -> int:
        """The place of the newest operation."""
        return self._position

    @property
    def operations(self) -> int:
        """How many operations wait to be taken."""
        return len(self._ops)

    def persist(self, op: Op) -> int:
        """Ask for a durable operation; returns its place in this machine's order."""
        self._ops.append(op)
        self._position += 1
        return self._position

    def tell(self, to: str, body: Body, *, bulk: bool = False) -> None:
        """Say something now."""
        self._ready.append(Tell(to, body, bulk))

    def tell_when_durable(self, to: str, body: Body) -> None:
        """Say something once every operation asked for so far is committed."""
        if self._committed >= self._position:
            self.tell(to, body)
        else:
            self._held.append((self._position, Tell(to, body)))

    def warn(self, warning: Warn) -> None:
        """Tell a person."""
        self._warnings.append(warning)

    def take_ops(self) -> tuple[list[Op], int]:
        """The operations asked for since the last call, and the place of the last one."""
        ops, self._ops = self._ops, []
        return ops, self._position

    def committed(self, position: int) -> None:
        """Every operation up to ``position`` is durable."""
        self._committed = max(self._committed, position)
        while self._held and self._held[0][0] <= self._committed:
            self._ready.append(self._held.popleft()[1])

    def take_tells(self) -> list[Tell]:
        """What may be said now, in order."""
        ready, self._ready = self._ready, []
        return ready

    def take_warnings(self) -> list[Warn]:
        """What a person should know."""
        warnings, self._warnings = self._warnings, []
        return warnings
