"""The monitor's relative time (ticks of 1/8 ms, a 32-bit counter) into device time.

Poll results carry ticks and, against their layout, no date. The monitor tells both together when it presents itself and
when its MDS is polled, the date in whole seconds. So a local time is known to a second, its course to a tick.
"""

from __future__ import annotations

from drivers.intellivue.session import TICKS_PER_S
from ledger.limits import S_NS
from ledger.records import DeviceTime

TICK_NS = S_NS // TICKS_PER_S
_WRAP = 1 << 32
_HALF_WRAP = 1 << 31
_SET_NS = 1_500_000_000
"""Two relations of date and ticks, each cut to a second, differ by less than that unless the clock was set."""


def elapsed_ticks(since: int, until: int) -> int:
    """Ticks from one counter value to another, negative if it went back; right up to 74 h."""
    return (until - since + _HALF_WRAP) % _WRAP - _HALF_WRAP


class MonitorClock:
    """Follows the counter beyond its 149 h and keeps its relation to the monitor's date. Bounded: four numbers."""

    __slots__ = ("_base_ns", "_last", "_told", "_uptime_ticks")

    def __init__(self) -> None:
        self._last: int | None = None
        self._uptime_ticks = 0
        self._base_ns: int | None = None
        self._told: DeviceTime | None = None
        """What ``at`` said of ``_last``."""

    def relate(self, ticks: int, date_ns: int) -> None:
        """The monitor said that at ``ticks`` its date was ``date_ns``, cut to a second."""
        base_ns = date_ns - self.uptime_ns(ticks)
        known_ns = self._base_ns
        # The date is cut, so of several relations the latest base is the nearest; a clock that was set is believed.
        if known_ns is None or abs(base_ns - known_ns) > _SET_NS:
            self._base_ns = base_ns
        else:
            self._base_ns = max(base_ns, known_ns)
        self._told = None

    def uptime_ns(self, ticks: int) -> int:
        """Nanoseconds since the counter was zero, its turns counted."""
        if self._last is None:
            self._uptime_ticks = ticks
        else:
            self._uptime_ticks += elapsed_ticks(self._last, ticks)
            if self._uptime_ticks < 0:
                self._uptime_ticks = ticks  # the monitor has restarted
        self._last = ticks
        return self._uptime_ticks * TICK_NS

    def at(self, ticks: int) -> DeviceTime:
        """The moment of ``ticks``: local time once a date is known, else time since the monitor's start."""
        if self._told is None or self._last != ticks:
            uptime_ns = self.uptime_ns(ticks)
            if self._base_ns is None:
                self._told = DeviceTime(uptime_ns, "uptime", TICK_NS)
            else:
                self._told = DeviceTime(uptime_ns + self._base_ns, "local", S_NS)
        return self._told
