"""The simulated devices of one operating room around one patient."""

from __future__ import annotations

from pathlib import Path

from firmware_sim.clock import SimClock
from firmware_sim.faults import Fault, FaultKind, FaultLine
from firmware_sim.ge_s5 import S5Config, S5Monitor
from firmware_sim.hl7_gateway import GatewayConfig, Hl7Gateway
from firmware_sim.patient import Patient
from firmware_sim.pty_line import PtyLine


class GeS5Simulator:
    """A GE S/5 or CARESCAPE monitor on a pty: `path = await start()`, `await stop()`."""

    def __init__(
        self,
        patient: Patient,
        clock: SimClock,
        *,
        link: Path | None = None,
        config: S5Config | None = None,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.monitor = S5Monitor(patient, clock.started_unix_s, config, FaultLine(faults, patient.seed))
        self._line = PtyLine(self.monitor, clock, link)

    @property
    def path(self) -> str:
        """The serial port to open, once started."""
        return self._line.path

    @property
    def bytes_sent(self) -> int:
        """Bytes the reader's port has taken."""
        return self._line.bytes_sent

    async def start(self) -> str:
        """Open the pty; return the path a reader opens."""
        return await self._line.start()

    async def stop(self) -> None:
        """Close the pty."""
        await self._line.stop()


class Room:
    """A monitor on a pty, a gateway that sends over MLLP, or both, showing the same patient.

    `monitored` False leaves the monitor out, `gateway` None the gateway.
    """

    def __init__(
        self,
        patient: Patient,
        *,
        monitored: bool = True,
        link: Path | None = None,
        monitor: S5Config | None = None,
        gateway: GatewayConfig | None = None,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.clock = SimClock()
        self.patient = patient
        self.monitor: GeS5Simulator | None = None
        self.gateway: Hl7Gateway | None = None
        if monitored:
            self.monitor = GeS5Simulator(patient, self.clock, link=link, config=monitor, faults=faults)
            # Byte faults and drift are the serial line's then; the gateway shares the patient's sensors.
            faults = tuple(f for f in faults if f.kind is FaultKind.SENSOR_OFF)
        if gateway is not None:
            self.gateway = Hl7Gateway(patient, self.clock, gateway, FaultLine(faults, patient.seed))

    async def start(self) -> None:
        """Start all devices."""
        if self.monitor is not None:
            await self.monitor.start()
        if self.gateway is not None:
            await self.gateway.start()

    async def stop(self) -> None:
        """Stop all devices."""
        if self.gateway is not None:
            await self.gateway.stop()
        if self.monitor is not None:
            await self.monitor.stop()
