"""A driver, a transport and a clock for tests of the feed shell: nothing real, all under the test's hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from drivers.contract import Message, Now, Outbox, Sendable, Spec, Ticket, Transport
from drivers.transports.links import LinkEvents
from ledger.records import Identity, LinkId, Numeric

T0_NS = 1_800_000_000_000_000_000


@dataclass
class FakeTimer:
    due_ns: int
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeTime:
    """Virtual time: ``utc_ahead_ns`` sets UTC against the boot clock."""

    mono_ns: int = 5_000_000_000
    utc_ahead_ns: int = T0_NS
    timers: list[FakeTimer] = field(default_factory=list)

    def now(self) -> Now:
        return Now(self.mono_ns, self.mono_ns + self.utc_ahead_ns)

    def schedule(self, delay_ns: int, call: Callable[[], None]) -> FakeTimer:
        assert delay_ns > 0
        timer = FakeTimer(self.mono_ns + delay_ns, call)
        self.timers.append(timer)
        return timer

    def live_timers(self) -> list[FakeTimer]:
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        return self.timers

    def advance(self, by_ns: int) -> None:
        """Time passes; what becomes due runs at its time."""
        end_ns = self.mono_ns + by_ns
        while due := [timer for timer in self.live_timers() if timer.due_ns <= end_ns]:
            first = min(due, key=lambda timer: timer.due_ns)
            self.timers.remove(first)
            self.mono_ns = max(self.mono_ns, first.due_ns)
            first.call()
        self.mono_ns = end_ns


@dataclass
class FakeTransport:
    """Records what the shell asks of it; closing takes effect when the test says so."""

    listens: bool = False
    takes: bool = True
    reachable: bool = False
    started: LinkEvents | None = None
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    closed: list[tuple[LinkId, str]] = field(default_factory=list)
    reading: list[bool] = field(default_factory=list)
    stopped: bool = False

    def start(self, events: LinkEvents) -> None:
        self.started = events

    async def stop(self) -> None:
        self.stopped = True

    def send(self, link: LinkId, data: bytes) -> bool:
        if self.takes and not self.stopped:
            self.sent.append((link, data))
            return True
        return False

    def close(self, link: LinkId, reason: str) -> None:
        self.closed.append((link, reason))

    def set_reading(self, reading: bool) -> None:
        self.reading.append(reading)


class Codes(Outbox):
    """One byte is one message.

    Digits are recorded; small letters are recorded and acknowledged with themselves once durable; ``?`` is answered
    ``!`` at once; ``#`` asks who it is; ``%`` fails; ``$`` sends what is not declared; ``&`` closes; ``=`` is recorded
    too large for any block; ``~`` is recorded in a form that cannot be written; ``@`` wakes a second later.
    """

    spec: ClassVar[Spec[Any]] = Spec(
        name="codes",
        devices=("fake",),
        transports=(Transport.SERIAL,),
        config=object,
        tx_allowed=tuple(Sendable(re.compile(pattern), "") for pattern in (rb"[a-z]+", rb"E[a-z]", rb"!", rb"W")),
        silence_s=3.0,
    )

    def __init__(self) -> None:
        super().__init__()
        self.links: list[LinkId] = []
        self.waiting: dict[Ticket, tuple[LinkId, bytes]] = {}
        self.wake_ns: int | None = None

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.links.append(link)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        self.links.remove(link)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert link in self.links
        for code in data.body if isinstance(data, Message) else data:
            self._one(link, bytes([code]), now)

    def _one(self, link: LinkId, code: bytes, now: Now) -> None:
        if code.isdigit() or code.islower():
            ticket = self.emit(number(code[0], now.utc_ns))
            if code.islower():
                self.send(link, code, after=ticket)
                self.waiting[ticket] = (link, code)
        elif code == b"?":
            self.send(link, b"!")
        elif code == b"#":
            self.emit(Identity(at_ns=now.utc_ns, make="Acme", model="One"))
        elif code == b"%":
            raise ValueError("a patient's name")
        elif code == b"$":
            self.send(link, b"STOP VENTILATION")
        elif code == b"&":
            self.close(link, "asked to")
        elif code == b"=":
            self.emit(Identity(at_ns=now.utc_ns, make="x" * (1 << 20), model=""))
        elif code == b"~":
            self.emit(number(1.5, now.utc_ns))
        elif code == b"@":
            self.wake_ns = now.mono_ns + 1_000_000_000

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        link, code = self.waiting.pop(ticket)
        self.send(link, b"E" + code)

    def deadline_ns(self) -> int | None:
        return self.wake_ns

    def wake(self, now: Now) -> None:
        if self.wake_ns is not None and now.mono_ns >= self.wake_ns:
            self.wake_ns = None
            self.send(self.links[0], b"W")


def number(value: Any, at_ns: int) -> Numeric:
    """A record of one value; a float makes one that cannot be written."""
    return Numeric(at_ns=at_ns, code="MDC_X", value=Decimal(value) if isinstance(value, int) else value, unit="1")
