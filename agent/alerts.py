"""What needs a person: raised once, shown until cleared, one journal line per change."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ledger.outbox import Warn

_LOG = logging.getLogger(__name__)
_MOST = 256
_LEVELS = {"critical": logging.CRITICAL, "warning": logging.WARNING, "info": logging.INFO}


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert and since when it holds (UTC ns)."""

    warning: Warn
    since_ns: int


class Alerts:
    """Active alerts by (id, subject); the most recent ``_MOST`` are kept."""

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], ActiveAlert] = {}

    def take(self, warning: Warn, utc_ns: int) -> bool:
        """Raise or clear; True when that changed anything."""
        key = (warning.id, warning.subject)
        if not warning.active:
            gone = self._active.pop(key, None)
            if gone is not None:
                _LOG.info("%s %s: over", warning.id, warning.subject)
            return gone is not None
        known = self._active.get(key)
        self._active[key] = ActiveAlert(warning, known.since_ns if known else utc_ns)
        if len(self._active) > _MOST:
            del self._active[next(iter(self._active))]
        if known is None:
            _LOG.log(
                _LEVELS[warning.severity], "%s %s: %s Next: %s", warning.id, warning.subject, warning.text,
                warning.next_step,
            )  # fmt: skip
        return known is None

    def clear(self, alert_id: str, subject: str, utc_ns: int) -> bool:
        """Clear one; True when it was active."""
        if (alert_id, subject) not in self._active:  # as ever and ten times a second
            return False
        return self.take(Warn(alert_id, "info", "us", subject, "", "", active=False), utc_ns)

    def active(self) -> list[ActiveAlert]:
        """Worst first, then oldest first."""
        order = ("critical", "warning", "info")
        return sorted(self._active.values(), key=lambda alert: (order.index(alert.warning.severity), alert.since_ns))
