"""The options of one port of a Puritan Bennett 840 or 980."""

from __future__ import annotations

from typing import Literal

import msgspec


class Pb840Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``pb840`` feed.

    ``port``: "reports", a port set to DCI, which is asked; or "waves", a port set to waveforms, which sends by itself
    and is only listened to. ``report``: which report to ask for, MISCF (all) or MISCA (older software); auto tries
    both. ``poll_s``: seconds between two questions. Raises ValueError naming the option.
    """

    port: Literal["reports", "waves"] = "reports"
    report: Literal["auto", "MISCF", "MISCA"] = "auto"
    poll_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.poll_s <= 60:
            raise ValueError(f"poll_s: {self.poll_s} is not within 0.5 to 60")
