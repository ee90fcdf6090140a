"""The options of one rack of pumps."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

SHORTEST_POLL_S: Final = 0.5
LONGEST_POLL_S: Final = 10.0


class BBraunBccConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``bbraun-bcc`` feed.

    ``poll_s``: seconds from one question after all pumps to the next. ``mode``: "poll" asks, "cyclic" waits for what
    the ComDevice sends by itself, "auto" asks until it does. ``stuffing``: character stuffing, as set at the
    ComDevice: "on", "off", or "auto" to find out. ``listen_only``: say nothing, not even that a block came (Y-cable).
    ``demographics``: "none", "measures" (weight, height, age, sex), or "all" (also identifiers of patient, nurse and
    order, and scanned bar codes). Raises ValueError naming the option.
    """

    poll_s: float = 5.0
    mode: Literal["auto", "poll", "cyclic"] = "auto"
    stuffing: Literal["auto", "on", "off"] = "auto"
    listen_only: bool = False
    demographics: Literal["none", "measures", "all"] = "measures"

    def __post_init__(self) -> None:
        if not SHORTEST_POLL_S <= self.poll_s <= LONGEST_POLL_S:
            raise ValueError(f"poll_s: {self.poll_s} is not between {SHORTEST_POLL_S} and {LONGEST_POLL_S} seconds")
        if self.listen_only and self.mode != "auto":
            raise ValueError(f'listen_only: asks for nothing, so mode = "{self.mode}" has no meaning')
