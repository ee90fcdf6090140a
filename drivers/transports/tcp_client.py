"""A TCP connection to a device or its terminal server: kept up, and made again with back-off when it falls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

from drivers.transports.addresses import TcpConfig, address_text, reason_of, tune
from drivers.transports.links import Backoff, Clock, LinkEvents
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId


class TcpClient:
    """The ``LinkTransport`` for devices that wait to be connected to: one connection at a time."""

    listens = False

    def __init__(
        self, config: TcpConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        self.now = now
        self.limits = limits
        self.events: LinkEvents | None = None
        self.peer = address_text(config.host, config.port)
        self._config = config
        self._links = links if links is not None else itertools.count(1)
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether the connection is up."""
        return self._connection is not None

    def start(self, events: LinkEvents) -> None:
        """Connect from the loop's next turn on, for ever."""
        self.events = events
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"tcp {self.peer}")

    async def stop(self) -> None:
        """Cut the connection."""
        self.events = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def send(self, link: LinkId, data: bytes) -> bool:
        """Queue bytes; False if the link is gone or more than ``link_write_bytes`` wait: then it is closed."""
        connection = self._connection
        return connection is not None and connection.link == link and connection.send(data)

    def close(self, link: LinkId, reason: str) -> None:
        """Close what was written to the end; the connection is made again after the back-off."""
        if self._connection is not None and self._connection.link == link:
            self._connection.close(reason)

    def set_reading(self, reading: bool) -> None:
        """Ignored: behind a terminal server is a serial device, which does not wait."""

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self.limits.reconnect_min_ns, self.limits.reconnect_max_ns)
        while True:
            connection = _Connection(self, LinkId(next(self._links)))
            try:
                async with asyncio.timeout(self.limits.link_connect_ns / 1e9):
                    await loop.create_connection(connection.itself, self._config.host, self._config.port)
            except (OSError, TimeoutError) as fault:
                self._refused(fault)
            else:
                backoff.lasted(await connection.ended)
            await asyncio.sleep(backoff.wait_ns() / 1e9)

    def _refused(self, fault: OSError) -> None:
        if self.events is None:
            return
        self.events.on_refused(self.peer, f"cannot connect: {reason_of(fault)}", self.now())

    def up(self, connection: _Connection) -> None:
        """The connection is there."""
        self._connection = connection
        if self.events is not None:
            self.events.on_up(connection.link, self.peer, self.now())

    def down(self, connection: _Connection, reason: str) -> None:
        """The connection is gone."""
        if self._connection is connection:
            self._connection = None
            if self.events is not None:
                self.events.on_down(connection.link, reason, self.now())


class _Connection(asyncio.Protocol):
    """One connection; ``ended`` is how many nanoseconds it held."""

    def __init__(self, client: TcpClient, link: LinkId) -> None:
        self.link = link
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._reason = ""
        self._since_ns = 0

    def itself(self) -> _Connection:
        """A factory for asyncio."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and tell."""
        if not isinstance(transport, asyncio.Transport):  # pragma: no cover - create_connection gives nothing else
            raise TypeError(type(transport).__name__)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._client.limits.link_write_bytes)
        tune(transport.get_extra_info("socket"), user_timeout_ms=self._client.limits.link_user_timeout_ms)
        self._since_ns = self._client.now().mono_ns
        self._client.up(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the device; none are taken once the connection is being closed."""
        events = self._client.events
        if events is not None and not self._reason:
            events.on_bytes(self.link, data, self._client.now())

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        fault = "the device closed the connection" if exc is None else f"the connection failed: {reason_of(exc)}"
        self._client.down(self, self._reason or fault)
        if not self.ended.done():
            self.ended.set_result(self._client.now().mono_ns - self._since_ns)

    def send(self, data: bytes) -> bool:
        """Queue bytes, up to the bound."""
        if self._transport is None or self._reason or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() + len(data) > self._client.limits.link_write_bytes:
            self._reason = "the device does not take what is sent to it"
            self._transport.abort()
            return False
        self._transport.write(data)
        return True

    def close(self, reason: str) -> None:
        """Cut it on the loop's next turn: a device that does not read must not hold the link."""
        if self._transport is not None and not self._reason:
            self._reason = reason
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """Cut it now."""
        if self._transport is not None:
            self._transport.abort()
