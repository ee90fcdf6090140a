"""The clock of the polling protocol, told in six answers."""

from __future__ import annotations

from calendar import timegm
from datetime import datetime
from decimal import Decimal
from typing import Final

from drivers.contract import Now
from drivers.hamilton.poll import CLOCK, DAY, HOUR, MINUTE, MONTH, SECOND, YEAR
from ledger.limits import S_NS

_TOGETHER_NS: Final = 3 * S_NS
_SURE_SECONDS: Final = range(4, 60)
"""At these no minute can have begun between the first of six answers and the last."""


class ClockParts:
    """The parts as they come; the second is asked for last."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[int, tuple[int, int]] = {}

    def take(self, number: int, value: Decimal | str | None, now: Now) -> int | None:
        """One part. Once all are there and belong together: seconds since 1970 of the ventilator's own time."""
        if not isinstance(value, Decimal) or value != value.to_integral_value():
            self._parts.pop(number, None)
            return None
        self._parts[number] = (int(value), now.mono_ns)
        if number != SECOND or any(part not in self._parts for part in CLOCK):
            return None
        parts, self._parts = self._parts, {}
        oldest_ns = min(at_ns for _, at_ns in parts.values())
        if now.mono_ns - oldest_ns > _TOGETHER_NS or parts[SECOND][0] not in _SURE_SECONDS:
            return None
        year, month, day, hour, minute, second = (parts[part][0] for part in (YEAR, MONTH, DAY, HOUR, MINUTE, SECOND))
        try:
            moment = datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second)  # noqa: DTZ001
        except ValueError:
            return None
        return timegm(moment.timetuple())
