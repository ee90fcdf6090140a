"""Base of the simulated devices that print by themselves at a steady pace and are asked for nothing."""

from __future__ import annotations

import math
from abc import abstractmethod

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine

_MOST_AT_ONCE = 5


class PrintingDevice(SimulatedDevice):
    """Prints `frame(number, now_s)` every ``period_s``; what it could not print in time it does not print later."""

    def __init__(self, period_s: float, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._period_s = period_s
        self._printed = 0

    @abstractmethod
    def frame(self, number: int, now_s: float) -> bytes:
        """What is printed for the ``number``-th time, counted from power on, as it leaves; empty: nothing."""

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """It takes no commands."""
        return []

    def due(self, now_s: float) -> list[bytes]:
        """What is to be printed by now."""
        until = math.floor(now_s / self._period_s + 1e-6)
        first = max(self._printed, until - _MOST_AT_ONCE)
        self._printed = max(self._printed, until)
        frames = [self.frame(number, (number + 1) * self._period_s) for number in range(first, until)]
        return [frame for frame in frames if frame]

    def next_due_s(self, now_s: float) -> float:
        """The next period's end."""
        return max((self._printed + 1) * self._period_s, now_s + 1e-3)
