"""One timer for the earliest of several deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from drivers.transports.links import Clock
from ledger.limits import S_NS

SHORTEST_TIMER_NS = 1_000_000


class Timer(Protocol):
    """A call that can still be taken back."""

    def cancel(self) -> None: ...


Schedule = Callable[[int, Callable[[], None]], Timer]
"""Calls a function after so many nanoseconds; ``loop_schedule`` for the asyncio loop."""


def loop_schedule(loop: asyncio.AbstractEventLoop) -> Schedule:
    """Timers of a running loop."""
    return lambda delay_ns, call: loop.call_later(delay_ns / S_NS, call)


class WakeTimer:
    """Calls ``due`` when the earliest deadline has come, or before: who is called looks what is due, and arms anew."""

    def __init__(self, schedule: Schedule, now: Clock, due: Callable[[], None]) -> None:
        self._schedule = schedule
        self._now = now
        self._due = due
        self._timer: Timer | None = None
        self._armed_ns: int | None = None
        self._stopped = False

    def arm(self, *deadlines_ns: int | None) -> None:
        """These are all deadlines there are (boot clock); None: not one."""
        due_ns = min([deadline for deadline in deadlines_ns if deadline is not None], default=None)
        if due_ns is None or self._stopped or (self._armed_ns is not None and self._armed_ns <= due_ns):
            return  # an early timer finds nothing due and is set anew
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ns = due_ns
        # a deadline that is left in the past must not spin the loop
        self._timer = self._schedule(max(SHORTEST_TIMER_NS, due_ns - self._now().mono_ns), self._fire)

    def stop(self) -> None:
        """Call no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._timer = self._armed_ns = None
        self._due()
