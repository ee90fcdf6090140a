"""A room in virtual time: the simulated devices, the real feeds, drivers, intake, tick and store, in this process.

Nothing waits and nothing competes, so what each part takes is its processor time and not the machine's mood. What is
not here: sockets and event loop, the broker, TLS; ``bench_site`` measures the whole process.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import read_quality
from agent.config import Configuration
from agent.demo.full_room import RoomDevice
from agent.early_close import EarlyClose
from agent.feed import Feed
from agent.feed_config import feed_setups
from agent.intake import Intake
from agent.recorder import Closed, Recorder
from benchmarks.bench_block import group
from drivers import registry
from drivers.transports.links import LinkEvents
from firmware_sim.catalogue import Around, LineDevice, kinds
from firmware_sim.clock import SimClock
from firmware_sim.device import Device
from firmware_sim.hl7_device import GatewayDevice
from firmware_sim.patient import Patient
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.records import LinkId
from ledger.state import RoomState
from ledger.store import Store

START_S = 1_790_000_000
_SHORTEST_POLL_S = 0.005  # as the simulator's own shells
_LINK = LinkId(1)


class VirtualTime:
    """What is to happen when; the only clock of the room."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._due: list[tuple[int, int, _Timer]] = []
        self._order = itertools.count()

    def now(self) -> Now:
        """This moment."""
        return Now(self.now_ns, START_S * S_NS + self.now_ns)

    def schedule(self, delay_ns: int, call: Callable[[], None]) -> _Timer:
        """``agent.feed.Schedule``."""
        timer = _Timer(call)
        heapq.heappush(self._due, (self.now_ns + max(0, delay_ns), next(self._order), timer))
        return timer

    def run_until(self, until_ns: int) -> None:
        """Let everything happen that is due before."""
        while self._due and self._due[0][0] < until_ns:
            self.now_ns, _, timer = heapq.heappop(self._due)
            if not timer.cancelled:
                timer.call()
        self.now_ns = until_ns


class _Timer:
    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Spent:
    """Processor time by part, in ns."""

    def __init__(self) -> None:
        self.ns: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def on(self, part: str, call: Callable[..., Any], *arguments: object) -> Any:
        """Call, and put it on this part's account."""
        began = time.thread_time_ns()
        try:
            return call(*arguments)
        finally:
            self.ns[part] += time.thread_time_ns() - began
            self.calls[part] += 1


class _Cable:
    """Between one simulated device and its feed: the feed's ``LinkTransport``, and the device's shell."""

    listens = False
    reachable = True

    def __init__(self, name: str, device: Device, clock: VirtualTime, spent: Spent) -> None:
        self.name = name
        self._device = device
        self._clock = clock
        self._spent = spent
        self._events: LinkEvents | None = None
        self._poll: _Timer | None = None

    def start(self, events: LinkEvents) -> None:
        self._events = events
        self._device.set_blocked(False, 0.0)
        events.on_up(_LINK, "virtual", self._clock.now())
        self._polled()

    async def stop(self) -> None:
        self._events = None

    def send(self, _link: LinkId, data: bytes) -> bool:
        self._clock.schedule(0, lambda: self._heard(data))
        return True

    def close(self, _link: LinkId, reason: str) -> None:
        raise RuntimeError(f"feed {self.name} closed its link: {reason}")

    def set_reading(self, reading: bool) -> None:
        if not reading:
            raise RuntimeError(f"feed {self.name} does not keep up")

    def _heard(self, data: bytes) -> None:
        now_s = self._clock.now_ns / S_NS
        self._deliver(self._device.receive(data, now_s))
        if self._poll is not None:
            self._poll.cancel()
        self._polled()

    def _polled(self) -> None:
        now_s = self._clock.now_ns / S_NS
        self._deliver(self._device.poll(now_s))
        pause_s = max(_SHORTEST_POLL_S, min(3_600.0, self._device.next_due_s(now_s) - now_s))
        self._poll = self._clock.schedule(round(pause_s * S_NS), self._polled)

    def _deliver(self, frames: list[bytes]) -> None:
        if frames and self._events is not None:
            self._spent.on(self.name, self._events.on_bytes, _LINK, b"".join(frames), self._clock.now())


class _DatagramCable(_Cable):
    """Each frame comes alone."""

    def _deliver(self, frames: list[bytes]) -> None:
        for frame in frames:
            super()._deliver([frame])


def _device(device: RoomDevice, around: Around) -> Device:
    """The simulated device, without a line."""
    arguments = device.arguments(Path("/virtual"), 1)
    if device.driver == "hl7":
        return GatewayDevice(around.patient, around.clock.started_unix_s, interval_s=1.0, waves="--waves" in arguments)
    kind = next(kind for kind in kinds() if kind.name == arguments[0])
    if not isinstance(kind, LineDevice):
        raise TypeError(f"{kind.name} has no device of its own")
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed")
    kind.add_options(parser)
    return kind.build(parser.parse_args(arguments[1:]), around)


class VirtualRoom:
    """The devices, and all of the box that stands between their bytes and the store."""

    def __init__(self, devices: Sequence[RoomDevice], folder: Path) -> None:
        self.spent = Spent()
        self.blocks = 0
        self.payload_bytes = 0
        self.records = 0
        self._clock = VirtualTime()
        self._intake = Intake()
        self._intake.on_waited_for = self._waited_for
        self._early = EarlyClose()
        self._store = Store.open(folder)
        self._member = group()["writer"]
        self._recorder = Recorder(self._member, RoomState(), read_quality)
        self.feeds = [self._feed(device) for device in devices]
        for feed in self.feeds:
            feed.start()

    def _feed(self, device: RoomDevice) -> Feed:
        clock, spent, name = self._clock, self.spent, device.feed
        around = Around(Patient(2, "stable"), SimClock(START_S, 0.0))
        section = device.section(Path("/virtual"), 1)
        box = {"id": "or-1", "site": "bench", "room": "OR 1", "data_dir": "/virtual"}
        configuration = msgspec.convert({"box": box, "feed": [section]}, Configuration)
        setup = feed_setups(configuration, registry.get)[0]
        make: Any = setup.driver
        cable = (_DatagramCable if "udp" in section else _Cable)(name, _device(device, around), clock, spent)

        def schedule(delay_ns: int, call: Callable[[], None]) -> _Timer:
            return clock.schedule(delay_ns, lambda: spent.on(name, call))

        return Feed(name, lambda: make(setup.options), cable, self._intake, clock.now, schedule)

    def start_counting(self) -> None:
        """What was spent and recorded so far counts no more."""
        self.spent.ns.clear()
        self.spent.calls.clear()
        self.blocks = self.payload_bytes = self.records = 0

    def run(self, seconds: int) -> None:
        """Go on for so long, tick by tick."""
        for _ in range(round(seconds * S_NS / LIMITS.tick_ns)):
            self._clock.run_until(self._clock.now_ns + LIMITS.tick_ns)
            self._close()
            self._early.ticked(self._clock.now_ns + LIMITS.tick_ns)

    def _waited_for(self, for_object: bool) -> None:
        due_ns = self._early.wanted(self._clock.now_ns, for_object=for_object)
        if due_ns is not None:
            self._clock.schedule(due_ns - self._clock.now_ns, self._close)

    def _close(self) -> None:
        spent, now = self.spent, self._clock.now()
        batch = spent.on("tick: take what waits", self._intake.take)
        closed = spent.on("tick: encode, seal, sign, fold", self._recorder.tick, now, batch)
        if not isinstance(closed, Closed):
            return
        self.blocks += 1
        self.payload_bytes += len(closed.block.payload)
        self.records += sum(map(len, batch.encoded.values()))
        self._early.closed(now.mono_ns)
        ops, position = self._member.take_ops()
        spent.on("commit", self._store.commit, ops)
        self._member.committed(position, now)
        self._member.take_wire()
        spent.on("acknowledge", self._intake.durable, closed.last_position)
