"""When a link's descriptor is read: at once, or at a beat while its bytes come thick and fast.

A device that sends something every few milliseconds would wake the process for each piece, and waking up costs several
times what there is to do then (docs/benchmarks.md). What waits is read at the latest when the tick takes what is there
for the next block, so that no byte gets into a later block for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from ledger.limits import S_NS

_QUICK_READS = 3
_MUCH_BYTES = 65_536
_BEAT_GRID_S = 0.005
_SPARSE_S = 1.0


class PacedReader:
    """Calls ``read`` whenever there is something to read in ``descriptor``, and while it is busy every ``pace_ns``.

    ``read(waited)`` reads once and returns how many bytes it got; ``waited`` says that they may have waited for the
    beat. A line is busy when something came three times within ``busy_ns`` (by default ``pace_ns``) of the time before,
    until nothing came for as long, or so much that pacing would hold it up. A line whose beat finds nothing is slower
    than its beat: for a second it is left to ``read_waiting``, else looked at after ``busy_ns``. ``pace_ns`` 0: never
    paced.
    """

    __slots__ = (
        "_busy_s", "_descriptor", "_last_s", "_loop", "_pace_s", "_quick", "_read", "_sparse_until_s", "_stopped",
        "_timer",
    )  # fmt: skip

    def __init__(self, descriptor: int, read: Callable[[bool], int], pace_ns: int, busy_ns: int = 0) -> None:
        self._descriptor = descriptor
        self._read = read
        self._pace_s = pace_ns / S_NS
        self._busy_s = max(pace_ns, busy_ns if pace_ns else 0) / S_NS
        self._loop = asyncio.get_running_loop()
        self._last_s = -math.inf
        self._quick = 0
        self._sparse_until_s = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._loop.add_reader(descriptor, self._readable)

    @property
    def is_paced(self) -> bool:
        """Whether what comes waits for the beat."""
        return self._timer is not None

    def stop(self) -> None:
        """Read no more; before the descriptor is closed, since its number is soon another's."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        else:
            self._loop.remove_reader(self._descriptor)

    def read_waiting(self) -> None:
        """Read what may wait for the beat: the tick is about to take, or it is judged how long nothing came."""
        if self._timer is not None and self._read(True) and not self._stopped:
            self._last_s = self._loop.time()
            self._timer.cancel()
            self._wait()

    def _readable(self) -> None:
        now_s = self._loop.time()
        got = self._read(False)
        self._quick = self._quick + 1 if got and now_s - self._last_s < self._busy_s else 0
        self._last_s = now_s
        if self._quick >= _QUICK_READS and got < _MUCH_BYTES and not self._stopped:
            self._loop.remove_reader(self._descriptor)
            self._wait()

    def _wait(self) -> None:
        """Beats of all lines are rounded alike, so that one wake-up reads those that were read together before."""
        now_s = self._loop.time()
        due_s = now_s + (self._busy_s if now_s < self._sparse_until_s else self._pace_s)
        self._timer = self._loop.call_at(math.ceil(due_s / _BEAT_GRID_S) * _BEAT_GRID_S, self._beat)

    def _beat(self) -> None:
        now_s = self._loop.time()
        got = self._read(True)
        if self._stopped:
            return
        if got:
            self._last_s = now_s
        else:
            self._sparse_until_s = now_s + _SPARSE_S
        if got < _MUCH_BYTES and now_s - self._last_s < self._busy_s:
            self._wait()
        else:
            self._timer = None
            self._quick = 0
            self._loop.add_reader(self._descriptor, self._readable)
