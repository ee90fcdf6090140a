"""The options of one SDC device."""

from __future__ import annotations

from typing import Literal

import msgspec

_LONGEST_S = 3_600


class SdcConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an ``sdc`` feed.

    ``waves``: whether waves are recorded. ``context``: "none", "measures" (weight, height, sex and type of the patient,
    and when contexts change), or "all" (also who the patient and the staff are, where, and in which workflow, in the
    log alone). ``subscription_s``: seconds for which reports are asked for at a time; the device may grant fewer.
    ``heartbeat_s``: after so long without a word the device is asked whether it is there. ``answer_s``: after so long
    without an answer it is taken for gone. Raises ValueError naming the option.
    """

    waves: bool = True
    context: Literal["none", "measures", "all"] = "all"
    subscription_s: int = 60
    heartbeat_s: float = 1.0
    answer_s: float = 1.5

    def __post_init__(self) -> None:
        if not 5 <= self.subscription_s <= _LONGEST_S:
            raise ValueError(f"subscription_s: must be 5 to {_LONGEST_S}")
        if not 0.2 <= self.heartbeat_s <= 60:
            raise ValueError("heartbeat_s: must be 0.2 to 60")
        if not 0.2 <= self.answer_s <= 60:
            raise ValueError("answer_s: must be 0.2 to 60")
