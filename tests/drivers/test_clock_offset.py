from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.clock_offset import STEP_NS, WINDOW_NS, ClockOffset, ClockStep
from drivers.contract import Now
from ledger.limits import MS_NS, S_NS
from ledger.records import Clock

UTC_NS = 1_700_000_000 * S_NS


def now(elapsed_ns: int) -> Now:
    return Now(10**12 + elapsed_ns, UTC_NS + elapsed_ns)


def run(
    offset_ns: int, delays_ns: list[int], resolution_ns: int, every_ns: int, drift_ppm: float = 0
) -> list[Clock | ClockStep]:
    """A device that is ``offset_ns`` behind sends every ``every_ns``, delayed by ``delays_ns`` in turn."""
    estimator, found = ClockOffset(resolution_ns), []
    for i in range(4 * WINDOW_NS // every_ns):
        sent_ns = i * every_ns
        device_ns = UTC_NS + sent_ns + int(sent_ns * drift_ppm / 1e6) - offset_ns
        outcome = estimator.observe(
            device_ns // resolution_ns * resolution_ns, now(sent_ns + delays_ns[i % len(delays_ns)])
        )
        if outcome is not None:
            found.append(outcome)
    return found


@given(
    offset_ns=st.integers(-(10**13), 10**13),
    delays_ns=st.lists(st.integers(0, S_NS), min_size=1, max_size=10),
    resolution_ns=st.sampled_from([1, MS_NS, S_NS]),
)
def test_true_offset_lies_within_the_error_but_for_the_least_delay(
    offset_ns: int, delays_ns: list[int], resolution_ns: int
) -> None:
    clocks = run(offset_ns, delays_ns, resolution_ns, S_NS)
    assert len(clocks) >= 2
    for clock in clocks:
        assert isinstance(clock, Clock)
        assert clock.error_ns == resolution_ns
        assert offset_ns <= clock.offset_ns <= offset_ns + min(delays_ns) + resolution_ns


def test_one_estimate_a_minute_with_its_number_of_samples() -> None:
    clocks = run(0, [5 * MS_NS], 1, S_NS)
    assert [clock.samples for clock in clocks if isinstance(clock, Clock)] == [60, 60, 60]


def test_drift_is_told_once_the_resolution_allows() -> None:
    coarse = run(0, [0], S_NS, S_NS, drift_ppm=50)
    assert all(isinstance(clock, Clock) and clock.drift_ppm is None for clock in coarse)
    fine = run(0, [0], MS_NS, S_NS, drift_ppm=50)
    last = fine[-1]
    assert isinstance(last, Clock)
    assert last.drift_ppm is not None
    assert 30 < last.drift_ppm < 70


def test_a_step_is_told_at_once_and_never_mixed_into_an_estimate() -> None:
    estimator = ClockOffset(S_NS)
    for i in range(30):
        assert estimator.observe(UTC_NS + i * S_NS, now(i * S_NS)) is None
    back_ns = 3600 * S_NS
    outcome = estimator.observe(UTC_NS + 30 * S_NS - back_ns, now(30 * S_NS))
    assert outcome == ClockStep(-back_ns)
    later = [estimator.observe(UTC_NS + i * S_NS - back_ns, now(i * S_NS)) for i in range(31, 100)]
    clocks = [clock for clock in later if clock is not None]
    assert [clock.offset_ns for clock in clocks if isinstance(clock, Clock)] == [back_ns]


def test_a_delay_is_no_step() -> None:
    estimator = ClockOffset(S_NS)
    estimator.observe(UTC_NS, now(0))
    assert estimator.observe(UTC_NS + S_NS, now(STEP_NS)) is None
    assert estimator.observe(UTC_NS + 6 * S_NS, now(6 * S_NS)) is None


def test_a_step_of_the_box_starts_anew_in_silence() -> None:
    estimator = ClockOffset(1)
    for i in range(30):
        estimator.observe(UTC_NS + i * S_NS, now(i * S_NS))
    stepped = [
        estimator.observe(UTC_NS + i * S_NS, Now(now(i * S_NS).mono_ns, now(i * S_NS).utc_ns + 100 * S_NS))
        for i in range(30, 100)
    ]
    assert [clock.offset_ns for clock in stepped if isinstance(clock, Clock)] == [100 * S_NS]
    assert not any(isinstance(outcome, ClockStep) for outcome in stepped)
