"""What the length of a log costs: restoring a day's log beside a minute's, and starting a box that holds it.

    python -m benchmarks.bench_long_log [--blocks 100000] [--restores 20] [--kills 10]

Four boxes: OR 1's log of one minute and OR 4's long one lie in the stores of OR 2 and OR 3, who restore them in turn.
A day has 864,000 blocks; fewer are enough to see a cost that grows, and are made in seconds. Then OR 2, with that
store, is killed with SIGKILL while it records, and started again.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.box_files import load_box
from agent.disk import load_manifest
from benchmarks import machine, report, sender
from benchmarks.long_log import LongLog
from benchmarks.report import Line
from benchmarks.site import MIB, OR_BOX, Box, Site, make_site, wait_for
from ledger.store import Store

SHORT_BOX, LONG_BOX = "or-4", "or-3"
MINUTE_BLOCKS = 600
_START_S = 30.0


def build(site: Site, blocks: int) -> float:
    """Both logs into the stores of the two boxes that hold them; MiB of one store then."""
    holders = {name: site.boxes[name].folder for name in (OR_BOX, "or-2")}
    store = Store.open(site.boxes[OR_BOX].folder.ledger, readonly=True)
    manifest = load_manifest(store)
    store.close()
    if manifest is None:
        raise RuntimeError("a fresh box holds no manifest")
    for name, count in ((SHORT_BOX, MINUTE_BLOCKS), (LONG_BOX, blocks)):
        key = load_box(site.boxes[name].folder).secrets.signing
        LongLog(manifest, name, key, count).write_to(holders, manifest)
    return (holders[OR_BOX].ledger / "data.mdb").stat().st_size / MIB


def restores(asker: Box, count: int, blocks: int) -> list[Line]:
    """The two logs in turn, so that both meet the same machine."""
    took: dict[str, list[float]] = {SHORT_BOX: [], LONG_BOX: []}
    for _ in range(count):
        for name, times in took.items():
            began = time.perf_counter()
            asker.ask("restore", box=name)
            times.append((time.perf_counter() - began) * 1e3)
    short, long = (statistics.median(took[name]) for name in (SHORT_BOX, LONG_BOX))
    return [
        Line(f"restore of {MINUTE_BLOCKS} blocks, p50 of {count}", short, "ms"),
        Line(f"restore of {blocks:,} blocks, p50 of {count}", long, "ms", None, short, f"{MINUTE_BLOCKS} blocks"),
        Line(f"restore of {blocks:,} blocks, worst of {count}", max(took[LONG_BOX]), "ms", 300),
        Line(f"restore of {blocks:,} blocks beside {MINUTE_BLOCKS}", long / short, "times", 1.2),
    ]


def restarts(site: Site, count: int) -> list[Line]:
    """SIGKILL, start, and how long until a message that came by HL7 is durable and acknowledged."""
    box = site.boxes[OR_BOX]
    took = []
    for number in range(count):
        box.end(signal.SIGKILL)
        began = time.perf_counter()
        box.start()
        asyncio.run(sender.until_acknowledged(site.probe_port, f"S{number}"))
        took.append(time.perf_counter() - began)
        wait_for("the box answers", box.answers, _START_S)
    python_s = machine.median_us(lambda: subprocess.run([sys.executable, "-c", ""], check=True), 5) / 1e6
    return [
        Line(f"kill -9, start to first acknowledged byte, p50 of {count}", statistics.median(took), "s", None,
             python_s, "bare Python"),
        Line(f"kill -9, start to first acknowledged byte, worst of {count}", max(took), "s", 1, python_s,
             "bare Python"),
    ]  # fmt: skip


def main() -> int:
    """Measure, print; 1 when a budget is missed."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--blocks", type=int, default=100_000)
    arguments.add_argument("--restores", type=int, default=20)
    arguments.add_argument("--kills", type=int, default=10)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as text:
        site = make_site(Path(text).resolve(), 4)
        size = build(site, options.blocks)
        lines = [Line(f"store with a log of {options.blocks:,} blocks", size, "MiB")]
        lines += measure(site, options.restores, options.kills, options.blocks)
    return report.finish(lines, options.json)


def measure(site: Site, restore_count: int, kills: int, blocks: int) -> Sequence[Line]:
    """The two holders run; nobody else does."""
    holders = [site.boxes[OR_BOX], site.boxes["or-2"]]
    try:
        for box in holders:
            box.start()
        for box in holders:
            wait_for(f"{box.name} answers", box.answers, _START_S)
        wait_for("both are connected", lambda: all(box.connected_peers() for box in holders), _START_S)
        return [*restores(holders[1], restore_count, blocks), *restarts(site, kills)]
    finally:
        for box in holders:
            box.end()


if __name__ == "__main__":
    sys.exit(main())
