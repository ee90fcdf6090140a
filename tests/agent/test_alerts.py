from __future__ import annotations

import logging

import pytest

from agent.alerts import Alerts
from ledger.outbox import Warn


def warning(alert_id: str = "peer.silent", subject: str = "or-2", severity: str = "warning") -> Warn:
    assert severity in {"critical", "warning", "info"}
    return Warn(alert_id, severity, "peer", subject, f"{subject} is silent", "look")  # type: ignore[arg-type]


def test_an_alert_keeps_the_time_it_began_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    alerts = Alerts()
    with caplog.at_level(logging.INFO):
        assert alerts.take(warning(), 100)
        assert not alerts.take(warning(), 200)
        assert [alert.since_ns for alert in alerts.active()] == [100]
        assert alerts.clear("peer.silent", "or-2", 300)
        assert not alerts.clear("peer.silent", "or-2", 400)
    assert len(caplog.records) == 2
    assert alerts.active() == []


def test_the_worst_comes_first_then_the_oldest() -> None:
    alerts = Alerts()
    alerts.take(warning(subject="or-2"), 1)
    alerts.take(warning(subject="or-3"), 2)
    alerts.take(warning("fork", "or-4", "critical"), 3)
    assert [alert.warning.subject for alert in alerts.active()] == ["or-4", "or-2", "or-3"]


def test_their_number_is_bounded() -> None:
    alerts = Alerts()
    for number in range(1_000):
        alerts.take(warning(subject=f"or-{number}"), number)
    assert len(alerts.active()) == 256
