"""The service files, judged by systemd's own tools."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool

UNITS = Path(__file__).parents[2] / "systemd"
EXECUTABLE = "/opt/orledger/current/bin/orledger"
WORST_EXPOSURE = "25"  # tenths: 2.5 of 10


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists here in place of the installed one."""
    text = (UNITS / "orledger.service").read_text()
    assert text.count(EXECUTABLE) == 1
    path = tmp_path / "orledger.service"
    path.write_text(text.replace(EXECUTABLE, str(require_tool("true"))))
    return path


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_unit_is_clean(unit: Path) -> None:
    done = _run(require_tool("systemd-analyze"), "verify", "--man=no", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unit_with_a_misspelt_key_is_not_clean(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSeconds="))
    done = _run(require_tool("systemd-analyze"), "verify", "--man=no", unit)
    assert "WatchdogSeconds" in done.stderr


def test_unit_is_hardened(unit: Path) -> None:
    done = _run(
        require_tool("systemd-analyze"),
        "security",
        "--offline=true",
        f"--threshold={WORST_EXPOSURE}",
        "--no-pager",
        unit,
    )
    assert done.returncode == 0, done.stdout


def test_unit_never_waits_for_the_network_and_never_gives_up() -> None:
    lines = (UNITS / "orledger.service").read_text().splitlines()
    settings = [line for line in lines if not line.startswith("#")]
    assert not any("network" in line for line in settings)
    assert {"StartLimitIntervalSec=0", "Restart=always", "LimitCORE=0", "MemorySwapMax=0"} <= set(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to another user needs root")
def test_user_and_directories_are_made_with_their_owners(tmp_path: Path) -> None:
    rules = tmp_path / "usr/lib/tmpfiles.d"
    rules.mkdir(parents=True)
    (rules / "orledger.conf").write_bytes((UNITS / "orledger.tmpfiles").read_bytes())
    (tmp_path / "etc").mkdir()
    users = _run(require_tool("systemd-sysusers"), f"--root={tmp_path}", UNITS / "orledger.sysusers")
    assert users.returncode == 0, users.stderr
    directories = _run(require_tool("systemd-tmpfiles"), f"--root={tmp_path}", "--create", "orledger.conf")
    assert directories.returncode == 0, directories.stderr

    name, _, uid, gid, *_, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, shell) == ("orledger", "/usr/sbin/nologin")
    assert "dialout" in {
        line.split(":")[0]
        for line in (tmp_path / "etc/group").read_text().splitlines()
        if line.split(":")[3] == "orledger"
    }
    ledger, settings = (tmp_path / "var/lib/orledger").stat(), (tmp_path / "etc/orledger").stat()
    assert (ledger.st_uid, oct(ledger.st_mode & 0o777)) == (int(uid), "0o700")
    assert (settings.st_uid, settings.st_gid, oct(settings.st_mode & 0o777)) == (0, int(gid), "0o750")
