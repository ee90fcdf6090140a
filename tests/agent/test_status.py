from __future__ import annotations

import json

import msgspec
import pytest

from agent import status


def alert(severity: status.Severity, alert_id: str = "peer.silent") -> status.Alert:
    return status.Alert(alert_id, severity, "peer", "or-1", "2026-11-23T14:02:31Z", "text", "next")


GOOD = status.StatusDocument(
    box="or-3",
    room="OR 3",
    site="st-mary",
    at="2026-11-23T14:02:31.25Z",
    recording=True,
    state="ok",
    exit=0,
    alerts=(),
    log=status.Log(17, "9f" * 16, True, 67_214, "witnessed", 100, 2, 2),
    case=status.Case("P-7Q4K", "2026-11-23T12:10:00Z", 6_751.25),
    feeds=(
        status.Feed("monitor", "ge-dri", "GE B650", 1, "ok", 0.1, 0, 0.0, ()),
        status.Feed("vent", "medibus", "Dräger Evita 4", 1, "ok", 0.9, 1, 3.1, ("silence",)),
        status.Feed("pumps", "bbraun-bcc", "B. Braun SpaceCom", 4, "ok", 4.2, 0, 0.0, ()),
    ),
    peers=(status.Peer("or-1", True, 67_214, 67_198, 0.2), status.Peer("or-2", True, 67_214, 88_104, 0.1)),
    disk=status.Disk(212 << 30, 61.0, 3, 4.0),
    clock=status.Clock("synchronised", 0.4),
)


def test_the_document_is_plain_json_with_version_and_schema_and_survives_it() -> None:
    encoded = msgspec.json.encode(GOOD)
    plain = json.loads(encoded)
    assert (plain["v"], plain["schema"], plain["state"], plain["exit"]) == (1, "orledger.status/1", "ok", 0)
    assert plain["peers"][0] == {
        "id": "or-1",
        "connected": True,
        "holds_ours": 67_214,
        "we_hold": 67_198,
        "heard_age_s": 0.2,
    }
    assert msgspec.json.decode(encoded, type=status.StatusDocument) == GOOD


def test_a_reader_ignores_what_a_later_agent_adds() -> None:
    plain = json.loads(msgspec.json.encode(GOOD))
    plain["added"] = plain["disk"]["added"] = 7
    assert msgspec.convert(plain, status.StatusDocument) == GOOD


@pytest.mark.parametrize(
    ("alerts", "verdict"),
    [
        ((), ("ok", 0)),
        ((alert("info"),), ("ok", 0)),
        ((alert("info"), alert("warning")), ("attention", 1)),
        ((alert("critical"),), ("critical", 2)),
        ((alert("warning"), alert("critical"), alert("warning")), ("critical", 2)),
    ],
)
def test_the_worst_alert_decides(alerts: tuple[status.Alert, ...], verdict: tuple[str, int]) -> None:
    assert status.judged(alerts) == verdict
