"""The room's state as a document for consoles and state files: schema ``orledger.state/1``.

Every value carries the time at which it was measured and its age: a reader must never take an old value for a live
one. Whoever hands the document on after a restore says so beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ledger.limits import S_NS
from ledger.record_json import quality_names, record_to_json, utc_text, wave_samples
from ledger.records import Event, Numeric, Record, Wave
from ledger.state import RoomState

STATE_SCHEMA: Final = "orledger.state/1"


def state_document(state: RoomState, now_ns: int) -> dict[str, Any]:
    """The whole state as a plain dict for ``json.dumps``; ages are against ``now_ns``, UTC of whoever asks.

    Of the open case it tells the random id, never whose it is.
    """
    case = state.case()
    return {
        "schema": STATE_SCHEMA,
        "now": utc_text(now_ns),
        "case": None if case is None else {"id": case.case_id.hex(), "opened": utc_text(case.opened_ns)},
        "values": [_value(feed, record, now_ns) for feed, record in state.values()],
        "alarms": [_alarm(feed, record, now_ns) for feed, record in state.alarms()],
        "modes": _entries(state.modes(), now_ns),
        "waves": [_wave(feed, pieces, now_ns) for feed, pieces in state.waves()],
        "devices": _entries(state.identities(), now_ns),
        "links": _entries(state.links(), now_ns),
        "clocks": _entries(state.clocks(), now_ns),
        "gaps": _entries(state.gaps(), now_ns),
        "objects": _entries(state.objects(), now_ns),
        "evicted": state.evicted,
    }


def age_s(at_ns: int, now_ns: int) -> float:
    """Seconds from ``at_ns`` to ``now_ns`` to the millisecond; negative if the clocks disagree, never hidden."""
    return round((now_ns - at_ns) / S_NS, 3)


def _entry(feed: str, record: Record, now_ns: int) -> dict[str, Any]:
    return {"feed": feed} | record_to_json(record) | {"age_s": age_s(record.at_ns, now_ns)}


def _entries(records: Iterable[tuple[str, Record]], now_ns: int) -> list[dict[str, Any]]:
    return [_entry(feed, record, now_ns) for feed, record in records]


def _value(feed: str, record: Numeric, now_ns: int) -> dict[str, Any]:
    entry = _entry(feed, record, now_ns) | {"quality": quality_names(record.quality)}
    if record.value is None:
        entry["no_value_since"] = entry["at"]
    return entry


def _alarm(feed: str, record: Event, now_ns: int) -> dict[str, Any]:
    return _entry(feed, record, now_ns) | {"active_since": utc_text(record.at_ns)}


def _wave(feed: str, pieces: tuple[Wave, ...], now_ns: int) -> dict[str, Any]:
    """What describes the wave, from its newest piece, and the samples of each piece beside its time and place."""
    newest = pieces[-1]
    entry = _entry(feed, newest, now_ns)
    for name in ("samples", "index", "marks"):
        del entry[name]
    entry["pieces"] = [
        {
            "at": utc_text(piece.at_ns),
            "index": piece.index,
            "samples": wave_samples(piece),
            "marks": [list(mark) for mark in piece.marks],
        }
        for piece in pieces
    ]
    return entry
