from __future__ import annotations

from typing import Any

from agent.demo.picture import TITLES, box_row, room_line, vouching
from agent.demo.watch import Reading


def status(holds: dict[str, int | None], seq: int | None = 100, **other: Any) -> dict[str, Any]:
    return {
        "room": "OR 2",
        "recording": True,
        "state": "ok",
        "log": {"epoch": 3, "fenced": True, "seq": seq, "level": "witnessed"},
        "alerts": [],
        "peers": [{"id": peer, "holds_ours": held} for peer, held in holds.items()],
        **other,
    }


def cells(reading: Reading) -> dict[str, str]:
    return dict(zip(TITLES, box_row(reading), strict=True))


def test_a_box_that_keeps_up() -> None:
    statistics = {
        "closed_to_witnessed": {"count": 20, "p50_ms": 6.25, "p99_ms": 9.0},
        "commit": {"count": 20, "p50_ms": 1.0, "p99_ms": 4.0},
    }
    row = cells(Reading("or-2", status({"or-1": 100, "or-3": 99}), statistics))
    assert row == {
        "BOX": "or-2",
        "IS": "recording",
        "EPOCH": "3",
        "BLOCK": "100",
        "LEVEL": "witnessed",
        "VOUCHED FOR BY": "or-1, or-3",
        "LAG": "6.2 ms",
        "FSYNC": "4.0 ms",
        "SAYS": "nothing needs you",
    }


def test_a_peer_two_seconds_behind_does_not_vouch() -> None:
    assert vouching(status({"or-1": 80, "or-3": 79})) == ["or-1"]
    assert vouching(status({"or-1": None, "or-3": 0})) == []
    assert vouching(status({"or-1": 5}, seq=None)) == []


def test_a_box_alone_shows_no_old_lag_and_what_it_says() -> None:
    alerts = [{"id": "peer.silent", "subject": "or-1"}, {"id": "peer.silent", "subject": "or-3"}]
    statistics = {"closed_to_witnessed": {"count": 20, "p50_ms": 6.25}}
    row = cells(Reading("or-2", status({"or-1": 5, "or-3": 5}, alerts=alerts), statistics))
    assert row["VOUCHED FOR BY"] == "nobody"
    assert row["LAG"] == ""
    assert row["SAYS"] == "peer.silent or-1; peer.silent or-3"


def test_a_box_that_does_not_answer() -> None:
    row = cells(Reading("or-2", None, {}))
    assert row["IS"] == "NO ANSWER"
    assert set(row.values()) == {"or-2", "NO ANSWER", ""}


def test_a_room_names_itself_and_its_values() -> None:
    value = {"feed": "monitor", "code": "MDC_ECG_HEART_RATE", "value": "70", "at": "2026-01-02T03:04:05Z"}
    assert room_line(Reading("or-2", status({}), {}, {"values": [value]})).startswith("OR 2   HR 70 /min   SpO₂ – %")
