"""A moment, as the edge of the program read it. Nothing below the edge reads a clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """``mono_ns`` is for deadlines and intervals, ``utc_ns`` stamps records; the block says how far to trust it."""

    mono_ns: int
    utc_ns: int
