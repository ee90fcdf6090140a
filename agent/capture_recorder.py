"""Records one device's line to a capture file, without an agent: a transport in front, a driver behind if one talks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from drivers.capture import CapturedMessage, CaptureItem, CaptureWriter
from drivers.contract import Close, Driver, Message, Now, Send
from drivers.transports.links import LinkTransport
from ledger.errors import OurFault, StoreFault
from ledger.limits import S_NS
from ledger.records import Link, LinkId, Raw

_SHORTEST_TIMER_S = 0.001


class CaptureRecorder:
    """``LinkEvents`` for a transport: writes what passes. Lives on the loop.

    Without a driver nothing is ever sent. With one, its sends leave if they are among its declared ones, and
    acknowledgements only after ``sync`` has put on the disk what they acknowledge.
    """

    def __init__(
        self,
        writer: CaptureWriter,
        sync: Callable[[], None],
        transport: LinkTransport,
        driver: Driver | None,
        now: Callable[[], Now],
    ) -> None:
        self._writer = writer
        self._sync = sync
        self._transport = transport
        self._driver = driver
        self._now = now
        self._timer: asyncio.TimerHandle | None = None
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Begin; call on the running loop."""
        self._transport.start(self)

    async def run(self, stopped: asyncio.Event) -> None:
        """Record until told to stop. Whatever fails meanwhile, the disk or the driver, ends it and is raised."""
        faults: list[Exception] = []

        def on_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            faults.append(context.get("exception") or OurFault("capture.loop", str(context.get("message"))))
            stopped.set()

        asyncio.get_running_loop().set_exception_handler(on_fault)
        self.start()
        await stopped.wait()
        await self.stop()
        if faults:
            raise faults[0]

    def sync(self) -> None:
        """Everything recorded so far is on the disk when this returns. Raises ``StoreFault``."""
        try:
            self._sync()
        except OSError as fault:
            raise StoreFault("capture.write", f"the capture is not durable: {fault}", "make room") from fault

    async def stop(self) -> None:
        """Close the line. The capture is the caller's to finish."""
        if self._timer is not None:
            self._timer.cancel()
        await self._transport.stop()

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        """A link came up."""
        self._write(Link(at_ns=at.utc_ns, link=link, state="up", peer=peer))
        if self._driver is not None:
            self._driver.link_up(link, peer, at)
            self._settle(self._driver)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        """Bytes came."""
        self._write_bytes(link, "<", data, at)
        if self._driver is not None:
            self._driver.receive(link, data, at)
            self._settle(self._driver)

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        """A whole message came."""
        self.counters["bytes_in"] += len(message.body)
        self._write(CapturedMessage(at.utc_ns, link, message))
        if self._driver is not None:
            self._driver.receive(link, message, at)
            self._settle(self._driver)

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        """A link fell."""
        self._write(Link(at_ns=at.utc_ns, link=link, state="down", reason=reason))
        if self._driver is not None:
            self._driver.link_down(link, reason, at)
            self._settle(self._driver)

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        """No link came about."""
        self._write(Link(at_ns=at.utc_ns, link=LinkId(0), state="refused", peer=peer, reason=reason))

    def _write(self, item: CaptureItem) -> None:
        try:
            self._writer.write(item)
        except OSError as fault:
            raise StoreFault("capture.write", f"the capture cannot be written: {fault}", "make room") from fault
        self.counters["lines"] = self._writer.lines

    def _write_bytes(self, link: LinkId, direction: str, data: bytes, at: Now) -> None:
        incoming = direction == "<"
        self.counters["bytes_in" if incoming else "bytes_out"] += len(data)
        pieces = ((0, len(data)),)
        self._write(Raw(at_ns=at.utc_ns, link=link, direction="<" if incoming else ">", data=data, pieces=pieces))

    def _settle(self, driver: Driver) -> None:
        for action in driver.drain():
            if isinstance(action, Send):
                self._send(driver, action)
            elif isinstance(action, Close):
                self._transport.close(action.link, action.reason)
        self._arm(driver)

    def _send(self, driver: Driver, send: Send) -> None:
        if not driver.spec.may_send(send.data):
            self.counters["tx_blocked"] += 1
            return
        if send.after is not None:
            self.sync()
        if self._transport.send(send.link, send.data):
            self._write_bytes(send.link, ">", send.data, self._now())

    def _arm(self, driver: Driver) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ns = driver.deadline_ns()
        if deadline_ns is not None:
            wait_s = max(_SHORTEST_TIMER_S, (deadline_ns - self._now().mono_ns) / S_NS)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._due, driver)

    def _due(self, driver: Driver) -> None:
        self._timer = None
        driver.wake(self._now())
        self._settle(driver)
