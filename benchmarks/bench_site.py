"""One operating room among real boxes: CPU, memory, tick, durability, witnesses, restore.

    python -m benchmarks.bench_site [--seconds 25] [--restores 20] [--full-room]

Three boxes first, OR 1 with the devices of the budget: a monitor with eight waves, a ventilator, four pumps, a robot's
pose; beside it bare Python that moves the same bytes (``bare_room.py``). With --full-room the same three boxes are
measured once more, with the robot's forces, BIS, oximeter and HL7 gateway too, each line beside that of the budget's
room. Then four boxes: witnessing with and without the devices of the budget is measured, OR 1 is killed and restored.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import bare_room, machine, report, sender
from benchmarks.machine import Probe, quantile
from benchmarks.report import Line
from benchmarks.site import MIB, OR_BOX, Box, MakeRoom, Site, budget_room, measure_usage, running, whole_room

SETTLE_S = 5.0
TICKS_PER_S = 10
_LEAST_CORE = 0.0005
_CONNECTIONS = 20
_LOAD = "monitor with 8 waves, ventilator with 4, rack of 4 pumps, robot's pose at 10 Hz"
_WHOLE_ROOM = "that, the robot's forces at 100 Hz, BIS with EEG, oximeter, HL7 gateway with waves"


def one_room(folder: Path, seconds: float, load: str = _LOAD, room: MakeRoom = budget_room) -> list[Line]:
    """Three boxes, one with devices; then bare Python that moves the same bytes."""
    with running(folder, 3, devices=True, room=room) as site:
        time.sleep(SETTLE_S)
        boxes = [site.boxes[OR_BOX], *(box for name, box in site.boxes.items() if name != OR_BOX)]
        with Probe(folder) as probe:
            usages = measure_usage(boxes, seconds)
        own = _statistics(boxes[0], seconds)
        trips = asyncio.run(sender.round_trips(site.probe_port, _CONNECTIONS, seconds))
    bare = bare_room.measure(folder, seconds)
    tick_ms = 1_000 / TICKS_PER_S
    return [
        Line("one OR of three boxes: CPU", usages[0].core * 100, "% of a core", 5, bare * 100, "bare Python", load),
        *(
            Line(f"of it: {name}", core * 100, "% of a core")
            for name, core in sorted(usages[0].by_thread.items(), key=lambda item: -item[1])
            if core >= _LEAST_CORE
        ),
        Line("the two other boxes: CPU, mean", (usages[1].core + usages[2].core) * 50, "% of a core"),
        Line("one OR: resident memory", usages[0].rss_bytes / MIB, "MiB", 120),
        Line("tick lateness, p99", own["tick_late"]["p99_ms"], "ms", 10, quantile(probe.late_ms, 0.99), "bare timer"),
        Line("last byte sent to AA, p50", quantile(trips, 0.5), "ms", None, tick_ms / 2, "half a tick"),
        Line("last byte sent to AA, p99", quantile(trips, 0.99), "ms", 130, tick_ms, "tick"),
        *_beside_disk("closed to durable", own["closed_to_durable"], (None, None), probe),
    ]


def beside(budgeted: Sequence[Line], whole: Sequence[Line]) -> list[Line]:
    """The lines of the whole room, each beside the same of the budget's room."""
    small = {line.name: line.value for line in budgeted}
    return [
        replace(line, name=f"whole room: {line.name}", limit=small.get(line.name), limit_name="the budget's")
        for line in whole
    ]


def _beside_disk(
    name: str, found: Mapping[str, float], budgets: tuple[float | None, float | None], probe: Probe
) -> list[Line]:
    """p50 and p99 beside one synced write of the same time."""
    return [
        Line(f"{name}, {key}", found[f"{key}_ms"], "ms", budget, quantile(probe.fdatasync_ms, part), "fdatasync then")
        for key, part, budget in (("p50", 0.5, budgets[0]), ("p99", 0.99, budgets[1]))
    ]


def witnesses(folder: Path, seconds: float, restores: int) -> list[Line]:
    """Four boxes: witnessing without devices, then with; then OR 1 dies and is restored."""
    with running(folder, 4, devices=False, room=budget_room) as site:
        lines = _witnessed(site, "no devices", seconds)
        devices = site.devices()
        for device in devices:
            device.start()
        try:
            time.sleep(SETTLE_S)
            lines += _witnessed(site, "one OR", seconds)
        finally:
            site.boxes[OR_BOX].end(signal.SIGKILL)
            for device in devices:
                device.end()
        return lines + _restored(site, restores)


def _witnessed(site: Site, load: str, seconds: float) -> list[Line]:
    box = site.boxes[OR_BOX]
    before = box.ask("statistics")["blocks"]
    with Probe(site.folder) as probe:
        time.sleep(seconds)
    found = box.ask("statistics", newest=max(1, box.ask("statistics")["blocks"] - before))["closed_to_witnessed"]
    return _beside_disk(f"closed to witnessed by 2 of 3, {load}", found, (6, 20), probe)


def _restored(site: Site, count: int) -> list[Line]:
    asker = site.boxes["or-2"]
    took, inside = [], []
    for _ in range(count):
        began = time.perf_counter()
        answer = asker.ask("restore", box=OR_BOX)
        took.append((time.perf_counter() - began) * 1e3)
        inside.append(answer["steps_ms"]["total"])
        if answer["level"] not in {"witnessed", "final"}:
            raise RuntimeError(f"restored only {answer['level']}")
    return [
        Line(f"restore of a killed OR, p50 of {count}", statistics.median(took), "ms", None),
        Line(f"restore of a killed OR, worst of {count}", max(took), "ms", 300),
        Line("of it: asking, fetching, verifying, p50", statistics.median(inside), "ms"),
    ]


def _statistics(box: Box, seconds: float) -> dict[str, Any]:
    """Of about the last ``seconds``."""
    found: dict[str, Any] = box.ask("statistics", newest=round(seconds * TICKS_PER_S))
    return found


def main() -> int:
    """Measure, print; 1 when a budget is missed."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=25, help="length of each measured window")
    arguments.add_argument("--restores", type=int, default=20)
    arguments.add_argument("--full-room", action="store_true", help="a whole room too, beside the one of the budget")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as text:
        folder = Path(text).resolve()
        limits = machine.measure(folder)
        (folder / "three").mkdir()
        (folder / "four").mkdir()
        budgeted = one_room(folder / "three", options.seconds)
        lines = [*limits.lines(), *budgeted]
        if options.full_room:
            (folder / "whole").mkdir()
            whole = one_room(folder / "whole", options.seconds, _WHOLE_ROOM, whole_room)
            lines += beside(budgeted, whole)
        lines += witnesses(folder / "four", options.seconds, options.restores)
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
