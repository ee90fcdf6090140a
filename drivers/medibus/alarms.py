"""Alarms and text messages: lists of what is active now.

An alarm is known by its code page and code, never by its text. Dräger numbers priorities 1 to 31 and shows them as
advisory, caution and warning. Where one class ends is nowhere said for all devices: 1 to 10 low, 11 to 25 medium and 26
to 31 high agrees with the published lists of Evita, Evita 4, EvitaXL and Savina (docs/drivers/medibus.md). The number
is kept with every alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from drivers.medibus.codes import message_of, private, value_of
from drivers.medibus.slow import Alarm
from ledger.records import Event, EventKind, Priority

_LOW_TO, _MEDIUM_TO, _HIGH_TO = 10, 25, 31
_KINDS: Final[dict[str, EventKind]] = {
    "physiological": "physiological_alarm",
    "technical": "technical_alarm",
    "advisory": "advisory",
}
Limits = tuple[Decimal | None, Decimal | None]


def priority_of(number: int) -> Priority:
    """High, medium or low of Dräger's 1 to 31."""
    if not 1 <= number <= _HIGH_TO:
        return "unknown"
    return "low" if number <= _LOW_TO else "medium" if number <= _MEDIUM_TO else "high"


class ActiveLists:
    """What was active in the list of each page. Bounded: a page has 256 codes."""

    __slots__ = ("_active", "_limits")

    def __init__(self, limits: Callable[[str], Limits]) -> None:
        """``limits``: the alarm limits of a measured value by its code of page 24."""
        self._active: dict[str, Conditions] = {}
        self._limits = limits

    def alarms(self, page: str, alarms: Iterable[Alarm], now: Now, *, x: bool) -> list[Event]:
        """What changed since the list before: what is in it no more has ended."""
        # A code may be listed twice: the more urgent one comes last and counts.
        urgent_last = sorted(alarms, key=lambda alarm: alarm.priority)
        return self._update(page, [self._alarm(page, alarm, x=x) for alarm in urgent_last], now)

    def texts(self, page: str, texts: Iterable[tuple[str, str]], now: Now) -> list[Event]:
        """Modes and states of the device that began, changed or ended."""
        return self._update(page, [_mode(page, code, text) for code, text in texts], now)

    def silent(self, now: Now) -> list[Event]:
        """The device fell silent: whether they are still active nobody can tell until their next list."""
        return [event for active in self._active.values() for event in active.silent(now)]

    def tell_again(self) -> None:
        """With its next list each page tells what is active though it did not change."""
        for active in self._active.values():
            active.tell_again()

    def _update(self, page: str, active: Iterable[Condition], now: Now) -> list[Event]:
        return self._active.setdefault(page, Conditions()).update(active, now)

    def _alarm(self, page: str, alarm: Alarm, *, x: bool) -> Condition:
        message = message_of(page, alarm.code)
        limited = message.limited if message else ""
        return Condition(
            alarm_id=f"{page}:{alarm.code}",
            kind=_KINDS.get(message.kind, "technical_alarm") if message else "technical_alarm",
            priority=priority_of(alarm.priority),
            code=private(page, alarm.code),
            source=value_of("24", limited, x=x).refid if limited else "",
            limits=self._limits(limited) if limited else (None, None),
            text=alarm.text,
            device_code=f"{page}:{alarm.code}",
            device_priority=str(alarm.priority),
        )


def _mode(page: str, code: str, text: str) -> Condition:
    number = f"{page}:{code}"
    return Condition(number, "mode", "none", private(page, code), text=text, device_code=number)
