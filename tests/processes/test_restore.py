"""A box with a monitor and an HL7 gateway dies: each peer hands over its last state, by every way the command has."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.notices import RestorePerformed
from tests.processes.site import HOST, Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import assert_good, headers_of

_PEERS = ("or-2", "or-3")
_Key = tuple[str, str, str, str, str]


def _values(state: dict[str, Any]) -> dict[_Key, tuple[Any, ...]]:
    """What a state says was measured, without the ages, which depend on who asks when."""
    return {
        (row["feed"], row["sub"], row["code"], row["channel"], row["unit"]): (
            row["value"], row["at"], tuple(row["quality"]), row["type"],
        )
        for row in state["values"]
    }  # fmt: skip


def _rest(state: dict[str, Any]) -> list[Any]:
    """Alarms, modes, devices and waves, without the ages."""
    entries = [*state["alarms"], *state["modes"], *state["devices"], *state["waves"]]
    return sorted(({k: v for k, v in entry.items() if k != "age_s"} for entry in entries), key=json.dumps)


def _last_state(box: Box) -> dict[str, Any]:
    """A state that is all witnessed: nothing of it changed while its blocks were being vouched for."""

    def settled() -> dict[str, Any] | None:
        before = box.state()
        if not before["values"]:
            return None
        box.until_ahead(1)
        box.until_level("witnessed")
        seq = box.status()["log"]["seq"]
        until(
            "both peers hold it",
            lambda: all((peer["holds_ours"] or 0) >= seq for peer in box.status()["peers"]) or None,
        )
        after = box.state()
        return after if (_values(after), _rest(after)) == (_values(before), _rest(before)) else None

    return until("the room stands still", settled)


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabSite, dict[str, Any]]]:
    """A site whose or-1 was killed, and its state just before."""
    folder = tmp_path_factory.mktemp("died")
    port, line = free_port(), folder / "monitor"
    monitor = {
        "name": "monitor", "driver": "ge-dri", "serial": {"path": str(line), "line": "19200 8E1"},
        "options": {"numerics_s": 5, "waves": ["ECG1", "PLETH"]},
    }  # fmt: skip
    with LabSite(folder, feeds={"or-1": [monitor, hl7_feed(port)]}) as site:
        simulator = (sys.executable, "-m", "firmware_sim")
        devices = [
            site.also("monitor", *simulator, "ge-s5", "--pty-link", line, "--scenario", "haemorrhage"),
            site.also("gateway", *simulator, "hl7", "--to", f"{HOST}:{port}", "--rate", "5"),
        ]
        site.start()
        box = site["or-1"]
        feeds = {"monitor", "gateway"}
        until("both feeds have values", lambda: feeds <= {row["feed"] for row in box.state()["values"]})
        for device in devices:
            device.send(signal.SIGSTOP)
        state = _last_state(box)
        box.kill()
        yield site, state


@pytest.mark.parametrize("peer", _PEERS)
def test_each_peer_restores_what_the_box_last_had(died: tuple[LabSite, dict[str, Any]], peer: str) -> None:
    site, state = died
    ended = site[peer].cli("restore", "now", "or-1", "--json")
    assert ended.returncode == 0, ended.stderr
    restored = json.loads(ended.stdout)
    assert restored["schema"] == "orledger.restore/1"
    assert restored["level"] == "witnessed"
    assert restored["vouching"] == restored["peers"] == 2
    assert set(restored["answered"]) == set(_PEERS)
    assert restored["restored"]
    assert not restored["may_be_newer"]
    assert not restored["equivocation_proofs"]
    assert restored["newest_state"] is None or _values(restored["newest_state"]) == _values(state)
    assert _values(restored["state"]) == _values(state)
    assert _rest(restored["state"]) == _rest(state)


@pytest.mark.parametrize("peer", _PEERS)
def test_the_story_is_told_and_the_values_shown(died: tuple[LabSite, dict[str, Any]], peer: str) -> None:
    site, state = died
    ended = site[peer].cli("restore", "now", "or-1")
    assert ended.returncode == 0, ended.stderr
    assert "RESTORED in" in ended.stdout
    assert "witnessed, 2 of 2 vouch" in ended.stdout
    assert "LAST RECORDED VALUES, NOT LIVE" in ended.stdout
    shown = [row for row in state["values"] if row["value"] is not None][:5]
    assert shown
    for row in shown:
        assert row["code"].removeprefix("MDC_") in ended.stdout
        assert str(row["value"]) in ended.stdout


def test_to_a_file_and_to_standard_output(died: tuple[LabSite, dict[str, Any]], tmp_path: Path) -> None:
    site, state = died
    target = tmp_path / "state.json"
    ended = site["or-2"].cli("restore", "now", "or-1", "--to", str(target))
    assert ended.returncode == 0, ended.stderr
    assert f"-> {target}" in ended.stdout
    assert _values(json.loads(target.read_text())["state"]) == _values(state)
    assert target.stat().st_mode & 0o007 == 0, "patient data for anybody to read"

    ended = site["or-2"].cli("restore", "now", "or-1", "--to", "-")
    assert ended.returncode == 0, ended.stderr
    assert _values(json.loads(ended.stdout)["state"]) == _values(state)
    assert "RESTORED in" in ended.stderr


class _Console:
    """Takes one HL7 message and answers it, as a console would."""

    def __init__(self, code: str) -> None:
        self.message: list[list[str]] = []
        self._code = code
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(20)
        self.target = f"mllp://{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            connection.settimeout(20)
            data = b""
            while not data.endswith(b"\x1c\r"):
                data += connection.recv(65_536)
            text = data.removeprefix(b"\x0b").removesuffix(b"\x1c\r").decode()
            self.message = [segment.split("|") for segment in text.split("\r") if segment]
            control_id = self.message[0][9]
            answer = f"MSH|^~\\&|CONSOLE||||20260101||ACK|1|P|2.6\rMSA|{self._code}|{control_id}\r"
            connection.sendall(b"\x0b" + answer.encode() + b"\x1c\r")

    def close(self) -> None:
        self._thread.join()


def test_to_a_console_that_speaks_hl7(died: tuple[LabSite, dict[str, Any]]) -> None:
    site, state = died
    console = _Console("AA")
    ended = site["or-3"].cli("restore", "now", "or-1", "--to", console.target)
    console.close()
    assert ended.returncode == 0, ended.stderr
    assert f"-> {console.target} (AA, " in ended.stdout
    assert console.message[0][8] == "ORU^R01^ORU_R01"
    sent = {(fields[3].split("^")[1], fields[5]) for fields in console.message if fields[0] == "OBX" and fields[5]}
    wanted = {(row["code"], str(row["value"])) for row in state["values"] if row["value"] is not None}
    assert wanted
    assert wanted <= sent


def test_a_console_that_refuses_is_named(died: tuple[LabSite, dict[str, Any]]) -> None:
    site, _ = died
    console = _Console("AE")
    ended = site["or-3"].cli("restore", "now", "or-1", "--to", console.target)
    console.close()
    assert ended.returncode == 65
    assert "console.refused" in ended.stderr


def test_an_unknown_box_and_a_living_one(died: tuple[LabSite, dict[str, Any]]) -> None:
    site, _ = died
    ended = site["or-2"].cli("restore", "now", "or-9")
    assert ended.returncode == 64
    assert "or-1, or-2, or-3" in ended.stderr
    assert site["or-2"].cli("restore", "now", "or-3").returncode == 0
    assert site["or-1"].cli("restore", "now", "or-2").returncode == 3, "or-1 is dead"


def test_every_restore_is_on_the_chain_of_the_box_that_made_it(died: tuple[LabSite, dict[str, Any]]) -> None:
    site, _ = died
    restored = site["or-2"].restore("or-1")
    until("it is durable", lambda: site["or-2"].status()["log"]["seq"] > restored["recorded_in_block"])
    site["or-2"].stop()
    found = [
        notice.head.log.box
        for header in headers_of(site["or-2"], "or-2")
        if header.seq == restored["recorded_in_block"]
        for notice in header.notices
        if isinstance(notice, RestorePerformed)
    ]
    assert found == ["or-1"]
    assert_good(site["or-2"])
    site["or-2"].start()
    # One peer left beside the dead box can still restore it, at the level one word is worth.
    site["or-2"].until_level("copied")
