"""What this box must say of itself while everything seems to work: a clock nobody sets, records that were lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from agent.alerts import Alerts
from agent.losses import LossCause
from ledger.block import ClockQuality, ClockState
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.outbox import Warn

_CLOCK = "clock.unsynchronised"
_CLOCK_SUBJECT = "clock"


class LossyFeed(Protocol):
    """A feed as it is looked at here. ``newest_loss_ns``: boot clock, by cause; ``lost``: records since the start."""

    name: str

    @property
    def newest_loss_ns(self) -> Mapping[LossCause, int]: ...

    @property
    def lost(self) -> Mapping[LossCause, int]: ...


class SelfCheck:
    """``step`` as often as wanted; it looks once a second."""

    def __init__(self, alerts: Alerts, quality: Callable[[], ClockQuality], feeds: Sequence[LossyFeed]) -> None:
        """``feeds`` may grow after this."""
        self._alerts = alerts
        self._quality = quality
        self._feeds = feeds
        self._due_ns = 0
        self._unsynchronised_since_ns: int | None = None

    def step(self, now: Now) -> None:
        """Raise and clear what is to be said now."""
        if now.mono_ns < self._due_ns:
            return
        self._due_ns = now.mono_ns + LIMITS.self_check_every_ns
        self._check_clock(now)
        for feed in self._feeds:
            self._check_losses(feed, now)

    def _check_clock(self, now: Now) -> None:
        quality = self._quality()
        if quality.state is ClockState.SYNCHRONISED:
            self._unsynchronised_since_ns = None
            self._alerts.clear(_CLOCK, _CLOCK_SUBJECT, now.utc_ns)
            return
        if self._unsynchronised_since_ns is None:
            self._unsynchronised_since_ns = now.mono_ns
        waited_ns = now.mono_ns - self._unsynchronised_since_ns
        if waited_ns < LIMITS.clock_unsynchronised_ns:
            return
        error = f"error up to {quality.error_ns / S_NS:.1f} s" if quality.error_ns else "error unknown"
        text = f"unsynchronised for {_minutes(waited_ns)}, {error}; order stays provable"
        if quality.state is ClockState.UNKNOWN:
            text = "the kernel does not tell whether the clock is right; order stays provable"
        warning = Warn(_CLOCK, "warning", "operator", _CLOCK_SUBJECT, text, "chronyc sources")
        self._alerts.take(warning, now.utc_ns)

    def _check_losses(self, feed: LossyFeed, now: Now) -> None:
        text = f"feed {feed.name} brought more than could be recorded"
        next_step = f"does its device send too much, or is the disk slow? The gaps: orledger records --feed {feed.name}"
        self._show_loss(feed, "overflow", Warn("intake.overflow", "warning", "device", feed.name, text, next_step), now)
        text = f"feed {feed.name} made records that fit into no block"
        next_step = "report this, with a capture of the device"
        self._show_loss(feed, "oversize", Warn("intake.oversize", "warning", "us", feed.name, text, next_step), now)

    def _show_loss(self, feed: LossyFeed, cause: LossCause, warning: Warn, now: Now) -> None:
        newest_ns = feed.newest_loss_ns.get(cause)
        age_ns = None if newest_ns is None else now.mono_ns - newest_ns
        if age_ns is None or age_ns >= LIMITS.loss_shown_ns:
            self._alerts.clear(warning.id, warning.subject, now.utc_ns)
            return
        lost = f"{feed.lost[cause]:,} records lost since the start, the last {_minutes(age_ns)} ago"
        self._alerts.take(replace(warning, text=f"{warning.text}: {lost}"), now.utc_ns)


def _minutes(duration_ns: int) -> str:
    """``40 s``, ``26 min``."""
    seconds = duration_ns // S_NS
    return f"{seconds} s" if seconds < 100 else f"{seconds // 60} min"
