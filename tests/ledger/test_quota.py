"""A box's daily share of its peers' disks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.quota import Quota

DAY_NS = 86_400 * S_NS


def test_a_box_has_its_number_of_logs_a_day_and_others_have_theirs() -> None:
    quota = Quota()
    assert all(quota.take_log("or-1") for _ in range(LIMITS.epochs_per_day))
    assert not quota.take_log("or-1")
    assert quota.take_log("or-2")
    assert quota.take_block("or-1")


def test_midnight_gives_a_new_share_and_a_clock_set_back_does_not() -> None:
    quota = Quota()
    assert quota.today(Now(0, 5 * DAY_NS))
    assert all(quota.take_log("or-1") for _ in range(LIMITS.epochs_per_day))
    assert not quota.today(Now(DAY_NS - 1, 4 * DAY_NS))
    assert not quota.take_log("or-1")
    assert quota.today(Now(DAY_NS - 1, 6 * DAY_NS))
    assert quota.take_log("or-1")


def test_a_clock_that_was_years_ahead_withholds_the_share_for_a_day_at_most() -> None:
    wrong, quota = Quota(), Quota()
    wrong.today(Now(0, 40_000 * DAY_NS))
    assert all(wrong.take_log("or-1") for _ in range(LIMITS.epochs_per_day))
    quota.load(wrong.encode())
    assert not quota.today(Now(7, 20_000 * DAY_NS))
    assert not quota.today(Now(7 + DAY_NS - 1, 20_001 * DAY_NS))
    assert not quota.take_log("or-1")
    assert quota.today(Now(7 + DAY_NS, 20_001 * DAY_NS))
    assert quota.take_log("or-1")
    assert quota.today(Now(8 + DAY_NS, 20_002 * DAY_NS)), "midnight counts again"


@given(st.lists(st.tuples(st.sampled_from(["or-1", "or-2", "x"]), st.booleans()), max_size=50), st.integers(1, 40_000))
def test_what_was_used_survives_a_restart(used: list[tuple[str, bool]], day: int) -> None:
    quota, again = Quota(), Quota()
    quota.today(Now(0, day * DAY_NS))
    for box, is_log in used:
        quota.take_log(box) if is_log else quota.take_block(box)
    saved = quota.encode()
    again.load(saved)
    assert again.encode() == saved
    assert again.day == day
