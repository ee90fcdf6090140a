"""Latency and CPU of the mesh: one process per box, embedded brokers, mutual TLS, blocks of 6 KB ten times a second.

    python -m benchmarks.bench_mesh [--boxes 4] [--seconds 10] [--bytes 6000]

Every box broadcasts blocks and answers each block it receives with a 150-byte message to the writer, as a cosignature
travels. Both ways are timed with CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agent.broker import EmbeddedBroker
from agent.mesh import Mesh, MeshEvent, MeshMessage, PeerAddress, PeerUp
from agent.tls import create_identity, load_identity
from agent.topics import Channel
from benchmarks import report
from benchmarks.machine import quantile
from benchmarks.report import Line
from benchmarks.site import free_ports

SITE = "bench"
TICK_S = 0.1
REPLY_BYTES = 150
WAIT_S = 20.0
ONE_WAY_BUDGET_MS = 2.0
_STAMP = struct.Struct("!QQ")


class Box:
    """One box: publishes, answers, and notes how long everything took."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.missing = set(plan["peers"])
        self.complete = asyncio.Event()
        self.block_ns: list[int] = []
        self.round_trip_ns: list[int] = []
        own = load_identity(Path(plan["pem"]))
        others = {name: load_identity(Path(peer["pem"])).certificate_der for name, peer in plan["peers"].items()}
        self.broker = EmbeddedBroker(SITE, own, "127.0.0.1", plan["port"], others)
        addresses = [PeerAddress(name, "127.0.0.1", plan["peers"][name]["port"], der) for name, der in others.items()]
        self.mesh = Mesh(SITE, own, self.broker, addresses, self.on_event)

    def on_event(self, event: MeshEvent) -> None:
        if isinstance(event, PeerUp):
            self.missing.discard(event.peer)
            if not self.missing:
                self.complete.set()
        elif isinstance(event, MeshMessage):
            (sent_ns,) = struct.unpack_from("!Q", event.data)
            if event.channel is Channel.LIVE:
                self.block_ns.append(event.received_mono_ns - sent_ns)
                self.mesh.send_to(event.sender, event.data[:8] + bytes(REPLY_BYTES - 8))
            else:
                self.round_trip_ns.append(event.received_mono_ns - sent_ns)

    async def run(self) -> dict[str, Any]:
        await self.broker.start()
        await self.mesh.start()
        async with asyncio.timeout(WAIT_S):
            await self.complete.wait()
        await asyncio.sleep(1.0 + self.plan["phase_s"])
        cpu, begin = time.process_time(), time.monotonic()
        for tick in range(round(self.plan["seconds"] / TICK_S)):
            await asyncio.sleep(begin + tick * TICK_S - time.monotonic())
            self.mesh.broadcast(Channel.LIVE, struct.pack("!Q", time.monotonic_ns()) + bytes(self.plan["bytes"] - 8))
        used = (time.process_time() - cpu) / (time.monotonic() - begin)
        await asyncio.sleep(1.0)
        await self.mesh.stop()
        await self.broker.stop()
        return {"block_ns": self.block_ns, "round_trip_ns": self.round_trip_ns, "cpu": used}


def main() -> int:
    """Start the boxes, gather what they measured, print it; 1 when a budget is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--boxes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--bytes", type=int, default=6000)
    parser.add_argument("--box", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.box:
        print(json.dumps(asyncio.run(Box(json.loads(arguments.box)).run())))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return report.finish(lines_of(measure(arguments, Path(folder))), arguments.json)


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run every box as a process of its own; returns what each measured."""
    boxes = {}
    for number, port in enumerate(free_ports(arguments.boxes), start=1):
        name = f"or-{number}"
        boxes[name] = {"pem": str(create_identity(name, folder / f"{name}.pem").pem_path), "port": port}
    running = []
    for number, (name, box) in enumerate(boxes.items()):
        plan = box | {"peers": {other: boxes[other] for other in boxes if other != name}}
        plan |= {"seconds": arguments.seconds, "bytes": arguments.bytes, "phase_s": number * TICK_S / len(boxes)}
        command = [sys.executable, "-m", "benchmarks.bench_mesh", "--box", json.dumps(plan)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    return [json.loads(process.communicate()[0]) for process in running]


def lines_of(results: list[dict[str, Any]]) -> list[Line]:
    """What all boxes measured, as one."""
    lines = []
    for name, key, budget in (
        ("mesh: block, one way", "block_ns", ONE_WAY_BUDGET_MS),
        ("mesh: block and answer", "round_trip_ns", None),
    ):
        values = [ns / 1e6 for result in results for ns in result[key]]
        lines += [
            Line(f"{name}, p50 of {len(values):,}", quantile(values, 0.5), "ms", budget),
            Line(f"{name}, p99", quantile(values, 0.99), "ms"),
        ]
    cpu = sum(result["cpu"] for result in results) / len(results)
    return [*lines, Line("mesh and broker: CPU per box", cpu * 100, "% of a core")]


if __name__ == "__main__":
    sys.exit(main())
