"""How far a device's clock is from the box's: the lower envelope of (box − device) over a minute.

A message is stamped by the device, then delayed, then stamped by the box. Delay is never negative, so every difference
is too large by its delay, and the smallest of a window is the best. The device truncates to its resolution, so the true
offset lies between the smallest difference minus one resolution and the smallest difference (Paxson, "On calibrating
measurements of packet transit times", 1998, uses the same envelope).
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.contract import Now
from ledger.limits import S_NS
from ledger.records import Clock

WINDOW_NS = 60 * S_NS
STEP_NS = 5 * S_NS
_MAX_DRIFT_UNCERTAINTY = 1e-4


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The device's clock was set, or the device restarted: it moved by ``step_ns`` against the box's steady clock."""

    step_ns: int


@dataclass(frozen=True, slots=True)
class _Minimum:
    offset_ns: int
    mono_ns: int


class ClockOffset:
    """The envelope of one device clock of ``resolution_ns``; windows do not overlap. Bounded: keeps two minima.

    A change of (device − steady) by ``STEP_NS`` or more between two messages is a step and starts all anew; smaller
    ones are taken for delay. A step of the box's UTC starts anew too, and is nobody's fault here.
    """

    __slots__ = ("_best", "_count", "_first", "_last_device_ns", "_last_now", "_resolution_ns", "_started_mono_ns")

    def __init__(self, resolution_ns: int) -> None:
        self._resolution_ns = resolution_ns
        self._last_device_ns = 0
        self._last_now: Now | None = None
        self._restart()

    def _restart(self) -> None:
        self._first: _Minimum | None = None
        self._best: _Minimum | None = None
        self._started_mono_ns = 0
        self._count = 0

    def observe(self, device_ns: int, now: Now) -> Clock | ClockStep | None:
        """A message stamped ``device_ns`` arrived. Once a window the ``Clock`` record, at once a step, else None."""
        device_step_ns, box_step_ns = self._steps(device_ns, now)
        self._last_device_ns, self._last_now = device_ns, now
        if abs(device_step_ns) >= STEP_NS or abs(box_step_ns) >= STEP_NS:
            self._restart()
        done = self._close(now) if self._best is not None and now.mono_ns - self._started_mono_ns >= WINDOW_NS else None
        self._take(_Minimum(now.utc_ns - device_ns, now.mono_ns))
        return ClockStep(device_step_ns) if abs(device_step_ns) >= STEP_NS else done

    def _steps(self, device_ns: int, now: Now) -> tuple[int, int]:
        last = self._last_now
        if last is None:
            return 0, 0
        elapsed_ns = now.mono_ns - last.mono_ns
        return device_ns - self._last_device_ns - elapsed_ns, now.utc_ns - last.utc_ns - elapsed_ns

    def _take(self, sample: _Minimum) -> None:
        if self._best is None:
            self._started_mono_ns = sample.mono_ns
        if self._best is None or sample.offset_ns < self._best.offset_ns:
            self._best = sample
        self._count += 1

    def _close(self, now: Now) -> Clock | None:
        best, samples = self._best, self._count
        self._best, self._count = None, 0
        if best is None:
            return None
        first = self._first = self._first or best
        span_ns = best.mono_ns - first.mono_ns
        known = span_ns * _MAX_DRIFT_UNCERTAINTY > self._resolution_ns
        return Clock(
            at_ns=now.utc_ns,
            offset_ns=best.offset_ns,
            error_ns=self._resolution_ns,
            # Box minus device shrinks while the device runs fast: a fast device has a positive drift.
            drift_ppm=(first.offset_ns - best.offset_ns) / span_ns * 1e6 if known else None,
            samples=samples,
        )
