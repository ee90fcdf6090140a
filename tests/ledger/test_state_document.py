from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ledger.limits import S_NS
from ledger.records import Event, Keyframe, Link, LinkId, Numeric, Quality, Record, Wave
from ledger.state import RoomState
from ledger.state_document import state_document
from tests import record_strategies

AT_NS = 1_763_885_642 * S_NS
PULSE = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal("72.0"), unit="/min")


@given(st.lists(record_strategies.records.filter(lambda record: type(record) is not Keyframe), max_size=10))
def test_every_state_can_be_written_as_json(records: list[Record]) -> None:
    state = RoomState()
    for record in records:
        state.fold("monitor", record)
    document = json.loads(json.dumps(state_document(state, AT_NS)))
    assert document["schema"] == "orledger.state/1"
    assert len(document["values"]) == len(list(state.values()))


def test_every_value_tells_its_time_and_age() -> None:
    state = RoomState()
    state.fold("monitor", PULSE)
    state.fold("monitor", replace(PULSE, at_ns=AT_NS + S_NS, quality=Quality.STALE))
    (value,) = state_document(state, AT_NS + 240_500_000_000)["values"]
    assert value["feed"] == "monitor"
    assert value["value"] == "72.0"
    assert value["at"] == "2025-11-23T08:14:02.000000000Z"
    assert value["age_s"] == 240.5
    assert value["quality"] == ["stale"]


def test_a_value_that_is_gone_says_since_when() -> None:
    state = RoomState()
    state.fold("monitor", replace(PULSE, value=None))
    (value,) = state_document(state, AT_NS)["values"]
    assert (value["value"], value["no_value_since"]) == (None, value["at"])


def test_a_wave_is_described_once_and_its_pieces_keep_their_place() -> None:
    state = RoomState()
    for number in range(2):
        state.fold(
            "monitor",
            Wave(
                at_ns=AT_NS + number * S_NS, code="C", unit="mV", rate=(2, 1), index=2 * number, width=2,
                samples=b"\1\0\2\0", scale=0.5, offset=0.0,
            ),
        )  # fmt: skip
    (wave,) = state_document(state, AT_NS + S_NS)["waves"]
    assert (wave["rate"], wave["scale"]) == ([2, 1], 0.5)
    assert [(piece["index"], piece["samples"]) for piece in wave["pieces"]] == [(0, [1, 2]), (2, [1, 2])]


def test_alarms_and_links_are_there() -> None:
    state = RoomState()
    state.fold(
        "vent", Event(at_ns=AT_NS, kind="technical_alarm", alarm_id="a", phase="start", priority="low", code="C")
    )
    state.fold("vent", Link(at_ns=AT_NS, link=LinkId(1), state="down", reason="no character for 3 s"))
    document = state_document(state, AT_NS)
    assert document["alarms"][0]["active_since"] == "2025-11-23T08:14:02.000000000Z"
    assert document["links"][0]["reason"] == "no character for 3 s"
