from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ge_dri.alarms import ALARM_BYTES, AlarmMessage, AlarmTracker, parse_alarms
from ledger.errors import DeviceFault
from ledger.records import Quality
from tests.drivers.ge_dri.building import alarms, now

WHITE, YELLOW, RED = 1, 2, 3


def told(tracker: AlarmTracker, *lines: tuple[str, int], silence: int = 0) -> list[tuple[str, str, str]]:
    events = tracker.update(parse_alarms(alarms(*lines, silence=silence)), None, now())
    return [(event.alarm_id, event.phase, event.text) for event in events]


def test_start_change_end() -> None:
    tracker = AlarmTracker()
    (start,) = tracker.update(parse_alarms(alarms(("ASYSTOLE", RED))), None, now())
    assert (start.kind, start.priority, start.code) == ("physiological_alarm", "high", "MDC_EVT_ALARM")
    assert (start.device_code, start.device_priority, start.silence) == ("line-1", "red", "on")
    assert told(tracker, ("ASYSTOLE", RED)) == []
    (change,) = tracker.update(parse_alarms(alarms(("ASYSTOLE", YELLOW))), None, now())
    assert (change.alarm_id, change.phase, change.priority) == (start.alarm_id, "change", "medium")
    assert told(tracker) == [(start.alarm_id, "end", "ASYSTOLE")]
    assert told(tracker) == []


def test_when_the_upper_alarm_ends_the_lower_one_moves_up_and_goes_on() -> None:
    tracker = AlarmTracker()
    told(tracker, ("HR HIGH", RED), ("SPO2 LOW", YELLOW))
    assert told(tracker, ("SPO2 LOW", YELLOW)) == [("alarm-1", "end", "HR HIGH")]
    assert told(tracker, ("HR HIGH", RED), ("SPO2 LOW", YELLOW)) == [("alarm-3", "start", "HR HIGH")]
    assert told(tracker) == [("alarm-3", "end", "HR HIGH"), ("alarm-2", "end", "SPO2 LOW")]


def test_the_same_text_twice_is_two_alarms() -> None:
    tracker = AlarmTracker()
    told(tracker, ("APNEA", RED), ("APNEA", RED))
    assert told(tracker, ("APNEA", RED)) == [("alarm-2", "end", "APNEA")]


def test_a_note_is_an_advisory() -> None:
    (event,) = AlarmTracker().update(parse_alarms(alarms(("CABLE OFF", WHITE))), None, now())
    assert (event.kind, event.priority) == ("advisory", "low")


def test_silencing_changes_every_alarm_and_is_told_without_any() -> None:
    tracker = AlarmTracker()
    told(tracker, ("HR HIGH", RED))
    events = tracker.update(parse_alarms(alarms(("HR HIGH", RED), silence=5)), None, now())
    assert [(event.alarm_id, event.kind, event.silence) for event in events] == [
        ("alarm-1", "physiological_alarm", "audio_paused"),
        ("silence", "mode", "audio_paused"),
    ]
    empty = AlarmTracker().update(parse_alarms(alarms(silence=4)), None, now())
    assert [(event.kind, event.silence) for event in empty] == [("mode", "audio_off")]


def test_text_ends_at_its_zero_and_every_byte_is_a_character() -> None:
    message = parse_alarms(alarms(("S\xe4ttigung \xff\0old text", RED)))
    assert message.lines[0] == ("S\xe4ttigung \xff", RED)


def test_a_short_message_is_the_devices_fault() -> None:
    with pytest.raises(DeviceFault):
        parse_alarms(alarms()[: ALARM_BYTES - 1])


LINES = st.lists(st.tuples(st.sampled_from(["", "A", "B", "C"]), st.integers(-1, 4)), min_size=5, max_size=5)


@given(st.lists(st.tuples(LINES, st.sampled_from(["on", "audio_off"])), max_size=12))
def test_starts_and_ends_always_agree_with_the_screen(messages: list[tuple[list[tuple[str, int]], str]]) -> None:
    tracker, active = AlarmTracker(), {}
    for lines, silence in messages:
        message = AlarmMessage(tuple(lines), "on" if silence == "on" else "audio_off")
        for event in tracker.update(message, None, now()):
            if event.kind == "mode":
                continue
            if event.phase == "start":
                assert event.alarm_id not in active
            else:
                assert event.alarm_id in active
            active[event.alarm_id] = event
            if event.phase == "end":
                del active[event.alarm_id]
        shown = sorted((text, colour) for text, colour in lines if text)
        assert sorted(event.text for event in active.values()) == [text for text, _ in shown]


def test_alarms_of_a_monitor_that_falls_silent_before_it_tells_them_again_are_marked() -> None:
    tracker = AlarmTracker()
    message = parse_alarms(alarms(("HR HIGH", RED), silence=5))
    tracker.update(message, None, now())
    tracker.tell_again()
    again = tracker.update(message, None, now())
    assert [(event.alarm_id, event.phase) for event in again] == [("alarm-1", "continue"), ("silence", again[1].phase)]
    tracker.tell_again()
    marked = tracker.silent(now())
    assert [event.alarm_id for event in marked] == ["alarm-1", "silence"]
    assert all(event.quality & Quality.UNAVAILABLE for event in marked)
    assert tracker.silent(now()) == []
