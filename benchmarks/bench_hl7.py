"""HL7 messages a second: what the driver reads, and what one sender that waits for each AA gets through a whole box.

Run: python -m benchmarks.bench_hl7. The box runs in this process, alone, on a real store: an AA is sent after the fsync
of its block. A message that brings the next patient ends a block, makes a data key (written and fsynced) and begins
another.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path

from agent import config
from agent.init_site import init_alone
from agent.node import Node
from benchmarks import machine, report
from benchmarks.report import Line
from drivers.contract import Now
from drivers.hl7v2 import Bed, Hl7Config, Hl7v2
from drivers.mllp import frame
from firmware_sim.hl7_messages import GatewayProfile, Message, MessageFactory
from firmware_sim.hospital import ANNA, BRUNO, CLARA, Hospital
from firmware_sim.patient import Patient
from ledger.records import LinkId

MESSAGES = 2_000
SECONDS = 3.0
START_S = 1_764_000_000
ROOM = "OR^3"


def kinds() -> dict[str, Callable[[], Message]]:
    """A new message of each kind at every call."""
    say, patient = Hospital(START_S), Patient(4)
    gateway = MessageFactory(GatewayProfile(location="OR^3^1^SIM", enhanced=False), START_S)
    seconds, people = count(), cycle((ANNA, BRUNO, CLARA))
    return {
        "observations, 15 values (PCD-01)": lambda: gateway.numerics(patient.at(next(seconds)), frozenset()),
        "laboratory result": lambda: say.laboratory(ANNA, "8.1", "4.2"),
        "schedule (SIU)": lambda: say.schedule("S14", ANNA),
        "the next patient (ADT A01)": lambda: say.adt("A01", next(people)),
    }


def read_alone(make: Callable[[], Message]) -> float:
    """Messages a second through the driver, best of three passes."""
    rates = []
    for _ in range(3):
        driver = Hl7v2(Hl7Config(beds=(Bed(ROOM),)))
        driver.link_up(LinkId(1), "bench", Now(0, START_S * 10**9))
        frames = [frame(make().encode()) for _ in range(MESSAGES)]
        began = time.perf_counter()
        for number, data in enumerate(frames):
            driver.receive(LinkId(1), data, Now(number, START_S * 10**9 + number))
            driver.drain()
        rates.append(MESSAGES / (time.perf_counter() - began))
    return max(rates)


async def acknowledged(port: int, make: Callable[[], Message]) -> float:
    """Messages a second of one sender that waits for each acknowledgment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        writer.write(frame(make().encode()))
        answer = await reader.readuntil(b"\x1c\r")
        if b"|AA|" not in answer:
            raise RuntimeError(f"not accepted: {answer!r}")
        done += 1
    rate = done / (time.perf_counter() - began)
    writer.close()
    return rate


async def through_a_box(made: config.Configuration, port: int) -> Iterator[tuple[str, float]]:
    """(kind, messages a second) of a running box."""
    node = Node(made)
    running = asyncio.create_task(node.run())
    while not any(feed.status().state == "ok" for feed in node.feeds):  # noqa: ASYNC110 - a benchmark may look
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    rates = [(name, await acknowledged(port, make)) for name, make in kinds().items()]
    node.stop()
    await running
    return iter(rates)


def main() -> int:
    """Print the table."""
    options = report.parser(__doc__).parse_args()
    lines = [Line(f"driver alone: {name}", read_alone(make), "messages/s") for name, make in kinds().items()]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as folder:
        lines = [*machine.measure(Path(folder)).lines(), *lines]
        here = Path(folder).resolve()
        (here / "run").mkdir()
        made = config.parse(
            f'[box]\nsite = "lab"\nid = "or-3"\nroom = "OR 3"\ndata_dir = "{here}/data"\nruntime_dir = "{here}/run"\n'
            f'[[feed]]\nname = "hospital"\ndriver = "hl7"\noptions = {{ beds = [{{ match = "{ROOM}" }}] }}\n'
            f'mllp = {{ listen = "127.0.0.1:{port}", allow = ["127.0.0.1"] }}\n'.encode()
        )
        init_alone(made)
        for name, rate in asyncio.run(through_a_box(made, port)):
            lines.append(Line(f"one sender, each AA awaited: {name}", rate, "messages/s"))
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
