from __future__ import annotations

from drivers.contract import Now
from drivers.gaps import WINDOW_NS, GapCollector


def now(ns: int) -> Now:
    return Now(ns, 1_000 + ns)


def test_faults_of_one_second_are_one_gap_by_cause() -> None:
    gaps = GapCollector()
    assert gaps.deadline_ns() is None
    for i in range(100):
        gaps.add("checksum", now(i), 10, f"fault {i}")
    gaps.add("framing", now(100), 3)
    assert gaps.deadline_ns() == WINDOW_NS
    assert gaps.take(now(WINDOW_NS - 1)) == []
    (gap,) = gaps.take(now(WINDOW_NS))
    assert (gap.cause, gap.lost_bytes, gap.lost_items, gap.detail) == ("checksum", 1000, 100, "fault 0")
    assert (gap.since_ns, gap.until_ns) == (1_000, 1_099)
    (rest,) = gaps.take(now(WINDOW_NS), everything=True)
    assert (rest.cause, rest.lost_bytes) == ("framing", 3)
    assert gaps.take(now(10 * WINDOW_NS), everything=True) == []


def test_nothing_lost_is_not_a_loss_of_nothing() -> None:
    gaps = GapCollector()
    gaps.add("clock_jump", now(50), None, "moved", since=now(20))
    gaps.add("clock_jump", now(60), None)
    (gap,) = gaps.take(now(60), everything=True)
    assert (gap.lost_bytes, gap.lost_items, gap.since_ns, gap.until_ns) == (None, None, 1_020, 1_060)
