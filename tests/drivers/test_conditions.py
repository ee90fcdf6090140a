from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from ledger.records import Quality

NOW = Now(1, 2)
OFF = Condition("sensor-off", "technical_alarm", "low", "MDCX_X_020", text="sensor off", device_code="020")
NAMES = st.sets(st.sampled_from(["a", "b", "c"]))


def condition(name: str) -> Condition:
    return replace(OFF, alarm_id=name)


def test_start_change_and_end() -> None:
    conditions = Conditions("bed-1")
    (start,) = conditions.update([OFF], NOW)
    assert (start.phase, start.alarm_id, start.priority, start.sub, start.at_ns) == (
        "start",
        "sensor-off",
        "low",
        "bed-1",
        2,
    )
    assert conditions.update([OFF], NOW) == []
    (change,) = conditions.update([replace(OFF, priority="high")], NOW)
    assert (change.phase, change.priority) == ("change", "high")
    (end,) = conditions.update([], NOW)
    assert (end.phase, end.alarm_id, end.priority) == ("end", "sensor-off", "high")


def test_what_is_active_can_be_told_again() -> None:
    conditions = Conditions("bed-1")
    assert conditions.again(NOW) == []
    conditions.update([OFF], NOW)
    (again,) = conditions.again(NOW)
    assert (again.phase, again.alarm_id, again.sub) == ("continue", "sensor-off", "bed-1")
    assert conditions.update([OFF], NOW) == []


@given(st.lists(NAMES))
def test_every_start_has_its_end_and_no_other(story: list[set[str]]) -> None:
    conditions, active = Conditions(), set[str]()
    for names in [*story, set[str]()]:
        for event in conditions.update(map(condition, sorted(names)), NOW):
            assert (event.alarm_id in active) == (event.phase == "end")
            (active.discard if event.phase == "end" else active.add)(event.alarm_id)
        assert active == names


def test_of_a_device_that_falls_silent_before_it_tells_them_again_they_are_marked_once() -> None:
    conditions = Conditions()
    conditions.update([OFF], NOW)
    conditions.tell_again()
    (marked,) = conditions.silent(NOW)
    assert marked.quality & Quality.UNAVAILABLE
    assert conditions.silent(NOW) == []
    (again,) = conditions.update([OFF], NOW)
    assert again.phase == "continue"
    assert conditions.update([OFF], NOW) == []
