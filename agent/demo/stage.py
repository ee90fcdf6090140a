"""Everything a scene needs: the running boxes, devices and cables, and the view; put up and taken down here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.demo.full_room import HOSPITAL, Plug, RoomDevice
from agent.demo.processes import Box, Process, gateway, monitor
from agent.demo.proxy import Cable
from agent.demo.site import BOXES, PATIENT_BOX, DemoSite
from agent.demo.view import View
from agent.demo.watch import until

_START_S = 60.0
_HL7_RATE = "2"


@dataclass(slots=True)
class Stage:
    """The demo's three boxes and their surroundings. ``room``: the devices of a whole room, none for the small one.

    ``device`` and ``device_cable`` find those of a whole room by feed. While ``watched`` is clear the boxes are not
    asked how they are.
    """

    site: DemoSite
    view: View
    room: Sequence[RoomDevice] = ()
    boxes: dict[str, Box] = field(default_factory=dict)
    devices: list[Process] = field(default_factory=list)
    cables: list[Cable] = field(default_factory=list)
    device: dict[str, Process] = field(default_factory=dict)
    device_cable: dict[str, Cable] = field(default_factory=dict)
    watched: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def patient(self) -> Box:
        """The box with the monitor."""
        return self.boxes[PATIENT_BOX]

    async def put_up(self) -> None:
        """Start cables, devices and boxes; returns at once. Raises OSError."""
        site = self.site
        for (_, to), port in site.ports.cable.items():
            cable = Cable(site.ports.broker[to])
            self.cables.append(cable)
            await cable.start(port)
        self.boxes |= {box: Box(box, site.configuration[box], site.log(box)) for box in BOXES}
        await self._put_up_room() if self.room else self._put_up_two_devices()
        self.watched.set()
        for process in (*self.boxes.values(), *self.devices):
            if process.name != HOSPITAL:  # it calls when there is a patient
                await process.start()

    async def take_down(self) -> None:
        """End every process and cable."""
        processes = (*self.devices, *self.boxes.values())
        await asyncio.gather(*(process.stop() for process in processes), return_exceptions=True)
        for cable in (*self.cables, *self.device_cable.values()):
            await cable.stop()

    def _put_up_two_devices(self) -> None:
        site = self.site
        path, log = site.serial("monitor"), site.log("monitor")
        self.devices.append(monitor("monitor", path, log, "--scenario", "haemorrhage"))
        for number, box in enumerate(BOXES[:2]):
            name, options = f"gateway-{box}", ("--rate", _HL7_RATE, "--seed", str(number))
            self.devices.append(gateway(name, site.ports.hl7[box], site.acknowledged(name), site.log(name), *options))

    async def _put_up_room(self) -> None:
        site, ports = self.site, self.site.ports
        for device in self.room:
            arguments = device.arguments(site.serial(device.feed), ports.device[device.feed])
            log = site.log(f"device-{device.feed}")
            process = Process(device.feed, ("-m", "firmware_sim", *arguments), log)
            self.devices.append(process)
            self.device[device.feed] = process
            if device.plug is Plug.TCP:
                cable = self.device_cable[device.feed] = Cable(ports.device[device.feed])
                await cable.start(ports.device_cable[device.feed])

    async def unplug(self, feed: str) -> None:
        """Pull the cable of a device of the whole room: its address answers no more, or its serial port goes."""
        cable = self.device_cable.get(feed)
        await (self.device[feed].stop() if cable is None else cable.stop())

    async def plug_in(self, feed: str) -> None:
        """The same cable, plugged in again. Raises OSError."""
        cable = self.device_cable.get(feed)
        if cable is None:
            await self.device[feed].start()
        else:
            cable.set_cut(cut=False)
            await cable.start(self.site.ports.device_cable[feed])

    def set_cut(self, *, cut: bool) -> None:
        """Cut or mend every cable of the patient's box."""
        for cable in self.cables:
            cable.set_cut(cut=cut)

    async def until_witnessed(self, box: Box, from_seq: int = 0) -> tuple[dict[str, Any], float]:
        """(status, seconds waited) once every peer keeps up with the box's own fenced log beyond ``from_seq``."""
        return await until(f"{box.name} is vouched for by all its peers", lambda: witnessed(box, from_seq), _START_S)


async def witnessed(box: Box, from_seq: int = 0) -> dict[str, Any] | None:
    """The box's status, if every peer keeps up with its fenced log and holds block ``from_seq``."""
    status = await box.status()
    log = status["log"]
    if log is None or not log["fenced"] or log["level"] not in {"witnessed", "final"}:
        return None
    held = [peer["holds_ours"] for peer in status["peers"]]
    keeps_up = log["peers_holding"] == log["peers"] and all(seq is not None and seq >= from_seq for seq in held)
    return status if keeps_up else None


async def holds(box: Box, seq: int) -> bool | None:
    """True once every peer holds the box's block ``seq``."""
    held = [peer["holds_ours"] for peer in (await box.status())["peers"]]
    return True if all(each is not None and each >= seq for each in held) else None
