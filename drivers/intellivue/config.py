"""The options of one monitor."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from drivers.intellivue.names import text_id_of

MAX_WAVES: Final = 11
"""Three ECG waves and eight others."""


class IntelliVueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an ``intellivue`` feed.

    ``interface``: "rs232" or "lan"; "auto" goes by the link. ``waves``: whether waves are recorded. ``wave_list``:
    which, by the codes under which they are recorded, most important first, up to 11; sets the wave priority list of
    this association, which ends with it; empty leaves it as the monitor has it. ``enumerations``: rhythm states and
    the like. ``demographics``: "none", "measures" (age, height, weight, sex, type, paced mode), or "all" (also name,
    patient number, date of birth and notes, in the log alone). Raises ValueError naming the option.
    """

    interface: Literal["auto", "rs232", "lan"] = "auto"
    waves: bool = True
    wave_list: tuple[str, ...] = ()
    enumerations: bool = True
    demographics: Literal["none", "measures", "all"] = "measures"

    def __post_init__(self) -> None:
        if len(self.wave_list) > MAX_WAVES:
            raise ValueError(f"wave_list: {len(self.wave_list)} named, the monitor exports {MAX_WAVES} at most")
        if self.wave_list and not self.waves:
            raise ValueError("wave_list: waves are named, but waves = false")
        for name in self.wave_list:
            if text_id_of(name) is None:
                raise ValueError(f"wave_list: {name!r} has no number; name a wave as its records do")
        if len(set(self.wave_list)) != len(self.wave_list):
            raise ValueError("wave_list: a name is there twice")
