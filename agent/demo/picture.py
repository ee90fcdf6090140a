"""One box in one line, and one room in one line: words only, no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.demo.vitals import vitals
from agent.demo.watch import Reading

TITLES = ("BOX", "IS", "EPOCH", "BLOCK", "LEVEL", "VOUCHED FOR BY", "LAG", "FSYNC", "SAYS")
_KEEPS_UP_BLOCKS = 20


def box_row(reading: Reading) -> tuple[str, ...]:
    """A cell for each of ``TITLES``. LAG: median from closing a block to its being witnessed; FSYNC: p99 of commits."""
    status = reading.status
    if status is None:
        return (reading.box, "NO ANSWER", *[""] * (len(TITLES) - 2))
    log = status["log"] or {}
    alerts, vouch = status["alerts"], vouching(status)
    return (
        reading.box,
        "recording" if status["recording"] else "NOT RECORDING",
        f"{log.get('epoch', '')}" + ("" if log.get("fenced") else " prov."),
        "" if log.get("seq") is None else f"{log['seq']:,}",
        str(log.get("level", "")),
        ", ".join(vouch) or "nobody",
        _ms(reading.statistics.get("closed_to_witnessed"), "p50_ms") if vouch else "",
        _ms(reading.statistics.get("commit"), "p99_ms"),
        "; ".join(_short(alert) for alert in alerts) or "nothing needs you",
    )


def vouching(status: Mapping[str, Any]) -> list[str]:
    """The peers that hold this box's log up to its newest two seconds."""
    log = status["log"]
    if log is None or log["seq"] is None:
        return []
    return [
        peer["id"]
        for peer in status["peers"]
        if peer["holds_ours"] is not None and peer["holds_ours"] >= log["seq"] - _KEEPS_UP_BLOCKS
    ]


def room_line(reading: Reading) -> str:
    """The values that a person looks at first."""
    room = reading.status["room"] if reading.status is not None else reading.box
    shown = (f"{vital.name} {vital.value} {vital.unit}".rstrip() for vital in vitals(reading.values))
    return f"{room}   " + "   ".join(shown)


def _short(alert: Mapping[str, Any]) -> str:
    return f"{alert['id']} {alert['subject']}"


def _ms(durations: Mapping[str, Any] | None, key: str) -> str:
    if not durations or not durations["count"]:
        return ""
    return f"{durations[key]:.1f} ms"
