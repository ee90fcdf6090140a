"""The same work on orledger, NATS JetStream, etcd and PostgreSQL: latency, throughput, failover, length of the log.

    python -m benchmarks.side_by_side [--seconds 20] [--rounds 3] [--lengths 1000,10000] [--only etcd,…] [--json FILE]

Each system has three members on 127.0.0.1 and the same disk, runs alone, and is gone before the next begins. Every
acknowledgment compared is durable on a majority. Exit code: 0 when orledger reaches both goals against all that ran, 1
when it misses one or a system failed, 2 when there was nothing to compare it with.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import fdatasync_ms, median_us, quantile
from benchmarks.side_by_side import etcd, nats_jetstream, orledger, postgresql, system, table
from benchmarks.side_by_side.system import Measured, Plan
from benchmarks.side_by_side.work import ENTRY_BYTES
from benchmarks.site import HOST

_SYSTEM_S = 180.0
_CLIENTS = "make bench-side-by-side installs its client ({})"
_REPLY = b"durable."
_NO_FORK_NEWS = {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A system that can be measured, and what it lacks here."""

    short: str
    name: str
    footnote: str
    missing: str | None
    measure: Callable[[Path, Plan, Measured], Awaitable[None]]


def contenders() -> list[Contender]:
    """All four, ours first."""
    found = [Contender("orledger", orledger.NAME, orledger.FOOTNOTE, None, orledger.measure)]
    for short, module, kind, client in (
        ("nats", nats_jetstream, nats_jetstream.NatsJetStream, "nats"),
        ("etcd", etcd, etcd.Etcd, "aetcd"),
        ("postgresql", postgresql, postgresql.PostgreSql, "asyncpg"),
    ):
        missing = module.missing() or (None if importlib.util.find_spec(client) else _CLIENTS.format(client))

        async def measure(folder: Path, plan: Plan, found: Measured, kind: type[system.System] = kind) -> None:
            await system.measure(kind(), folder, plan, found)

        found.append(Contender(short, kind.name, kind.footnote, missing, measure))
    return found


async def run(chosen: list[Contender], plan: Plan, base: Path) -> tuple[dict[str, Measured], dict[str, str]]:
    """Values of each system that ran; why each other did not."""
    systems: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    for contender in chosen:
        if contender.missing:
            skipped[contender.name] = f"left out: install {contender.missing}"
            continue
        print(f"== {contender.name}", flush=True)
        with _folder(base) as folder:
            try:
                async with asyncio.timeout(_SYSTEM_S):
                    await contender.measure(folder, plan, systems.setdefault(contender.name, {}))
            except Exception as fault:  # noqa: BLE001 - whatever a client raises: what was measured until then is shown
                skipped[contender.name] = f"FAILED before its end: {fault!r}"
        os.sync()  # what one leaves to be written is not the next one's load
    return systems, skipped


def machine(base: Path) -> table.Machine:
    """Medians, before anything runs."""
    with _folder(base) as folder:
        synced = quantile(fdatasync_ms(folder), 0.5)
    python_us = median_us(lambda: subprocess.run([sys.executable, "-c", ""], check=True), 5)
    return table.Machine(synced, round_trip_ms(), python_us / 1e3, os.getloadavg()[0], os.cpu_count() or 1)


@contextmanager
def _folder(base: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=base) as text:
        Path(text).chmod(0o711)  # PostgreSQL's user must get through
        yield Path(text)


def round_trip_ms() -> float:
    """An entry over loopback TCP, and a word back, between two threads."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as taken:
                while len(taken.recv(ENTRY_BYTES, socket.MSG_WAITALL)) == ENTRY_BYTES:
                    taken.sendall(_REPLY)

        serving = threading.Thread(target=serve)
        serving.start()
        entry = os.urandom(ENTRY_BYTES)
        with socket.create_connection(listener.getsockname()) as link:

            def once() -> None:
                link.sendall(entry)
                link.recv(len(_REPLY), socket.MSG_WAITALL)

            found = median_us(once)
        serving.join()
    return found / 1e3


async def _until_told_to_stop(work: Awaitable[tuple[dict[str, Measured], dict[str, str]]]) -> tuple[
    dict[str, Measured], dict[str, str]
]:  # fmt: skip
    """Ctrl-C and SIGTERM cancel the work, so that every system is stopped on the way out."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    plan = Plan(options.seconds, options.flat_out, options.in_flight, options.lengths, options.rounds)
    os.environ.update(_NO_FORK_NEWS)
    base = options.folder.resolve()
    limits = machine(base)
    chosen = [contender for contender in contenders() if not options.only or contender.short in options.only]
    began = time.monotonic()
    try:
        systems, skipped = asyncio.run(_until_told_to_stop(run(chosen, plan, base)))
    except asyncio.CancelledError:
        print("stopped")
        return 130
    footnotes = {contender.name: contender.footnote for contender in chosen if contender.name in systems}
    print(f"\nentries of {ENTRY_BYTES:,} incompressible bytes; {limits.cores} cores, load {limits.load:.1f} before; "
          f"fdatasync {limits.fdatasync_ms:.2f} ms, loopback round trip {limits.round_trip_ms:.3f} ms, bare Python "
          f"{limits.python_start_ms:.0f} ms (medians); {time.monotonic() - began:.0f} s\n")  # fmt: skip
    print(table.table(systems, plan, limits))
    print("\n".join(table.footnotes_text(footnotes, skipped)))
    found = table.verdicts(systems)
    print("\n" + "\n".join(verdict.text() for verdict in found) if found else "\nnothing to compare")
    if options.json:
        made = table.document(systems, footnotes, skipped, plan, limits)
        options.json.write_text(json.dumps(made, indent=1) + "\n")
    if not found:
        return 2
    failed = any(why.startswith("FAILED") for why in skipped.values())
    return 0 if all(verdict.met for verdict in found) and not failed else 1


def _options() -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="at 10 entries a second; default: 20")
    parser.add_argument("--flat-out", type=float, default=plan.flat_out_s, help="seconds for each number in flight")
    parser.add_argument("--in-flight", type=_numbers, default=plan.in_flight, help="at most 32, as HL7 listeners take")
    parser.add_argument("--lengths", type=_numbers, default=plan.lengths, help="entries in the log")
    parser.add_argument("--rounds", type=int, default=plan.rounds, help="how often the leader is killed")
    parser.add_argument("--only", type=lambda text: text.split(","), help="orledger, nats, etcd, postgresql")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure; default: here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


if __name__ == "__main__":
    sys.exit(main())
