"""How fast a stream of messages is, and what is missing in it: from message ids where they count, else from time.

The protocol tells no rate. A stream is fast once its messages come steadily more often than ``FAST_NS`` apart; its rate
is then that of their intervals, a multiple of 5 Hz or a whole number of hertz where it is near one (each record has the
sender's time beside it, so nothing rests on the last percent). What is missing is judged against
the stream's own jitter, so that a sender without a real-time clock is not said to lose what it sends unevenly.
"""

from __future__ import annotations

from statistics import median_low
from typing import Final

from ledger.limits import MS_NS, S_NS

FAST_NS: Final = 80 * MS_NS
_LEARN: Final = 32
_WINDOW: Final = 64
_NEAR: Final = 0.03
_PAUSE: Final = 3
_ROUND_HZ: Final = (5, 1)
_CHANGED: Final = 0.04
_SLOW_NS: Final = 1 * S_NS
_UNSTAMPED_NS: Final = 250 * MS_NS
"""TCP hands messages over in bunches: without the sender's time a shorter pause says nothing."""
_IDS: Final = 1 << 32
_TRUSTED_STEPS: Final = 8


class MessageIds:
    """Message ids of header version 2. They count only once eight messages in a row had the next id each."""

    __slots__ = ("_last", "_steps", "counted")

    def __init__(self) -> None:
        self._last: int | None = None
        self._steps = 0
        self.counted = False
        """Whether they ever counted."""

    def missing(self, message_id: int) -> int:
        """How many messages are missing before this one, as far as its id tells."""
        ahead = 1 if self._last is None else (message_id - self._last) % _IDS
        first, self._last = self._last is None, message_id
        if first:
            return 0
        if ahead == 1:
            self._steps += 1
            self.counted |= self._steps >= _TRUSTED_STEPS
            return 0
        if self._steps >= _TRUSTED_STEPS and 1 < ahead < _IDS // 2:
            return ahead - 1
        self._steps = 0
        return 0


class Pace:
    """The rate of one stream. ``rate`` is (samples, seconds), None while the stream is slow or not known yet."""

    __slots__ = ("_interval_ns", "_intervals", "_jitter_ns", "_last_ns", "_sum_ns", "_summed", "rate")

    def __init__(self) -> None:
        self.rate: tuple[int, int] | None = None
        self._interval_ns = 0
        self._intervals: list[int] = []
        self._jitter_ns = 0.0
        self._last_ns: int | None = None
        self._sum_ns = self._summed = 0

    def restart(self) -> None:
        """The clock that stamps the messages was set: the next interval says nothing."""
        self._last_ns = None

    def missing(self, at_ns: int, *, stamped: bool) -> int:
        """A message is of ``at_ns``, by the sender's time if ``stamped``. How many should have come since the last."""
        last_ns, self._last_ns = self._last_ns, at_ns
        if last_ns is None:
            return 0
        passed_ns = at_ns - last_ns
        if self.rate is None:
            self._learn(passed_ns)
            return 0
        late_ns = max(1.5 * self._interval_ns + 4 * self._jitter_ns, 0 if stamped else _UNSTAMPED_NS)
        if passed_ns > late_ns:
            return max(1, round(passed_ns / self._interval_ns) - 1)
        self._jitter_ns += (abs(passed_ns - self._interval_ns) - self._jitter_ns) / 16
        self._watch(passed_ns)
        return 0

    def _learn(self, passed_ns: int) -> None:
        if abs(passed_ns) > _SLOW_NS:
            self._intervals.clear()
            return
        self._intervals.append(passed_ns)
        if len(self._intervals) == _LEARN:
            usual_ns = max(0, median_low(self._intervals)) or sum(self._intervals) // _LEARN
            steady = [each for each in self._intervals if each <= _PAUSE * usual_ns]
            interval_ns = sum(steady) // max(1, len(steady))
            if 0 < interval_ns <= FAST_NS:
                self._settle(interval_ns)
                self._jitter_ns = sum(abs(each - interval_ns) for each in steady) / len(steady)
            self._intervals.clear()

    def _watch(self, passed_ns: int) -> None:
        """The rate of the last messages, and whether it is another one now."""
        self._sum_ns += passed_ns
        self._summed += 1
        if self._summed < _WINDOW:
            return
        mean_ns = self._sum_ns // _WINDOW
        self._sum_ns = self._summed = 0
        if abs(mean_ns - self._interval_ns) > _CHANGED * self._interval_ns:
            if 0 < mean_ns <= FAST_NS:
                self._settle(mean_ns)
            else:
                self.rate = None

    def _settle(self, interval_ns: int) -> None:
        rate_hz = S_NS / interval_ns
        near = [step * round(rate_hz / step) for step in _ROUND_HZ]
        whole_hz = next((hz for hz in near if abs(rate_hz - hz) <= _NEAR * rate_hz), 0)
        self.rate = (whole_hz, 1) if whole_hz else (round(rate_hz * 1000), 1000)
        self._interval_ns = S_NS // whole_hz if whole_hz else interval_ns
        self._sum_ns = self._summed = 0
