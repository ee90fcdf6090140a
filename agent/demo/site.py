"""The demo's folder, ports and configuration: three boxes, cables around OR 2, a monitor and HL7 gateways."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config import CONTROL_SOCKET_NAME
from agent.init_site import SiteBox, SiteFile, init_site
from ledger.errors import OperatorFault

BOXES = ("or-1", "or-2", "or-3")
PATIENT_BOX = "or-2"
"""The box with the monitor: cables lead to and from it, and it is the one that is lost."""
OTHERS = tuple(box for box in BOXES if box != PATIENT_BOX)
HOST = "127.0.0.1"
_SOCKET_PATH_BYTES = 107  # sun_path, unix(7)
# Below the ports that the kernel gives to outgoing connections, so that none of them takes one in between.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens: brokers and HL7 listeners by box, cables by (from, to); of a whole room also its
    devices by feed, and the box's end of a device's cable.
    """

    broker: Mapping[str, int]
    hl7: Mapping[str, int]
    cable: Mapping[tuple[str, str], int]
    device: Mapping[str, int] = field(default_factory=dict)
    device_cable: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DemoSite:
    """A site that exists on disk."""

    folder: Path
    ports: Ports
    configuration: Mapping[str, Path]

    def serial(self, feed: str) -> Path:
        """The serial port of a device (a link to a pty)."""
        return serial_port(self.folder, feed)

    def acknowledged(self, gateway: str) -> Path:
        """Where a gateway or modality writes down what was acknowledged to it."""
        return acknowledged_file(self.folder / gateway)

    def log(self, name: str) -> Path:
        """A process's output."""
        return self.folder / f"{name}.log"

    def data(self, box: str) -> Path:
        """A box's data folder."""
        return self.folder / "site" / box / "data"


def cables() -> list[tuple[str, str]]:
    """(from, to) of each cable: what leads to the patient's box is one, what leads from it one for each peer."""
    return [("", PATIENT_BOX), *((PATIENT_BOX, box) for box in OTHERS)]


def choose_ports(devices: Sequence[str] = ()) -> Ports:
    """Free ports of the loopback, for these devices too. Raises OperatorFault ``demo.no-port``."""
    free = iter(_free_ports(2 * len(BOXES) + len(cables()) + 2 * len(devices)))
    return Ports(
        {box: next(free) for box in BOXES}, {box: next(free) for box in BOXES}, {ends: next(free) for ends in cables()},
        {feed: next(free) for feed in devices}, {feed: next(free) for feed in devices},
    )  # fmt: skip


def make_site(folder: Path, ports: Ports, room: Sequence[dict[str, Any]] = ()) -> DemoSite:
    """Keys, manifest and configuration of every box below ``folder``. ``room``: the feeds of the patient's box, the
    only ones then; without it a monitor and gateways.

    Raises OperatorFault ``demo.folder-long`` where no Unix socket fits, and what ``init_site`` raises.
    """
    socket_path = folder / "site" / BOXES[0] / "run" / CONTROL_SOCKET_NAME
    if len(os.fsencode(socket_path)) > _SOCKET_PATH_BYTES:
        raise OperatorFault(
            "demo.folder-long", f"{folder} is too long a path for sockets", "set TMPDIR to a shorter one"
        )
    boxes = [
        SiteBox(
            id=box,
            room=f"OR {number}",
            listen=f"{HOST}:{ports.broker[box]}",
            address={peer: f"{HOST}:{port}" for peer, port in _addresses(box, ports).items()},
            feed=_feeds(box, folder, ports) if not room else list(room) if box == PATIENT_BOX else [],
        )
        for number, box in enumerate(BOXES, start=1)
    ]
    _, made = init_site(SiteFile("demo", boxes), folder / "site")
    return DemoSite(folder, ports, {box.id: box.configuration for box in made})


def serial_port(folder: Path, feed: str) -> Path:
    """The serial port of a device."""
    return folder / feed


def acknowledged_file(device: Path) -> Path:
    """Where the device of this place writes down what was acknowledged to it."""
    return device.with_name(f"{device.name}.acknowledged")


def _addresses(box: str, ports: Ports) -> dict[str, int]:
    if box == PATIENT_BOX:
        return {peer: ports.cable[(box, peer)] for peer in OTHERS}
    return {PATIENT_BOX: ports.cable[("", PATIENT_BOX)]}


def _feeds(box: str, folder: Path, ports: Ports) -> list[dict[str, Any]]:
    feeds: list[dict[str, Any]] = []
    if box == PATIENT_BOX:
        feeds.append({
            "name": "monitor",
            "driver": "ge-dri",
            "serial": {"path": str(serial_port(folder, "monitor")), "line": "19200 8E1"},
            "options": {"numerics_s": 5, "waves": ["ECG1", "INVP1", "PLETH"]},
        })  # fmt: skip
    if box != BOXES[-1]:
        listen = {"listen": f"{HOST}:{ports.hl7[box]}", "allow": [HOST]}
        feeds.append({"name": "gateway", "driver": "hl7", "mllp": listen})
    return feeds


def _free_ports(count: int) -> list[int]:
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
    raise OperatorFault("demo.no-port", "no free ports on 127.0.0.1", "end what listens there")
