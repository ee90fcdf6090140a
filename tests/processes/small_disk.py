"""A file system of its own, small enough to fill."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.processes.site import Box

_DISK_MIB = 128
_LEFT_BYTES = 1 << 20


@contextmanager
def small_disk(folder: Path, size_mib: int = _DISK_MIB) -> Iterator[Path]:
    """Mounted while inside; the test is skipped where that may not be done."""
    folder.mkdir()
    mount = [str(require_tool("mount")), "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs: needs root")
    try:
        yield folder
    finally:
        subprocess.run([require_tool("umount"), "--lazy", folder], check=True)


def move_to(box: Box, disk: Path) -> None:
    """A stopped box's data folder onto the small disk."""
    shutil.copytree(box.data, disk / "data")
    text = box.config.read_text().replace(f'data_dir = "{box.data}"', f'data_dir = "{disk / "data"}"')
    assert str(disk) in text
    box.config.write_text(text)
    box.data = disk / "data"


def fill(disk: Path) -> Path:
    """A file that leaves almost nothing."""
    ballast = disk / "ballast"
    usage = shutil.disk_usage(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, usage.free - _LEFT_BYTES)
    return ballast
