"""What a whole room costs its box: processor, memory, and whether the ticks come on time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.demo.claims import Claim
from agent.demo.stage import Stage
from agent.demo.usage import Usage, measure
from ledger.limits import LIMITS, S_NS

SCENE = "room-load"
_MEASURED_S = 6.0
_CORE_PERCENT, _RSS_MB, _LATE_MS = 5.0, 120.0, 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One number against its budget, and what must be known to judge it."""

    name: str
    value: float
    unit: str
    budget: float
    beside: str

    @property
    def is_met(self) -> bool:
        """It keeps its budget."""
        return self.value < self.budget

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        verdict = "met" if self.is_met else "missed"
        return self.name, f"{self.value:.1f} {self.unit}", f"under {self.budget:g} {self.unit}", verdict, self.beside


async def play(stage: Stage) -> list[Claim]:
    """Leave the box alone for some seconds and measure. Budgets of an idle machine are told, not claimed."""
    view, box = stage.view, stage.patient
    view.scene("Load", f"{len(stage.room)} feeds at once. For {_MEASURED_S:g} seconds nobody asks, and it is measured.")
    stage.watched.clear()
    try:
        usage = await measure(box.pid, _MEASURED_S)
    finally:
        stage.watched.set()
    ticks = round(_MEASURED_S * S_NS / LIMITS.tick_ns)
    statistics = await box.ask("statistics", newest=ticks)
    status = await box.status()
    found = measurements(usage, statistics, os.getloadavg()[0], len(os.sched_getaffinity(0)))
    view.table(("BOX OF OR 2", "MEASURED", "BUDGET, MACHINE IDLE", "", "BESIDE IT"), [each.cells() for each in found])
    pushed_out = [feed["name"] for feed in status["feeds"] if "overflow" in feed["gap_causes"]]
    count = min(ticks, statistics["blocks"])
    measured = (
        f"nothing pushed out, {count} blocks in {_MEASURED_S:g} s"
        if not pushed_out
        else f"lost: {', '.join(pushed_out)}"
    )
    numbers = {
        "core_percent": round(usage.core * 100, 2), "rss_bytes": usage.rss_bytes,
        "tick_late_ms": statistics["tick_late"], "timer_late_p99_ms": round(usage.timer_late_p99_ms, 3),
        "budgets": [{"name": each.name, "met": each.is_met, "budget": each.budget, "unit": each.unit,
                     "value": round(each.value, 2), "beside": each.beside} for each in found],
    }  # fmt: skip
    return [Claim(SCENE, "the box takes in all that a whole room sends", measured, not pushed_out, numbers)]


def measurements(usage: Usage, statistics: dict[str, Any], load: float, cores: int) -> Sequence[Measured]:
    """The three numbers that are promised for one operating room on an idle machine."""
    return (
        Measured("processor", usage.core * 100, "% of a core", _CORE_PERCENT, f"load {load:.1f} on {cores} cores"),
        Measured("resident memory", usage.rss_bytes / 1e6, "MB", _RSS_MB, ""),
        Measured(
            "tick lateness, p99", statistics["tick_late"]["p99_ms"], "ms", _LATE_MS,
            f"a bare timer here: {usage.timer_late_p99_ms:.1f} ms",
        ),
    )  # fmt: skip
