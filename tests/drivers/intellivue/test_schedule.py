from __future__ import annotations

from itertools import pairwise

from drivers.intellivue.requests import Ask
from drivers.intellivue.schedule import Due, Phase, Say, Schedule
from drivers.intellivue.session import Profile
from ledger.limits import S_NS
from tests.drivers.intellivue.building import ALERTS, NUMERIC, WAVE

WANTED: frozenset[Due] = frozenset(
    {Ask.MDS, Ask.NUMERICS_ONCE, Ask.NUMERICS, Ask.ALERTS, Ask.WAVES_ONCE, Ask.WAVES, Ask.PATIENT, Say.GET_WAVES}
)
TENTH_NS = S_NS // 10


def run(plan: Schedule, from_s: float, until_s: float, *heard: int) -> list[tuple[float, Due]]:
    """Wake at every deadline; hear these classes every second. What was sent, and when in seconds."""
    said = []
    for tenth in range(round(from_s * 10), round(until_s * 10)):
        if tenth % 10 == 0:
            for object_class in heard:
                plan.heard(tenth * TENTH_NS, object_class)
        deadline_ns = plan.deadline_ns()
        assert deadline_ns is not None
        if deadline_ns <= tenth * TENTH_NS:
            said += [(tenth / 10, item) for item in plan.due(tenth * TENTH_NS)]
    return said


def polling() -> Schedule:
    plan = Schedule(WANTED)
    plan.begin(0)
    plan.due(0)
    plan.accepted(Profile(), 0)
    plan.created(frozenset(), 0)
    return plan


def test_an_association_is_asked_for_every_five_seconds() -> None:
    plan = Schedule(WANTED)
    plan.begin(0)
    assert run(plan, 0, 12) == [(0, Say.ASSOCIATE), (5, Say.ASSOCIATE), (10, Say.ASSOCIATE)]
    assert plan.phase is Phase.REQUESTED


def test_after_the_creation_everything_is_asked_for_but_no_class_twice_a_second() -> None:
    said = run(polling(), 0, 3, NUMERIC, WAVE, ALERTS)
    assert {item for _, item in said} == WANTED
    for object_class in (NUMERIC, WAVE, ALERTS):
        times = [at for at, item in said if isinstance(item, Ask) and item.object_class == object_class]
        assert all(b - a >= 1 for a, b in pairwise(times))


def test_a_new_case_right_after_the_creation_asks_for_the_waves_sent_no_sooner_but_later_at_once() -> None:
    plan = polling()
    plan.ask_again(frozenset())
    assert Say.GET_WAVES not in {item for _, item in run(plan, 0, 1)}
    assert Say.GET_WAVES in {item for _, item in run(plan, 1, 3, NUMERIC, WAVE, ALERTS)}
    plan.ask_again(frozenset())
    assert Say.GET_WAVES in plan.due(3 * S_NS)


def test_what_is_not_granted_is_not_asked_for() -> None:
    plan = Schedule(WANTED)
    plan.begin(0)
    plan.due(0)
    plan.accepted(Profile(), 0)
    plan.created(frozenset({Ask.WAVES, Ask.WAVES_ONCE}), 0)
    assert Ask.WAVES not in {item for _, item in run(plan, 0, 40, NUMERIC, ALERTS)}


def test_polls_are_renewed_before_they_end_and_kept_alive_in_between() -> None:
    said = run(polling(), 0, 650, NUMERIC, WAVE, ALERTS)
    numerics = [at for at, item in said if item is Ask.NUMERICS]
    assert len(numerics) == 3
    assert all(290 <= b - a <= 310 for a, b in pairwise(numerics))
    times = [at for at, _ in said]
    assert max(b - a for a, b in pairwise(times)) < 5
    assert sum(item is Ask.MDS for _, item in said) == 11


def test_numerics_that_do_not_come_are_asked_for_again() -> None:
    said = run(polling(), 0, 3, NUMERIC, WAVE, ALERTS)
    plan = polling()
    run(plan, 0, 3, NUMERIC, WAVE, ALERTS)
    said = run(plan, 3, 40, WAVE, ALERTS)
    assert [at for at, item in said if item is Ask.NUMERICS] == [7, 22, 37]


def test_a_monitor_that_says_nothing_is_aborted_and_asked_anew() -> None:
    plan = polling()
    run(plan, 0, 3, NUMERIC, WAVE, ALERTS)
    said = [(at, item) for at, item in run(plan, 3, 20) if isinstance(item, Say)]
    assert said == [(12, Say.ABORT), (13, Say.ASSOCIATE), (18, Say.ASSOCIATE)]


def test_data_of_an_old_association_is_ended_before_a_new_one_is_asked_for() -> None:
    plan = Schedule(WANTED)
    plan.begin(0)
    said = run(plan, 0, 7, NUMERIC)
    assert said == [(0, Say.ASSOCIATE), (5, Say.ABORT), (6, Say.ASSOCIATE)]


def test_a_poll_that_is_refused_is_asked_again_much_later() -> None:
    plan = polling()
    run(plan, 0, 3, NUMERIC, WAVE, ALERTS)
    plan.refused(Ask.WAVES, 3 * S_NS)
    said = run(plan, 3, 320, NUMERIC, ALERTS)
    assert [at for at, item in said if item is Ask.WAVES] == [303]


def test_a_repeated_creation_asks_for_nothing_twice() -> None:
    plan = polling()
    run(plan, 0, 3, NUMERIC, WAVE, ALERTS)
    plan.created(frozenset(), 3 * S_NS)
    assert [item for _, item in run(plan, 3, 6, NUMERIC, WAVE, ALERTS)] == [Ask.KEEP_ALIVE]
