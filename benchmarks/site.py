"""A real site on this machine for benchmarks: box processes, simulated devices, and what /proc says of them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.box_files import BoxFolder
from agent.config import read
from agent.control_client import ControlClient
from agent.demo.full_room import BEDSIDE, MONITOR, PUMPS, ROBOT, VENTILATOR, RoomDevice
from agent.init_site import SiteBox, SiteFile, init_site
from ledger.errors import AgentUnreachable

HOST = "127.0.0.1"
LOOP = "event loop"
OR_BOX = "or-1"
"""The box with the devices."""
MIB = 1 << 20
_POSE_ALONE = ("openigtlink", "--pose-hz", "10", "--force-hz", "1")
BUDGET_ROOM = tuple(
    replace(device, simulator=_POSE_ALONE) if device.feed == ROBOT else device
    for device in BEDSIDE
    if device.feed in {MONITOR, VENTILATOR, PUMPS, ROBOT}
)
"""What the budget of one OR is for: a monitor with eight waves, a ventilator, four pumps, a robot's pose ten times a
second; its force comes as seldom as the simulated robot can."""
_ROOT = Path(__file__).parents[1]
_PORTS = range(20_000, 32_000)  # below the ports that the kernel gives to outgoing connections
_WAVES = ["ECG1", "ECG2", "ECG3", "INVP1", "INVP2", "PLETH", "CO2", "AWP"]
_STOP_S = 10.0
_POLL_S = 0.02
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class SiteFault(Exception):
    """The site did not do what the benchmark waits for."""


class Program:
    """One process of this Python, in a process group of its own; its output goes to a file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. Raises SiteFault when it does not run."""
        if self._process is None or self._process.poll() is not None:
            text = self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""
            raise SiteFault(f"{self.name} does not run:\n{text}")
        return self._process.pid

    def start(self) -> None:
        """Start it, once or again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments], cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for the end; SIGKILL if it does not come."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Box(Program):
    """An agent and its control socket."""

    def __init__(self, box: str, configuration: Path, log: Path) -> None:
        super().__init__(box, ("-m", "agent", "--config", str(configuration), "run"), log)
        section = read(configuration).box
        self.folder = BoxFolder(Path(section.data_dir))
        self._client = ControlClient(section.control_socket)

    def ask(self, command: str, **arguments: object) -> Any:
        """One answer of the running agent. Raises AgentUnreachable, or what the agent answered instead."""
        return self._client.ask(command, **arguments)

    def answers(self) -> bool:
        """Whether the agent answers at all."""
        try:
            self.ask("status")
        except AgentUnreachable:
            return False
        return True

    def connected_peers(self) -> int:
        """How many peers' brokers it can reach."""
        return sum(1 for peer in self.ask("status")["peers"] if peer["connected"])

    def is_vouched_for(self) -> bool:
        """Whether every peer vouches for its newest blocks."""
        try:
            log = self.ask("status")["log"]
        except AgentUnreachable:
            return False
        return bool(log["fenced"]) and log["peers_holding"] == log["peers"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used between two readings of /proc: part of one core, and resident bytes at the end.

    ``by_thread``: part of a core by the thread's name; the process's own thread is ``LOOP``.
    """

    core: float
    rss_bytes: int
    by_thread: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Room:
    """The feeds of one room, and the arguments of ``python -m firmware_sim`` for what they record, by name."""

    feeds: list[dict[str, Any]]
    simulated: Mapping[str, tuple[str, ...]]


MakeRoom = Callable[[Path, Sequence[int]], Room]
"""Of a folder for serial ports, and of free ports."""


def monitor_and_gateway(folder: Path, ports: Sequence[int]) -> Room:
    """A CARESCAPE monitor with eight waves at a pty, and an HL7 gateway with waves."""
    monitor, port = folder / "monitor", ports[0]
    feeds: list[dict[str, Any]] = [
        {
            "name": "monitor", "driver": "ge-dri", "serial": {"path": str(monitor), "line": "19200 8E1"},
            "options": {"numerics_s": 5, "waves": _WAVES, "carescape": True},
        },
        {"name": "gateway", "driver": "hl7", "mllp": {"listen": f"{HOST}:{port}", "allow": [HOST]}},
    ]  # fmt: skip
    arguments = ("room", "--carescape", "--pty-link", str(monitor), "--to", f"{HOST}:{port}", "--waves")
    return Room(feeds, {"devices": arguments})


def budget_room(folder: Path, ports: Sequence[int]) -> Room:
    """The room that the budget is for."""
    return _room(BUDGET_ROOM, folder, ports)


def whole_room(folder: Path, ports: Sequence[int]) -> Room:
    """The bedside devices of ``orledger demo --room full``."""
    return _room(BEDSIDE, folder, ports)


def _room(devices: Sequence[RoomDevice], folder: Path, ports: Sequence[int]) -> Room:
    places = [(device, folder / device.feed, port) for device, port in zip(devices, ports, strict=False)]
    feeds = [device.section(serial, port) for device, serial, port in places]
    return Room(feeds, {device.feed: device.arguments(serial, port) for device, serial, port in places})


@dataclass(frozen=True, slots=True)
class Site:
    """A site on disk. ``or-1`` has the room's feeds, and an HL7 listener for the benchmark's own sender."""

    folder: Path
    boxes: Mapping[str, Box]
    room: Room
    probe_port: int

    def devices(self) -> list[Program]:
        """The simulated devices of OR 1."""
        return [
            Program(name, ("-m", "firmware_sim", *arguments), self.folder / f"device-{name}.log")
            for name, arguments in self.room.simulated.items()
        ]

    def wait_vouched_for(self, timeout_s: float = 30.0) -> None:
        """Until every box's log is fenced and vouched for."""
        for box in self.boxes.values():
            wait_for(f"{box.name} is vouched for", box.is_vouched_for, timeout_s)


@contextmanager
def running(
    folder: Path,
    boxes: int,
    *,
    devices: bool,
    standby: str | None = None,
    room: MakeRoom = monitor_and_gateway,
) -> Iterator[Site]:
    """A site of ``boxes`` boxes, vouched for. With ``devices``, OR 1's send; ``standby`` stands by for it."""
    site = make_site(folder, boxes, standby, room)
    programs: list[Program] = [*(site.devices() if devices else []), *site.boxes.values()]
    try:
        for program in programs:
            program.start()
        site.wait_vouched_for()
        yield site
    finally:
        for program in reversed(programs):
            program.end()


def make_site(folder: Path, boxes: int, standby: str | None = None, room: MakeRoom = monitor_and_gateway) -> Site:
    """Keys, manifest and configurations below ``folder``."""
    probe_port, *ports = free_ports(1 + boxes + len(BEDSIDE))
    brokers = ports[:boxes]
    made_room = room(folder, ports[boxes:])
    probe = {"name": "probe", "driver": "hl7", "mllp": {"listen": f"{HOST}:{probe_port}", "allow": [HOST]}}
    feeds = [*made_room.feeds, probe]
    entries = [
        SiteBox(
            id=f"or-{number}",
            room=f"OR {number}",
            listen=f"{HOST}:{port}",
            feed=feeds if f"or-{number}" == OR_BOX else [],
            restore={"standby_for": [OR_BOX]} if f"or-{number}" == standby else {},
        )
        for number, port in enumerate(brokers, start=1)
    ]
    _, made = init_site(SiteFile("bench", entries), folder / "site")
    found = {box.id: Box(box.id, box.configuration, folder / f"{box.id}.log") for box in made}
    return Site(folder, found, made_room, probe_port)


def measure_usage(programs: Sequence[Program], seconds: float) -> list[Usage]:
    """What each of these processes, its threads included, uses over ``seconds``."""
    pids = [program.pid for program in programs]
    before, began = [(cpu_s(pid), _cpu_s_by_thread(pid)) for pid in pids], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    usages = []
    for pid, (used_s, used_by_thread) in zip(pids, before, strict=True):
        by_thread = {
            name: (now_s - used_by_thread.get(name, 0.0)) / took for name, now_s in _cpu_s_by_thread(pid).items()
        }
        usages.append(Usage((cpu_s(pid) - used_s) / took, _rss_bytes(pid), by_thread))
    return usages


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process used so far, its ended children not among them."""
    return _cpu_s(Path(f"/proc/{pid}"))


def _cpu_s(entry: Path) -> float:
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS  # utime, stime: fields 14 and 15 of proc(5)


def _cpu_s_by_thread(pid: int) -> dict[str, float]:
    """Threads that have ended are not among them; those of one name are one."""
    found: defaultdict[str, float] = defaultdict(float)
    for entry in Path(f"/proc/{pid}/task").iterdir():
        name = LOOP if entry.name == str(pid) else (entry / "comm").read_text().strip()
        found[name] += _cpu_s(entry)
    return found


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wait_for(what: str, check: Callable[[], bool], timeout_s: float) -> None:
    """Poll until ``check``. Raises SiteFault."""
    until = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > until:
            raise SiteFault(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(_POLL_S)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on. Raises SiteFault."""
    found: list[int] = []
    for port in random.sample(_PORTS, 50 * count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise SiteFault(f"no {count} free ports on {HOST}")
