from __future__ import annotations

from agent.demo.claims import Claim, all_passed, plain_table, rows

GOOD = Claim("start", "blocks are vouched for", "2 of 2", passed=True, numbers={"peers": 2})
BAD = Claim("insider", "a change is named", "nothing named", passed=False)


def test_one_failure_fails_all() -> None:
    assert all_passed([GOOD, GOOD])
    assert not all_passed([GOOD, BAD])


def test_no_claim_at_all_is_a_failure() -> None:
    assert not all_passed([])


def test_a_row_says_claim_measured_and_verdict() -> None:
    assert rows([GOOD, BAD]) == [
        ("blocks are vouched for", "2 of 2", "pass"),
        ("a change is named", "nothing named", "FAIL"),
    ]


def test_a_document_has_the_numbers_beside_the_words() -> None:
    assert GOOD.document() == {
        "scene": "start",
        "claim": "blocks are vouched for",
        "measured": "2 of 2",
        "passed": True,
        "peers": 2,
    }


def test_plain_columns_line_up_without_trailing_blanks() -> None:
    assert plain_table(("A", "B"), [("long cell", "x"), ("y", "")]) == ["A          B", "long cell  x", "y"]
