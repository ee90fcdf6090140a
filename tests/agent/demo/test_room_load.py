from __future__ import annotations

import asyncio
import os

from agent.demo.scenes.room_load import measurements
from agent.demo.usage import Usage, measure


def test_a_missed_budget_is_told_beside_the_machines_load() -> None:
    usage = Usage(core=0.137, rss_bytes=64_200_000, timer_late_p99_ms=12.4)
    found = measurements(usage, {"tick_late": {"p99_ms": 9.9}}, 10.04, 2)
    assert [each.cells() for each in found] == [
        ("processor", "13.7 % of a core", "under 5 % of a core", "missed", "load 10.0 on 2 cores"),
        ("resident memory", "64.2 MB", "under 120 MB", "met", ""),
        ("tick lateness, p99", "9.9 ms", "under 10 ms", "met", "a bare timer here: 12.4 ms"),
    ]


def test_a_process_is_measured() -> None:
    usage = asyncio.run(measure(os.getpid(), 0.35))
    assert usage.core >= 0
    assert usage.rss_bytes > 1 << 20
    assert usage.timer_late_p99_ms >= 0
