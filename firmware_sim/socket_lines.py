"""Devices at the end of a socket: TCP as server or client, UDP. Thin shells around any `Device`, like `PtyLine`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod

from firmware_sim.clock import SimClock
from firmware_sim.device import Device

_MAX_PENDING = 65536
_SHORTEST_PAUSE_S = 0.005
_RECONNECT_S = 0.5
_CONNECT_TIMEOUT_S = 5.0


def host_and_port(text: str, option: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises ValueError naming the option."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{option} {text!r}: give HOST:PORT")
    return host.strip("[]"), int(port)


class SocketLine(ABC):
    """Polls the device when it is due and passes on what it wants to send."""

    def __init__(self, device: Device, clock: SimClock, host: str, port: int) -> None:
        self._device = device
        self._clock = clock
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.host = host
        self.port = port
        self.bytes_sent = 0

    async def start(self) -> str:
        """Open the socket and begin; return `HOST:PORT`."""
        self._device.set_blocked(True, self._clock.now_s())
        await self._open()
        self._tasks.append(asyncio.create_task(self._pace()))
        return self.path

    @property
    def path(self) -> str:
        """Where the device is: its own address, or of a TCP client that of the recorder."""
        return f"{self.host}:{self.port}"

    async def stop(self) -> None:
        """Close the socket."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        self._close()

    async def _pace(self) -> None:
        while True:
            self._wake.clear()
            self._send(self._device.poll(self._clock.now_s()))
            now_s = self._clock.now_s()
            pause_s = max(_SHORTEST_PAUSE_S, min(3600.0, self._device.next_due_s(now_s) - now_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    def _heard(self, data: bytes) -> None:
        self._send(self._device.receive(data, self._clock.now_s()))
        self._wake.set()

    def _blocked(self, blocked: bool) -> None:
        self._device.set_blocked(blocked, self._clock.now_s())
        self._wake.set()

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _send(self, frames: list[bytes]) -> None: ...


class _Stream(asyncio.Protocol):
    """The one connection of a TCP line; a second caller is turned away, as the devices do."""

    def __init__(self, line: _TcpLine) -> None:
        self._line = line
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._line.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._line.heard_on(self._transport, data)

    def pause_writing(self) -> None:
        self._line.held(self._transport, True)

    def resume_writing(self) -> None:
        self._line.held(self._transport, False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.disconnected(self._transport)


class _TcpLine(SocketLine):
    """One TCP connection at a time."""

    def __init__(self, device: Device, clock: SimClock, host: str, port: int) -> None:
        super().__init__(device, clock, host, port)
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    def connected(self, transport: asyncio.Transport) -> None:
        if self._transport is not None:
            transport.abort()
            return
        self._transport = transport
        self._lost.clear()
        self._blocked(False)

    def heard_on(self, transport: asyncio.Transport | None, data: bytes) -> None:
        if transport is self._transport:
            self._heard(data)

    def held(self, transport: asyncio.Transport | None, blocked: bool) -> None:
        if transport is self._transport:
            self._blocked(blocked)

    def disconnected(self, transport: asyncio.Transport | None) -> None:
        if transport is self._transport:
            self._transport = None
            self._lost.set()
            self._blocked(True)

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            transport = self._transport
            if transport is None or transport.get_write_buffer_size() + len(frame) > _MAX_PENDING:
                continue
            transport.write(frame)
            self.bytes_sent += len(frame)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class TcpServerLine(_TcpLine):
    """A device that waits to be connected to; port 0 chooses one."""

    _server: asyncio.Server | None = None

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Stream(self), self.host, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        super()._close()


class TcpClientLine(_TcpLine):
    """A device that connects to the recorder, and again when it is cut off; with ``tls`` if that is set."""

    tls: ssl.SSLContext | None = None

    async def _open(self) -> None:
        self._tasks.append(asyncio.create_task(self._keep_connected()))

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda: _Stream(self), self.host, self.port, ssl=self.tls)
                await self._lost.wait()
            await asyncio.sleep(_RECONNECT_S)


class UdpLine(SocketLine, asyncio.DatagramProtocol):
    """A device at a UDP port; it answers whoever spoke last. Each frame is one datagram."""

    _transport: asyncio.DatagramTransport | None = None
    _peer: tuple[str, int] | None = None

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))
        self.port = self._transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One datagram of the recorder."""
        if self._peer != addr:
            self._peer = addr
            self._blocked(False)
        self._heard(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody is there any more."""
        self._peer = None
        self._blocked(True)

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            if self._transport is not None and self._peer is not None:
                self._transport.sendto(frame, self._peer)
                self.bytes_sent += len(frame)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
