"""The box's clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import StallDetector, StepDetector, quality_of, read_now, read_pair, read_quality, tick_phase_ns
from drivers.contract import Now
from ledger.block import ClockQuality, ClockState
from ledger.limits import LIMITS
from ledger.notices import ClockStep

MS = 1_000_000
START = Now(10**9, 1_800_000_000 * 10**9)


def later(now: Now, boot_ns: int, utc_ns: int) -> Now:
    return Now(now.mono_ns + boot_ns, now.utc_ns + utc_ns)


@pytest.mark.parametrize("read", [read_now, read_pair])
def test_readings_are_the_systems(read: Callable[[], Now]) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
    now = read()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
    assert before[0] <= now.mono_ns <= after[0]
    assert before[1] <= now.utc_ns <= after[1]


@pytest.mark.parametrize(
    ("state", "status", "maxerror_us", "expected"),
    [
        (0, 0x0001, 412, ClockQuality(ClockState.SYNCHRONISED, 412_000)),
        (1, 0x0011, 412, ClockQuality(ClockState.SYNCHRONISED, 412_000)),  # a leap second is due
        (5, 0x0000, 16_000_000, ClockQuality(ClockState.UNSYNCHRONISED, 16_000_000_000)),
        (0, 0x0041, 500, ClockQuality(ClockState.UNSYNCHRONISED, 500_000)),
        (-1, 0, 0, ClockQuality(ClockState.UNKNOWN, 0)),
    ],
)
def test_quality_as_adjtimex_tells_it(state: int, status: int, maxerror_us: int, expected: ClockQuality) -> None:
    assert quality_of(state, status, maxerror_us) == expected


def test_the_kernel_answers() -> None:
    quality = read_quality()
    assert quality.state is not ClockState.UNKNOWN
    assert 0 < quality.error_ns <= 3600 * 10**9, "a wrong struct layout would read nonsense"


@given(st.lists(st.integers(1, 10**12), max_size=30))
def test_a_steady_clock_has_no_steps(waits_ns: list[int]) -> None:
    detector, now = StepDetector(), START
    assert detector.observe(now) is None
    for wait_ns in waits_ns:
        now = later(now, wait_ns, wait_ns)
        assert detector.observe(now) is None


@pytest.mark.parametrize("step_ns", [51 * MS, -51 * MS, 3600 * 10**9, -(10**18)])
def test_a_step_is_told_once_with_its_size(step_ns: int) -> None:
    detector = StepDetector()
    detector.observe(START)
    stepped = later(START, 100 * MS, 100 * MS + step_ns)
    assert detector.observe(stepped) == ClockStep(step_ns)
    assert detector.observe(later(stepped, 100 * MS, 100 * MS)) is None


def test_the_bound_itself_is_no_step() -> None:
    detector = StepDetector()
    detector.observe(START)
    assert detector.observe(later(START, 0, LIMITS.clock_step_ns)) is None
    assert detector.observe(later(START, 0, LIMITS.clock_step_ns + 1)) is not None


def test_small_steps_add_up() -> None:
    detector, now = StepDetector(), START
    detector.observe(now)
    told: list[ClockStep] = []
    for _ in range(10):
        now = later(now, 100 * MS, 120 * MS)
        step = detector.observe(now)
        if step is not None:
            told.append(step)
    assert told == [ClockStep(60 * MS)] * 3


def test_standing_still_is_a_gap_of_exactly_that_time() -> None:
    detector, now = StallDetector(), START
    assert detector.observe(now) is None
    for _ in range(20):
        now = Now(now.mono_ns + 100_000_000, now.utc_ns + 100_000_000)
        assert detector.observe(now) is None
    later = Now(now.mono_ns + 60_000_000_000, now.utc_ns + 60_000_000_000)
    gap = detector.observe(later)
    assert gap is not None
    assert (gap.cause, gap.since_ns, gap.until_ns) == ("agent_down", now.utc_ns, later.utc_ns)
    assert detector.observe(Now(later.mono_ns + 1, later.utc_ns + 1)) is None


def test_a_clock_that_is_set_is_not_a_process_that_stood_still() -> None:
    detector = StallDetector()
    assert detector.observe(START) is None
    assert detector.observe(Now(START.mono_ns + 100_000_000, START.utc_ns + 3_600_000_000_000)) is None


@given(st.sets(st.text(min_size=1, max_size=4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_boxes_of_a_group_tick_evenly_spread_over_the_tick(boxes: set[str], order: Random) -> None:
    listed = list(boxes)
    order.shuffle(listed)
    phases = sorted(tick_phase_ns(listed, box) for box in boxes)
    assert phases[0] == 0
    gaps = [after - before for before, after in pairwise([*phases, LIMITS.tick_ns])]
    assert max(gaps) - min(gaps) <= 1
