"""Senders of HL7 as a `Device`: MLLP bytes in and out, without the connection."""

from __future__ import annotations

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.hl7_messages import GatewayProfile, MessageFactory
from firmware_sim.hl7_session import GatewayFeed, MessageFeed, SendPolicy, SendSession
from firmware_sim.patient import Patient


class Hl7Device(SimulatedDevice):
    """Sends what its feed tells; a message that is not acknowledged in time is sent again on the same connection."""

    def __init__(self, feed: MessageFeed, policy: SendPolicy | None = None, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._feed = feed
        self._session = SendSession(policy or SendPolicy())
        self._session.connected(0.0)

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Acknowledgments in, the next messages out."""
        return self._session.receive(data, now_s) + self._session.poll(now_s)

    def due(self, now_s: float) -> list[bytes]:
        """Messages that are due, and those whose acknowledgment did not come."""
        for message in self._feed.poll(now_s):
            self._session.offer(message)
        if self._session.timed_out(now_s):
            self._session.connected(now_s)
        return self._session.poll(now_s)

    def next_due_s(self, now_s: float) -> float:
        """When a message or an acknowledgment is due."""
        return min(self._feed.next_due_s(), self._session.next_due_s())


class GatewayDevice(Hl7Device):
    """A bedside gateway of one patient."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        *,
        interval_s: float = 2.0,
        waves: bool = False,
        policy: SendPolicy | None = None,
        line: FaultLine | None = None,
    ) -> None:
        line = line or FaultLine()
        factory = MessageFactory(GatewayProfile(), started_unix_s)
        super().__init__(GatewayFeed(patient, factory, interval_s, waves=waves, line=line), policy, line)
