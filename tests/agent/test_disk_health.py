from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.disk_health import RoomTrend, wear_percent
from ledger.limits import S_NS

GIB = 1 << 30
MINUTE_NS = 60 * S_NS


def test_days_left_follow_the_rate_of_the_last_hour() -> None:
    trend = RoomTrend()
    for minute in range(200):
        trend.add(minute * MINUTE_NS, 100 * GIB - max(0, minute - 100) * GIB)
    assert trend.days_until(0) == pytest.approx(1 / 1440)
    assert trend.days_until(GIB // 2) == pytest.approx(0.5 / 1440)
    assert trend.days_until(50 * GIB) == 0


def test_no_rate_is_made_up() -> None:
    trend = RoomTrend()
    assert trend.days_until(0) is None
    for second in range(9 * 60):
        trend.add(second * S_NS, 100 * GIB - second)
    assert trend.days_until(0) is None
    freed = RoomTrend()
    for minute in range(60):
        freed.add(minute * MINUTE_NS, GIB + minute)
    assert freed.days_until(0) is None


def make_sys(sys: Path, path: Path, life_time: str | None) -> Path:
    """A disk with one partition that holds ``path``; the partition's folder."""
    disk = sys / "devices" / "mmcblk0"
    partition = disk / "mmcblk0p2"
    partition.mkdir(parents=True)
    (disk / "device").mkdir()
    if life_time is not None:
        (disk / "device" / "life_time").write_text(life_time)
    number = path.stat().st_dev
    (sys / "dev" / "block").mkdir(parents=True)
    (sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    return partition


@pytest.mark.parametrize(
    ("life_time", "percent"),
    [("0x01 0x02\n", 20), ("0x03 0x00\n", 30), ("0x0b 0x01\n", 100), ("0x00 0x00\n", None), ("gone\n", None),
     (None, None)],
)  # fmt: skip
def test_wear_of_an_emmc(tmp_path: Path, life_time: str | None, percent: int | None) -> None:
    make_sys(tmp_path / "sys", tmp_path, life_time)
    assert wear_percent(tmp_path, tmp_path / "sys") == percent


def test_wear_below_an_encrypted_volume(tmp_path: Path) -> None:
    sys = tmp_path / "sys"
    partition = make_sys(sys, tmp_path, "0x04 0x05")
    volume = sys / "devices" / "virtual" / "dm-0"
    (volume / "slaves").mkdir(parents=True)
    (volume / "slaves" / "mmcblk0p2").symlink_to(partition)
    link = next((sys / "dev" / "block").iterdir())
    link.unlink()
    link.symlink_to(volume)
    assert wear_percent(tmp_path, sys) == 50


def test_wear_of_what_is_no_block_device(tmp_path: Path) -> None:
    assert wear_percent(tmp_path, tmp_path / "nothing") is None
    assert wear_percent(tmp_path / "absent", tmp_path) is None
