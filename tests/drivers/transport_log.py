"""What transport tests share: a record of everything a transport reported, and a wait for the outside world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.contract import Message, Now
from ledger.records import LinkId


@dataclass
class Log:
    """Everything the transport reported, in order."""

    events: list[tuple[str, int | str, str]] = field(default_factory=list)
    data: dict[int, bytes] = field(default_factory=dict)

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        self.events.append(("up", link, peer))

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        self.data[link] = self.data.get(link, b"") + data

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        raise AssertionError("these transports frame nothing")

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        self.events.append(("down", link, reason))

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        self.events.append(("refused", peer, reason))

    def count(self, kind: str) -> int:
        return sum(1 for event in self.events if event[0] == kind)


async def until(condition: Callable[[], bool]) -> None:
    """Wait, 60 s at most, for what the kernel or another program does."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.002)
