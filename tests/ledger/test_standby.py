from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ledger.limits import LIMITS, MS_NS, S_NS
from ledger.quorum import quorum_for
from ledger.standby import Hearing, Phase, Standby, Step

SILENT, HEARD = Hearing(5_000), Hearing(100)


def silent_standby(peers: int = 2) -> tuple[Standby, int]:
    standby = Standby("or-2", quorum_for(peers), 0)
    assert standby.step(0, LIMITS.silence_ns) is Step.ASK_AND_RESTORE
    return standby, LIMITS.silence_ns


def test_silence_is_noticed_after_two_seconds_and_not_before() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    assert standby.step(0, LIMITS.silence_ns - 1) is Step.NOTHING
    assert standby.phase is Phase.HEARD
    assert standby.step(0, LIMITS.silence_ns) is Step.ASK_AND_RESTORE


def test_a_box_never_heard_since_start_is_given_the_same_two_seconds() -> None:
    standby = Standby("or-2", quorum_for(2), 10 * S_NS)
    assert standby.step(None, 11 * S_NS) is Step.NOTHING
    assert standby.step(None, 12 * S_NS) is Step.ASK_AND_RESTORE


def test_nothing_is_handed_out_while_anybody_hears_the_box() -> None:
    standby, now = silent_standby()
    assert not standby.may_emit({"or-3": HEARD}, 0, now)
    assert standby.may_emit({"or-3": SILENT}, 0, now)


def test_f_peers_must_not_hear_it_and_this_one_counts() -> None:
    three, now = silent_standby(3)
    assert not three.may_emit({}, 0, now)
    assert three.may_emit({"or-3": SILENT}, 0, now)
    seven, now = silent_standby(7)
    assert not seven.may_emit(dict.fromkeys("abc", SILENT), 0, now)
    assert seven.may_emit(dict.fromkeys("abcd", SILENT), 0, now)


def test_a_box_heard_while_its_state_is_fetched_is_not_spoken_for() -> None:
    standby, now = silent_standby()
    assert not standby.may_emit({"or-3": SILENT}, now, now + 10 * MS_NS)
    assert standby.step(now, now + 10 * MS_NS) is Step.NOTHING
    standby.emitted(now + 20 * MS_NS)
    assert standby.phase is Phase.HEARD


def test_a_reserve_waits_for_the_standby_before_it_and_gives_way_to_it() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    standby.defers = True
    now = 10 * S_NS
    assert standby.step(0, now) is Step.NOTHING
    standby.defers = False
    assert standby.step(0, now) is Step.ASK_AND_RESTORE
    standby.defers = True
    assert not standby.may_emit({"or-3": SILENT}, 0, now)
    standby.failed(now)
    standby.defers = False
    now += LIMITS.standby_retry_min_ns
    assert standby.step(0, now) is Step.ASK_AND_RESTORE, "having waited was no failure"
    assert standby.may_emit({"or-3": SILENT}, 0, now)
    standby.emitted(now)
    standby.defers = True
    assert standby.step(0, now) is Step.END_EMISSION
    assert standby.step(0, now) is Step.NOTHING


def test_a_standby_that_is_cut_off_itself_makes_no_attempt_and_acts_as_soon_as_it_hears_somebody() -> None:
    standby, now = silent_standby(3)
    for _ in range(9):
        standby.is_cut_off = True
        standby.failed(now)
        now += LIMITS.standby_retry_max_ns
        assert standby.step(0, now) is Step.NOTHING
    standby.is_cut_off = False
    assert standby.step(0, now) is Step.ASK_AND_RESTORE
    standby.failed(now)
    assert standby.step(0, now + LIMITS.standby_retry_min_ns) is Step.ASK_AND_RESTORE, "none of it counted"


def test_of_two_peers_one_is_enough_and_it_acts_although_it_hears_nobody() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    standby.is_cut_off = True
    assert standby.step(0, LIMITS.silence_ns) is Step.ASK_AND_RESTORE
    assert standby.may_emit({}, 0, LIMITS.silence_ns)


def test_it_ends_when_the_box_is_heard_again() -> None:
    standby, now = silent_standby()
    standby.emitted(now)
    assert standby.step(0, now + 60 * S_NS) is Step.NOTHING
    assert standby.step(now + 60 * S_NS, now + 60 * S_NS) is Step.END_EMISSION
    assert standby.step(now + 60 * S_NS, now + 61 * S_NS) is Step.NOTHING


def test_a_flapping_link_makes_ever_fewer_restores() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    heard, restores = 0, []
    for now in range(0, 3_600 * S_NS, 100 * MS_NS):
        if now // S_NS % 6 < 3:
            heard = now
        if standby.step(heard, now) is Step.ASK_AND_RESTORE:
            restores.append(now)
            standby.emitted(now)
    assert len(restores) < 25
    gaps = [later - earlier for earlier, later in itertools.pairwise(restores)]
    assert gaps[-1] > 10 * gaps[0]


def test_calm_makes_it_quick_again() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    now, heard = 0, 0
    for _ in range(6):
        while standby.step(heard, now) is not Step.ASK_AND_RESTORE:
            now += 100 * MS_NS
        standby.emitted(now)
        heard = now = now + S_NS
        standby.step(heard, now)
    for _ in range(7_000):
        now += 100 * MS_NS
        heard = now
        standby.step(heard, now)
    silent_from = now
    while standby.step(heard, now) is not Step.ASK_AND_RESTORE:
        now += 100 * MS_NS
    assert now - silent_from <= LIMITS.silence_ns + 100 * MS_NS


def quick_to_hand_over(standby: Standby, heard: int) -> bool:
    """The box falls silent now; for half a second more another peer thinks that it hears it."""
    for now in range(heard, heard + 10 * S_NS, 100 * MS_NS):
        if standby.step(heard, now) is Step.ASK_AND_RESTORE:
            other = HEARD if now < heard + LIMITS.silence_ns + 500 * MS_NS else SILENT
            if standby.may_emit({"or-3": other}, heard, now):
                standby.emitted(now)
                return now - heard <= LIMITS.silence_ns + 2 * S_NS
            standby.failed(now)
    return False


def test_what_failed_while_nobody_could_be_asked_does_not_make_the_next_failover_slow() -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    assert quick_to_hand_over(standby, 0)
    for outage_s in (60, 1_800):
        heard = now = 10_000 * S_NS * outage_s
        standby.step(heard, now)
        tries = []
        for now in range(heard, heard + outage_s * S_NS, 100 * MS_NS):
            if standby.step(heard, now) is Step.ASK_AND_RESTORE:
                tries.append(now)
                standby.failed(now)
        assert len(tries) > outage_s * S_NS // LIMITS.standby_retry_max_ns, "those who return are asked soon"
        assert len(tries) < 10 + outage_s * S_NS // LIMITS.standby_retry_max_ns
        back = now + 20 * S_NS
        for heard in range(now, back + 1, 100 * MS_NS):
            standby.step(heard, heard)
        assert quick_to_hand_over(standby, back)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4_000)), max_size=60))
def test_emission_only_in_silence_and_always_ended(schedule: list[tuple[bool, bool, int]]) -> None:
    standby = Standby("or-2", quorum_for(2), 0)
    now, heard, emitting = 0, 0, False
    for is_heard, other_hears, wait_ms in schedule:
        now += wait_ms * MS_NS
        if is_heard:
            heard = now
        match standby.step(heard, now):
            case Step.ASK_AND_RESTORE:
                assert not emitting
                if standby.may_emit({"or-3": HEARD if other_hears else SILENT}, heard, now):
                    assert now - heard >= LIMITS.silence_ns
                    assert not other_hears
                    standby.emitted(now)
                    emitting = True
                else:
                    standby.failed(now)
            case Step.END_EMISSION:
                assert emitting
                emitting = False
        assert emitting == (standby.phase is Phase.EMITTING)
