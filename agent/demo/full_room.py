"""The devices of a whole operating room, how each is plugged in, and what records it. All show one patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from agent.demo.site import HOST, Ports, serial_port

_SEED: Final = "2"
_MONITOR_WAVES: Final = (
    "MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_I", "MDC_PRESS_BLD_ART", "MDC_PULS_OXIM_PLETH",
    "MDC_PRESS_BLD_VEN_CENT", "MDC_AWAY_CO2", "MDC_RESP", "MDC_PRESS_AWAY",
)  # fmt: skip


class Plug(Enum):
    """How a device reaches the box; but for SERIAL, the option of the simulated device that names a port."""

    SERIAL = ""
    UDP = "--udp"
    TCP = "--listen"
    MLLP = "--to"


@dataclass(frozen=True, slots=True)
class RoomDevice:
    """One device: the feed that records it, the driver, and the simulated device with its options.

    ``line`` is for SERIAL; ``options`` are the feed's; ``devices`` and ``waves`` are how many it must show.
    """

    feed: str
    title: str
    driver: str
    plug: Plug
    simulator: tuple[str, ...]
    line: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: int = 1
    waves: int = 0

    def arguments(self, serial: Path, port: int) -> tuple[str, ...]:
        """Of ``python -m firmware_sim``: the device at its serial port or at a port of this machine."""
        where = ("--pty-link", str(serial)) if self.plug is Plug.SERIAL else (self.plug.value, f"{HOST}:{port}")
        return (*self.simulator, *where, "--seed", _SEED)

    def section(self, serial: Path, port: int) -> dict[str, Any]:
        """The ``[[feed]]`` of the box."""
        address: dict[str, Any] = {"host": HOST, "port": port}
        transport: dict[Plug, tuple[str, dict[str, Any]]] = {
            Plug.SERIAL: ("serial", {"path": str(serial), "line": self.line}),
            Plug.UDP: ("udp", address),
            Plug.TCP: ("tcp", address),
            Plug.MLLP: ("mllp", {"listen": f"{HOST}:{port}", "allow": [HOST]}),
        }
        name, where = transport[self.plug]
        options = {"options": dict(self.options)} if self.options else {}
        return {"name": self.feed, "driver": self.driver, name: where, **options}


MONITOR, VENTILATOR, PUMPS, BIS, OXIMETER, GATEWAY = "monitor", "ventilator", "pumps", "bis", "oximeter", "gateway"
ROBOT: Final = "robot"
FULL_ROOM: Final = (
    RoomDevice(
        MONITOR, "IntelliVue patient monitor, 8 waves, on the LAN", "intellivue", Plug.UDP, ("intellivue",),
        options={"interface": "lan", "wave_list": list(_MONITOR_WAVES)}, waves=len(_MONITOR_WAVES),
    ),
    RoomDevice(
        VENTILATOR, "Evita 4 ventilator, 4 waves, behind a terminal server", "medibus", Plug.TCP, ("evita",),
        options={"waves": ["PAW", "FLOW", "VOLUME", "CO2"]}, waves=4,
    ),
    RoomDevice(
        PUMPS, "SpaceStation with four infusion pumps, on a serial line", "bbraun-bcc", Plug.SERIAL,
        ("space-rack", "--pumps", "4", "--calm"), "9600 8N1", {"poll_s": 2.0}, devices=5,
    ),
    RoomDevice(
        BIS, "BIS VISTA with EEG, on a serial line", "bis", Plug.SERIAL, ("bis",), "57600 8N1", waves=2,
    ),
    RoomDevice(
        OXIMETER, "Radical-7 oximeter, on a serial line", "masimo", Plug.SERIAL, ("masimo", "--rainbow"), "9600 8N1",
    ),
    RoomDevice(
        ROBOT, "surgical robot (OpenIGTLink): pose at 10 Hz, force and torque at 100 Hz", "openigtlink", Plug.TCP,
        ("openigtlink", "--pose-hz", "10", "--force-hz", "100"),
        options={"make": "simulated", "model": "surgical robot"}, waves=6,
    ),
    RoomDevice(GATEWAY, "HL7 gateway with waves", "hl7", Plug.MLLP, ("hl7", "--rate", "1", "--waves"), waves=4),
)  # fmt: skip


def feeds_of(room: Sequence[RoomDevice], folder: Path, ports: Ports) -> list[dict[str, Any]]:
    """The ``[[feed]]`` of each device; those over TCP are reached through their cable."""
    return [
        device.section(
            serial_port(folder, device.feed),
            (ports.device_cable if device.plug is Plug.TCP else ports.device)[device.feed],
        )
        for device in room
    ]
