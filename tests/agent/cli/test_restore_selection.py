"""The options that name a part: what is taken, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.restore_selection import nothing_meant, parse_case, parse_selection, parse_time, selection_text
from agent.rebuild_summary import Summary
from ledger.errors import NoPeer, OperatorFault
from ledger.selection import Selection

AT = "2026-11-23T08:00:00Z"
AT_NS = 1_795_420_800 * 10**9
CASE = bytes(range(16))


@pytest.mark.parametrize(
    "text", [AT, "2026-11-23T08:00Z", "2026-11-23 08:00:00Z", "2026-11-23T08:00:00+00:00", f" {AT} "]
)
def test_a_time_in_utc_is_taken(text: str) -> None:
    assert parse_time("--from", text) == AT_NS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("yesterday", "is no time"), ("", "is no time"), ("2026-13-01T00:00:00Z", "is no time"), ("5120", "is no time"),
        ("2026-11-23T08:00:00", "does not say that it is UTC"), ("2026-11-23T09:00:00+01:00", "is not UTC"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_says_why(text: str, what: str) -> None:
    with pytest.raises(OperatorFault, match=what) as caught:
        parse_time("--to", text)
    assert caught.value.id == "restore.time"
    assert "--to" in caught.value.text
    assert caught.value.next_step


def test_another_zone_is_told_in_utc() -> None:
    with pytest.raises(OperatorFault) as caught:
        parse_time("--from", "2026-11-23T09:00:00+01:00")
    assert AT in caught.value.next_step


def test_from_must_lie_before_to() -> None:
    with pytest.raises(OperatorFault, match="is not before"):
        parse_selection(AT, AT, None)
    assert parse_selection(AT, None, None) == Selection(from_ns=AT_NS)


def test_a_case_is_its_32_digits() -> None:
    assert parse_case(CASE.hex()) == parse_case("00010203-0405-0607-0809-0a0b0c0d0e0f") == CASE
    for wrong in ("", "12", "zz" * 16, CASE.hex() + "00"):
        with pytest.raises(OperatorFault, match="32 hexadecimal digits"):
            parse_case(wrong)


def test_nothing_found_says_what_was_looked_for_and_which_cases_there_are() -> None:
    summary = Summary()
    assert nothing_meant("or-1", Selection(), summary, Path("out")).id == "restore.nothing-held"
    summary.met({CASE})
    told = nothing_meant("or-1", Selection(case_id=bytes(16)), summary, Path("out"))
    assert told.exit_code == NoPeer.exit_code == 69
    assert bytes(16).hex() in told.text
    assert CASE.hex() in told.text
    assert selection_text(Selection(AT_NS, AT_NS + 1)) == f"from {AT} to 2026-11-23T08:00:00.000000001Z"
