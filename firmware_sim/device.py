"""What every simulated device is: bytes and the time in, bytes out. It opens nothing, sleeps never, reads no clock.

So the same device runs on a pty, over TCP or UDP (`firmware_sim.shells`), and in virtual time, where it makes captures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from firmware_sim.faults import FaultLine


class Device(Protocol):
    """What a shell asks of a device. Times are seconds since the device's start and never go backwards."""

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        """Bytes of the computer in (over UDP one datagram); frames (datagrams) that leave at once."""
        ...

    def poll(self, now_s: float) -> list[bytes]:
        """Frames that are due."""
        ...

    def next_due_s(self, now_s: float) -> float:
        """When to poll again, if nothing is received before."""
        ...

    def set_blocked(self, blocked: bool, now_s: float) -> None:
        """Whether nobody takes anything: the port is closed, the connection is gone, CTS is low."""


class SimulatedDevice(ABC):
    """Base of the devices: the faults of its line act on all of them alike.

    While the line is `silence`d nothing is heard of the device; while it `reboot`s it hears nothing either, and it
    starts again as after power on. `self.line.clock_error_s(now_s)` and `self.line.sensors_off(now_s)` are for the
    device itself to heed.
    """

    def __init__(self, line: FaultLine | None = None) -> None:
        self.line = line or FaultLine()

    @abstractmethod
    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Bytes of the computer in; the frames that leave at once, whole and without faults."""

    @abstractmethod
    def due(self, now_s: float) -> list[bytes]:
        """Frames that leave without being asked for just now, whole and without faults."""

    @abstractmethod
    def next_due_s(self, now_s: float) -> float:
        """When to poll again, if nothing is received before."""

    def restart(self) -> None:  # noqa: B027 - most devices have something to forget, not all
        """Forget what was asked and said, as after power on. Called again and again while the device is off."""

    def set_blocked(self, blocked: bool, now_s: float) -> None:  # noqa: B027 - as above
        """Whether nobody takes anything; most devices send all the same."""

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        """What `answer` gives, as it arrives."""
        if self.line.off(now_s):
            return []
        return self._arriving(self.answer(data, now_s), now_s)

    def poll(self, now_s: float) -> list[bytes]:
        """What is `due`, as it arrives."""
        if self.line.off(now_s):
            self.restart()
            return []
        return self._arriving(self.due(now_s), now_s)

    def _arriving(self, frames: list[bytes], now_s: float) -> list[bytes]:
        return [hurt for frame in frames for hurt in self.line.frames(frame, now_s) if hurt]
