"""How long the disk will last: the trend of its free room, and its wear as the kernel tells it without privileges."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from ledger.limits import LIMITS
from ledger.retention import DAY_NS

_SYS = Path("/sys")
_LIFE_TIME_PERCENT = 10
_LIFE_TIME_MOST = 0x0B
_DEPTH = 4


class RoomTrend:
    """Samples of free room, one a minute for an hour."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=LIMITS.room_samples)

    def add(self, mono_ns: int, free_bytes: int) -> None:
        """Note how much is free; calls within a minute of the last sample are ignored."""
        if not self._samples or mono_ns - self._samples[-1][0] >= LIMITS.room_sample_ns:
            self._samples.append((mono_ns, free_bytes))

    def days_until(self, free_bytes: int) -> float | None:
        """Days until only this much is free, at the rate of the last hour; None while ten minutes have not shown one,
        or room does not shrink.
        """
        if len(self._samples) < 2:
            return None
        (first_ns, most), (last_ns, least) = self._samples[0], self._samples[-1]
        if last_ns - first_ns < 10 * LIMITS.room_sample_ns or least >= most:
            return None
        return max(0, least - free_bytes) * (last_ns - first_ns) / (most - least) / DAY_NS


def wear_percent(path: Path, sys: Path = _SYS) -> int | None:
    """How much of its rated life the disk below ``path`` has used, at most: from an eMMC's ``life_time`` (JESD84-B51
    DEVICE_LIFE_TIME_EST, steps of 10 %). None where the disk says nothing without privileges: NVMe and SATA need
    ``smartctl`` run as root.
    """
    try:
        number = path.stat().st_dev
        return _wear_of(sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}", _DEPTH)
    except (OSError, ValueError):
        return None


def _wear_of(device: Path, depth: int) -> int | None:
    """Of a block device, its whole disk if it is a partition, or the worst disk below an LVM or encrypted volume."""
    device = device.resolve(strict=True)
    for disk in (device, device.parent):
        life_time = disk / "device" / "life_time"
        if life_time.exists():
            steps = [int(word, 16) for word in life_time.read_text().split()]
            known = [step for step in steps if 0 < step <= _LIFE_TIME_MOST]
            return min(100, max(known) * _LIFE_TIME_PERCENT) if known else None
    slaves = device / "slaves"
    below = [_wear_of(slave, depth - 1) for slave in slaves.iterdir()] if depth and slaves.is_dir() else []
    return max((wear for wear in below if wear is not None), default=None)
