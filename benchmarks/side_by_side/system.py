"""What the benchmark asks of each of the other systems, and how it measures one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.machine import Probe, quantile
from benchmarks.side_by_side.work import TAIL_ENTRIES, Ack, Entries, fill, flat_out, paced

FILL_IN_FLIGHT = 128
MEMBERS = 3
READS = 5

Measured = dict[str, float]
"""Values by the key of their row (``table.py``)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much work; times in seconds."""

    seconds: float = 20.0
    flat_out_s: float = 3.0
    in_flight: tuple[int, ...] = (1, 32)
    lengths: tuple[int, ...] = (1_000, 10_000)
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """One SIGKILL of the leader. ``copy_s``: until the newest acknowledged entry came from any survivor's copy;
    ``latest_s``: until a read that is promised to be the newest returned it; ``write_s``: until a majority had
    the next.
    """

    copy_s: float
    latest_s: float
    write_s: float


class System(Protocol):
    """Three members on this machine. ``append`` returns when the entry is durable on a majority."""

    name: str
    footnote: str

    async def start(self, folder: Path) -> None: ...

    async def stop(self) -> None: ...

    async def append(self, entry: bytes) -> None: ...

    async def read_from(self, back: int | None) -> int:
        """A new reader reads the newest ``back`` entries, None: all, in order; the number of the last."""

    async def fail(self, last: int, entries: Entries) -> Failure:
        """SIGKILL the leader; ``last`` is the newest acknowledged entry."""

    async def mend(self) -> None:
        """Bring the killed member back, caught up."""


async def measure(system: System, folder: Path, plan: Plan, found: Measured) -> None:
    """All rows of one system, into ``found`` as they come. Raises WorkFault or what the client raises; the system is
    stopped whatever happens.
    """
    entries = Entries()
    began = time.monotonic()
    try:
        await system.start(folder)
        _say(system, began, "three members run")
        with Probe(folder) as probe:
            acks = await paced(system.append, entries, plan.seconds)
        found |= latencies("ack", acks) | latencies("block", acks) | probed(probe)
        _say(system, began, "paced")
        for in_flight in plan.in_flight:
            found[f"rate_{in_flight}"] = await flat_out(system.append, entries, in_flight, plan.flat_out_s)
        _say(system, began, "flat out")
        failures = [await _fail_once(system, entries) for _ in range(plan.rounds)]
        found |= summary(failures)
        _say(system, began, "failures")
        await _lengths(system, entries, plan, found)
        _say(system, began, "lengths")
    finally:
        await system.stop()


async def _fail_once(system: System, entries: Entries) -> Failure:
    await paced(system.append, entries, 1.0)
    await system.append(entries.next())
    failure = await system.fail(entries.last, entries)
    await system.mend()
    return failure


async def _lengths(system: System, entries: Entries, plan: Plan, found: Measured) -> None:
    for length in plan.lengths:
        await fill(system.append, entries, max(0, length - entries.last), FILL_IN_FLIGHT)
        for key, back in ((f"all_{length}", None), (f"tail_{length}", TAIL_ENTRIES)):
            took = []
            for _ in range(READS if back else 1):
                began = time.perf_counter()
                await system.read_from(back)
                took.append((time.perf_counter() - began) * 1e3)
            found[key] = statistics.median(took)


def latencies(key: str, acks: Sequence[Ack]) -> Measured:
    """Median and 99th percentile, in ms."""
    took = [ack.took_ms for ack in acks]
    return {f"{key}_p50": quantile(took, 0.5), f"{key}_p99": quantile(took, 0.99)}


def probed(probe: Probe) -> Measured:
    """What the disk gave a thread with nothing else to do, meanwhile; in ms."""
    return {"disk_p50": quantile(probe.fdatasync_ms, 0.5), "disk_p99": quantile(probe.fdatasync_ms, 0.99)}


def summary(failures: Sequence[Failure]) -> Measured:
    """Medians and worst, in ms."""
    found: Measured = {}
    for key in ("copy", "latest", "write"):
        took = [getattr(failure, f"{key}_s") * 1e3 for failure in failures]
        found |= {key: statistics.median(took), f"{key}_worst": max(took)}
    return found


def _say(system: System, began: float, what: str) -> None:
    print(f"   {system.name}: {what} after {time.monotonic() - began:.0f} s", flush=True)
