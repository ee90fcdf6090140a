from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from firmware_sim.__main__ import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_sim", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_help_names_devices_scenarios_and_faults() -> None:
    overview, monitor = run("--help"), run("ge-s5", "--help")
    assert overview.returncode == monitor.returncode == 0
    for word in ("ge-s5", "hl7", "room", "noise@30+10:0.02"):
        assert word in overview.stdout
    for word in ("--pty-link", "haemorrhage", "--fault", "sensor-off"):
        assert word in monitor.stdout


def test_a_room_says_what_to_configure_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    link = tmp_path / "monitor"
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware_sim", "room", "--pty-link", str(link), "--to", "127.0.0.1:9", "--carescape"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or (lines[-1] and "beds" not in lines[-1]):
            lines.append(process.stdout.readline())
        assert link.is_symlink()
        toml = tomllib.loads("".join(lines))
        assert toml["feed"][0]["serial"]["path"] == str(link)
        assert toml["feed"][1]["mllp"]["listen"] == "127.0.0.1:9"
        assert toml["feed"][0]["options"]["carescape"] is True
        assert toml["feed"][1]["options"]["beds"][0]["match"] == "SIM^OR^1"
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
    assert not link.is_symlink()
    assert "monitor: 0 bytes" in rest
    assert "0 acknowledged" in rest


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["hl7", "--to", "nowhere"], "HOST:PORT"),
        (["hl7", "--to", "h:1", "--rate", "0"], "--rate"),
        (["ge-s5", "--fault", "nois"], "cannot read fault"),
        (["ge-s5", "--fault", "sensor-off:ear"], "no sensor 'ear'"),
        (["ge-s5", "--pty-link", "/nowhere/at/all"], "/nowhere"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in (64, 69)
    assert word in capsys.readouterr().err
