"""One timer for several deadlines: never later than the earliest, and none once stopped."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from agent.wake_timer import SHORTEST_TIMER_NS, WakeTimer
from ledger.instant import Now

times = st.integers(0, 20).map(lambda number: number * SHORTEST_TIMER_NS)


class Clockwork:
    """Timers over a clock set by hand; ``calls`` are the times at which ``due`` was called."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.timers: list[Alarm] = []
        self.calls: list[int] = []
        self.wake = WakeTimer(self.schedule, lambda: Now(self.now_ns, 0), lambda: self.calls.append(self.now_ns))

    def schedule(self, delay_ns: int, call: Callable[[], None]) -> Alarm:
        self.timers.append(Alarm(self, self.now_ns + delay_ns, call))
        return self.timers[-1]

    def run_until(self, end_ns: int) -> None:
        while self.timers and (first := min(self.timers, key=lambda timer: timer.at_ns)).at_ns <= end_ns:
            self.timers.remove(first)
            self.now_ns = first.at_ns
            first.call()
        self.now_ns = end_ns


class Alarm:
    def __init__(self, clockwork: Clockwork, at_ns: int, call: Callable[[], None]) -> None:
        self.clockwork, self.at_ns, self.call = clockwork, at_ns, call

    def cancel(self) -> None:
        self.clockwork.timers.remove(self)


@given(st.lists(st.lists(times | st.none(), max_size=3), max_size=5), times)
def test_it_calls_once_and_no_later_than_the_earliest_deadline(rounds: list[list[int | None]], now_ns: int) -> None:
    clockwork = Clockwork()
    clockwork.now_ns = now_ns
    for deadlines in rounds:
        clockwork.wake.arm(*deadlines)
        assert len(clockwork.timers) <= 1
    given_ns = [deadline for deadlines in rounds for deadline in deadlines if deadline is not None]
    clockwork.run_until(1_000 * SHORTEST_TIMER_NS)
    earliest_ns = max(min(given_ns), now_ns + SHORTEST_TIMER_NS) if given_ns else None
    assert clockwork.calls == ([] if earliest_ns is None else [earliest_ns])


def test_it_can_be_armed_anew_once_it_has_called() -> None:
    clockwork = Clockwork()
    clockwork.wake.arm(5 * SHORTEST_TIMER_NS)
    clockwork.run_until(6 * SHORTEST_TIMER_NS)
    clockwork.wake.arm(9 * SHORTEST_TIMER_NS)
    clockwork.run_until(20 * SHORTEST_TIMER_NS)
    assert clockwork.calls == [5 * SHORTEST_TIMER_NS, 9 * SHORTEST_TIMER_NS]


def test_it_calls_no_more_once_stopped() -> None:
    clockwork = Clockwork()
    clockwork.wake.arm(5 * SHORTEST_TIMER_NS)
    clockwork.wake.stop()
    clockwork.wake.arm(3 * SHORTEST_TIMER_NS)
    clockwork.run_until(20 * SHORTEST_TIMER_NS)
    assert clockwork.calls == []
