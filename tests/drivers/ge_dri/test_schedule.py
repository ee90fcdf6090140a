from __future__ import annotations

from drivers.ge_dri.record import MainType
from drivers.ge_dri.request import CLASSES, AlarmCommand, alarm_request, numerics_request, wave_request
from drivers.ge_dri.schedule import Due, Schedule
from ledger.limits import S_NS

NUMERICS = numerics_request(5, CLASSES)
WAVES = wave_request([1, 8])
ENTER, STATUS = alarm_request(AlarmCommand.ENTER_DIFFERENTIAL), alarm_request(AlarmCommand.STATUS)


def schedule(*, alarms: bool = False) -> Schedule:
    return Schedule(5, CLASSES, [1, 8], alarms=alarms)


def run(plan: Schedule, seconds: int, *heard: MainType) -> list[tuple[int, bytes]]:
    """Wake at every deadline, hear these types every second; what was sent, and when in seconds."""
    sent = []
    for second in range(1, seconds + 1):
        for main_type in heard:
            plan.heard(main_type, second * S_NS)
        if plan.deadline_ns() <= second * S_NS:
            sent += [(second, frame) for frame in plan.due(second * S_NS).frames]
    return sent


def test_everything_is_asked_for_at_the_start() -> None:
    assert schedule(alarms=True).start(0) == [NUMERICS, WAVES, ENTER]
    assert schedule().start(0) == [NUMERICS, WAVES]
    assert Schedule(5, CLASSES, [], alarms=False).start(0) == [NUMERICS, wave_request([])]


def test_nothing_is_asked_again_while_all_comes() -> None:
    plan = schedule()
    plan.start(0)
    assert run(plan, 120, MainType.PHYSIOLOGICAL, MainType.WAVEFORM) == []


def test_waves_are_asked_for_again_after_two_seconds_and_then_every_five() -> None:
    plan = schedule()
    plan.start(0)
    plan.heard(MainType.WAVEFORM, 0)
    assert run(plan, 13, MainType.PHYSIOLOGICAL) == [(2, WAVES), (7, WAVES), (12, WAVES)]


def test_without_numerics_everything_is_asked_for_again() -> None:
    plan = schedule()
    plan.start(0)
    assert run(plan, 25, MainType.WAVEFORM) == [(10, NUMERICS), (10, WAVES), (20, NUMERICS), (20, WAVES)]


def test_waves_that_come_are_not_silent_when_numerics_are() -> None:
    plan = schedule()
    plan.start(0)
    plan.heard(MainType.WAVEFORM, 9 * S_NS)
    assert plan.due(10 * S_NS) == Due([NUMERICS, WAVES], waves_silent=False)


def test_alarms_are_asked_after_every_thirty_seconds() -> None:
    plan = schedule(alarms=True)
    plan.start(0)
    plan.heard(MainType.ALARM, 1 * S_NS)
    sent = run(plan, 31, MainType.PHYSIOLOGICAL, MainType.WAVEFORM)
    assert sent == [(31, STATUS)]


def test_after_a_fault_alarms_are_asked_after_soon_but_two_seconds_apart() -> None:
    plan = schedule(alarms=True)
    plan.start(0)
    plan.heard(MainType.ALARM, S_NS)
    plan.line_fault(S_NS)
    assert run(plan, 4, MainType.PHYSIOLOGICAL, MainType.WAVEFORM) == [(2, STATUS)]
    plan.line_fault(100 * S_NS)
    assert plan.deadline_ns() <= 100 * S_NS


def test_a_restart_is_not_repeated_within_five_seconds() -> None:
    plan = schedule()
    plan.start(0)
    assert plan.restart(4 * S_NS) == []
    assert plan.restart(5 * S_NS) == [NUMERICS, WAVES]
    assert plan.restart(9 * S_NS) == []
