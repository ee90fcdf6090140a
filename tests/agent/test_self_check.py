"""What a box must not keep to itself: when it is said, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent.alerts import Alerts
from agent.losses import LossCause
from agent.self_check import SelfCheck
from ledger.block import ClockQuality, ClockState
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS

GOOD = ClockQuality(ClockState.SYNCHRONISED, 400_000)
WRONG = ClockQuality(ClockState.UNSYNCHRONISED, 1_800_000_000)


@dataclass
class FakeFeed:
    name: str = "monitor"
    newest_loss_ns: dict[LossCause, int] = field(default_factory=dict)
    lost: dict[LossCause, int] = field(default_factory=dict)


class Checked:
    def __init__(self, *feeds: FakeFeed) -> None:
        self.quality = GOOD
        self.alerts = Alerts()
        self.check = SelfCheck(self.alerts, lambda: self.quality, list(feeds))

    def at(self, seconds: int) -> dict[tuple[str, str], str]:
        """Alert texts after a look at this time."""
        self.check.step(Now(seconds * S_NS, 1_800_000_000 * S_NS))
        return {(found.warning.id, found.warning.subject): found.warning.text for found in self.alerts.active()}


CLOCK = ("clock.unsynchronised", "clock")


def test_a_clock_that_nobody_sets_is_told_of_after_some_minutes_with_its_error_and_cleared() -> None:
    checked = Checked()
    assert checked.at(0) == {}
    checked.quality = WRONG
    assert checked.at(60) == {}
    assert checked.at(359) == {}
    assert checked.at(360)[CLOCK] == "unsynchronised for 5 min, error up to 1.8 s; order stays provable"
    assert "26 min" in checked.at(60 + 26 * 60)[CLOCK]
    checked.quality = GOOD
    assert checked.at(1_700) == {}
    checked.quality = WRONG
    assert checked.at(1_701) == {}  # the minutes count anew


def test_a_kernel_that_does_not_tell_is_no_good_clock() -> None:
    checked = Checked()
    checked.quality = ClockQuality(ClockState.UNKNOWN, 0)
    checked.at(0)
    assert "does not tell" in checked.at(300)[CLOCK]


def test_an_overflow_names_its_feed_for_an_hour() -> None:
    monitor, pumps = FakeFeed(), FakeFeed("pumps")
    checked = Checked(monitor, pumps)
    assert checked.at(1) == {}
    monitor.newest_loss_ns["overflow"] = 100 * S_NS
    monitor.lost["overflow"] = 1_234
    found = checked.at(280)
    assert set(found) == {("intake.overflow", "monitor")}
    assert "1,234 records lost since the start, the last 3 min ago" in found["intake.overflow", "monitor"]
    pumps.newest_loss_ns["oversize"] = 290 * S_NS
    pumps.lost["oversize"] = 1
    assert set(checked.at(3_699)) == {("intake.overflow", "monitor"), ("intake.oversize", "pumps")}
    assert set(checked.at(3_700)) == {("intake.oversize", "pumps")}
    assert checked.at(4_000) == {}


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=60))
def test_the_clock_is_told_of_exactly_when_every_look_of_the_last_minutes_found_it_wrong(
    looks: list[tuple[int, bool]],
) -> None:
    checked, at, wrong_since = Checked(), 0, None
    for pause, is_right in looks:
        at += pause
        checked.quality = GOOD if is_right else WRONG
        wrong_since = None if is_right else at if wrong_since is None else wrong_since
        expected = wrong_since is not None and (at - wrong_since) * S_NS >= LIMITS.clock_unsynchronised_ns
        assert (CLOCK in checked.at(at)) is expected
