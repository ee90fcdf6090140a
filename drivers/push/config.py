"""Options of a ``push`` feed."""

from __future__ import annotations

import msgspec

_MOST_LINES_PER_S = 1_000


class PushConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``push`` feed.

    ``most_lines_per_s``: how many lines of one client are taken, and at most that many at once. One that is faster is
    cut off, and learns from the ``welcome`` of its next connection what to send again.
    Raises ValueError naming the option.
    """

    most_lines_per_s: int = 500

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        if not 1 <= self.most_lines_per_s <= _MOST_LINES_PER_S:
            raise ValueError(f"most_lines_per_s: must be 1 to {_MOST_LINES_PER_S}")
