"""Alarms of the simulated patient, derived from limits as a monitor would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from firmware_sim.patient import Numerics

# ISO/IEEE 11073-10101 event codes (partition 3).
MDC_EVT_HI = (196648, "MDC_EVT_HI")
MDC_EVT_LO = (196670, "MDC_EVT_LO")
MDC_EVT_ECG_ASYSTOLE = (199684, "MDC_EVT_ECG_ASYSTOLE")


class Priority(IntEnum):
    """IEC 60601-1-8 alarm priority."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Low and high limit per value; the defaults a theatre might use for an adult."""

    hr: tuple[float, float] = (50, 120)
    spo2: tuple[float, float] = (90, 101)
    art_mean: tuple[float, float] = (60, 110)
    etco2_mmhg: tuple[float, float] = (28, 50)
    temp: tuple[float, float] = (35.0, 38.5)
    ppeak: tuple[float, float] = (8, 28)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One active alarm. `source` is the name of the value in `Numerics`; `value` is None for a technical cause."""

    source: str
    event: tuple[int, str]
    text: str
    priority: Priority
    value: float | None = None
    limits: tuple[float, float] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What makes it the same alarm later."""
        return self.source, self.event[0]


_NAMES = {
    "hr": "HR",
    "spo2": "SpO2",
    "art_mean": "ART mean",
    "etco2_mmhg": "EtCO2",
    "temp": "T1",
    "ppeak": "Ppeak",
}


def active_alarms(numerics: Numerics, limits: Limits | None = None) -> tuple[Alarm, ...]:
    """Alarms for these numbers, the most urgent first; call it with `Patient.smoothed`."""
    limits = limits or Limits()
    found: list[Alarm] = []
    asystole = numerics.hr <= 0
    if asystole:
        found.append(Alarm("hr", MDC_EVT_ECG_ASYSTOLE, "Asystole", Priority.HIGH))
    for source, name in _NAMES.items():
        value = getattr(numerics, source)
        if value is None or (source == "hr" and asystole):
            continue
        low, high = getattr(limits, source)
        alarm = Alarm(source, MDC_EVT_LO, f"{name} low", Priority.MEDIUM, value, (low, high))
        if value < low:
            urgent = source == "spo2" and value < low - 10
            found.append(replace(alarm, priority=Priority.HIGH) if urgent else alarm)
        elif value > high:
            found.append(replace(alarm, event=MDC_EVT_HI, text=f"{name} high"))
    return tuple(sorted(found, key=lambda a: -a.priority))
