"""The same work for every system: numbered entries at a pace or flat out, and asking again until an answer is good.

All times are ``now_ns``: the boot clock, which is one for all processes of the machine, orledger's among them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

ENTRY_BYTES = 5_000
RATE_HZ = 10
TAIL_ENTRIES = 5 * RATE_HZ
_NUMBER_BYTES = 8
_PAUSE_S = 0.002

Append = Callable[[bytes], Awaitable[object]]


class WorkFault(Exception):
    """A system did not do the work in time, or did it wrongly."""


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledged entry."""

    sent_ns: int
    acked_ns: int

    @property
    def took_ms(self) -> float:
        """From sending to the acknowledgment."""
        return (self.acked_ns - self.sent_ns) / 1e6


class Entries:
    """Entries of ``ENTRY_BYTES`` that no compression makes smaller, numbered from 1."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.last = 0

    def next(self) -> bytes:
        """The next entry; ``last`` is its number."""
        self.last = next(self._numbers)
        return self.last.to_bytes(_NUMBER_BYTES, "big") + os.urandom(ENTRY_BYTES - _NUMBER_BYTES)


def number_of(entry: bytes) -> int:
    """The number of an entry. Raises WorkFault when it is not as long as entries are."""
    if len(entry) != ENTRY_BYTES:
        raise WorkFault(f"an entry came back with {len(entry)} bytes")
    return int.from_bytes(entry[:_NUMBER_BYTES], "big")


def now_ns() -> int:
    """CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def paced(append: Append, entries: Entries, seconds: float, rate_hz: float = RATE_HZ) -> list[Ack]:
    """Entries at ``rate_hz`` in the mean, at moments that keep no step with any tick; a slow one delays no other."""

    async def send(entry: bytes) -> Ack:
        sent_ns = now_ns()
        await append(entry)
        return Ack(sent_ns, now_ns())

    sent: list[asyncio.Task[Ack]] = []
    due = time.monotonic()
    until = due + seconds
    while due < until:
        await asyncio.sleep(due - time.monotonic())
        sent.append(asyncio.create_task(send(entries.next())))
        due += random.uniform(0.5, 1.5) / rate_hz
    return list(await asyncio.gather(*sent))


async def flat_out(append: Append, entries: Entries, in_flight: int, seconds: float) -> float:
    """Entries a second when ``in_flight`` are always under way."""
    began = time.monotonic()
    until = began + seconds
    counts = [0] * in_flight

    async def keep_one_in_flight(place: int) -> None:
        while time.monotonic() < until:
            await append(entries.next())
            counts[place] += 1

    await asyncio.gather(*(keep_one_in_flight(place) for place in range(in_flight)))
    return sum(counts) / (time.monotonic() - began)


async def fill(append: Append, entries: Entries, count: int, in_flight: int) -> None:
    """``count`` more entries."""
    waiting = iter(range(count))

    async def work() -> None:
        for _ in waiting:
            await append(entries.next())

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def until_good(
    what: str, attempt: Callable[[], Awaitable[bool]], faults: tuple[type[BaseException], ...], timeout_s: float
) -> int:
    """Attempt again and again; the moment at which it was good. What ``faults`` names counts as not yet.

    Raises WorkFault after ``timeout_s``.
    """
    last: BaseException | None = None
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            if await attempt():
                return now_ns()
        except faults as fault:
            last = fault
        await asyncio.sleep(_PAUSE_S)
    raise WorkFault(f"{what}: not within {timeout_s:g} s; last: {last!r}")


async def first(*waiting: Awaitable[int]) -> int:
    """The result of whichever is done first; the others are cancelled. Raises the last fault when all fail."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    fault: BaseException | None = None
    try:
        for done in asyncio.as_completed(tasks):
            try:
                return await done
            except WorkFault as found:
                fault = found
        raise fault or WorkFault("nothing to wait for")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
