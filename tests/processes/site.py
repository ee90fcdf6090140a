"""A laboratory site of real processes: boxes, their brokers, cables between them, and everything to break and to ask.

Nothing here sleeps for a fixed time as proof: ``until`` polls with a deadline.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from agent.box_files import BoxFolder
from agent.cli.main import main
from agent.config import read
from agent.control_client import ControlClient
from agent.init_site import SiteBox, SiteFile, init_site
from agent.mosquitto import ACL_NAME, CONFIG_NAME, PEERS_NAME, render_acl, render_config, render_peers
from agent.tls import load_identity
from ledger.errors import AgentUnreachable
from tests.conftest import require_tool
from tests.processes.cable import Cable
from tests.processes.nursery import AGENT, PROJECT, Forked, nursery

_LOG = logging.getLogger(__name__)
SITE = "st-mary"
HOST = "127.0.0.1"
WITHIN_S = 60.0
_POLL_S = 0.05
_STOP_S = 60.0
_ANSWER_S = 30.0
_COMMAND_S = 120.0
_TAIL_LINES = 60
# Below the ports that the kernel gives to outgoing connections; each test process looks in a range of its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
_PORTS = range(10_000 + 1_400 * _WORKER, 11_400 + 1_400 * _WORKER)
_given_ports: set[int] = set()
_T = TypeVar("_T")


def free_port() -> int:
    """A port of the loopback on which nothing listens, never given out twice by this process."""
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise AssertionError("no free port")


def until(
    what: str, check: Callable[[], _T | None], within_s: float = WITHIN_S, why_not: Callable[[], object] = str
) -> _T:
    """What ``check`` gave, once it gives something true; an agent that does not answer yet is waited for."""
    began = time.monotonic()
    last: object = None
    while True:
        try:
            found = check()
        except AgentUnreachable as error:
            found, last = None, error
        waited_s = time.monotonic() - began
        if found:
            _LOG.info("%6.2f s: %s", waited_s, what)
            return found
        assert waited_s < within_s, f"waited {within_s:g} s in vain: {what} ({last or why_not()})"
        time.sleep(_POLL_S)


class Process:
    """One program in a process group of its own; what it prints goes to a file."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self.log = log
        self.under: list[str] = []
        """Words put before the command: ``env NAME=value``, ``ip netns exec name``."""
        self._command = [str(part) for part in command]
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the last start."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        assert not self.running, f"{self.name} is running"
        if not self.under and tuple(self._command[: len(AGENT)]) == AGENT:
            self._process = nursery().start(self._command[len(AGENT) :], self.log, self.log)
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.under, *self._command],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended by itself:\n{self.tail()}"
        os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """The exit code, once it ended."""
        assert self._process is not None
        return self._process.wait(_STOP_S)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to do anything."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Whatever it is doing, it ends now, and its children."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_STOP_S)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        return "\n".join(self.text().splitlines()[-_TAIL_LINES:])


class Box(Process):
    """An agent process and the command line beside it."""

    def __init__(self, box_id: str, config: Path, log: Path) -> None:
        super().__init__(box_id, [*AGENT, "--config", config, "run", "--verbose"], log)
        self.id = box_id
        self.config = config
        self.configuration = read(config)
        self.data = Path(self.configuration.box.data_dir)
        self._client = ControlClient(self.configuration.box.control_socket, _ANSWER_S)

    def ask(self, command: str, **arguments: object) -> Any:
        """One answer of the running agent; raises AgentUnreachable."""
        assert self.running, f"{self.name} ended by itself:\n{self.tail()}"
        return self._client.ask(command, **arguments)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")
        return found

    def statistics(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("statistics")
        return found

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("state")
        return found

    def restore(self, box: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("restore", box=box)
        return found

    def alerts(self) -> set[tuple[str, str]]:
        """(id, subject) of what the box wants a person to know."""
        return {(alert["id"], alert["subject"]) for alert in self.status()["alerts"]}

    def until_level(self, level: str) -> dict[str, Any]:
        """Status once a fenced log's newest blocks have this level (for ``local``, fenced or not)."""

        def reached() -> dict[str, Any] | None:
            status = self.status()
            log = status["log"]
            return status if log["level"] == level and (log["fenced"] or level == "local") else None

        return until(f"{self.id} is {level}", reached)

    def until_held(self) -> int:
        """The newest seq there is now, once every peer holds the live log to there: levels tell of the blocks of
        seconds ago.
        """
        wanted: dict[tuple[int, bool], int] = {}

        def held() -> int | None:
            status = self.status()
            log = status["log"]
            if not log["seq"]:
                return None
            seq = wanted.setdefault((log["epoch"], log["fenced"]), log["seq"])
            return seq if all((peer["holds_ours"] or 0) >= seq for peer in status["peers"]) else None

        return until(f"{self.id}'s newest block is held by all", held, why_not=self.status)

    def until_ahead(self, blocks: int) -> int:
        """The newest seq, once the live log grew by so many blocks."""
        first = until(f"{self.id} records", lambda: self.status()["log"])
        epoch, wanted = first["epoch"], (first["seq"] or 0) + blocks

        def ahead() -> int | None:
            log = self.status()["log"]
            return log["seq"] if log["epoch"] != epoch or (log["seq"] or 0) >= wanted else None

        return until(f"{self.id} records {blocks} more blocks", ahead)

    def say(self, *arguments: str) -> Said:
        """A command line run in this process: starting one takes longer than most of them do."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(["--config", str(self.config), *arguments])
        return Said(code, out.getvalue(), errors.getvalue())

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``orledger --config … arguments``."""
        return orledger("--config", str(self.config), *arguments)


def _is_well(status: dict[str, Any]) -> bool:
    alerts = {alert["id"] for alert in status["alerts"]} - {"clock.unsynchronised"}
    return not alerts and status["log"]["peers_holding"] == status["log"]["peers"]


@dataclass(frozen=True)
class Said:
    """What a command line gave."""

    returncode: int
    stdout: str
    stderr: str


def orledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        code = nursery().start(arguments, out, errors).wait(_COMMAND_S)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), errors.read_text())


def hl7_feed(port: int, host: str = HOST, sender: str = HOST) -> dict[str, Any]:
    """An HL7 listener for a sender on this machine, by the addresses of both."""
    return {"name": "gateway", "driver": "hl7", "mllp": {"listen": f"{host}:{port}", "allow": [sender]}}


class LabSite:
    """Boxes ``or-1``, ``or-2``, … as real processes. Leaving the context kills all, and shows logs after a failure.

    ``feeds``: by box, as in its configuration. ``cables``: each box reaches each peer through a proxy of its own,
    ``cable(who connects, to whom)``. ``hosts``: where boxes listen, if not on the loopback. ``restore``: that table of
    the configuration, by box.
    """

    def __init__(
        self,
        folder: Path,
        boxes: int = 3,
        *,
        feeds: Mapping[str, list[dict[str, Any]]] | None = None,
        broker: Literal["embedded", "mosquitto"] = "embedded",
        cables: bool = False,
        hosts: Mapping[str, str] | None = None,
        restore: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        hosts = hosts or {}
        ids = [f"or-{number}" for number in range(1, boxes + 1)]
        ports = {box: free_port() for box in ids}
        self._cables = {
            (near, far): Cable(ports[far]) for near in ids for far in ids if cables and near != far
        }  # fmt: skip
        site = SiteFile(SITE, [
            SiteBox(
                id=box, room=f"OR {box}", listen=f"{hosts.get(box, HOST)}:{ports[box]}", broker=broker,
                feed=(feeds or {}).get(box, []), restore=(restore or {}).get(box, {}),
                address={far: f"{HOST}:{cable.port}" for (near, far), cable in self._cables.items() if near == box},
            )
            for box in ids
        ])  # fmt: skip
        _, made = init_site(site, folder / "site")
        self.boxes = {one.id: Box(one.id, one.configuration, folder / f"{one.id}.log") for one in made}
        self.brokers: dict[str, Process] = {}
        if broker == "mosquitto":
            self.brokers = {box: self._mosquitto(box, port) for box, port in ports.items()}
        self._others: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        processes = [*self._others, *self.boxes.values(), *self.brokers.values()]
        for process in processes:
            process.close()
        for cable in self._cables.values():
            cable.close()
        if error is not None:
            for process in processes:
                _LOG.error("%s, %s:\n%s", process.name, process.log, process.tail())

    def __getitem__(self, box: str) -> Box:
        return self.boxes[box]

    def cable(self, near: str, far: str) -> Cable:
        """The cable by which ``near`` reaches ``far``'s broker."""
        return self._cables[near, far]

    def start(self) -> None:
        """Start everything and wait until each box's log is fenced and vouched for by every peer."""
        for process in (*self.brokers.values(), *self.boxes.values()):
            process.start()
        self.until_good()

    def until_good(self) -> None:
        """Every box is up, fenced, vouched for, hears all its peers and wants nobody's attention, but for a clock that
        nobody sets on this machine.
        """
        for box in self.boxes.values():
            if len(self.boxes) > 1:
                box.until_level("witnessed")
            until(f"{box.id} is well", lambda box=box: _is_well(box.status()), why_not=box.status)  # type: ignore[misc]

    def stop(self) -> None:
        """SIGTERM to every running box; all end well."""
        running = [box for box in self.boxes.values() if box.running]
        for box in running:
            box.send(signal.SIGTERM)
        codes = {box.id: box.wait() for box in running}
        assert set(codes.values()) <= {0}, codes

    def also(self, name: str, *command: str | Path) -> Process:
        """Another program that ends with the site."""
        process = Process(name, command, self.folder / f"{name}.log")
        self._others.append(process)
        process.start()
        return process

    def _mosquitto(self, box: str, port: int) -> Process:
        folder = self.folder / f"{box}-broker"
        folder.mkdir()
        tls = BoxFolder(self.boxes[box].data).tls
        # Started by root it would give up its rights and could not read the keys; systemd starts it as the right user.
        (folder / CONFIG_NAME).write_text(render_config(HOST, port, tls, folder) + "user root\n")
        (folder / ACL_NAME).write_text(render_acl(SITE, box))
        certificates = [load_identity(BoxFolder(one.data).tls).certificate_der for one in self.boxes.values()]
        (folder / PEERS_NAME).write_text(render_peers(certificates))
        return Process(f"{box}-broker", [require_tool("mosquitto"), "-c", folder / CONFIG_NAME], folder / "log")
