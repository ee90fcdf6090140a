"""When to ask the monitor for what: it forgets when it restarts, and it stops waves on a blocked line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.ge_dri.record import MainType
from drivers.ge_dri.request import AlarmCommand, alarm_request, numerics_request, wave_request
from ledger.limits import S_NS

RETRY_NS = 5 * S_NS
WAVE_SILENCE_NS = 2 * S_NS
ALARM_POLL_NS = 30 * S_NS
ALARM_SPACING_NS = 2 * S_NS


@dataclass(frozen=True, slots=True)
class Due:
    """Frames to send now; ``waves_silent``: among them is one because waves are wanted and do not come."""

    frames: list[bytes]
    waves_silent: bool


class Schedule:
    """What was asked for, what came, and when to ask again. Times are monotonic nanoseconds.

    Numerics are asked for again when none came for their interval and 5 s; waves when none came for 2 s; alarms, which
    come only when they change, are asked after every 30 s, so that a lost message is made good. What is not answered is
    asked again every 5 s.
    """

    __slots__ = ("_alarm_sent_ns", "_alarms", "_due", "_interval_ns", "_numerics", "_started_ns", "_waves")

    def __init__(self, interval_s: int, classes: Sequence[str], waves: Sequence[int], *, alarms: bool) -> None:
        self._numerics = numerics_request(interval_s, classes)
        self._waves = wave_request(waves)
        self._alarms = alarms
        self._interval_ns = interval_s * S_NS
        self._due: dict[MainType, int] = {MainType.PHYSIOLOGICAL: 0}
        if waves:
            self._due[MainType.WAVEFORM] = 0
        if alarms:
            self._due[MainType.ALARM] = 0
        self._started_ns = 0
        self._alarm_sent_ns = 0

    def start(self, mono_ns: int) -> list[bytes]:
        """Ask for everything; waves left over from whoever was connected before are stopped if none are wanted."""
        self._started_ns = self._alarm_sent_ns = mono_ns
        self._due = dict.fromkeys(self._due, mono_ns + RETRY_NS)
        self._due[MainType.PHYSIOLOGICAL] = mono_ns + self._interval_ns + RETRY_NS
        alarms = [alarm_request(AlarmCommand.ENTER_DIFFERENTIAL)] if self._alarms else []
        return [self._numerics, self._waves, *alarms]

    def restart(self, mono_ns: int) -> list[bytes]:
        """Ask for everything again, unless that was done within 5 s."""
        return self.start(mono_ns) if mono_ns - self._started_ns >= RETRY_NS else []

    def heard(self, main_type: MainType, mono_ns: int) -> None:
        """A record of this type came."""
        if main_type in self._due:
            patience_ns = {
                MainType.PHYSIOLOGICAL: self._interval_ns + RETRY_NS,
                MainType.WAVEFORM: WAVE_SILENCE_NS,
                MainType.ALARM: ALARM_POLL_NS,
            }
            self._due[main_type] = mono_ns + patience_ns[main_type]

    def line_fault(self, mono_ns: int) -> None:
        """Bytes were lost: perhaps the end of an alarm. Ask soon, 2 s after the last request at the earliest."""
        if MainType.ALARM in self._due:
            soon_ns = max(mono_ns, self._alarm_sent_ns + ALARM_SPACING_NS)
            self._due[MainType.ALARM] = min(self._due[MainType.ALARM], soon_ns)

    def due(self, mono_ns: int) -> Due:
        """What to ask again now."""
        late = [main_type for main_type, due_ns in self._due.items() if due_ns <= mono_ns]
        silent = MainType.WAVEFORM in late
        if MainType.PHYSIOLOGICAL in late:
            # No numerics for so long: the monitor was switched off or restarted, and has forgotten all of it.
            return Due(self.start(mono_ns), silent)
        frames: list[bytes] = []
        for main_type in late:
            self._due[main_type] = mono_ns + RETRY_NS
            if main_type is MainType.ALARM:
                self._alarm_sent_ns = mono_ns
                frames.append(alarm_request(AlarmCommand.STATUS))
            else:
                frames.append(self._waves)
        return Due(frames, silent)

    def deadline_ns(self) -> int:
        """When ``due`` is wanted next."""
        return min(self._due.values())
