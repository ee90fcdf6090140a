from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.alerts import AlarmTracker, parse_alarms
from ledger.errors import DeviceFault
from ledger.records import Event, Quality
from tests.drivers.intellivue.building import alarm, counted, now, u16

P_LIST, T_LIST, CONDITION = 0x0902, 0x0904, 0x0916
SPO2, LOW, HIGH_PRIORITY, MEDIUM_T = 0x4BB8, 0x003E, 0x0400, 0x0002


def update(tracker: AlarmTracker, **lists: list[bytes]) -> list[Event]:
    told = {{"p": P_LIST, "t": T_LIST}[name]: counted(*entries) for name, entries in lists.items()}
    return tracker.update(told, None, Quality.GOOD, now())


def test_a_physiological_alarm() -> None:
    (event,) = update(AlarmTracker(), p=[alarm(SPO2, LOW, HIGH_PRIORITY, 0x0008, "*** SpO₂ 82<90")])
    assert (event.kind, event.phase, event.priority) == ("physiological_alarm", "start", "high")
    assert (event.code, event.source) == ("MDC_EVT_LO", "MDC_PULS_OXIM_SAT_O2")
    assert (event.text, event.device_priority, event.silence) == ("*** SpO₂ 82<90", "HI_PRI_P_AL", "on")
    assert event.device_code == "00024BB8 0003003E"
    assert event.alarm_id == "P-4BB8-003E-0006.0.16-1"


def test_a_technical_alarm_of_an_object_has_the_last_bit_of_its_code_set() -> None:
    (event,) = update(AlarmTracker(), t=[alarm(0x1045, 0x0135, MEDIUM_T)])
    assert (event.kind, event.priority, event.source) == ("technical_alarm", "medium", "MDCX_PHILIPS_00011045")
    assert event.code == "MDC_EVT_SENSOR_DISCONN"
    assert event.text == "TextId 80010000"


def test_start_change_end() -> None:
    tracker = AlarmTracker()
    update(tracker, p=[alarm(SPO2, LOW, 0x0200, text="** SpO₂ 88<90")])
    assert update(tracker, p=[alarm(SPO2, LOW, 0x0200, text="** SpO₂ 88<90")]) == []
    (change,) = update(tracker, p=[alarm(SPO2, LOW, HIGH_PRIORITY, text="*** SpO₂ 79<80")])
    assert (change.phase, change.priority) == ("change", "high")
    assert update(tracker, t=[]) == []
    (end,) = update(tracker, p=[])
    assert (end.phase, end.alarm_id) == ("end", change.alarm_id)


@pytest.mark.parametrize(
    ("state", "silence", "latched", "quality"),
    [
        (0x8000, "alarm_off", False, Quality.GOOD),
        (0x4000, "alarm_paused", False, Quality.GOOD),
        (0x2000, "on", True, Quality.GOOD),
        (0x1000, "acknowledged", False, Quality.GOOD),
        (0x0400, "on", False, Quality.TEST),
        (0x0100, "on", False, Quality.DEMO),
    ],
)
def test_states(state: int, silence: str, latched: bool, quality: Quality) -> None:
    (event,) = update(AlarmTracker(), p=[alarm(SPO2, LOW, HIGH_PRIORITY, state)])
    assert (event.silence, event.latched, event.quality) == (silence, latched, quality)


def test_the_new_alert_bit_alone_is_no_change() -> None:
    tracker = AlarmTracker()
    update(tracker, p=[alarm(SPO2, LOW, HIGH_PRIORITY, 0x0008)])
    assert update(tracker, p=[alarm(SPO2, LOW, HIGH_PRIORITY, 0)]) == []


def test_two_of_one_kind_are_told_apart_by_their_number() -> None:
    tracker = AlarmTracker()
    both = [alarm(SPO2, LOW, HIGH_PRIORITY, instance=number) for number in (1, 2)]
    assert len(update(tracker, p=both)) == 2
    (end,) = update(tracker, p=both[:1])
    assert end.alarm_id.endswith("-2")


def test_alarms_off_as_a_whole_are_a_mode() -> None:
    tracker = AlarmTracker()
    (event,) = tracker.update({CONDITION: u16(0x4200, 0, 0, 0, 0)}, None, Quality.GOOD, now())
    assert (event.kind, event.silence, event.text) == ("mode", "alarm_paused", "standby")
    assert tracker.update({CONDITION: u16(0x4200, 1, 0, 0, 0)}, None, Quality.GOOD, now()) == []


def test_a_broken_list_changes_nothing() -> None:
    tracker = AlarmTracker()
    update(tracker, p=[alarm(SPO2, LOW, HIGH_PRIORITY)])
    with pytest.raises(DeviceFault):
        tracker.update({T_LIST: counted(), P_LIST: u16(1, 30) + bytes(9)}, None, Quality.GOOD, now())
    assert update(tracker, p=[alarm(SPO2, LOW, HIGH_PRIORITY)]) == []


@given(st.binary(max_size=120))
def test_any_bytes_are_a_list_or_the_devices_fault(value: bytes) -> None:
    try:
        found = parse_alarms(value, "P")
    except DeviceFault:
        return
    assert len(found) <= 256


ENTRIES = st.lists(st.tuples(st.sampled_from([1, 2, 4, 6]), st.sampled_from([0x0100, 0x0200])), max_size=4)


@given(st.lists(st.tuples(ENTRIES, ENTRIES), max_size=5))
def test_starts_and_ends_always_agree_with_the_lists(rounds: list[tuple[list[tuple[int, int]], ...]]) -> None:
    tracker, active = AlarmTracker(), {}
    for lists in rounds:
        unique = [dict(entries) for entries in lists]
        p, t = ([alarm(code, 2, kind) for code, kind in entries.items()] for entries in unique)
        for event in update(tracker, p=p, t=t):
            assert (event.alarm_id in active) == (event.phase != "start")
            active[event.alarm_id] = event
            if event.phase == "end":
                del active[event.alarm_id]
        assert len(active) == len(unique[0]) + len(unique[1])


def test_alarms_of_a_monitor_that_falls_silent_before_it_tells_them_again_are_marked() -> None:
    tracker = AlarmTracker()
    lists = {P_LIST: counted(alarm(SPO2, LOW, HIGH_PRIORITY)), CONDITION: u16(0x4200, 0, 0, 0, 0)}
    told = tracker.update(lists, None, Quality.GOOD, now())
    tracker.tell_again()
    marked = tracker.silent(now())
    assert [event.alarm_id for event in marked] == [event.alarm_id for event in told]
    assert all(event.quality & Quality.UNAVAILABLE for event in marked)
    assert tracker.silent(now()) == []
    again = tracker.update(lists, None, Quality.GOOD, now())
    assert [event.alarm_id for event in again] == [event.alarm_id for event in told]
    assert again[0].phase == "continue"
