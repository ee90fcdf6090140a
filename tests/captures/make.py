"""Makes the committed captures anew from the simulated devices, in virtual time: python -m tests.captures.make.

Each is a driver and a simulated device talking to each other over a line that cuts the device's bytes into pieces and,
here and there, damages them. Beside each capture lies what the driver makes of it, ``x.records.jsonl``: after a change
of a driver, the difference of these files is what the change does.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import zstandard

from drivers import registry
from drivers.capture import CaptureHeader, CaptureItem, CaptureReader, CaptureWriter
from drivers.contract import Driver, Now, Send
from drivers.replay import replay_records
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.ge_s5 import S5Config, S5Monitor
from firmware_sim.hl7_messages import GatewayProfile, MessageFactory
from firmware_sim.hl7_session import GatewayFeed, SendPolicy, SendSession
from firmware_sim.patient import Patient
from ledger.record_json import record_to_json
from ledger.records import Link, LinkId, Raw

HERE = Path(__file__).parent
S_NS = 1_000_000_000
US_NS = 1_000
LINK = LinkId(1)


class Device(Protocol):
    """The simulated side; times are seconds since its start."""

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        """Bytes of the driver in; frames it sends at once."""

    def poll(self, now_s: float) -> list[bytes]:
        """Frames that are due."""

    def next_due_s(self, now_s: float) -> float:
        """When to poll again."""


class Monitor:
    """A GE monitor as a ``Device``."""

    def __init__(self, patient: Patient, started_unix_s: float, config: S5Config, faults: tuple[str, ...]) -> None:
        line = FaultLine(tuple(map(parse_fault, faults)))
        self._monitor = S5Monitor(patient, started_unix_s, config, line)

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        self._monitor.receive(data, now_s)
        return []

    def poll(self, now_s: float) -> list[bytes]:
        return self._monitor.poll(now_s)

    def next_due_s(self, now_s: float) -> float:
        return self._monitor.next_due_s(now_s)


class Gateway:
    """An HL7 gateway as a ``Device``; its line loses bytes during ``faults``."""

    def __init__(
        self, patient: Patient, started_unix_s: float, *, interval_s: float, waves: bool, faults: tuple[str, ...]
    ) -> None:
        self._line = FaultLine(tuple(map(parse_fault, faults)))
        factory = MessageFactory(GatewayProfile(), started_unix_s)
        self._feed = GatewayFeed(patient, factory, interval_s, waves=waves)
        self._session = SendSession(SendPolicy(duplicate_every=4, ack_timeout_s=3.0))
        self._session.connected(0.0)

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        return self._hurt(self._session.receive(data, now_s) + self._session.poll(now_s), now_s)

    def poll(self, now_s: float) -> list[bytes]:
        for message in self._feed.poll(now_s):
            self._session.offer(message)
        if self._session.timed_out(now_s):
            self._session.connected(now_s)  # sends again, on the same connection
        return self._hurt(self._session.poll(now_s), now_s)

    def next_due_s(self, now_s: float) -> float:
        return min(self._feed.next_due_s(), self._session.next_due_s())

    def _hurt(self, frames: list[bytes], now_s: float) -> list[bytes]:
        return [hurt for frame in frames if (hurt := self._line.apply(frame, now_s))]


@dataclass(slots=True)
class Conversation:
    """Driver and device in virtual time; ``items`` is what passed."""

    driver: Driver
    device: Device
    t0_ns: int
    piece_us: int
    cuts: random.Random
    items: list[CaptureItem] = field(default_factory=list)
    now_ns: int = 0
    _arriving: list[tuple[int, bytes]] = field(default_factory=list)
    _line_free_ns: int = 0

    def run(self, seconds: float) -> None:
        """Talk for so long, then the line is pulled."""
        self.items.append(Link(at_ns=self.t0_ns, link=LINK, state="up", peer="simulated"))
        self.driver.link_up(LINK, "simulated", self._now())
        self._answer()
        while (next_ns := self._next_ns()) < seconds * S_NS:
            self.now_ns = next_ns
            self._step()
        self.now_ns = int(seconds * S_NS)
        self.items.append(Link(at_ns=self.t0_ns + self.now_ns, link=LINK, state="down", reason="unplugged"))
        self.driver.link_down(LINK, "unplugged", self._now())

    def _next_ns(self) -> int:
        due_us = int(self.device.next_due_s(self.now_ns / S_NS) * 1_000_000) + 1
        times = [max(due_us * US_NS, self.now_ns + US_NS)]
        deadline_ns = self.driver.deadline_ns()
        if deadline_ns is not None:
            times.append(max(deadline_ns, self.now_ns))
        if self._arriving:
            times.append(self._arriving[0][0])
        return min(times)

    def _step(self) -> None:
        deadline_ns = self.driver.deadline_ns()
        if deadline_ns is not None and deadline_ns <= self.now_ns:
            self.driver.wake(self._now())
            self._answer()
        while self._arriving and self._arriving[0][0] <= self.now_ns:
            _, data = self._arriving.pop(0)
            self._passed("<", data)
            self.driver.receive(LINK, data, self._now())
            self._answer()
        self._carry(self.device.poll(self.now_ns / S_NS))

    def _answer(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Send):
                self._passed(">", action.data)
                self._carry(self.device.receive(action.data, self.now_ns / S_NS))

    def _carry(self, frames: list[bytes]) -> None:
        """Cut what the device sends into the pieces in which a reader gets it."""
        for frame in frames:
            start = 0
            while start < len(frame):
                size = self.cuts.randint(1, 120)
                free_us = max(self._line_free_ns, self.now_ns) // US_NS
                self._line_free_ns = (free_us + 1 + self.piece_us * min(size, len(frame) - start)) * US_NS
                self._arriving.append((self._line_free_ns, frame[start : start + size]))
                start += size

    def _passed(self, direction: Literal["<", ">"], data: bytes) -> None:
        pieces = ((0, len(data)),)
        at_ns = self.t0_ns + self.now_ns
        self.items.append(Raw(at_ns=at_ns, link=LINK, direction=direction, data=data, pieces=pieces))

    def _now(self) -> Now:
        return Now(mono_ns=self.now_ns, utc_ns=self.t0_ns + self.now_ns)


@dataclass(frozen=True, slots=True)
class Plan:
    """One capture to make."""

    name: str
    header: CaptureHeader
    device: Device
    seconds: float
    piece_us: int


def plans() -> Iterator[Plan]:
    """Every committed capture."""
    t0 = "2026-11-23T08:14:02.100000Z"
    common: dict[str, Any] = {"orcap": 1, "t0": t0, "scrubbed": True, "licence": "CC0-1.0", "clock": "synchronised"}
    start_s = CaptureHeader(**common, driver="", feed="", transport="").t0_ns / S_NS
    ge: dict[str, Any] = {"driver": "ge-dri", "feed": "monitor", "transport": "serial", "line": "19200 8E1"}
    maker = {"make": "simulated", "model": "GE S/5"}
    header = CaptureHeader(**common, **ge, device=maker, options={"waves": ["ECG1", "PLETH", "CO2"]})
    yield Plan("ge-dri-s5", header, Monitor(Patient(3), start_s, S5Config(), ()), 16, 520)
    hurt = ("noise@5+2:0.004", "lost@9+2:0.004", "cut@13+2:0.5", "silence@16+3", "sensor-off@10:spo2")
    header = CaptureHeader(**common, **ge, device=maker, options={"waves": ["PLETH"]})
    yield Plan("ge-dri-s5-bad-line", header, Monitor(Patient(4), start_s, S5Config(), hurt), 26, 520)
    header = CaptureHeader(**common, **ge, device=maker | {"model": "GE CARESCAPE B650"}, options={"carescape": True})
    monitor = Monitor(Patient(5, "arrest"), start_s, S5Config(carescape=True), ())
    yield Plan("ge-dri-carescape-alarms", header, monitor, 100, 520)
    hl7: dict[str, Any] = {"driver": "hl7", "feed": "gateway", "transport": "mllp"}
    header = CaptureHeader(**common, **hl7, device={"make": "simulated", "model": "gateway"})
    gateway = Gateway(Patient(6, "arrest"), start_s, interval_s=10, waves=False, faults=())
    yield Plan("hl7-gateway", header, gateway, 90, 2)
    gateway = Gateway(Patient(7), start_s, interval_s=2, waves=True, faults=("lost@3+3:0.001", "cut@7+2:0.5"))
    yield Plan("hl7-gateway-bad-line", header, gateway, 12, 2)


def driver_of(header: CaptureHeader) -> Driver:
    """The driver a capture was made with."""
    kind: Any = registry.get(header.driver)
    driver: Driver = kind(msgspec.convert(header.options, kind.spec.config))
    return driver


def records_text(items: list[CaptureItem], header: CaptureHeader) -> bytes:
    """What the driver makes of the items, as ``x.records.jsonl`` holds it."""
    records = replay_records(driver_of(header), items, header.t0_ns)
    return b"".join(msgspec.json.encode(record_to_json(record)) + b"\n" for record in records)


def capture_text(plan: Plan) -> bytes:
    """One capture, uncompressed."""
    talk = Conversation(driver_of(plan.header), plan.device, plan.header.t0_ns, plan.piece_us, random.Random(plan.name))
    talk.run(plan.seconds)
    stream = io.BytesIO()
    writer = CaptureWriter(stream, plan.header)
    for item in talk.items:
        writer.write(item)
    writer.finish()
    return stream.getvalue()


def main() -> None:
    """Write every capture with its records."""
    for plan in plans():
        text = capture_text(plan)
        compressed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(text)
        (HERE / f"{plan.name}.orcap.zst").write_bytes(compressed)
        items = list(CaptureReader(io.BytesIO(text)))
        records = records_text(items, plan.header)
        (HERE / f"{plan.name}.records.jsonl").write_bytes(records)
        print(plan.name, len(items), "lines", len(compressed), "bytes;", records.count(b"\n"), "records")  # noqa: T201


if __name__ == "__main__":
    main()
