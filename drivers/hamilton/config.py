"""The options of one ventilator."""

from __future__ import annotations

from typing import Literal

import msgspec

MIN_PERIOD_S = 1
MAX_PERIOD_S = 600


class HamiltonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``hamilton`` feed.

    ``protocol``: what the ventilator's port is set to, "block" or "poll". ``pressure_unit``: the unit of airway
    pressures that it is set to, "cm[H2O]" or "mbar"; the protocols do not tell. ``co2_unit``: the same for carbon
    dioxide, "mm[Hg]" or "kPa". ``numerics_s``, ``alarms_s``, ``settings_s`` and ``clock_s``: seconds between two
    questions of that kind, 1 to 600; only with "poll". Raises ValueError naming the option.
    """

    protocol: Literal["block", "poll"] = "block"
    pressure_unit: Literal["cm[H2O]", "mbar"] = "cm[H2O]"
    co2_unit: Literal["mm[Hg]", "kPa"] = "mm[Hg]"
    numerics_s: int = 5
    alarms_s: int = 3
    settings_s: int = 60
    clock_s: int = 60

    def __post_init__(self) -> None:
        for option in ("numerics_s", "alarms_s", "settings_s", "clock_s"):
            period_s: int = getattr(self, option)
            if not MIN_PERIOD_S <= period_s <= MAX_PERIOD_S:
                raise ValueError(f"{option}: {period_s} is not within {MIN_PERIOD_S} to {MAX_PERIOD_S}")
