"""What a commit costs: time beside raw fdatasync on the same disk, and bytes that reach the device per block.

    python -m benchmarks.bench_store [--folder DIR] [--blocks N] [--device /sys/block/NAME/stat]

Blocks of the size one operating room makes (400 B header, 5 KB payload). Bytes are counted only with ``--device``: the
sectors written to it, the file system's journal included. Mount a loop device for that, so that nobody else writes
there (a process's own write_bytes counts whole page-cache folios, which says nothing).
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.report import Line
from ledger.log import LogId
from ledger.ops import (
    AppendBlock,
    CheckpointRow,
    OpenLog,
    PrunePayloads,
    PutDerived,
)
from ledger.store import Store

HEADER_BYTES, PAYLOAD_BYTES = 400, 5_120
MARK_KIB_PER_BLOCK = 24.0
"""What one appended record per block, in a file grown ahead, is known to cost; zeros written ahead not counted."""
BUDGET_KIB_PER_BLOCK = 32.0
BUDGET_OVERHEAD_MS = 1.0
"""Beyond two syncs: a commit syncs its pages, then the page that points at them."""


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table; times in ms, bytes in KiB."""

    name: str
    p50: float
    p99: float
    kib_per_block: float
    kib_zeros_per_block: float


class WrittenBytes:
    """Bytes written to the device since the last ``take``; NaN without one."""

    def __init__(self, device: Path | None) -> None:
        self._device = device
        self._last = self._read()

    def _read(self) -> float:
        if self._device is None:
            return math.nan
        os.sync()
        return int(self._device.read_text().split()[6]) * 512

    def take(self) -> float:
        now = self._read()
        written, self._last = now - self._last, now
        return written


def percentiles(times: list[float]) -> tuple[float, float]:
    """p50 and p99 in ms."""
    cuts = statistics.quantiles(times, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3


def raw(folder: Path, count: int) -> Result:
    """What the disk itself does: overwrite one block's bytes in a file that is there already, fdatasync."""
    path = folder / "raw"
    path.write_bytes(bytes(count * 8192))
    descriptor = os.open(path, os.O_WRONLY)
    os.fsync(descriptor)
    times = []
    for index in range(count):
        data = os.urandom(PAYLOAD_BYTES + HEADER_BYTES)
        start = time.perf_counter()
        os.pwrite(descriptor, data, index * 8192)
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - start)
    os.close(descriptor)
    path.unlink()
    return Result("raw fdatasync", *percentiles(times), 8.0, 0.0)


def block(log: LogId, seq: int) -> AppendBlock:
    """A block that does not compress."""
    return AppendBlock(log, seq, os.urandom(HEADER_BYTES), os.urandom(PAYLOAD_BYTES))


def run(name: str, folder: Path, count: int, written: WrittenBytes, per_commit: int, *, derived: bool) -> Result:
    """``count`` commits of ``per_commit`` logs' next blocks each."""
    logs = [LogId(f"or-{number}", 1, bytes([number]) * 16, fenced=True) for number in range(per_commit)]
    store = Store.open(folder / name.replace(" ", "-"))
    store.commit([OpenLog(log, b"") for log in logs])
    seq = 0
    file = folder / name.replace(" ", "-") / "data.mdb"
    length, zeros = file.stat().st_size, 0
    written.take()
    times = []
    for seq in range(count):
        operations = [block(log, seq) for log in logs]
        if derived and seq % 10 == 0:
            rows = [
                PutDerived(log, bytes(400), ((seq // 256, bytes(32)),), (CheckpointRow(seq, bytes(500)),))
                for log in logs
            ]
            start = time.perf_counter()
            store.commit([*operations, *rows])
        else:
            start = time.perf_counter()
            store.commit(operations)
        times.append(time.perf_counter() - start)
        store.prepare()
    zeros = file.stat().st_size - length
    blocks = count * per_commit
    total = written.take()
    store.close()
    shutil.rmtree(file.parent)
    return Result(name, *percentiles(times), (total - zeros) / blocks / 1024, zeros / blocks / 1024)


def steady(folder: Path, count: int, written: WrittenBytes) -> Result:
    """A store at its retention: each commit appends a block, and each tenth prunes ten old ones."""
    log = LogId("or-1", 1, bytes(16), fenced=True)
    store = Store.open(folder / "steady")
    store.commit([OpenLog(log, b"")])
    for first in range(0, count, 100):
        store.commit([block(log, seq) for seq in range(first, first + 100)])
    store.prepare()
    length = (folder / "steady" / "data.mdb").stat().st_size
    written.take()
    times = []
    for seq in range(count, 2 * count):
        prune = [PrunePayloads(log, seq - count, seq - count + 10)] if seq % 10 == 0 else []
        operation = block(log, seq)
        start = time.perf_counter()
        store.commit([operation, *prune])
        times.append(time.perf_counter() - start)
        store.prepare()
    zeros = (folder / "steady" / "data.mdb").stat().st_size - length
    total = written.take()
    store.close()
    return Result("1 log at retention", *percentiles(times), (total - zeros) / count / 1024, zeros / count / 1024)


def read_speed(folder: Path, count: int) -> list[Line]:
    """Scanning a log that is in the page cache."""
    log = LogId("or-1", 1, bytes(16), fenced=True)
    store = Store.open(folder / "reads")
    store.commit([OpenLog(log, b"")])
    for first in range(0, count, 100):
        store.commit([block(log, seq) for seq in range(first, first + 100)])
    lines = []
    questions: list[tuple[str, Callable[[], int]]] = [
        ("blocks", lambda: sum(1 for _ in store.blocks(log, 0, count))),
        ("headers", lambda: sum(1 for _ in store.headers(log, 0, count))),
    ]
    for name, question in questions:
        start = time.perf_counter()
        found = question()
        lines.append(Line(f"store: reading {name}, each", (time.perf_counter() - start) / found * 1e6, "us"))
    store.close()
    return lines


def lines_of(disk: Result, row: Result) -> list[Line]:
    """A row beside the disk's own speed just before it; bytes only where they were counted."""
    name = f"store: commit, {row.name}"
    allowed = 2 * disk.p50 + BUDGET_OVERHEAD_MS
    lines = [
        Line(f"{name}, p50", row.p50, "ms", allowed, disk.p50, "fdatasync"),
        Line(f"{name}, p99", row.p99, "ms", None, disk.p99, "fdatasync"),
    ]
    if not math.isnan(row.kib_per_block):
        note = f"and {row.kib_zeros_per_block:.1f} KiB of zeros written ahead"
        per_block = Line(f"store: bytes to the device per block, {row.name}", row.kib_per_block, "KiB",
                         BUDGET_KIB_PER_BLOCK, MARK_KIB_PER_BLOCK, "mark", note)  # fmt: skip
        lines.append(per_block)
    return lines


def main() -> int:
    """Print the table; 1 when a commit costs more than two fdatasyncs and BUDGET_OVERHEAD_MS, or too many bytes."""
    parser = report.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--blocks", type=int, default=2_000)
    parser.add_argument("--device", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="orledger-bench-", dir=arguments.folder))
    written = WrittenBytes(arguments.device)
    try:
        runs: list[Callable[[], Result]] = [
            lambda: run("1 log", folder, arguments.blocks, written, 1, derived=False),
            lambda: run("1 log with derived rows", folder, arguments.blocks, written, 1, derived=True),
            lambda: run("3 logs in one commit", folder, arguments.blocks, written, 3, derived=True),
            lambda: steady(folder, arguments.blocks, written),
        ]
        lines = [line for measure in runs for line in lines_of(raw(folder, arguments.blocks), measure())]
        return report.finish([*lines, *read_speed(folder, arguments.blocks)], arguments.json)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
