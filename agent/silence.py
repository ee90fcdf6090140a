"""Silence is evidence too: when a device was last heard, and the gaps its silence leaves.

A silence is told in two pieces that join: one when it is noticed, one when it ends.
"""

from __future__ import annotations

from drivers.contract import Now

Span = tuple[int, int]
"""Since and until, UTC ns."""


def span(since: Now, until: Now) -> Span:
    """Both ends on the UTC of the later one, so that a clock set meanwhile does not turn it around."""
    return until.utc_ns - (until.mono_ns - since.mono_ns), until.utc_ns


class SilenceWatch:
    """``silence_ns`` without a byte is silence; 0 switches it off."""

    __slots__ = ("_heard", "_silence_ns", "_told")

    def __init__(self, silence_ns: int) -> None:
        self._silence_ns = silence_ns
        self._heard: Now | None = None
        self._told: Now | None = None

    @property
    def watching(self) -> bool:
        """Whether a device is there that should be heard."""
        return self._heard is not None

    @property
    def silent(self) -> bool:
        """Whether a silence was told that has not ended."""
        return self._told is not None

    def heard(self, now: Now) -> Span | None:
        """Bytes came, or a device that should be heard is there now. Returns the rest of the silence this ends."""
        rest = self.running(now)
        self._heard, self._told = now, None
        return rest

    def rest(self, now: Now) -> Span | None:
        """Nobody is there to be heard. Returns the rest of the silence this ends."""
        rest = self.running(now)
        self._heard = self._told = None
        return rest

    def running(self, now: Now) -> Span | None:
        """What of a running silence has not been told yet."""
        if self._told is None or self._told.mono_ns == now.mono_ns:
            return None
        return span(self._told, now)

    def check(self, now: Now) -> Span | None:
        """The silence up to now if it has just become one."""
        due = self.deadline_ns()
        if self._heard is None or due is None or now.mono_ns < due:
            return None
        self._told = now
        return span(self._heard, now)

    def deadline_ns(self) -> int | None:
        """Monotonic time of the next ``check``."""
        if self._heard is None or self._told is not None or not self._silence_ns:
            return None
        return self._heard.mono_ns + self._silence_ns
