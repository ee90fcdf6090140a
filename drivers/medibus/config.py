"""The options of one MEDIBUS device."""

from __future__ import annotations

from typing import Literal

import msgspec

from drivers.medibus.codes import waves
from drivers.medibus.realtime import MAX_STREAMS
from drivers.medibus.request import MAX_MULTIPLIER

Dialect = Literal["auto", "medibus", "medibus-x"]
GROUPS = {
    "CO2": ("CO2_MMHG", "CO2_KPA", "CO2_PERCENT"),
    "ANY_AGENT": (
        "AGENT", "SEVOFLURANE", "DESFLURANE", "ISOFLURANE", "ENFLURANE", "HALOTHANE", "AGENT_KPA", "SEVOFLURANE_KPA",
        "DESFLURANE_KPA", "ISOFLURANE_KPA", "ENFLURANE_KPA", "HALOTHANE_KPA",
    ),
}  # fmt: skip
"""Names for whichever of several waves the device offers: a device has CO2 in the unit chosen at it."""


class MedibusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``medibus`` feed.

    ``waves``: up to 12 names like PAW, FLOW, CO2, VOLUME; those that the device does not offer are told once.
    ``wave_multiplier``: only every n-th sample of each wave, for slow lines. ``numerics_s``: seconds between two
    questions after measured values. ``alarms_s``: seconds between two questions after alarms. ``settings_s``: seconds
    between two questions after settings and text messages. ``limits_s``: seconds between two questions after alarm
    limits. ``clock_s``: seconds between two questions after the time. ``dialect``: what the codes mean, medibus or
    medibus-x; auto goes by the device's name. ``listen_only``: never send, only read along on a Y-cable; then
    ``waves`` must be in the order in which the other computer asks for them. Raises ValueError naming the option.
    """

    waves: tuple[str, ...] = ()
    wave_multiplier: int = 1
    numerics_s: float = 2.0
    alarms_s: float = 1.0
    settings_s: float = 5.0
    limits_s: float = 30.0
    clock_s: float = 60.0
    dialect: Dialect = "auto"
    listen_only: bool = False

    def __post_init__(self) -> None:
        known = (*GROUPS, *waves())
        for name in self.waves:
            if name not in known:
                raise ValueError(f"waves: {name!r} is not one of {', '.join(known)}")
        if len(set(self.waves)) != len(self.waves):
            raise ValueError("waves: a name is there twice")
        if len(self.waves) > MAX_STREAMS:
            raise ValueError(f"waves: {len(self.waves)} named, MEDIBUS sends at most {MAX_STREAMS}")
        if not 1 <= self.wave_multiplier <= MAX_MULTIPLIER:
            raise ValueError(f"wave_multiplier: {self.wave_multiplier} is not within 1 to {MAX_MULTIPLIER}")
        for option in ("numerics_s", "alarms_s", "settings_s", "limits_s", "clock_s"):
            seconds: float = getattr(self, option)
            if not 0.5 <= seconds <= 3600:
                raise ValueError(f"{option}: {seconds} is not within 0.5 to 3600")


def candidates(name: str) -> tuple[str, ...]:
    """The codes of the waves that a name of the configuration may stand for, the wanted one first."""
    return tuple(waves()[wave] for wave in GROUPS.get(name, (name,)))
