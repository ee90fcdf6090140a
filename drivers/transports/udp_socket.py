"""A UDP socket that talks to one device: one datagram is one ``on_bytes``, and one ``send``."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.transports.addresses import UdpConfig, address_text, reason_of
from drivers.transports.links import Backoff, Clock, LinkEvents
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

_LONGEST_DATAGRAM_BYTES = 65_535
_MOST_AT_ONCE = 64
"""Datagrams read in one turn of the loop, so that a flood does not keep it from everything else."""


@dataclass(slots=True)
class _Open:
    """The open socket; ``told``: that a datagram did not arrive, until the device is heard again."""

    link: LinkId
    sock: socket.socket
    since_ns: int
    reason: str = ""
    told: bool = False


class UdpSocket:
    """The ``LinkTransport`` for devices that are asked by datagram.

    The link is up as soon as the socket is open: UDP has no connection, so a device that is off is told by the driver
    and by the feed's silence, and a refused datagram only by ``on_refused``. The kernel lets in what comes from the
    device's address alone. When the driver closes the link, the name is resolved anew.
    """

    listens = False

    def __init__(
        self, config: UdpConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        self._config = config
        self._peer = address_text(config.host, config.port)
        self._now = now
        self._links = links if links is not None else itertools.count(1)
        self._limits = limits
        self._backoff = Backoff(limits.reconnect_min_ns, limits.reconnect_max_ns)
        self._events: LinkEvents | None = None
        self._open: _Open | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether the socket is open."""
        return self._open is not None

    def start(self, events: LinkEvents) -> None:
        """Open the socket from the loop's next turn on, and again with back-off."""
        self._events = events
        self._opening = asyncio.get_running_loop().create_task(self._keep_opening(0), name=f"udp {self._peer}")

    async def stop(self) -> None:
        """Close the socket."""
        self._events = None
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self._release()

    def send(self, link: LinkId, data: bytes) -> bool:
        """One datagram, at once; False if the link is gone or the network takes none just now: then it is lost."""
        opened = self._open
        if opened is None or opened.link != link or opened.reason:
            return False
        try:
            opened.sock.send(data)
        except OSError as fault:
            # from the loop's next turn: never from inside this call
            asyncio.get_running_loop().call_soon(self._lost, opened, fault)
            return False
        return True

    def close(self, link: LinkId, reason: str) -> None:
        """Close the socket on the loop's next turn; another is opened after the back-off."""
        opened = self._open
        if opened is not None and opened.link == link and not opened.reason:
            opened.reason = reason
            asyncio.get_running_loop().call_soon(self._down, opened)

    def set_reading(self, reading: bool) -> None:
        """Ignored: datagrams would be lost."""

    async def _keep_opening(self, wait_ns: int) -> None:
        await asyncio.sleep(wait_ns / 1e9)
        while self._events is not None:
            try:
                async with asyncio.timeout(self._limits.link_connect_ns / 1e9):
                    sock = await self._connected()
            except (OSError, TimeoutError) as fault:
                if self._events is not None:
                    self._events.on_refused(self._peer, f"cannot be reached: {reason_of(fault)}", self._now())
                await asyncio.sleep(self._backoff.wait_ns() / 1e9)
            else:
                self._up(sock)
                return

    async def _connected(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._config.host, self._config.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._limits.udp_receive_bytes)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock

    def _up(self, sock: socket.socket) -> None:
        events = self._events
        if events is None:
            sock.close()
            return
        at = self._now()
        opened = self._open = _Open(LinkId(next(self._links)), sock, at.mono_ns)
        asyncio.get_running_loop().add_reader(sock, self._read, opened)
        events.on_up(opened.link, self._peer, at)

    def _read(self, opened: _Open) -> None:
        for _ in range(_MOST_AT_ONCE):
            if self._events is None or opened.reason:
                return
            try:
                data = opened.sock.recv(_LONGEST_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as fault:
                self._lost(opened, fault)
                continue
            opened.told = False
            self._events.on_bytes(opened.link, data, self._now())

    def _lost(self, opened: _Open, fault: OSError) -> None:
        if self._events is not None and not opened.told:
            opened.told = True
            self._events.on_refused(self._peer, f"a datagram did not arrive: {reason_of(fault)}", self._now())

    def _down(self, opened: _Open) -> None:
        events = self._events
        if events is None or self._open is not opened:
            return
        self._release()
        at = self._now()
        self._backoff.lasted(at.mono_ns - opened.since_ns)
        events.on_down(opened.link, opened.reason, at)
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(self._keep_opening(self._backoff.wait_ns()), name=f"udp {self._peer}")

    def _release(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            asyncio.get_running_loop().remove_reader(opened.sock)
            opened.sock.close()
