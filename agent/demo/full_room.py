"""The devices of a whole operating room, how each is plugged in, and what records it. All show one patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from agent.demo.site import HOST, Ports, acknowledged_file, serial_port

_SEED: Final = "2"
_MONITOR_WAVES: Final = (
    "MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_I", "MDC_PRESS_BLD_ART", "MDC_PULS_OXIM_PLETH",
    "MDC_PRESS_BLD_VEN_CENT", "MDC_AWAY_CO2", "MDC_RESP", "MDC_PRESS_AWAY",
)  # fmt: skip


class Plug(Enum):
    """How a device reaches the box: a serial line, or by the network as the box's ``[[feed]]`` calls it."""

    SERIAL = "serial"
    UDP = "udp"
    TCP = "tcp"
    MLLP = "mllp"
    DICOM = "dicom"


_PORT_OPTION: Final = {Plug.UDP: "--udp", Plug.TCP: "--listen", Plug.MLLP: "--to", Plug.DICOM: "--to"}
"""Of the simulated device: where it is, or whom it sends to."""


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
        option = _PORT_OPTION.get(self.plug)
        where = ("--pty-link", str(serial)) if option is None else (option, f"{HOST}:{port}")
        told = ("--acked-file", str(acknowledged_file(serial))) if self.plug is Plug.DICOM else ()
        return (*self.simulator, *where, *told, "--seed", _SEED)

    def section(self, serial: Path, port: int) -> dict[str, Any]:
        """The ``[[feed]]`` of the box."""
        address: dict[str, Any] = {"host": HOST, "port": port}
        listen = f"{HOST}:{port}"
        where: dict[Plug, dict[str, Any]] = {
            Plug.SERIAL: {"path": str(serial), "line": self.line},
            Plug.UDP: address,
            Plug.TCP: address,
            Plug.MLLP: {"listen": listen, "allow": [HOST]},
            Plug.DICOM: {"listen": listen, "peers": [{"ae_title": MODALITY, "allow": [HOST]}]},
        }
        options = {"options": dict(self.options)} if self.options else {}
        return {"name": self.feed, "driver": self.driver, self.plug.value: where[self.plug], **options}


MODALITY: Final = "SIM_CARM"
"""The AE title of the modality."""
MONITOR, VENTILATOR, PUMPS, BIS, OXIMETER, GATEWAY = "monitor", "ventilator", "pumps", "bis", "oximeter", "gateway"
ROBOT: Final = "robot"
IMAGING, HOSPITAL = "imaging", "hospital"
BEDSIDE: Final = (
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
"""What is at the patient's side."""
FULL_ROOM: Final = (
    *BEDSIDE,
    RoomDevice(
        IMAGING, "C-arm that stores an image every few seconds (DICOM)", "dicom", Plug.DICOM,
        ("c-arm", "--ae-title", MODALITY, "--every", "4"), devices=0,
    ),
    RoomDevice(
        HOSPITAL, "the hospital's systems (HL7): who is operated on, what is ordered, laboratory", "hl7", Plug.MLLP,
        ("hospital", "--story", "operation", "--quicker", "4", "--room", "OR^2^1^SIM"),
        options={"beds": [{"match": "OR^2", "feed": "room"}]}, devices=0,
    ),
)  # fmt: skip
"""The same with what is around it: images, and the systems that open the case."""


def feeds_of(room: Sequence[RoomDevice], folder: Path, ports: Ports) -> list[dict[str, Any]]:
    """The ``[[feed]]`` of each device; those over TCP are reached through their cable."""
    return [
        device.section(
            serial_port(folder, device.feed),
            (ports.device_cable if device.plug is Plug.TCP else ports.device)[device.feed],
        )
        for device in room
    ]
