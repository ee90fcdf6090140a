"""A TCP listener for HL7 senders: bytes in, bytes out. The MLLP envelope itself is the driver's business.

HL7 over MLLP has no authentication: an allow-list of addresses is what it offers, and the firewall.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.transports.addresses import Network, address_text, is_within, networks_of, tune
from drivers.transports.links import Backoff, Clock, LinkEvents
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MllpConfig:
    """Where to listen and who may connect; nobody may when ``allow`` is empty."""

    host: str
    port: int
    allow: tuple[Network, ...]

    @classmethod
    def parse(cls, listen: str, allow: list[str]) -> MllpConfig:
        """From ``10.20.3.13:2575`` (``[::1]:2575``) and addresses or networks. Raises ConfigurationFault."""
        host, colon, port = listen.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65_535:
            raise ConfigurationFault("mllp.listen", f"{listen!r} is no address", "write it like 10.20.3.13:2575")
        return cls(host.removeprefix("[").removesuffix("]"), int(port), networks_of(allow))

    def admits(self, host: str) -> bool:
        """Whether a sender at this numeric address may connect."""
        return is_within(host, self.allow)


class MllpListener:
    """The ``LinkTransport`` for HL7 senders, which connect to us, up to ``mllp_connections`` at a time."""

    listens = True

    def __init__(
        self, config: MllpConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        self.config = config
        self.limits = limits
        self.now = now
        self.events: LinkEvents | None = None
        self.reading = True
        self._links = links if links is not None else itertools.count(1)
        self._open: dict[LinkId, Connection] = {}
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether the address is bound."""
        return self._server is not None

    @property
    def address(self) -> tuple[str, int] | None:
        """Address and port listened on; None until bound."""
        if self._server is None or not self._server.sockets:
            return None
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    def start(self, events: LinkEvents) -> None:
        """Bind, and try again with back-off while the address is not there yet (a box that boots without network)."""
        self.events = events
        self._task = asyncio.get_running_loop().create_task(self._bind(), name="mllp-listen")

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.events = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._server is not None:
            self._server.close()
        for connection in list(self._open.values()):
            connection.abort()
        self._open.clear()

    def send(self, link: LinkId, data: bytes) -> bool:
        """Write, unless the sender does not read its answers: then its connection is closed."""
        connection = self._open.get(link)
        return connection is not None and connection.send(data)

    def close(self, link: LinkId, reason: str) -> None:
        """Close a connection; what was sent before still leaves."""
        connection = self._open.get(link)
        if connection is not None:
            connection.close(reason)

    def set_reading(self, reading: bool) -> None:
        """Stop reading every connection, or go on: TCP then holds the senders back."""
        self.reading = reading
        for connection in self._open.values():
            connection.set_reading(reading)

    def admit(self, connection: Connection, host: str) -> LinkId | None:
        """A link for a new connection, or None when it may not stay; the refusal is reported."""
        if self.events is None:
            return None
        if not self.config.admits(host):
            self.events.on_refused(host, "the address is not on the allow-list", self.now())
            return None
        if len(self._open) >= self.limits.mllp_connections:
            self.events.on_refused(host, f"{self.limits.mllp_connections} connections are open", self.now())
            return None
        link = LinkId(next(self._links))
        self._open[link] = connection
        return link

    def forget(self, link: LinkId, reason: str) -> None:
        """A connection is gone."""
        if self._open.pop(link, None) is not None and self.events is not None:
            self.events.on_down(link, reason, self.now())

    def caller(self) -> asyncio.Protocol:
        """What speaks with whoever calls."""
        return Connection(self)

    async def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self.limits.reconnect_min_ns, self.limits.reconnect_max_ns)
        where = f"{self.config.host}:{self.config.port}"
        while True:
            try:
                self._server = await loop.create_server(
                    self.caller, self.config.host, self.config.port, reuse_address=True
                )
            except OSError as fault:
                if self.events is not None:
                    self.events.on_refused(where, f"cannot listen: {fault.strerror or fault}", self.now())
                await asyncio.sleep(backoff.wait_ns() / 1e9)
            else:
                _log.info("listening on %s", where)
                return


class Connection(asyncio.Protocol):
    """One sender."""

    def __init__(self, listener: MllpListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._link: LinkId | None = None
        self._reason = ""
        self._heard_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check who calls, set the socket up, report the link."""
        if not isinstance(transport, asyncio.Transport):  # pragma: no cover - create_server gives nothing else
            raise TypeError(type(transport).__name__)
        peer = transport.get_extra_info("peername")
        link = self._listener.admit(self, str(peer[0])) if peer else None
        if link is None:
            transport.abort()
            return
        self._transport, self._link = transport, link
        transport.set_write_buffer_limits(high=self._listener.limits.link_write_bytes)
        tune(transport.get_extra_info("socket"))
        at = self._listener.now()
        self._heard_ns = at.mono_ns
        self._watch()
        if self._listener.events is not None:
            self._listener.events.on_up(link, self.peer_text(transport), at)
        self.set_reading(self._listener.reading)

    def peer_text(self, transport: asyncio.Transport) -> str:
        """Who calls, for records."""
        return address_text(*transport.get_extra_info("peername")[:2])

    def data_received(self, data: bytes) -> None:
        """Bytes of the sender; none are taken from a connection that is being closed."""
        if self._link is None or self._reason or self._listener.events is None:
            return
        at = self._listener.now()
        self._heard_ns = at.mono_ns
        self._listener.events.on_bytes(self._link, data, at)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            fault = f"the connection failed: {exc}" if exc is not None else "the sender closed the connection"
            self._listener.forget(self._link, self._reason or fault)

    def send(self, data: bytes) -> bool:
        """Queue bytes; False when closing, or when more than ``link_write_bytes`` wait for a slow reader."""
        if self._transport is None or self._reason or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() + len(data) > self._listener.limits.link_write_bytes:
            self._reason = "the sender does not read its answers"
            self._transport.abort()
            return False
        self._transport.write(data)
        return True

    def close(self, reason: str) -> None:
        """Close once what was written has left."""
        if self._transport is not None and not self._reason:
            self._reason = reason
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def set_reading(self, reading: bool) -> None:
        """Pause or resume the socket."""
        if self._transport is None or self._transport.is_closing() or reading is not self._paused:
            return
        self._paused = not reading
        if reading:
            self._heard_ns = self._listener.now().mono_ns  # it was we who did not listen
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _watch(self) -> None:
        limits = self._listener.limits
        idle_ns = 0 if self._paused else self._listener.now().mono_ns - self._heard_ns
        if idle_ns >= limits.mllp_idle_ns:
            # a closing handshake could hang on the same dead peer
            self._reason = self._reason or f"nothing received for {limits.mllp_idle_ns / 1e9:g} s"
            self.abort()
            return
        wait_s = (limits.mllp_idle_ns - idle_ns) / 1e9
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._watch)
