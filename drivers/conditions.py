"""Alarms and conditions of devices that tell, again and again, all that is active now: their starts, changes and ends.

For protocols with a code or a bit for each condition, never for localised text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from drivers.contract import Now
from ledger.records import DeviceTime, Event, EventKind, Phase, Priority, Quality, Silence


@dataclass(frozen=True, slots=True)
class Condition:
    """One that is active; fields as in ``Event``. ``alarm_id`` tells it from all others of the device."""

    alarm_id: str
    kind: EventKind
    priority: Priority
    code: str
    source: str = ""
    text: str = ""
    device_code: str = ""
    device_priority: str = ""
    silence: Silence = "unknown"
    limits: tuple[Decimal | None, Decimal | None] = (None, None)


class Conditions:
    """Those of one logical device that are active. The caller bounds how many there can be."""

    __slots__ = ("_active", "_silent", "_sub", "_untold")

    def __init__(self, sub: str = "") -> None:
        self._sub = sub
        self._active: dict[str, Condition] = {}
        self._untold = False
        self._silent = False

    def update(self, active: Iterable[Condition], now: Now, device_time: DeviceTime | None = None) -> list[Event]:
        """These and no others are active now. Ends come first, then what changed or started, as given."""
        told = {condition.alarm_id: condition for condition in active}
        if told == self._active and not self._untold:  # as nearly always, and asked for with every sample
            self._active = told
            return []
        events = [self._event(over, "end", now, device_time) for id, over in self._active.items() if id not in told]
        for id, condition in told.items():
            before = self._active.get(id)
            if before != condition:
                events.append(self._event(condition, "change" if before else "start", now, device_time))
            elif self._untold:
                events.append(self._event(condition, "continue", now, device_time))
        self._active, self._untold, self._silent = told, False, False
        return events

    def silent(self, now: Now) -> list[Event]:
        """The device fell silent: whether they are still active nobody can tell until the next ``update``."""
        active = () if self._silent else self._active.values()
        self._untold = self._silent = True
        events = (self._event(condition, "change", now, None) for condition in active)
        return [replace(event, quality=event.quality | Quality.UNAVAILABLE) for event in events]

    def tell_again(self) -> None:
        """Whoever keeps the state forgot it: those that still are active with the next ``update`` are told then."""
        self._untold = True

    def again(self, now: Now, device_time: DeviceTime | None = None) -> list[Event]:
        """Those that are active, told once more: after a new connection nobody need look further back."""
        return [self._event(condition, "continue", now, device_time) for condition in self._active.values()]

    def _event(self, condition: Condition, phase: Phase, now: Now, device_time: DeviceTime | None) -> Event:
        return Event(
            sub=self._sub,
            at_ns=now.utc_ns,
            device_time=device_time,
            kind=condition.kind,
            alarm_id=condition.alarm_id,
            phase=phase,
            priority=condition.priority,
            code=condition.code,
            source=condition.source,
            silence=condition.silence,
            limits=condition.limits,
            text=condition.text,
            device_code=condition.device_code,
            device_priority=condition.device_priority,
        )
