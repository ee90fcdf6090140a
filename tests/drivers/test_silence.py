"""Of a device that fell silent values are withdrawn and alarms marked: for every driver with a capture that has any."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pytest

from drivers.built_in import BUILT_IN
from drivers.conditions import Condition, Conditions
from drivers.contract import Driver, Emit, Now
from drivers.shown_values import ShownValues
from drivers.silence import Silence
from ledger.limits import S_NS
from ledger.records import Event, LinkId, Numeric, Quality, Record, Setting
from tests.captures.conversation import driver_of
from tests.fuzz.campaign import Input, Track, tracks

LINK = LinkId(1)
LONGEST_S = 3_700
ALARMS = {"physiological_alarm", "technical_alarm", "advisory", "mode"}
# Messages come when something has changed, so no pause tells anything: hl7, push; dicom measures nothing.
WITHOUT = {"dicom", "hl7", "push"}


def test_it_waits_its_time_from_what_was_heard_last_and_withdraws_once() -> None:
    shown, conditions, silence = ShownValues(), Conditions(), Silence(5 * S_NS)
    silence.follow(shown, conditions)
    assert silence.deadline_ns() is None
    list(shown.show("hr", Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="60", unit="/min")))
    conditions.update([Condition("off", "technical_alarm", "low", "MDCX_OFF")], Now(0, 0))
    silence.heard(Now(0, 0))
    silence.heard(Now(S_NS, S_NS))
    assert silence.deadline_ns() == 6 * S_NS
    assert silence.take(Now(6 * S_NS - 1, 0)) == []
    numeric, event = silence.take(Now(6 * S_NS, 9))
    assert isinstance(numeric, Numeric)
    assert (numeric.value, numeric.quality, numeric.at_ns) == (None, Quality.UNAVAILABLE, 9)
    assert isinstance(event, Event)
    assert (event.phase, event.quality, event.at_ns) == ("change", Quality.UNAVAILABLE, 9)
    assert silence.deadline_ns() is None
    assert silence.take(Now(60 * S_NS, 0), lost=True) == []


@pytest.mark.parametrize(("still", "phase"), [(True, "continue"), (False, "end")])
def test_an_alarm_that_nobody_told_of_is_told_of_again(still: bool, phase: str) -> None:
    off, conditions = Condition("off", "technical_alarm", "low", "MDCX_OFF"), Conditions()
    conditions.update([off], Now(0, 0))
    assert len(conditions.silent(Now(1, 1))) == 1
    assert conditions.silent(Now(2, 2)) == []
    (event,) = conditions.update([off] if still else [], Now(3, 3))
    assert (event.phase, event.quality) == (phase, Quality.GOOD)
    assert conditions.update([off] if still else [], Now(4, 4)) == []


@cache
def _tracks(driver: str) -> tuple[Track, ...]:
    return tracks(driver)


def _records(driver: Driver) -> list[Record]:
    return [action.record for action in driver.drain() if isinstance(action, Emit)]


def _live(records: Iterable[Record]) -> tuple[dict[object, Numeric], dict[object, Event]]:
    """Values and alarms that stand at the end."""
    values: dict[object, Numeric] = {}
    alarms: dict[object, Event] = {}
    for record in records:
        if isinstance(record, Numeric) and not isinstance(record, Setting):
            values[record.sub, record.code, record.channel, record.device_code] = record
        elif isinstance(record, Event) and record.kind in ALARMS and record.phase != "once":
            alarms[record.sub, record.alarm_id] = record
    return values, {name: event for name, event in alarms.items() if event.phase != "end" and not _stays(event)}


def _stays(event: Event) -> bool:
    """What a monitor was set to, or that a patient is admitted, is as true as a setting when nobody repeats it."""
    return event.alarm_id == "operating-mode" or event.device_code.endswith("patient state")


def _play(driver: Driver, pieces: Iterable[Input], now: Now) -> tuple[Now, list[Record]]:
    found = _records(driver)
    for piece in pieces:
        now = _wait(driver, now, piece.wait_ns, found)
        driver.receive(LINK, piece.data, now)
        found += _records(driver)
    return now, found


def _wait(driver: Driver, now: Now, by_ns: int, found: list[Record]) -> Now:
    end_ns = now.mono_ns + by_ns
    while (due_ns := driver.deadline_ns()) is not None and due_ns <= end_ns:
        at_ns = max(due_ns, now.mono_ns)
        now = Now(at_ns, now.utc_ns + at_ns - now.mono_ns)
        driver.wake(now)
        found += _records(driver)
    return Now(end_ns, now.utc_ns + end_ns - now.mono_ns)


@pytest.mark.parametrize("unplugged", [False, True], ids=["dumb", "unplugged"])
@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - WITHOUT))
def test_nothing_stands_as_if_live_once_a_device_is_silent(name: str, unplugged: bool) -> None:
    track = _tracks(name)[0]
    driver = driver_of(track.header)
    now = Now(S_NS, track.header.t0_ns)
    driver.link_up(LINK, "port", now)
    now, found = _play(driver, track.pieces[: len(track.pieces) // 2], now)
    values, _ = _live(found)
    assert [value for value in values.values() if value.value is not None]
    if unplugged:
        driver.link_down(LINK, "unplugged", now)
        found += _records(driver)
    _wait(driver, now, LONGEST_S * S_NS, found)
    values, alarms = _live(found)
    assert not [value for value in values.values() if value.value is not None]
    assert not [alarm for alarm in alarms.values() if not alarm.quality & Quality.UNAVAILABLE]
