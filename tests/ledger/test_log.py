"""Names of logs: their order, their two texts, and which names a box or site may have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import pack, unpack
from ledger.errors import OperatorFault, PeerFault
from ledger.log import LogId, require_name
from tests.ledger_strategies import logs, names


@settings(max_examples=100)
@given(logs)
def test_a_log_id_survives_its_encoding(log: LogId) -> None:
    assert LogId.from_fields(unpack(pack(log.fields()), 200, "log"), "log") == log


@pytest.mark.parametrize(
    "fields",
    [
        [],
        None,
        ["or-1", 1, bytes(16)],
        ["or-1", 1, bytes(16), True, 0],
        ["", 1, bytes(16), True],
        ["x" * 64, 1, bytes(16), True],
        ["or-1", -1, bytes(16), True],
        ["or-1", 1, bytes(15), True],
        ["or-1", 1, bytes(16), 1],
        [b"or-1", 1, bytes(16), True],
    ],
)
def test_malformed_fields_are_a_peers_fault(fields: object) -> None:
    with pytest.raises(PeerFault) as caught:
        LogId.from_fields(fields, "log")
    assert caught.value.id == "codec.field"


@settings(max_examples=100)
@given(logs, logs, names)
def test_origins_are_the_same_only_for_the_same_box_counter_and_incarnation(a: LogId, b: LogId, site: str) -> None:
    same = (a.box, a.counter, a.incarnation) == (b.box, b.counter, b.incarnation)
    assert (a.origin(site) == b.origin(site)) == same
    assert a.origin(site) == f"{site}/{a.box}/{a.counter}-{a.incarnation.hex()}"


@settings(max_examples=100)
@given(logs, st.integers(0, 1 << 40))
def test_a_box_orders_its_logs_by_counter(log: LogId, counter: int) -> None:
    other = LogId(log.box, counter, bytes(16), log.fenced)
    if counter != log.counter:
        assert (other < log) == (counter < log.counter)


def test_a_provisional_log_is_marked_when_shown() -> None:
    assert str(LogId("or-1", 7, bytes(16), fenced=True)) == "or-1/7-00000000"
    assert str(LogId("or-1", 7, bytes(16), fenced=False)) == "or-1/7p-00000000"


@pytest.mark.parametrize("name", ["a", "or-3", "st-mary.example", "0", "a" * 63])
def test_good_names(name: str) -> None:
    assert require_name(name, "box") == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".a", "OR-3", "or 3", "or/3", "or+", "#", "a" * 64, "é", "a\n", "or_3"]
)
def test_bad_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(OperatorFault, match="lower-case"):
        require_name(name, "box")
