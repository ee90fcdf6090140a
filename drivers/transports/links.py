"""What every transport is: it opens links to a device and carries bytes, and knows no protocol.

A transport lives on the asyncio loop. It reports to one ``LinkEvents`` and only ever from callbacks of the loop, never
from inside ``send`` or ``close``, so that the feed shell is not entered twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from drivers.contract import Message, Now
from ledger.records import LinkId

Clock = Callable[[], Now]
"""Reads the box's clocks; injected, so that tests use virtual time."""


class LinkEvents(Protocol):
    """What a transport tells its feed. ``on_up`` comes before anything else of a link, ``on_down`` last and once."""

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        """A link is open; ``peer`` is the port or the address."""

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        """Bytes arrived, as the system handed them over: their rhythm is kept."""

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        """A transport that frames for itself delivers one message."""

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        """The link is gone; nothing more can be sent on it."""

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        """A link did not come about: the port could not be opened, the caller is not allowed."""


class LinkTransport(Protocol):
    """What a feed asks of its transport."""

    @property
    def listens(self) -> bool:
        """Whether the other side connects to us: then having no link is no fault."""

    @property
    def reachable(self) -> bool:
        """Whether a device can be heard now: the port is open, or callers can connect."""

    def start(self, events: LinkEvents) -> None:
        """Begin to connect or to listen, and keep at it until stopped. Call once, on the running loop."""

    async def stop(self) -> None:
        """Close every link, without further events, and release the port."""

    def send(self, link: LinkId, data: bytes) -> bool:
        """Queue bytes; False if the link is gone or its bounded queue is full (then the link is closed)."""

    def close(self, link: LinkId, reason: str) -> None:
        """Close a link; ``on_down`` follows with this reason. Unknown links are ignored."""

    def set_reading(self, reading: bool) -> None:
        """Ask to stop or go on reading. A transport whose bytes would be lost meanwhile ignores it."""


@runtime_checkable
class PacedTransport(Protocol):
    """A transport that may let bytes wait for a beat."""

    def read_waiting(self) -> None:
        """Deliver now what may wait; the only ``on_bytes`` that comes from inside a call of the feed's."""


class Backoff:
    """Time to wait before the next attempt: doubles from ``min_ns`` to ``max_ns``."""

    __slots__ = ("_max_ns", "_min_ns", "_next_ns")

    def __init__(self, min_ns: int, max_ns: int) -> None:
        self._min_ns = min_ns
        self._max_ns = max_ns
        self._next_ns = min_ns

    def wait_ns(self) -> int:
        """Nanoseconds to wait now; the next call answers twice as much."""
        wait = self._next_ns
        self._next_ns = min(self._max_ns, wait * 2)
        return wait

    def lasted(self, up_ns: int) -> None:
        """A link held for ``up_ns``: start from the shortest wait again unless it fell at once."""
        if up_ns >= self._max_ns:
            self._next_ns = self._min_ns
