"""`room`: a monitor and a gateway that show the same patient."""

from __future__ import annotations

import argparse
from dataclasses import replace

from firmware_sim.catalogue import Around, Running
from firmware_sim.devices import ge_s5, hl7
from firmware_sim.faults import FaultKind

_PARTS = (ge_s5.DEVICE, hl7.DEVICE)


class RoomKind:
    """The `Kind` of the room."""

    name = "room"
    help = "ge-s5 and hl7, showing the same patient"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Those of both."""
        for part in _PARTS:
            part.add_options(parser)

    def make(self, options: argparse.Namespace, around: Around) -> RunningRoom:
        """Both around one patient. Byte faults and drift are the monitor's; both have the same sensors."""
        shared = tuple(fault for fault in around.faults if fault.kind is FaultKind.SENSOR_OFF)
        # --to is where the gateway sends, not where the monitor is
        monitor = ge_s5.DEVICE.make(argparse.Namespace(**{**vars(options), "to": None}), around)
        return RunningRoom((monitor, hl7.DEVICE.make(options, replace(around, faults=shared))))


class RunningRoom:
    """All devices of the room."""

    def __init__(self, parts: tuple[Running, ...]) -> None:
        self._parts = parts

    async def start(self) -> None:
        """Start all."""
        for part in self._parts:
            await part.start()

    async def stop(self) -> None:
        """Stop all, the last one first."""
        for part in reversed(self._parts):
            await part.stop()

    def describe(self) -> str:
        """What each says."""
        return "\n".join(part.describe() for part in self._parts)

    def summary(self) -> str:
        """What each did."""
        return "\n".join(part.summary() for part in self._parts)


DEVICE = RoomKind()
