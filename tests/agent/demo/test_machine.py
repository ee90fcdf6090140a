from __future__ import annotations

from pathlib import Path

from agent.demo.machine import fdatasync_ms, file_system, machine_facts


def test_syncing_is_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    median_ms, p99_ms = fdatasync_ms(tmp_path)
    assert 0 < median_ms <= p99_ms
    assert not list(tmp_path.iterdir())


def test_the_innermost_mount_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"root / ext4 rw 0 0\nt {tmp_path} tmpfs rw 0 0\no {tmp_path}-other xfs rw 0 0\n")
    assert file_system(tmp_path, mounts) == "tmpfs"
    assert file_system(Path("/"), mounts) == "ext4"
    assert file_system(tmp_path, tmp_path / "absent") == "unknown"


def test_facts_name_the_folder(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path)
    assert facts["folder"] == str(tmp_path)
    assert facts["cores"] >= 1
