"""The monitor's alarm lines (CARESCAPE) into alarm events.

The protocol has no alarm codes: five lines of localised text, each with a colour. Text is therefore compared only
with text of the message before, to follow an alarm that moves from line to line; an alarm's id is a number given when
it first appears, the same until it is gone. Lines are ordered by priority, so an id made of the line alone would end
the wrong alarm when the one above it ends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from drivers.contract import Now
from ledger.errors import DeviceFault
from ledger.records import DeviceTime, Event, EventKind, Phase, Priority, Quality, Silence

LINES = 5
_HEAD = struct.Struct("<5h")
_LINE = struct.Struct("<80shhh12x")
ALARM_BYTES = _HEAD.size + LINES * _LINE.size + 10

_COLOURS: dict[int, tuple[str, Priority, EventKind]] = {
    1: ("white", "low", "advisory"),
    2: ("yellow", "medium", "physiological_alarm"),
    3: ("red", "high", "physiological_alarm"),
}
_SILENCES: dict[int, Silence] = {0: "on", 4: "audio_off", 5: "audio_paused", 6: "audio_paused", 7: "audio_paused"}


@dataclass(frozen=True, slots=True)
class AlarmMessage:
    """What the screen shows: (text, colour) of each line, empty text for none; ``silence`` of all alarms."""

    lines: tuple[tuple[str, int], ...]
    silence: Silence


@dataclass(frozen=True, slots=True)
class _Active:
    alarm_id: str
    text: str
    colour: int
    line: int
    silence: Silence


def parse_alarms(data: bytes) -> AlarmMessage:
    """An alarm subrecord. Raises DeviceFault ``ge-dri.bad-record``."""
    if len(data) < ALARM_BYTES:
        raise DeviceFault("ge-dri.bad-record", f"an alarm subrecord has only {len(data)} B")
    silence = _HEAD.unpack_from(data)[4]
    lines = []
    for i in range(LINES):
        text, _, colour, _ = _LINE.unpack_from(data, _HEAD.size + i * _LINE.size)
        lines.append((_text(text), colour))
    return AlarmMessage(tuple(lines), _SILENCES.get(silence, "unknown"))


def _text(field: bytes) -> str:
    # The character set depends on the monitor's language and is not told: Latin-1 keeps every byte apart.
    return field.split(b"\0", 1)[0].decode("latin-1").strip()


class AlarmTracker:
    """Follows the alarms from message to message; at most as many as there are lines."""

    __slots__ = ("_active", "_count", "_silence", "_silent", "_untold")

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self._count = 0
        self._silence: Silence = "on"
        self._untold = False
        self._silent = False

    def update(self, message: AlarmMessage, time: DeviceTime | None, now: Now) -> list[Event]:
        """What changed since the message before: ends first, then changes and starts, by line."""
        before = list(self._active)
        active: list[_Active] = []
        found: list[tuple[_Active, Phase]] = []
        for line, (text, colour) in enumerate(message.lines, start=1):
            if not text:
                continue
            known = next((alarm for alarm in before if alarm.text == text), None)
            if known is None:
                self._count += 1
                alarm = _Active(f"alarm-{self._count}", text, colour, line, message.silence)
                found.append((alarm, "start"))
            else:
                before.remove(known)
                alarm = _Active(known.alarm_id, text, colour, line, message.silence)
                if (known.colour, known.silence) != (colour, message.silence):
                    found.append((alarm, "change"))
                elif self._untold:
                    found.append((alarm, "continue"))
            active.append(alarm)
        was_untold, self._untold, self._silent = self._untold and not self._silent, False, False
        self._active = active
        events = [_event(alarm, "end", time, now) for alarm in before]
        events += [_event(alarm, phase, time, now) for alarm, phase in found]
        if message.silence != self._silence or (was_untold and message.silence != "on"):
            self._silence = message.silence
            events.append(_silenced(message.silence, time, now))
        return events

    def silent(self, now: Now) -> list[Event]:
        """The monitor fell silent: whether they are still active nobody can tell until the next message."""
        active = [] if self._silent else self._active
        self._untold = self._silent = True
        events = [_event(alarm, "change", None, now) for alarm in active]
        if self._silence not in ("on", "unknown"):
            events.append(_silenced(self._silence, None, now))
            self._silence = "unknown"
        return [replace(event, quality=Quality.UNAVAILABLE) for event in events]

    def tell_again(self) -> None:
        """Another case: what is active, and whether alarms are silenced, is told with the next message."""
        self._untold = True


def _event(alarm: _Active, phase: Phase, time: DeviceTime | None, now: Now) -> Event:
    colour, priority, kind = _COLOURS.get(alarm.colour, ("", "unknown", "physiological_alarm"))
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        kind=kind,
        alarm_id=alarm.alarm_id,
        phase=phase,
        priority=priority,
        code="MDC_EVT_ALARM",
        silence=alarm.silence,
        text=alarm.text,
        device_code=f"line-{alarm.line}",
        device_priority=colour or str(alarm.colour),
    )


def _silenced(silence: Silence, time: DeviceTime | None, now: Now) -> Event:
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        kind="mode",
        alarm_id="silence",
        phase="change",
        priority="none",
        code="MDCX_GE_alarm_silence",
        silence=silence,
    )
