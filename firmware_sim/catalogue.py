"""The simulated devices by name: each module of `firmware_sim.devices` declares one as `DEVICE`."""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from firmware_sim import devices
from firmware_sim.clock import SimClock
from firmware_sim.device import Device
from firmware_sim.faults import Fault, FaultLine
from firmware_sim.patient import Patient
from firmware_sim.pty_line import PtyLine
from firmware_sim.socket_lines import SocketLine, TcpClientLine, TcpServerLine, UdpLine, host_and_port

LineKind = Literal["pty", "tcp", "tcp-client", "udp"]
Line = PtyLine | SocketLine
_SOCKET_LINES: Mapping[str, type[SocketLine]] = {"tcp": TcpServerLine, "tcp-client": TcpClientLine, "udp": UdpLine}
_NAMED_BY: Mapping[str, LineKind] = {"listen": "tcp", "to": "tcp-client", "udp": "udp"}


@dataclass(frozen=True, slots=True)
class Around:
    """What a device finds when it is switched on: one patient and one clock for all devices of a room."""

    patient: Patient
    clock: SimClock = field(default_factory=SimClock)
    faults: tuple[Fault, ...] = ()

    def line(self) -> FaultLine:
        """A line with these faults."""
        return FaultLine(self.faults, self.patient.seed)


class Running(Protocol):
    """A device that runs."""

    async def start(self) -> None:
        """Begin. Raises OSError if its port cannot be opened."""

    async def stop(self) -> None:
        """End, and close what was opened."""

    def describe(self) -> str:
        """Where it is, and the section of the box's configuration that records it."""
        ...

    def summary(self) -> str:
        """What it did."""
        ...


class Kind(Protocol):
    """A device that can be started by name."""

    @property
    def name(self) -> str: ...

    @property
    def help(self) -> str: ...

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Its own options; all have --scenario, --seed, --fault and --duration."""

    def make(self, options: argparse.Namespace, around: Around) -> Running:
        """The device, not yet started. Raises ValueError for options that make no sense."""
        ...


def _nothing(_: argparse.ArgumentParser) -> None:
    return None


@dataclass(frozen=True, slots=True)
class LineDevice:
    """The `Kind` of every device that is a `Device`.

    `lines`: how it can be reached; it is at the first if the options name none. `title` and `feed_options` (the inside
    of the inline table `options`, in TOML) may depend on the options. `serial_line` and `port` are the usual ones.
    """

    name: str
    help: str
    feed: str
    driver: str
    lines: tuple[LineKind, ...]
    build: Callable[[argparse.Namespace, Around], Device]
    title: Callable[[argparse.Namespace], str]
    serial_line: str = ""
    port: int = 0
    own_options: Callable[[argparse.ArgumentParser], None] = _nothing
    feed_options: Callable[[argparse.Namespace], str] = lambda _: ""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """How it is reached, and its own options."""
        if "pty" in self.lines:
            parser.add_argument("--pty-link", type=Path, metavar="PATH", help="symbolic link to make to the pty")
        if "tcp" in self.lines:
            parser.add_argument("--listen", metavar="HOST:PORT", help=self._usual("wait there to be connected to, TCP"))
        if "tcp-client" in self.lines:
            parser.add_argument("--to", metavar="HOST:PORT", help=self._usual("connect there, TCP"))
        if "udp" in self.lines:
            parser.add_argument("--udp", metavar="HOST:PORT", help=self._usual("be at this UDP address"))
        self.own_options(parser)

    def make(self, options: argparse.Namespace, around: Around) -> RunningLine:
        """The device at the end of the line that the options ask for."""
        device = self.build(options, around)
        host, port = "127.0.0.1", self.port
        chosen = self.lines[0]
        for attribute, line in _NAMED_BY.items():
            where = getattr(options, attribute, None)
            if where is not None:
                chosen = line
                host, port = host_and_port(where, f"--{attribute}")
        if chosen == "pty":
            return RunningLine(self, options, PtyLine(device, around.clock, options.pty_link))
        return RunningLine(self, options, _SOCKET_LINES[chosen](device, around.clock, host, port))

    def _usual(self, what: str) -> str:
        return f"{what}; usual port: {self.port}" if self.port else what


class RunningLine:
    """A `LineDevice` at the end of its line."""

    def __init__(self, kind: LineDevice, options: argparse.Namespace, line: Line) -> None:
        self._kind = kind
        self._options = options
        self._line = line

    async def start(self) -> None:
        """Open the line."""
        await self._line.start()

    async def stop(self) -> None:
        """Close the line."""
        await self._line.stop()

    def describe(self) -> str:
        """Where it is, and a [[feed]] for it."""
        kind, path = self._kind, self._line.path
        feed_options = kind.feed_options(self._options)
        return (
            f"# {kind.title(self._options)} on {path}\n"
            "# for the configuration of the box:\n"
            f'[[feed]]\nname = "{kind.feed}"\ndriver = "{kind.driver}"\n{self._transport()}'
            + (f"\noptions = {{ {feed_options} }}" if feed_options else "")
        )

    def summary(self) -> str:
        """How much was read of it."""
        return f"{self._kind.feed}: {self._line.bytes_sent} bytes taken by the reader"

    def _transport(self) -> str:
        line = self._line
        if isinstance(line, PtyLine):
            return f'serial = {{ path = "{line.path}", line = "{self._kind.serial_line}" }}'
        if isinstance(line, TcpClientLine):
            return f'tcp = {{ listen = "{line.path}", allow = ["127.0.0.1"] }}'
        transport = "udp" if isinstance(line, UdpLine) else "tcp"
        host, port = host_and_port(line.path, "line")
        return f'{transport} = {{ host = "{host}", port = {port} }}'


def kinds() -> tuple[Kind, ...]:
    """Every device there is, by name."""
    modules = (import_module(f"{devices.__name__}.{found.name}") for found in pkgutil.iter_modules(devices.__path__))
    found: list[Kind] = [module.DEVICE for module in modules]
    return tuple(sorted(found, key=lambda kind: kind.name))
