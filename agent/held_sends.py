"""Sends that wait for their records to be durable, first in, first out, per link.

What a driver acknowledges, it hands responsibility over for: the acknowledgement may leave only when the block that
holds the records is fsynced, and never when one of them was lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from drivers.contract import Send, Ticket
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

Held = Literal["held", "refused", "full"]


class LostTickets:
    """Which of a driver's records were lost, as ranges of tickets; the oldest ranges merge when there are many."""

    __slots__ = ("_most", "_ranges")

    def __init__(self, most: int = LIMITS.losses_remembered) -> None:
        self._most = most
        self._ranges: deque[tuple[int, int]] = deque()

    def add(self, ticket: Ticket) -> None:
        """This one was lost; tickets come in any order."""
        if self._ranges and self._ranges[-1][1] + 1 == ticket:
            self._ranges[-1] = (self._ranges[-1][0], ticket)
        else:
            self._ranges.append((ticket, ticket))
        if len(self._ranges) > self._most:
            # forgetting a loss could acknowledge it; a range too wide only refuses what would be sent again
            first, second = self._ranges.popleft(), self._ranges.popleft()
            self._ranges.appendleft((min(first[0], second[0]), max(first[1], second[1])))

    def any_in(self, first: int, last: int) -> bool:
        """Whether any ticket from ``first`` to ``last`` was lost."""
        return any(low <= last and first <= high for low, high in self._ranges)


@dataclass(frozen=True, slots=True)
class _Waiting:
    send: Send
    first: int
    last: int
    position: int
    give_up_ns: int


class HeldSends:
    """One feed's sends in the order in which its driver made them; at most ``held_sends`` wait."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._links: dict[LinkId, deque[_Waiting]] = {}
        self._in_flight: deque[tuple[Ticket, int]] = deque()
        self._lost = LostTickets(limits.losses_remembered)
        self._gated = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def recorded(self, ticket: Ticket, position: int) -> None:
        """The record of this ticket is on its way, at this position."""
        self._in_flight.append((ticket, position))

    def lost(self, ticket: Ticket) -> None:
        """The record of this ticket found no room."""
        self._lost.add(ticket)

    def hold(self, send: Send, mono_ns: int) -> Held:
        """Queue a send; ``ready`` gives it back, at once if it has nothing to wait for.

        "refused": a record it stands for is lost, it must not leave. "full": too many wait.
        """
        first, last, position = 0, -1, 0
        if send.after is not None:
            first, last = self._stands_for(send.after)
            if self._lost.any_in(first, last):
                self._refuse(send.after)
                return "refused"
            position = next((at for ticket, at in reversed(self._in_flight) if ticket <= send.after), 0)
        if self._count >= self._limits.held_sends:
            return "full"
        self._gated = max(self._gated, last)
        waiting = _Waiting(send, first, last, position, mono_ns + self._limits.ack_timeout_ns)
        self._links.setdefault(send.link, deque()).append(waiting)
        self._count += 1
        return "held"

    def durable(self, position: int) -> None:
        """Everything up to here is durable: those records need no watching any more."""
        while self._in_flight and self._in_flight[0][1] <= position:
            self._in_flight.popleft()

    def ready(self) -> list[Send]:
        """Takes out, in order per link, what has nothing to wait for before it."""
        waits_from = self._in_flight[0][1] if self._in_flight else None
        ready: list[Send] = []
        for link, queue in list(self._links.items()):
            while queue and (waits_from is None or queue[0].position < waits_from):
                ready.append(queue.popleft().send)
            if not queue:
                del self._links[link]
        self._count -= len(ready)
        return ready

    def refused(self, first: int, last: int) -> list[Send]:
        """Positions that will never be durable. Returns the sends that must not leave, taken out."""
        for ticket, position in self._in_flight:
            if first <= position <= last:
                self._lost.add(ticket)
        self._in_flight = deque(item for item in self._in_flight if not first <= item[1] <= last)
        dropped: list[Send] = []
        for link, queue in list(self._links.items()):
            kept: deque[_Waiting] = deque()
            for waiting in queue:
                if self._lost.any_in(waiting.first, waiting.last):
                    dropped.append(waiting.send)
                else:
                    kept.append(waiting)
            if kept:
                self._links[link] = kept
            else:
                del self._links[link]
        for send in dropped:
            if send.after is not None:
                self._refuse(send.after)
        self._count -= len(dropped)
        return dropped

    def drop_link(self, link: LinkId) -> int:
        """The link is gone, and what waited for it. Returns how many."""
        dropped = len(self._links.pop(link, ()))
        self._count -= dropped
        return dropped

    def deadline_ns(self) -> int | None:
        """Monotonic time at which the first of the waiting has waited too long."""
        return min((queue[0].give_up_ns for queue in self._links.values()), default=None)

    def overdue(self, mono_ns: int) -> list[LinkId]:
        """Links whose first send has waited ``ack_timeout_ns``."""
        return [link for link, queue in self._links.items() if queue[0].give_up_ns <= mono_ns]

    def _refuse(self, after: Ticket) -> None:
        self._lost.add(after)  # also for a repeat that names only this ticket
        self._gated = max(self._gated, after)

    def _stands_for(self, after: Ticket) -> tuple[int, int]:
        """Tickets recorded since the last acknowledgement; for a repeat of an older one, that ticket alone."""
        return min(self._gated + 1, after), after
