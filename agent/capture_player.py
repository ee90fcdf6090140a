"""Plays what a device once sent to whoever listens now: over TCP, or as a serial device at the end of a pty."""

from __future__ import annotations

import asyncio
import os
import tty
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Protocol

from drivers.capture import CaptureItem
from ledger.errors import NoPeer
from ledger.limits import S_NS
from ledger.records import Link, LinkId, Raw

_READ_BYTES = 65_536
_LINGER_S = 1.0
"""After the last byte, so long is waited for answers."""


class Stage(Protocol):
    """Where a capture is played to; ``counters`` counts ``bytes_sent`` and ``bytes_answered``."""

    counters: Counter[str]

    async def send(self, link: LinkId, data: bytes) -> None:
        """Bytes as the device sent them; waits while the other side does not take them."""

    async def end(self, link: LinkId) -> None:
        """The device's link fell."""

    async def close(self) -> None:
        """The play is over."""


async def paced(items: Iterable[CaptureItem], speed: float | None) -> AsyncIterator[CaptureItem]:
    """The items at their times, ``speed`` times as fast; without delay if None."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    first_ns: int | None = None
    for item in items:
        first_ns = item.at_ns if first_ns is None else first_ns
        if speed is not None:
            await asyncio.sleep(started_s + (item.at_ns - first_ns) / S_NS / speed - loop.time())
        yield item


async def play(items: Iterable[CaptureItem], stage: Stage, speed: float | None) -> None:
    """Send the bytes of all ``<`` lines; the caller closes the stage."""
    async for item in paced(items, speed):
        if isinstance(item, Raw) and item.direction == "<":
            await stage.send(item.link, item.data)
        elif isinstance(item, Link) and item.state == "down":
            await stage.end(item.link)


class TcpStage:
    """Each link of the capture is a connection of its own to one address. Raises ``NoPeer`` if nobody takes it."""

    def __init__(self, host: str, port: int) -> None:
        self.counters: Counter[str] = Counter()
        self._host = host
        self._port = port
        self._open: dict[LinkId, tuple[asyncio.StreamWriter, asyncio.Task[None]]] = {}

    async def send(self, link: LinkId, data: bytes) -> None:
        """Send on this link's connection, opening it first."""
        try:
            if link not in self._open:
                reader, writer = await asyncio.open_connection(self._host, self._port)
                self._open[link] = writer, asyncio.create_task(self._listen(reader))
            writer, _ = self._open[link]
            writer.write(data)
            await writer.drain()
        except OSError as fault:
            where = f"{self._host}:{self._port}"
            raise NoPeer("capture.no-listener", f"{where} does not take the bytes: {fault}") from fault
        self.counters["bytes_sent"] += len(data)

    async def end(self, link: LinkId) -> None:
        """Close this link's connection, once answers have had their time."""
        opened = self._open.pop(link, None)
        if opened is None:
            return
        writer, listening = opened
        with suppress(OSError):
            writer.write_eof()
        await asyncio.wait([listening], timeout=_LINGER_S)
        listening.cancel()
        writer.close()

    async def close(self) -> None:
        """Close every connection."""
        for link in list(self._open):
            await self.end(link)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                self.counters["bytes_answered"] += len(data)


class PtyStage:
    """A pseudo-terminal; whoever opens ``path`` sees the device. What is written to it is read and counted."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._answered)

    async def send(self, link: LinkId, data: bytes) -> None:
        """Write; links are all one here."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._master, rest) :]
            except BlockingIOError:
                await self._writable()
        self.counters["bytes_sent"] += len(data)

    async def end(self, link: LinkId) -> None:
        """Nothing: a serial line has no end that the reader could see."""

    async def close(self) -> None:
        """Take the terminal away, once what was written has had time to be read."""
        await asyncio.sleep(_LINGER_S)
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._slave)
        os.close(self._master)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._master, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._master)

    def _answered(self) -> None:
        with suppress(OSError):
            self.counters["bytes_answered"] += len(os.read(self._master, _READ_BYTES))
