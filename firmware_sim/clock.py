"""One start for all devices of a simulated room."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SimClock:
    """Seconds since the simulation started, and the true time that belongs to them."""

    started_unix_s: float = field(default_factory=time.time)
    started_monotonic_s: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """Seconds since the start, steady: the `t_s` of `Patient`."""
        return time.monotonic() - self.started_monotonic_s
