"""The box's clocks: the boot clock paces, UTC stamps, and their difference tells when UTC was set.

CLOCK_BOOTTIME runs through suspend. Slewing by NTP moves both clocks alike, so that their difference changes only
when UTC is stepped.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

from drivers.contract import Now
from ledger.block import ClockQuality, ClockState
from ledger.limits import LIMITS
from ledger.notices import ClockStep
from ledger.records import Gap

_TIME_ERROR = 5
_STA_UNSYNC = 0x0040
_READ_TRIES = 3
_UNDISTURBED_NS = 100_000


class _Timex(ctypes.Structure):
    """``struct timex`` of linux/timex.h on 64-bit machines."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_sec", ctypes.c_long),
        ("time_usec", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


def read_now() -> Now:
    """Boot time and UTC, for deadlines and stamps."""
    return Now(time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns())


def tick_phase_ns(boxes: Iterable[str], own_id: str) -> int:
    """How long after each full 100 ms of UTC this box ticks: the group's boxes one after another, evenly spread.

    So a block finds its peers' disks free, and not busy with blocks of their own (docs/adr/0010). Correctness does not
    depend on it: boxes whose clocks differ only lose the advantage.
    """
    names = sorted(boxes)
    return LIMITS.tick_ns * names.index(own_id) // len(names)


def read_pair() -> Now:
    """Boot time and UTC of the same instant as nearly as possible: for comparing them."""
    best: Now | None = None
    best_ns = 0
    for _ in range(_READ_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        utc = time.time_ns()
        spread_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before
        if best is None or spread_ns < best_ns:
            best, best_ns = Now(before + spread_ns // 2, utc), spread_ns
        if spread_ns < _UNDISTURBED_NS:
            break
    return best if best is not None else read_now()


def read_quality() -> ClockQuality:
    """What the kernel's clock discipline (chrony, ntpd, timesyncd) says: synchronised, and its largest error."""
    adjtimex = _adjtimex()
    timex = _Timex()
    state = adjtimex(ctypes.byref(timex)) if adjtimex is not None else -1
    return quality_of(state, timex.status, timex.maxerror)


def quality_of(state: int, status: int, maxerror_us: int) -> ClockQuality:
    """Clock quality from adjtimex(2): its return value (-1: it failed), ``status`` and ``maxerror``."""
    if state < 0:
        return ClockQuality(ClockState.UNKNOWN, 0)
    if state == _TIME_ERROR or status & _STA_UNSYNC:
        return ClockQuality(ClockState.UNSYNCHRONISED, max(0, maxerror_us) * 1_000)
    return ClockQuality(ClockState.SYNCHRONISED, max(0, maxerror_us) * 1_000)


@functools.cache
def _adjtimex() -> Callable[[Any], int] | None:
    function: Callable[[Any], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    return function if ctypes.sizeof(ctypes.c_long) == 8 else None


class StepDetector:
    """Tells when UTC was stepped against the boot clock by more than ``step_ns``; small steps add up."""

    __slots__ = ("_offset_ns", "_step_ns")

    def __init__(self, step_ns: int = LIMITS.clock_step_ns) -> None:
        self._step_ns = step_ns
        self._offset_ns: int | None = None

    def observe(self, now: Now) -> ClockStep | None:
        """Compare with what went before; ``now`` from ``read_pair``. The notice holds the size of the step."""
        offset_ns = now.utc_ns - now.mono_ns
        if self._offset_ns is None:
            self._offset_ns = offset_ns
            return None
        step_ns = offset_ns - self._offset_ns
        if abs(step_ns) <= self._step_ns:
            return None
        self._offset_ns = offset_ns
        return ClockStep(step_ns)


class StallDetector:
    """Tells when this process stood still (stopped, suspended, starved) for longer than ``stall_ns``.

    What devices sent meanwhile waited in the kernel, as far as that holds it; the gap says that the rest was not read.
    """

    __slots__ = ("_last_ns", "_stall_ns")

    def __init__(self, stall_ns: int = LIMITS.silence_ns) -> None:
        self._stall_ns = stall_ns
        self._last_ns: int | None = None

    def observe(self, now: Now) -> Gap | None:
        """Compare with the tick before; the gap from then until now if that was too long ago."""
        last_ns, self._last_ns = self._last_ns, now.mono_ns
        if last_ns is None or now.mono_ns - last_ns <= self._stall_ns:
            return None
        since_ns = now.utc_ns - (now.mono_ns - last_ns)
        return Gap(at_ns=now.utc_ns, cause="agent_down", since_ns=since_ns, until_ns=now.utc_ns, detail="stood still")
