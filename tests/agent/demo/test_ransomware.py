from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.demo.scenes.ransomware import compare, overwrite

EARLY, LATE = "2026-01-02T03:04:05.000000000Z", "2026-01-02T03:04:06.000000000Z"


def value(code: str, number: str | None, at: str = EARLY, **other: Any) -> dict[str, Any]:
    common = {"feed": "monitor", "sub": "", "channel": "", "device_code": "", "unit": "1", "quality": [], "age_s": 1.0}
    return {**common, "code": code, "value": number, "at": at, **other}


def outcome(before: dict[str, Any], *after: dict[str, Any]) -> str:
    (only,) = compare([before], after).values()
    return only


def test_the_same_value_may_only_differ_in_age() -> None:
    assert outcome(value("HR", "70"), value("HR", "70", age_s=9.0)) == "same"


def test_a_value_measured_since_is_newer() -> None:
    assert outcome(value("HR", "70"), value("HR", "71", LATE)) == "newer"


def test_an_absent_older_or_changed_value_is_lost() -> None:
    assert outcome(value("HR", "70"), value("SPO2", "70")) == "LOST"
    assert outcome(value("HR", "70", LATE), value("HR", "70", EARLY)) == "LOST"
    assert outcome(value("HR", "70"), value("HR", "71")) == "LOST"
    assert outcome(value("HR", "70"), value("HR", "70", quality=["stale"])) == "LOST"


def test_values_of_two_feeds_are_not_confused() -> None:
    assert outcome(value("HR", "70", feed="monitor"), value("HR", "70", feed="gateway")) == "LOST"


def test_no_byte_of_any_file_is_spared(tmp_path: Path) -> None:
    contents = {"a": b"x" * 3_000_000, "keys/b": b"y" * 32}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert overwrite(tmp_path) == (2, 3_000_032)
    for name, content in contents.items():
        left = (tmp_path / name).read_bytes()
        assert len(left) == len(content)
        assert not any(left[at : at + 16] == content[at : at + 16] for at in range(0, len(left), 16))
