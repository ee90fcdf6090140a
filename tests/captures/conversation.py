"""A driver and a simulated device that talk to each other in virtual time; what passes is a capture."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from drivers import registry
from drivers.capture import CaptureHeader, CaptureItem
from drivers.contract import Driver, Emit, Now, Send, Transport
from firmware_sim.device import Device
from ledger.limits import S_NS
from ledger.records import Link, LinkId, Raw, Record

LINK = LinkId(1)
_US_NS = 1_000
_MOST_BYTES_A_PIECE = {Transport.TCP: 1_460}
_BYTES_A_PIECE = 120
_LONGEST_PAUSE_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One capture to make: a device that talks for ``seconds`` with the driver that ``header`` names.

    ``header.transport`` decides how bytes travel: over ``udp`` one frame of the device is one datagram and one receive,
    everywhere else a reader gets it in pieces. ``byte_us``: microseconds that one byte takes on the line (520 at 19200
    8E1). ``items`` instead of a device: for transports that frame for themselves, what passed.
    """

    name: str
    header: CaptureHeader
    device: Device | None
    seconds: float = 0.0
    byte_us: int = 2
    items: tuple[CaptureItem, ...] = ()


def header(driver: str, transport: Transport, *, feed: str, **more: Any) -> CaptureHeader:
    """A header of a simulated capture; ``more``: ``line``, ``device``, ``options``."""
    return CaptureHeader(
        orcap=1,
        driver=driver,
        feed=feed,
        transport=transport.value,
        t0="2026-11-23T08:14:02.100000Z",
        clock="synchronised",
        scrubbed=True,
        licence="CC0-1.0",
        **more,
    )


def driver_of(header: CaptureHeader) -> Driver:
    """The driver a capture was made with."""
    kind: Any = registry.get(header.driver)
    driver: Driver = kind(msgspec.convert(header.options, kind.spec.config))
    return driver


def items_of(plan: Plan) -> list[CaptureItem]:
    """What passes."""
    if plan.device is None:
        return list(plan.items)
    talk = Conversation(driver_of(plan.header), plan.device, plan)
    talk.run(plan.seconds)
    return talk.items


@dataclass(slots=True)
class Conversation:
    """Driver and device in virtual time; ``items`` is what passed, ``records`` what the driver made of it."""

    driver: Driver
    device: Device
    plan: Plan
    items: list[CaptureItem] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    now_ns: int = 0
    _cuts: random.Random = field(init=False)
    _arriving: list[tuple[int, bytes]] = field(default_factory=list)
    _line_free_ns: int = 0

    def __post_init__(self) -> None:
        self._cuts = random.Random(self.plan.name)

    def run(self, seconds: float) -> None:
        """Talk for so long, then the line is pulled."""
        t0_ns = self.plan.header.t0_ns
        self.items.append(Link(at_ns=t0_ns, link=LINK, state="up", peer="simulated"))
        self.driver.link_up(LINK, "simulated", self._now())
        self._answer()
        while (next_ns := self._next_ns()) < seconds * S_NS:
            self.now_ns = next_ns
            self._step()
        self.now_ns = int(seconds * S_NS)
        self._wake()  # what is due at the very end, as a replay will do
        self.items.append(Link(at_ns=t0_ns + self.now_ns, link=LINK, state="down", reason="unplugged"))
        self.driver.link_down(LINK, "unplugged", self._now())

    def _next_ns(self) -> int:
        due_s = self.device.next_due_s(self.now_ns / S_NS)
        due_us = int(min(due_s, self.now_ns / S_NS + _LONGEST_PAUSE_S) * 1_000_000) + 1
        times = [max(due_us * _US_NS, self.now_ns + _US_NS)]
        deadline_ns = self.driver.deadline_ns()
        if deadline_ns is not None:
            times.append(max(deadline_ns, self.now_ns))
        if self._arriving:
            times.append(self._arriving[0][0])
        return min(times)

    def _wake(self) -> None:
        deadline_ns = self.driver.deadline_ns()
        if deadline_ns is not None and deadline_ns <= self.now_ns:
            self.driver.wake(self._now())
            self._answer()

    def _step(self) -> None:
        self._wake()
        while self._arriving and self._arriving[0][0] <= self.now_ns:
            _, data = self._arriving.pop(0)
            self._passed("<", data)
            self.driver.receive(LINK, data, self._now())
            self._answer()
        self._carry(self.device.poll(self.now_ns / S_NS))

    def _answer(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data), action.data
                self._passed(">", action.data)
                self._carry(self.device.receive(action.data, self.now_ns / S_NS))

    def _carry(self, frames: list[bytes]) -> None:
        """What the device sends, on its way, in the pieces in which a reader gets it."""
        for frame in frames:
            for piece in self._pieces(frame):
                free_us = max(self._line_free_ns, self.now_ns) // _US_NS
                self._line_free_ns = (free_us + 1 + self.plan.byte_us * len(piece)) * _US_NS
                self._arriving.append((self._line_free_ns, piece))

    def _pieces(self, frame: bytes) -> list[bytes]:
        transport = Transport(self.plan.header.transport)
        if transport is Transport.UDP:
            return [frame]
        most, pieces = _MOST_BYTES_A_PIECE.get(transport, _BYTES_A_PIECE), []
        while frame:
            size = self._cuts.randint(1, most)
            pieces.append(frame[:size])
            frame = frame[size:]
        return pieces

    def _passed(self, direction: Literal["<", ">"], data: bytes) -> None:
        pieces = ((0, len(data)),)
        at_ns = self.plan.header.t0_ns + self.now_ns
        self.items.append(Raw(at_ns=at_ns, link=LINK, direction=direction, data=data, pieces=pieces))

    def _now(self) -> Now:
        return Now(mono_ns=self.now_ns, utc_ns=self.plan.header.t0_ns + self.now_ns)
