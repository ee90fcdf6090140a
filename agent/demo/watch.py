"""Asks the boxes how they are, a few times a second, and waits for what must come about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.demo.processes import Box
from ledger.errors import AgentUnreachable, OrledgerError, OurFault

_EVERY_S = 0.4
_POLL_S = 0.05
_NEWEST = 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one box said last; None and empty while it does not answer. ``statistics`` are of the newest blocks,
    ``state`` is its room's state document.
    """

    box: str
    status: Mapping[str, Any] | None
    statistics: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> Sequence[Mapping[str, Any]]:
        """What the room shows."""
        values: Sequence[Mapping[str, Any]] = self.state.get("values", ())
        return values


async def read_box(box: Box, *, values: bool) -> Reading:
    """How a box is; ``values``: with what its room shows."""
    if not box.running:
        return Reading(box.name, None, {})
    try:
        status, statistics = await box.status(), await box.ask("statistics", newest=_NEWEST)
        state = await box.ask("state") if values else {}
    except OrledgerError:  # it is being killed, or is not up yet
        return Reading(box.name, None, {})
    return Reading(box.name, status, statistics, state)


async def watch(
    boxes: Mapping[str, Box], patient_box: str, show: Callable[[list[Reading]], None], watched: asyncio.Event
) -> None:
    """Show every box again and again while ``watched`` is set, until cancelled."""
    while True:
        await watched.wait()
        readings = await asyncio.gather(*(read_box(box, values=box.name == patient_box) for box in boxes.values()))
        show(list(readings))
        await asyncio.sleep(_EVERY_S)


async def until(what: str, check: Callable[[], Awaitable[_T | None]], timeout_s: float) -> tuple[_T, float]:
    """(what ``check`` gave, seconds waited) once it gives something; an agent that is not there yet is waited for.

    Raises OurFault ``demo.waited`` when it does not come about in time.
    """
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        try:
            found = await check()
        except AgentUnreachable:
            found = None
        if found is not None:
            return found, time.monotonic() - began
        await asyncio.sleep(_POLL_S)
    raise OurFault("demo.waited", f"waited {timeout_s:g} s in vain: {what}", "see the logs; --keep keeps them")
