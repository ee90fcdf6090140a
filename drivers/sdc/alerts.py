"""Alert states (ISO/IEEE 11073-10207) as events: one alarm for each alert condition, with what its signals do.

A condition is told as active while it is present, or while one of its signals is latched.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from drivers.contract import Now
from drivers.sdc.description import Description, Descriptor
from drivers.sdc.metrics import decimal_of, time_of
from drivers.sdc.xml import Element
from ledger.records import DeviceTime, Event, EventKind, Phase, Priority, Quality, Silence

KINDS: Final[dict[str, EventKind]] = {
    "Phy": "physiological_alarm", "Tec": "technical_alarm", "Oth": "advisory",
}  # fmt: skip
PRIORITIES: Final[dict[str, Priority]] = {"Hi": "high", "Me": "medium", "Lo": "low", "None": "none"}


@dataclass(frozen=True, slots=True)
class _Condition:
    present: bool = False
    activation: str = "On"
    priority: str = ""
    limits: tuple[Decimal | None, Decimal | None] = (None, None)
    time: DeviceTime | None = None


@dataclass(frozen=True, slots=True)
class _Signal:
    presence: str = "Off"
    activation: str = "On"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an alarm looks like: when this changes, it is told."""

    latched: bool
    present: bool
    silence: Silence
    priority: str
    limits: tuple[Decimal | None, Decimal | None]
    quality: Quality


@dataclass(slots=True)
class Alerts:
    """The alarms of one device. Bounded by the description."""

    _conditions: dict[str, _Condition] = field(default_factory=dict)
    _signals: dict[str, _Signal] = field(default_factory=dict)
    _signals_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _audible_signals: frozenset[str] = frozenset()
    _systems: dict[str, str] = field(default_factory=dict)
    _told: dict[str, tuple[Event, _Shown]] = field(default_factory=dict)
    _touched: set[str] = field(default_factory=set)
    _lost: bool = False

    def describe(self, description: Description) -> None:
        """A description came: what it no longer holds is forgotten, and ends at the next ``settle``."""
        signals: dict[str, tuple[str, ...]] = {}
        for descriptor in description.descriptors.values():
            if descriptor.kind == "AlertSignal":
                signals[descriptor.signals] = (*signals.get(descriptor.signals, ()), descriptor.handle)
        self._signals_of = signals
        self._audible_signals = frozenset(
            descriptor.handle for descriptor in description.descriptors.values() if descriptor.manifestation == "Aud"
        )
        known = description.descriptors
        self._conditions = {handle: state for handle, state in self._conditions.items() if handle in known}
        self._signals = {handle: state for handle, state in self._signals.items() if handle in known}
        self._systems = {handle: state for handle, state in self._systems.items() if handle in known}
        self._touched.update(self._told)

    def take(self, descriptor: Descriptor, state: Element) -> bool:
        """A state; False if it is none of an alert. Raises DeviceFault ``sdc.bad-value``."""
        handle, activation = descriptor.handle, state.get("ActivationState", "On")[:16]
        if descriptor.kind in {"AlertCondition", "LimitAlertCondition"}:
            self._conditions[handle] = _Condition(
                state.get("Presence") in {"true", "1"},
                activation,
                state.get("ActualPriority")[:16] or descriptor.priority,
                _limits(state),
                time_of(state.get("DeterminationTime")),
            )
            self._touched.add(handle)
        elif descriptor.kind == "AlertSignal":
            self._signals[handle] = _Signal(state.get("Presence", "Off")[:16], activation)
            self._touched.add(descriptor.signals)
        elif descriptor.kind == "AlertSystem":
            if self._systems.get(handle) != activation:
                self._systems[handle] = activation
                self._touched.update(self._told)
        else:
            return False
        return True

    def settle(
        self, description: Description, modes: dict[str, Quality], now: Now, *, everything: bool = False
    ) -> list[Event]:
        """After a whole report: the alarms that began, changed or ended; or all, so that nobody need look back."""
        events: list[Event] = []
        if everything:
            self._touched.update(self._told)
            self._lost = False
        for handle in sorted(self._touched):
            descriptor = description.descriptors.get(handle)
            condition = self._conditions.get(handle)
            before = self._told.get(handle)
            shown = None
            if descriptor is not None and condition is not None:
                shown = self._shown(descriptor, condition, modes.get(descriptor.mds, Quality.GOOD))
            if shown is None or descriptor is None or condition is None:
                if before is not None:
                    del self._told[handle]
                    time = condition.time if condition is not None else None
                    events.append(replace(before[0], at_ns=now.utc_ns, device_time=time, phase="end", latched=False))
            elif before is None or before[1] != shown:
                phase: Phase = "change" if before is not None else "start"
                event = _event(descriptor, condition, shown, description, phase, now)
                self._told[handle] = event, shown
                events.append(event)
            elif everything:
                events.append(replace(before[0], at_ns=now.utc_ns, phase="continue"))
        self._touched.clear()
        return events

    def silent(self, now: Now) -> list[Event]:
        """The device is lost: those that are active are marked, until the next ``settle`` of everything."""
        told, self._lost = () if self._lost else self._told.values(), True
        return [
            replace(event, at_ns=now.utc_ns, device_time=None, phase="change",
                    quality=event.quality | Quality.UNAVAILABLE)
            for event, _ in told
        ]  # fmt: skip

    def _shown(self, descriptor: Descriptor, condition: _Condition, mode: Quality) -> _Shown | None:
        signals = [self._signals[handle] for handle in self._signals_of.get(descriptor.handle, ())
                   if handle in self._signals]  # fmt: skip
        latched = any(signal.presence == "Latch" for signal in signals)
        if not condition.present and not latched:
            return None
        silence = self._silence(descriptor, condition)
        return _Shown(latched, condition.present, silence, condition.priority, condition.limits, mode)

    def _silence(self, descriptor: Descriptor, condition: _Condition) -> Silence:
        whole = (condition.activation, self._systems.get(descriptor.parent, "On"))
        if "Off" in whole:
            return "alarm_off"
        if "Psd" in whole:
            return "alarm_paused"
        handles = self._signals_of.get(descriptor.handle, ())
        signals = [self._signals[handle] for handle in handles if handle in self._signals]
        if any(signal.presence == "Ack" for signal in signals):
            return "acknowledged"
        return self._audible(handles)

    def _audible(self, handles: tuple[str, ...]) -> Silence:
        heard = self._audible_signals.intersection(handles)
        audible = [self._signals[handle].activation for handle in heard if handle in self._signals]
        if not audible:
            return "unknown"
        if "On" in audible:
            return "on"
        return "audio_paused" if "Psd" in audible else "audio_off"


def _limits(state: Element) -> tuple[Decimal | None, Decimal | None]:
    """Of a LimitAlertCondition those that are watched: LoOff and HiOff are off each, None both."""
    limits, watched = state.first("Limits"), state.get("MonitoredAlertLimits", "All")
    if limits is None or watched == "None":
        return None, None
    low, high = limits.get("Lower"), limits.get("Upper")
    return (
        decimal_of(low) if low and watched != "LoOff" else None,
        decimal_of(high) if high and watched != "HiOff" else None,
    )


def _source(handle: str, description: Description) -> str:
    """What an alarm is about, by its code where the description has it, else by its handle."""
    descriptor = description.descriptors.get(handle)
    return handle if descriptor is None else descriptor.code


def _event(
    descriptor: Descriptor, condition: _Condition, shown: _Shown, description: Description, phase: Phase, now: Now
) -> Event:
    return Event(
        sub=description.sub_of(descriptor.mds),
        at_ns=now.utc_ns,
        device_time=condition.time,
        quality=shown.quality,
        kind=KINDS.get(descriptor.alert_kind, "advisory"),
        alarm_id=descriptor.handle,
        phase=phase,
        priority=PRIORITIES.get(shown.priority, "unknown"),
        code=descriptor.code,
        source=" ".join(_source(handle, description) for handle in descriptor.sources),
        latched=shown.latched,
        silence=shown.silence,
        limits=shown.limits,
        text=descriptor.text,
        device_code=descriptor.device_code,
        device_priority=shown.priority,
    )
