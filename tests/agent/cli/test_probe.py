"""``orledger probe`` on real ptys, against the simulated devices."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import tomllib
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.cli.probe import _section
from agent.probe import Outcome, Probe
from drivers.contract import Driver
from drivers.recognition import Recognised
from tests.agent.test_config import WHOLE


@contextmanager
def simulated(link: Path, *arguments: str) -> Iterator[Path]:
    """A simulated device behind ``link``."""
    command = [sys.executable, "-m", "firmware_sim", *arguments, "--pty-link", str(link)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield link
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture
def silent() -> Iterator[tuple[int, str]]:
    device, held = pty.openpty()
    tty.setraw(held)
    yield device, os.ttyname(held)
    os.close(held)
    os.close(device)


def test_a_device_that_talks_is_named_and_the_section_to_write_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulated(tmp_path / "port", "nonin") as link:
        assert main(["probe", str(link), "--seconds", "20"]) == 0
    told = capsys.readouterr()
    assert ": nonin" in told.out
    (feed,) = tomllib.loads(told.out[told.out.index("#") :])["feed"]
    assert (feed["driver"], feed["serial"]["line"]) == ("nonin", "9600 8N1")
    assert "orledger drivers show nonin" in told.err


def test_a_device_that_waits_is_heard_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every setting of every driver is tried in turn: with all of them that takes minutes.
    monkeypatch.setattr("drivers.registry.names", lambda: ("ge-dri", "nonin"))
    with simulated(tmp_path / "port", "ge-s5") as link:
        assert main(["probe", str(link), "--seconds", "0.3", "--json"]) == 1
        quiet = json.loads(capsys.readouterr().out)
        assert (quiet["heard"], quiet["asked"], quiet["toml"]) == ([], False, "")
        assert "--ask" in quiet["next"]
        assert sum(setting["bytes"] for setting in quiet["settings"]) == 0
        listen = Probe._try

        async def longer_when_asked(
            probe: Probe, line: str, requests: Sequence[bytes], kinds: Sequence[type[Driver]]
        ) -> list[Recognised]:
            probe._listen_s = 10 if requests else 0.3  # it answers every five seconds, or when it gets round to it
            return await listen(probe, line, requests, kinds)

        monkeypatch.setattr(Probe, "_try", longer_when_asked)
        assert main(["probe", str(link), "--ask", "--json"]) in (0, 1)
        asked = json.loads(capsys.readouterr().out)
    assert asked["heard"][0]["driver"] == "ge-dri"
    assert asked["asked"]
    assert "DRI level 8" in asked["heard"][0]["device"]


def test_the_section_names_the_options_that_the_device_needs() -> None:
    heard = (Recognised("hamilton", "9600 7E2", 3, options=(("protocol", "poll"),)),)
    (feed,) = tomllib.loads(_section(Path("/dev/ttyS9"), Outcome(heard, {}, asked=True)))["feed"]
    assert feed["options"] == {"protocol": "poll"}


def test_without_ask_not_a_byte_is_sent(silent: tuple[int, str], capsys: pytest.CaptureFixture[str]) -> None:
    device, path = silent
    os.set_blocking(device, False)
    assert main(["probe", path, "--seconds", "0.2"]) == 1
    with pytest.raises(BlockingIOError):
        os.read(device, 1)
    told = capsys.readouterr()
    assert "not a byte came" in told.out
    assert "--ask" in told.err


def test_a_protocol_that_nobody_knows_is_to_be_captured(
    silent: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    device, path = silent
    enough = threading.Event()

    def weigh() -> None:
        while not enough.wait(0.02):
            os.write(device, b"weight 82.5 kg\r\n")

    scale = threading.Thread(target=weigh)
    scale.start()
    assert main(["probe", path, "--seconds", "0.5"]) == 1
    enough.set()
    scale.join()
    told = capsys.readouterr()
    assert " bytes at " in told.out
    assert "orledger capture record" in told.err


def test_a_port_that_is_not_there_or_held_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(tmp_path / "none"), "--seconds", "1"]) == 64
    assert "cannot be used: No such file" in capsys.readouterr().err


def test_a_port_that_the_agent_records_is_refused(
    tmp_path: Path, silent: tuple[int, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = silent
    link = tmp_path / "by-path"
    link.symlink_to(path)
    config = tmp_path / "config.toml"
    config.write_text(WHOLE.replace("/dev/serial/by-path/pci-0-port0", str(link)))
    monkeypatch.setattr("agent.control_client.ControlClient.ask", lambda self, cmd: {"state": "good"})
    assert main(["probe", path, "--config", str(config)]) == 64
    assert "records feed 'monitor'" in capsys.readouterr().err
    monkeypatch.undo()  # nobody answers: the port is free
    assert main(["probe", path, "--seconds", "0.2", "--config", str(config)]) == 1
