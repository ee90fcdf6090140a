"""Each peer's share of the loop: one that sends more than it may be served waits in a queue of its own, and only it.

A message is handled at once while its lane has time left. A peer has two lanes, live and bulk, so that what it sends in
bulk is not in the way of its blocks; what all send in bulk has a smaller share together, and waits while a tick is due,
so that a box that catches up, or gives a whole log to another, still ticks in time. What a message costs is measured;
time comes back at a fixed share of the clock. Beyond a full queue the lane's messages are refused: blocks are pulled
later, requests asked again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.limits import LIMITS, MS_NS, S_NS

_PAUSE_S = 0.000_5
_TICK_LATE_NS = 50 * MS_NS
"""A tick that is later than this is not waited for: nobody may tick at all."""


@dataclass(slots=True)
class _Budget:
    """Time to spend: comes back at ``percent`` of the clock, up to ``burst_ns``."""

    percent: int
    burst_ns: int
    seen_ns: int
    left_ns: float

    def refill(self, now_ns: int) -> float:
        gained = (now_ns - self.seen_ns) * self.percent / 100
        self.left_ns = min(self.left_ns + gained, self.burst_ns)
        self.seen_ns = now_ns
        return self.left_ns

    def short_ns(self) -> float:
        """How long until there is time again."""
        return max(0.0, -self.left_ns) * 100 / self.percent


@dataclass(slots=True)
class _Lane:
    budget: _Budget
    waiting: deque[bytes] = field(default_factory=deque)
    waiting_bytes: int = 0


class Shares:
    """``handle(sender, wire, bulk)`` does the work, ``refuse(sender)`` is told of each message that found no room."""

    def __init__(
        self, handle: Callable[[str, bytes, bool], None], refuse: Callable[[str], None], clock_ns: Callable[[], int]
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._clock_ns = clock_ns
        self._lanes: dict[tuple[str, bool], _Lane] = {}
        self._bulk = _budget(LIMITS.bulk_share_percent, LIMITS.bulk_share_burst_ns, clock_ns())
        self._again: asyncio.TimerHandle | None = None
        self.tick_due_ns: int | None = None

    @property
    def waiting(self) -> int:
        """Messages not handled yet, of all peers."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def arrived(self, sender: str, wire: bytes, bulk: bool) -> None:
        """A message came in: handle it, or keep it until its lane's turn."""
        lane = self._lane(sender, bulk)
        if not lane.waiting and self._has_time(lane, bulk):
            self._serve(sender, lane, wire, bulk)
            return
        if (
            len(lane.waiting) >= LIMITS.peer_waiting_messages
            or lane.waiting_bytes + len(wire) > LIMITS.peer_waiting_bytes
        ):
            self._refuse(sender)
            return
        lane.waiting.append(wire)
        lane.waiting_bytes += len(wire)
        self._wake()

    def close(self) -> None:
        """Handle nothing more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._lanes.clear()

    def _lane(self, sender: str, bulk: bool) -> _Lane:
        lane = self._lanes.get((sender, bulk))
        if lane is None:
            budget = _budget(LIMITS.peer_share_percent, LIMITS.peer_share_burst_ns, self._clock_ns())
            lane = self._lanes[(sender, bulk)] = _Lane(budget)
        return lane

    def _has_time(self, lane: _Lane, bulk: bool) -> bool:
        now_ns = self._clock_ns()
        if bulk and (self._tick_wait_ns(now_ns) or self._bulk.refill(now_ns) <= 0):
            return False
        return lane.budget.refill(now_ns) > 0

    def _tick_wait_ns(self, now_ns: int) -> int:
        """How long bulk is to wait for a tick; 0 unless one is just due. Whoever ticked says when the next is."""
        if self.tick_due_ns is None:
            return 0
        until_ns = self.tick_due_ns - now_ns
        return max(until_ns, MS_NS) if -_TICK_LATE_NS < until_ns <= LIMITS.bulk_before_tick_ns else 0

    def _serve(self, sender: str, lane: _Lane, wire: bytes, bulk: bool) -> None:
        began_ns = self._clock_ns()
        try:
            self._handle(sender, wire, bulk)
        finally:
            spent_ns = self._clock_ns() - began_ns
            lane.budget.left_ns -= spent_ns
            if bulk:
                self._bulk.left_ns -= spent_ns

    def _wake(self) -> None:
        """When the first of those that wait has time again, whoever began to wait first."""
        bulk_ns = max(self._bulk.short_ns(), self._tick_wait_ns(self._clock_ns()))
        short_ns = min(
            (
                max(lane.budget.short_ns(), bulk_ns if bulk else 0.0)
                for (_, bulk), lane in self._lanes.items()
                if lane.waiting
            ),
            default=None,
        )
        if short_ns is None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + short_ns / S_NS + _PAUSE_S
        if self._again is not None:
            if self._again.when() <= due:
                return
            self._again.cancel()
        self._again = loop.call_at(due, self._drain)

    def _drain(self) -> None:
        """One message of each lane in turn, then the loop's other work, the tick above all, has its turn."""
        self._again = None
        for (sender, bulk), lane in list(self._lanes.items()):
            if lane.waiting and self._has_time(lane, bulk):
                wire = lane.waiting.popleft()
                lane.waiting_bytes -= len(wire)
                self._serve(sender, lane, wire, bulk)
        self._wake()


def _budget(percent: int, burst_ns: int, now_ns: int) -> _Budget:
    return _Budget(percent, burst_ns, now_ns, burst_ns)
