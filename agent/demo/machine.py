"""What of this machine the measured milliseconds depend on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

_SYNCS = 40
_PAGE = b"\xa5" * 4096


def machine_facts(folder: Path) -> dict[str, Any]:
    """Cores, load, versions, and what fdatasync costs on the disk under ``folder``. Raises OSError."""
    median_ms, p99_ms = fdatasync_ms(folder)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "folder": str(folder),
        "file_system": file_system(folder),
        "fdatasync_median_ms": round(median_ms, 3),
        "fdatasync_p99_ms": round(p99_ms, 3),
    }


def fdatasync_ms(folder: Path) -> tuple[float, float]:
    """(median, 99th percentile) of appending one page and syncing it."""
    path = folder / "fdatasync.probe"
    took: list[float] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(_SYNCS):
            os.write(descriptor, _PAGE)
            began = time.perf_counter_ns()
            os.fdatasync(descriptor)
            took.append((time.perf_counter_ns() - began) / 1e6)
    finally:
        os.close(descriptor)
        path.unlink()
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Type of the file system under ``folder``, "unknown" where the kernel does not say."""
    best, kind = "", "unknown"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        _, point, found, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
