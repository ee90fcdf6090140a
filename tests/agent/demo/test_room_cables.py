from __future__ import annotations

import pytest

from agent.demo.scenes.room_cables import _gap_claims


@pytest.mark.parametrize(
    ("gaps", "told", "passed"),
    [
        ([("ventilator", "link_down", "2")], "gaps of others: none", True),
        ([("monitor", "device_gap", "2")], "gaps of others: none; held up by this machine: monitor", True),
        ([("monitor", "link_down", "2"), ("pumps", "silence", "2")],
         "gaps of others: monitor; held up by this machine: pumps", False),
        ([("monitor", "link_down", "0")], "gaps of others: none", True),
    ],
)  # fmt: skip
def test_a_cable_disturbs_others_only_where_the_box_lost_something(
    gaps: list[tuple[str, str, str]], told: str, passed: bool
) -> None:
    state = {"gaps": [dict(zip(("feed", "cause", "until"), gap, strict=True)) for gap in gaps]}
    claim = _gap_claims(state, {}, "1", {})[1]
    assert (claim.measured, claim.passed) == (told, passed)
