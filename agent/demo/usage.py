"""What a process costs, from /proc, and how late the machine lets a timer be, in the same seconds."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TIMER_S = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """Over some seconds: part of one core, resident bytes at the end, and a bare timer's lateness (ms, p99)."""

    core: float
    rss_bytes: int
    timer_late_p99_ms: float


async def measure(pid: int, seconds: float) -> Usage:
    """What process ``pid``, its threads included, uses over ``seconds``. Raises OSError once it has ended."""
    before, began = _cpu_s(pid), time.monotonic()
    late_ms: list[float] = []
    while (due := time.monotonic() + _TIMER_S) < began + seconds:
        await asyncio.sleep(_TIMER_S)
        late_ms.append((time.monotonic() - due) * 1e3)
    took = time.monotonic() - began
    late_ms.sort()
    return Usage((_cpu_s(pid) - before) / took, _rss_bytes(pid), late_ms[len(late_ms) * 99 // 100])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS  # utime, stime: fields 14 and 15 of proc(5)


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
