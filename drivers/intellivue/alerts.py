"""The alert monitor's lists of active alarms into alarm events.

Each list is whole: what it no longer holds has ended. An alarm is tied by its list, source, code, object and instance
number; its text is the monitor's language and ties nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from drivers.contract import Now
from drivers.intellivue.names import EVENTS, OBJECTS, SCADA, code_name
from drivers.intellivue.objects import Attribute
from drivers.intellivue.values import bad, text, unpack
from ledger.records import DeviceTime, Event, EventKind, Phase, Priority, Quality, Silence

MAX_ALARMS: Final = 256
"""Of one list; the longest that the guide knows has 64."""

_LIST = struct.Struct(">HH")
_ENTRY = struct.Struct(">HHHHHHHHH")
_INFO = struct.Struct(">HIHH")
_CONDITION = struct.Struct(">HHHHH")
_WITH_TEXT = 516
_SOURCE_IS_OBJECT = 1

_PRIORITIES: dict[int, tuple[str, Priority]] = {
    0x0001: ("LOW_PRI_T_AL", "low"),
    0x0002: ("MED_PRI_T_AL", "medium"),
    0x0004: ("HI_PRI_T_AL", "high"),
    0x0100: ("LOW_PRI_P_AL", "low"),
    0x0200: ("MED_PRI_P_AL", "medium"),
    0x0400: ("HI_PRI_P_AL", "high"),
}
_INHIBITED, _SUSPENDED, _LATCHED, _SILENCED = 0x8000, 0x4000, 0x2000, 0x1000
_TEST_MODE, _STANDBY, _DEMO_MODE = 0x0400, 0x0200, 0x0100
_TOLD_STATES = _INHIBITED | _SUSPENDED | _LATCHED | _SILENCED | _TEST_MODE | _DEMO_MODE
_KINDS: dict[int, tuple[str, EventKind]] = {
    Attribute.P_ALARMS: ("P", "physiological_alarm"),
    Attribute.T_ALARMS: ("T", "technical_alarm"),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One entry of a list."""

    alarm_id: str
    source: str
    code: str
    device_code: str
    alert_type: int
    state: int
    text: str
    text_id: int


@dataclass(frozen=True, slots=True)
class _Active:
    alarm: Alarm
    latched: bool


def parse_alarms(value: bytes, letter: str) -> list[Alarm]:
    """An alarm list. Raises DeviceFault ``intellivue.bad-message``."""
    count, _ = unpack(_LIST, value, "an alarm list")
    if count > MAX_ALARMS:
        raise bad(f"an alarm list says {count} entries")
    at = _LIST.size
    found = []
    for _ in range(count):
        *fields, size = unpack(_ENTRY, value, "an alarm", at)
        at += _ENTRY.size
        if at + size > len(value):
            raise bad(f"an alarm's information of {size} B has only {len(value) - at} B")
        found.append(_alarm(letter, fields, value[at : at + size]))
        at += size
    return found


def _alarm(letter: str, fields: list[int], info: bytes) -> Alarm:
    source, code, alert_type, state, object_class, context, handle, info_id = fields
    instance, text_id = 0, 0
    if len(info) >= _INFO.size:
        instance, text_id, _, _ = _INFO.unpack_from(info)
    words = text(info[_INFO.size :]) if info_id == _WITH_TEXT else ""
    partition = OBJECTS if code & _SOURCE_IS_OBJECT else SCADA
    name = f"{letter}-{source:04X}-{code:04X}-{object_class:04X}.{context}.{handle}-{instance}"
    return Alarm(
        alarm_id=name,
        source=code_name(partition, source),
        code=code_name(EVENTS, code & ~_SOURCE_IS_OBJECT),
        device_code=f"{partition:04X}{source:04X} {EVENTS:04X}{code:04X}",
        alert_type=alert_type,
        state=state,
        text=words,
        text_id=text_id,
    )


class AlarmTracker:
    """Follows the alarms from list to list, and whether alarms are off or paused as a whole."""

    __slots__ = ("_active", "_condition", "_is_condition_untold", "_silent", "_untold")

    def __init__(self) -> None:
        self._active: dict[int, dict[str, Alarm]] = {list_id: {} for list_id in _KINDS}
        self._condition: int | None = None
        self._is_condition_untold = False
        self._silent: set[int] = set()
        self._untold: set[int] = set()

    def update(self, told: dict[int, bytes], time: DeviceTime | None, mode: Quality, now: Now) -> list[Event]:
        """What changed: ends first, then changes and starts. A list that is not told leaves its alarms as they are.

        Raises DeviceFault ``intellivue.bad-message``; nothing has changed then.
        """
        lists = {
            list_id: {alarm.alarm_id: alarm for alarm in parse_alarms(told[list_id], letter)}
            for list_id, (letter, _) in _KINDS.items()
            if list_id in told
        }
        condition = None
        if Attribute.ALERT_CONDITION in told:
            condition = unpack(_CONDITION, told[Attribute.ALERT_CONDITION], "an alert condition")[0]
        events: list[Event] = []
        for list_id, alarms in lists.items():
            before, self._active[list_id] = self._active[list_id], alarms
            kind = _KINDS[list_id][1]
            for alarm_id, alarm in before.items():
                if alarm_id not in alarms:
                    events.append(_event(alarm, kind, "end", time, mode, now))
            for alarm_id, alarm in alarms.items():
                known = before.get(alarm_id)
                if known is None:
                    events.append(_event(alarm, kind, "start", time, mode, now))
                elif _shown(known) != _shown(alarm) or list_id in self._untold:
                    phase: Phase = "change" if _shown(known) != _shown(alarm) else "continue"
                    events.append(_event(alarm, kind, phase, time, mode, now))
            self._untold.discard(list_id)
            self._silent.discard(list_id)
        if condition is not None and (condition != self._condition or self._is_condition_untold):
            self._condition, self._is_condition_untold = condition, False
            events.append(_condition_event(condition, time, now))
        return events

    def silent(self, now: Now) -> list[Event]:
        """The monitor fell silent: whether they are still active nobody can tell until the next list."""
        events = [
            _event(alarm, _KINDS[list_id][1], "change", None, Quality.UNAVAILABLE, now)
            for list_id, alarms in self._active.items()
            if list_id not in self._silent
            for alarm in alarms.values()
        ]
        self._untold, self._silent = set(self._active), set(self._active)
        if self._condition is not None:
            events.append(replace(_condition_event(self._condition, None, now), quality=Quality.UNAVAILABLE))
            self._condition = None
        return events

    def tell_again(self) -> None:
        """Another case: what is active, and whether alarms are on, is told with the next lists."""
        self._untold, self._is_condition_untold = set(self._active), True


def _shown(alarm: Alarm) -> tuple[int, int, str, int]:
    return alarm.alert_type, alarm.state & _TOLD_STATES, alarm.text, alarm.text_id


def _silence(state: int) -> Silence:
    for bit, silence in ((_INHIBITED, "alarm_off"), (_SUSPENDED, "alarm_paused"), (_SILENCED, "acknowledged")):
        if state & bit:
            return silence  # type: ignore[return-value]  # the three above are of its values
    return "on"


def _quality(state: int) -> Quality:
    quality = Quality.TEST if state & _TEST_MODE else Quality.GOOD
    return quality | Quality.DEMO if state & _DEMO_MODE else quality


def _event(alarm: Alarm, kind: EventKind, phase: Phase, time: DeviceTime | None, mode: Quality, now: Now) -> Event:
    told, priority = _PRIORITIES.get(alarm.alert_type, (f"{alarm.alert_type:04X}", "unknown"))
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        quality=_quality(alarm.state) | mode,
        kind=kind,
        alarm_id=alarm.alarm_id,
        phase=phase,
        priority=priority,
        code=alarm.code,
        source=alarm.source,
        latched=bool(alarm.state & _LATCHED),
        silence=_silence(alarm.state),
        text=alarm.text or (f"TextId {alarm.text_id:08X}" if alarm.text_id else ""),
        device_code=alarm.device_code,
        device_priority=told,
    )


def _condition_event(state: int, time: DeviceTime | None, now: Now) -> Event:
    """Alarms of the whole monitor: on, paused, off; standby is told too."""
    words = [
        name
        for bit, name in ((_STANDBY, "standby"), (_TEST_MODE, "test mode"), (_DEMO_MODE, "demo mode"))
        if state & bit
    ]
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        kind="mode",
        alarm_id="alerts",
        phase="change",
        priority="none",
        code=code_name(OBJECTS, int(Attribute.ALERT_CONDITION)),
        silence=_silence(state),
        text=", ".join(words),
        device_code=f"{state:04X}",
    )
