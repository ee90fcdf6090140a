"""A TCP connection to a device or its terminal server: kept up, and made again with back-off when it falls."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.contract import Now
from drivers.transports.addresses import TcpConfig, address_text, reason_of, tune
from drivers.transports.links import Backoff, Clock, LinkEvents
from drivers.transports.paced_reader import PacedReader
from ledger.limits import LIMITS, MS_NS, S_NS, Limits
from ledger.records import LinkId

_READ_BYTES = 262_144
_SO_TIMESTAMPNS = 35  # Linux; Python does not name it
_TIMESPEC = struct.Struct("ll")
_LONGEST_WAIT_NS = 1 * S_NS
_BUSY_NS = 125 * MS_NS
"""What comes once a tick is read with the tick and at the beat that other lines have, too."""


@dataclass(slots=True, eq=False)
class _Connection:
    """The open connection and what waits to be written to it; ``reason``: why it is being closed; ``passed``: when
    the newest bytes did, either way.
    """

    link: LinkId
    sock: socket.socket
    ended: asyncio.Future[int]
    since_ns: int
    passed: Now
    waiting: bytearray
    writes: bool = False
    reason: str = ""
    reader: PacedReader | None = None


class TcpClient:
    """The ``LinkTransport`` for devices that wait to be connected to: one connection at a time.

    With ``pace_ns`` a busy line is read at that beat. What waited for it bears the time at which the kernel got the
    last of it.
    """

    listens = False

    def __init__(
        self,
        config: TcpConfig,
        now: Clock,
        links: Iterator[int] | None = None,
        limits: Limits = LIMITS,
        *,
        pace_ns: int = 0,
    ) -> None:
        self._config = config
        self._peer = address_text(config.host, config.port)
        self._now = now
        self._links = links if links is not None else itertools.count(1)
        self._limits = limits
        self._pace_ns = pace_ns
        self._events: LinkEvents | None = None
        self._open: _Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether the connection is up."""
        return self._open is not None

    def start(self, events: LinkEvents) -> None:
        """Connect from the loop's next turn on, for ever."""
        self._events = events
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"tcp {self._peer}")

    async def stop(self) -> None:
        """Cut the connection."""
        self._events = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._open is not None:
            self._release(self._open)

    def send(self, link: LinkId, data: bytes) -> bool:
        """Queue bytes; False if the link is gone or more than ``link_write_bytes`` wait: then it is closed."""
        opened = self._open
        if opened is None or opened.link != link or opened.reason:
            return False
        if len(opened.waiting) + len(data) > self._limits.link_write_bytes:
            self.close(link, "the device does not take what is sent to it")
            return False
        opened.waiting += data
        opened.passed = self._now()
        if not opened.writes:
            self._write(opened)
        return not opened.reason

    def close(self, link: LinkId, reason: str) -> None:
        """Cut it on the loop's next turn: a device that does not read must not hold it. It is made again later."""
        opened = self._open
        if opened is not None and opened.link == link:
            self._end(opened, reason)

    def set_reading(self, reading: bool) -> None:
        """Ignored: behind a terminal server is a serial device, which does not wait."""

    def read_waiting(self) -> None:
        """Read what may wait for the beat."""
        if self._open is not None and self._open.reader is not None:
            self._open.reader.read_waiting()

    # ---- connecting

    async def _run(self) -> None:
        backoff = Backoff(self._limits.reconnect_min_ns, self._limits.reconnect_max_ns)
        while True:
            link = LinkId(next(self._links))
            try:
                async with asyncio.timeout(self._limits.link_connect_ns / S_NS):
                    sock = await self._connected()
            except (OSError, TimeoutError) as fault:
                if self._events is not None:
                    self._events.on_refused(self._peer, f"cannot connect: {reason_of(fault)}", self._now())
            else:
                backoff.lasted(await self._up(link, sock))
            await asyncio.sleep(backoff.wait_ns() / S_NS)

    async def _connected(self) -> socket.socket:
        """A connection to the first of the name's addresses that takes one. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._config.host, self._config.port, type=socket.SOCK_STREAM)
        refused: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                tune(sock, user_timeout_ms=self._limits.link_user_timeout_ms)
                if self._pace_ns:
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            except OSError as fault:
                sock.close()
                refused = fault
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise refused

    def _up(self, link: LinkId, sock: socket.socket) -> asyncio.Future[int]:
        """Tell of the connection and read it; the future is how many nanoseconds it will have held."""
        at = self._now()
        opened = _Connection(link, sock, asyncio.get_running_loop().create_future(), at.mono_ns, at, bytearray())
        self._open = opened
        if self._events is not None:
            self._events.on_up(link, self._peer, at)
        opened.reader = PacedReader(sock.fileno(), lambda waited: self._read(opened, waited), self._pace_ns, _BUSY_NS)
        return opened.ended

    # ---- reading and writing

    def _read(self, opened: _Connection, waited: bool) -> int:
        if self._events is None or opened.reason:
            return 0
        try:
            data, stamps, _, _ = opened.sock.recvmsg(_READ_BYTES, 64)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as fault:
            self._end(opened, f"the connection failed: {reason_of(fault)}")
            return 0
        if not data:
            self._end(opened, "the device closed the connection")
            return 0
        at = self._now()
        opened.passed = _arrival(stamps, at, opened.passed) if waited else at
        self._events.on_bytes(opened.link, data, opened.passed)
        return len(data)

    def _write(self, opened: _Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            while opened.waiting and not opened.reason:
                del opened.waiting[: opened.sock.send(opened.waiting)]
        except (BlockingIOError, InterruptedError):
            if not opened.writes:
                opened.writes = True
                loop.add_writer(opened.sock, self._write, opened)
            return
        except OSError as fault:
            self._end(opened, f"the connection failed: {reason_of(fault)}")
        if opened.writes:
            opened.writes = False
            loop.remove_writer(opened.sock)

    # ---- the end

    def _end(self, opened: _Connection, reason: str) -> None:
        """From the loop's next turn, never from inside a call of the feed's."""
        if not opened.reason:
            opened.reason = reason
            asyncio.get_running_loop().call_soon(self._down, opened)

    def _down(self, opened: _Connection) -> None:
        if self._open is not opened:
            return
        self._release(opened)
        at = self._now()
        if self._events is not None:
            self._events.on_down(opened.link, opened.reason, at)
        if not opened.ended.done():
            opened.ended.set_result(at.mono_ns - opened.since_ns)

    def _release(self, opened: _Connection) -> None:
        if self._open is not opened:
            return
        self._open = None
        if opened.reader is not None:
            opened.reader.stop()
        if opened.writes:
            asyncio.get_running_loop().remove_writer(opened.sock)
        opened.sock.close()


def _arrival(stamps: Iterable[tuple[int, int, bytes]], at: Now, before: Now) -> Now:
    """When the last of what is read now, ``at``, arrived, by the kernel; never ``before`` other bytes passed."""
    for level, kind, data in stamps:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _TIMESPEC.size:
            seconds, ns = _TIMESPEC.unpack(data)
            waited_ns = at.utc_ns - seconds * S_NS - ns
            if 0 <= waited_ns <= _LONGEST_WAIT_NS:  # else UTC was set
                waited_ns = min(waited_ns, at.mono_ns - before.mono_ns)
                return Now(at.mono_ns - waited_ns, at.utc_ns - waited_ns)
    return at
