"""The way to one SDC device: found by address or name, asked over HTTP(S), its reports taken by a listener.

A link is up while the device can be connected to. What passes on it are the frames of ``drivers.sdc.frame``, so that
they are kept like the bytes of any other line and replay without a network. The driver decides what is asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import msgspec

from drivers.sdc.frame import Frame, encode, read_request
from drivers.sdc.session import Opened
from drivers.transports.addresses import address_text, reason_of
from drivers.transports.links import Backoff, Clock, LinkEvents
from drivers.transports.sdc_config import SdcLinkConfig, SdcTls, load_tls
from drivers.transports.sdc_finder import find_epr
from drivers.transports.sdc_http import HttpClient, HttpFault, NotifyConnection
from ledger.errors import OrledgerError
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class _Open:
    """A link: the device's address, the token that its reports must carry, and how the link ends."""

    link: LinkId
    device: SplitResult
    host: str
    token: str
    ended: asyncio.Future[str]
    clients: dict[int, HttpClient] = field(default_factory=dict)
    reports: set[NotifyConnection] = field(default_factory=set)
    server: asyncio.Server | None = None
    requests: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    looks: set[asyncio.Task[None]] = field(default_factory=set)
    told: bool = False

    def end(self, reason: str) -> None:
        """End the link, once."""
        if not self.ended.done():
            self.ended.set_result(reason)


class SdcTransport:
    """The ``LinkTransport`` for one SDC device; one link at a time."""

    listens = False

    def __init__(
        self, config: SdcLinkConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        """Raises ConfigurationFault if the certificates cannot be read."""
        self._config = config
        self._now = now
        self._links = links if links is not None else itertools.count(1)
        self._limits = limits
        self._tls: SdcTls | None = load_tls(config.tls) if config.tls is not None else None
        self._peer = config.address or config.epr
        self._events: LinkEvents | None = None
        self._open: _Open | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether the device can be connected to."""
        return self._open is not None and self._open.told

    def start(self, events: LinkEvents) -> None:
        """Look for the device from the loop's next turn on, for ever."""
        self._events = events
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"sdc {self._peer}")

    async def stop(self) -> None:
        """Close everything; the device's subscription ends by itself."""
        self._events = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def send(self, link: LinkId, data: bytes) -> bool:
        """Queue a request; False if the link is gone or too many wait: the driver asks one thing at a time."""
        opened = self._open
        if opened is None or opened.link != link or opened.ended.done():
            return False
        if opened.requests.qsize() >= self._limits.sdc_requests:
            opened.end("too many requests wait for the device")
            return False
        opened.requests.put_nowait(data)
        return True

    def close(self, link: LinkId, reason: str) -> None:
        """End the link on the loop's next turn; the device is looked for anew."""
        if self._open is not None and self._open.link == link:
            self._open.end(reason)

    def set_reading(self, reading: bool) -> None:
        """Ignored: a device that has to wait for its answers ends the subscription."""

    # Links ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failing = Backoff(self._limits.reconnect_min_ns, self._limits.reconnect_max_ns)
        while True:
            urls = await self._addresses()
            since_ns = self._now().mono_ns
            for url in urls:
                if await self._link(urlsplit(url)):
                    failing.lasted(self._now().mono_ns - since_ns)
                    break
            # looking costs the device nothing, and one that has moved should be found soon
            looking = self._config.epr and not urls
            await asyncio.sleep((self._limits.reconnect_min_ns if looking else failing.wait_ns()) / 1e9)

    async def _addresses(self) -> list[str]:
        """Where the device may be: the address that was configured, then where it says itself that it is."""
        config = self._config
        if config.address and (not config.epr or await self._answers(config.address)):
            return [config.address]
        wait_s = self._limits.sdc_resolve_ns / 1e9
        try:
            found = await find_epr(config.epr, config.interface, config.discovery, wait_s)
        except OSError as fault:
            self._refused(config.epr, f"cannot be looked for: {reason_of(fault)}")
            return []
        urls = [url for url in found if url.startswith(f"{config.scheme}:")]
        if not urls:
            what = f"is found, but not at an {config.scheme} address" if found else "does not answer to discovery"
            self._refused(config.epr, what)
        return urls

    async def _answers(self, url: str) -> bool:
        """Whether anything is there: else the device may have moved, and is looked for by its name."""
        device = urlsplit(url)
        try:
            async with asyncio.timeout(self._limits.link_connect_ns / 1e9):
                _, writer = await asyncio.open_connection(device.hostname, _port(device))
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    async def _link(self, device: SplitResult) -> bool:
        """One link from its beginning to its end; False if it did not come about."""
        loop = asyncio.get_running_loop()
        opened = _Open(LinkId(next(self._links)), device, device.hostname or "", uuid.uuid4().hex, loop.create_future())
        asking: asyncio.Task[None] | None = None
        try:
            client = await self._connect(opened, _port(device))
            await self._listen(opened, client)
            self._open = opened
            self._up(opened)
            asking = loop.create_task(self._ask(opened), name=f"sdc requests {self._peer}")
            self._down(opened, await opened.ended)
            return True
        except (OSError, TimeoutError, HttpFault) as fault:
            self._refused(device.geturl(), f"cannot connect: {_why(fault)}")
            return False
        finally:
            if asking is not None:
                asking.cancel()
            self._release(opened)

    def _up(self, opened: _Open) -> None:
        if self._events is None or opened.server is None:
            return
        host, port = opened.server.sockets[0].getsockname()[:2]
        notify = f"{self._config.scheme}://{address_text(str(host), int(port))}/{opened.token}"
        opened.told = True
        self._events.on_up(opened.link, opened.device.geturl(), self._now())
        told = Opened(opened.device.geturl(), notify, self._config.epr)
        self._deliver(opened, Frame("OPENED", msgspec.json.encode(told)))

    def _down(self, opened: _Open, reason: str) -> None:
        self._open = None
        if self._events is not None and opened.told:
            self._events.on_down(opened.link, reason, self._now())

    def _release(self, opened: _Open) -> None:
        if self._open is opened:
            self._open = None
        opened.end("the recorder stopped")
        for look in opened.looks:
            look.cancel()
        if opened.server is not None:
            opened.server.close()
        for connection in (*opened.clients.values(), *opened.reports):
            connection.abort()

    def _deliver(self, opened: _Open, frame: Frame) -> None:
        if self._events is not None and self._open is opened and not opened.ended.done():
            self._events.on_bytes(opened.link, encode(frame), self._now())

    def _refused(self, peer: str, reason: str) -> None:
        if self._events is not None:
            self._events.on_refused(peer, reason, self._now())

    # Requests -------------------------------------------------------------------------------------------------

    async def _ask(self, opened: _Open) -> None:
        """Send the requests one by one; a device that cannot be asked ends the link."""
        while True:
            data = await opened.requests.get()
            try:
                url, body = read_request(data)
                async with asyncio.timeout(self._limits.sdc_answer_ns / 1e9):
                    status, answer = await self._post(opened, urlsplit(url), body)
            except (OSError, TimeoutError, HttpFault, OrledgerError) as fault:
                opened.end(f"the device cannot be asked: {_why(fault)}")
                return
            self._deliver(opened, Frame("ANSWER", answer, status))

    async def _post(self, opened: _Open, url: SplitResult, body: bytes) -> tuple[int, bytes]:
        # always at the host that the link is to: what a device writes into an address sends us nowhere else
        port = _port(url)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        client = opened.clients.get(port)
        if client is not None and client.usable:
            try:
                return await client.post(url.netloc, target, body)
            except HttpFault:
                if not client.went_stale:
                    raise
        client = await self._connect(opened, port)
        return await client.post(url.netloc, target, body)

    async def _connect(self, opened: _Open, port: int) -> HttpClient:
        """A connection to the link's host. Raises OSError, TimeoutError, HttpFault."""
        if len(opened.clients) >= self._limits.sdc_connections and port not in opened.clients:
            raise HttpFault("the device has its services at too many ports")
        client = HttpClient(self._limits, lambda: self._client_lost(opened, port))
        context = self._tls.client if self._tls is not None else None
        async with asyncio.timeout(self._limits.link_connect_ns / 1e9):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: client, opened.host, port, ssl=context
            )
        if self._tls is not None and not self._tls.admits(transport.get_extra_info("ssl_object")):
            transport.abort()
            raise HttpFault("its certificate is none of those that are pinned")
        opened.clients[port] = client
        return client

    def _client_lost(self, opened: _Open, port: int) -> None:
        """The device closed a connection while nothing was asked: has it only closed it, or is it gone?"""
        if self._open is opened and not opened.ended.done():
            opened.clients.pop(port, None)
            look = asyncio.get_running_loop().create_task(self._look(opened, port), name=f"sdc look {self._peer}")
            opened.looks.add(look)
            look.add_done_callback(opened.looks.discard)

    async def _look(self, opened: _Open, port: int) -> None:
        try:
            await self._connect(opened, port)
        except (OSError, TimeoutError, HttpFault) as fault:
            opened.end(f"the device closed the connection and cannot be reached: {_why(fault)}")

    # Reports --------------------------------------------------------------------------------------------------

    async def _listen(self, opened: _Open, client: HttpClient) -> None:
        """Listen for reports where the device can reach us: at the address from which we reached it."""
        host = self._config.interface
        if not host and client.transport is not None:
            host = str(client.transport.get_extra_info("sockname")[0])
        context = self._tls.server if self._tls is not None else None

        def connection() -> NotifyConnection:
            return NotifyConnection(
                self._limits,
                self._tls,
                lambda made, peer: self._admit(opened, made, peer),
                lambda target, body: self._notified(opened, target, body),
                opened.reports.discard,
            )

        opened.server = await asyncio.get_running_loop().create_server(
            connection, host, self._config.listen_port, ssl=context, reuse_address=True
        )
        peer = client.transport.get_extra_info("peername") if client.transport is not None else None
        opened.host = str(peer[0]) if peer else opened.host

    def _admit(self, opened: _Open, connection: NotifyConnection, peer: str) -> bool:
        """Let in the device's own address; with TLS the certificate has said more than an address could."""
        if self._tls is None and not _same_host(peer, opened.host):
            self._refused(peer, "the address is not the device's")
            return False
        if len(opened.reports) >= self._limits.sdc_connections:
            self._refused(peer, f"{self._limits.sdc_connections} connections are open")
            return False
        opened.reports.add(connection)
        return True

    def _notified(self, opened: _Open, target: str, body: bytes) -> bool:
        if target.rstrip("/").rpartition("/")[2] != opened.token:
            return False  # for a link that is no more
        self._deliver(opened, Frame("NOTIFY", body))
        return True


def _port(url: SplitResult) -> int:
    try:
        return url.port or _DEFAULT_PORTS.get(url.scheme, 80)
    except ValueError as fault:
        raise HttpFault("an address of the device has no valid port") from fault


def _why(fault: Exception) -> str:
    """What went wrong, for people; errors of TLS have no error number that means anything."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {fault.verify_message}"
    if isinstance(fault, ssl.SSLError):
        return f"TLS: {fault.reason}"
    return reason_of(fault)


def _same_host(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one.partition("%")[0]) == ipaddress.ip_address(other.partition("%")[0])
    except ValueError:
        return False
