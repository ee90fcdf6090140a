"""Where the processor time of one room goes: each feed, the tick, the commit. In virtual time, in this process.

    python -m benchmarks.bench_room [--seconds 60] [--full-room]

The room is that of the budget (monitor with eight waves, ventilator, four pumps, a robot's pose), or
with --full-room the bedside of ``orledger demo --room full``. Nothing waits here and nothing else wakes the process,
so the numbers compare one version with another on a busy machine too; what sockets, event loop, broker, TLS and peers
cost is in ``bench_site`` alone.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agent.demo.full_room import BEDSIDE, RoomDevice
from benchmarks import report
from benchmarks.report import Line
from benchmarks.site import BUDGET_ROOM
from benchmarks.virtual_room import VirtualRoom

_SETTLE_S = 15


def measure(devices: Sequence[RoomDevice], folder: Path, seconds: int) -> list[Line]:
    """The parts, costliest first, then all of them."""
    room = VirtualRoom(devices, folder)
    room.run(_SETTLE_S)
    room.start_counting()
    gc.freeze()
    room.run(seconds)
    gc.unfreeze()
    per_core = 1e9 * seconds / 100
    feeds = {device.feed for device in devices}
    lines = []
    for part, spent_ns in room.spent.ns.most_common():
        calls = room.spent.calls[part]
        note = f"{calls / seconds:.1f} times a second, {spent_ns / calls / 1e3:,.0f} us each"
        name = f"feed {part}" if part in feeds else part
        lines.append(Line(name, spent_ns / per_core, "% of a core", note=note))
    blocks, records, size = (count / seconds for count in (room.blocks, room.records, room.payload_bytes))
    what = f"{blocks:.1f} blocks, {records:.0f} records, {size:,.0f} B a second"
    return [*lines, Line("all of these", sum(room.spent.ns.values()) / per_core, "% of a core", note=what)]


def main() -> int:
    """Measure, print."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--seconds", type=int, default=60, help="of the room's time")
    arguments.add_argument("--full-room", action="store_true", help="the robot's forces, BIS, oximeter and gateway too")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as folder:
        lines = measure(BEDSIDE if options.full_room else BUDGET_ROOM, Path(folder), options.seconds)
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
