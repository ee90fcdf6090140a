"""What a driver is: it decodes one protocol. Bytes and time in; records, bytes and deadlines out.

It never opens, sleeps, logs, reads a clock or starts a thread. Feeding bytes one by one gives the same records as
feeding them at once (docs/drivers/README.md).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NewType, Protocol, TypeVar

from ledger.instant import Now
from ledger.records import LinkId, Object, Record

__all__ = [
    "Action", "Close", "Driver", "Emit", "Heard", "Message", "Now", "Outbox", "Send", "Sendable", "Spec", "Ticket",
    "Transport",
]  # fmt: skip

Ticket = NewType("Ticket", int)
"""Place in one driver's order of records; "durable up to t" covers every ticket <= t."""


class Transport(enum.StrEnum):
    """How a driver's bytes arrive."""

    SERIAL = "serial"
    TCP = "tcp"
    TLS = "tls"
    MQTT = "mqtt"
    UDP = "udp"
    MLLP = "mllp"
    DICOM = "dicom"
    SDC = "sdc"


@dataclass(frozen=True, slots=True)
class Sendable:
    """Something a driver may send: bytes that ``pattern`` matches whole, and in plain words what they ask for."""

    pattern: re.Pattern[bytes]
    meaning: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recogniser found in the bytes of a line: ``frames`` whole and right by their checksum, who sent them.

    ``device`` is what the frames themselves say of their sender, empty if they say nothing. ``options``: names and
    texts of the driver's options without which it could not read them.
    """

    frames: int
    device: str = ""
    options: tuple[tuple[str, str], ...] = ()


C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Spec(Generic[C_co]):
    """What a driver declares about itself. ``config`` is a frozen msgspec.Struct: the schema of its options.

    ``serial_lines``: likely line settings ("19200 8E1"), most likely first. ``tx_allowed``: all that the driver may
    EVER send, matched whole, per send; the shell enforces it. ``client_slots`` 1: connecting displaces the hospital's
    present client. ``silence_s``: no byte for this long is a gap, 0: never. ``keeps_raw``: the driver emits Raw records
    itself, because bytes of many patients must be routed before any are kept; else the shell keeps them.
    ``longest_frame_bytes``: the protocol's longest frame on the wire; after any damage the driver reads right again
    once so many undamaged bytes have come. ``recognise``: tells whether bytes heard on a line are this protocol;
    ``probe_requests``: harmless questions, each of them in ``tx_allowed``, that make a silent device answer.
    ``json_schema``: the published schema of what is sent to it, where the protocol is our own.
    """

    name: str
    devices: tuple[str, ...]
    transports: tuple[Transport, ...]
    config: type[C_co]
    serial_lines: tuple[str, ...] = ()
    tx_allowed: tuple[Sendable, ...] = ()
    passive_ok: bool = False
    client_slots: int | None = None
    silence_s: float = 10.0
    keeps_raw: bool = False
    records: frozenset[str] = frozenset()
    source: str = ""
    longest_frame_bytes: int = 0
    recognise: Callable[[bytes], Heard | None] | None = None
    probe_requests: tuple[bytes, ...] = ()
    json_schema: Callable[[], dict[str, Any]] | None = None

    def may_send(self, data: bytes) -> bool:
        """Whether these bytes, whole, are something the driver has declared."""
        return any(sendable.pattern.fullmatch(data) for sendable in self.tx_allowed)


@dataclass(frozen=True, slots=True)
class Emit:
    """Record this."""

    ticket: Ticket
    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes; with ``after``, only once the block that holds that ticket's record is fsynced."""

    link: LinkId
    data: bytes
    after: Ticket | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Close this link; the shell reconnects with back-off."""

    link: LinkId
    reason: str


Action = Emit | Send | Close


@dataclass(frozen=True, slots=True)
class Message:
    """What a transport that frames for itself delivers (DICOM C-STORE, SDC report, one HL7 message)."""

    kind: str
    meta: Mapping[str, str]
    body: bytes = b""
    object: Object | None = None


class Driver(Protocol):
    """The calls a shell makes; ``drain`` after every one of the others."""

    spec: ClassVar[Spec[Any]]

    def link_up(self, link: LinkId, peer: str, now: Now) -> None: ...

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None: ...

    def link_down(self, link: LinkId, reason: str, now: Now) -> None: ...

    def wake(self, now: Now) -> None:
        """A deadline was reached; spurious calls are harmless."""

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        """The record of ``ticket`` will not become durable: say so to its sender."""

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """The room's open case has this context now (``ledger.cases.FACTS``); None: no case is open."""

    def deadline_ns(self) -> int | None:
        """Monotonic time at which ``wake`` is wanted."""

    def drain(self) -> list[Action]: ...


class Outbox:
    """Base of every driver: keeps what it emits and sends in order."""

    __slots__ = ("_actions", "_ticket")

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._ticket = 0

    def emit(self, record: Record) -> Ticket:
        """Queue a record and return its place in this driver's order."""
        self._ticket += 1
        ticket = Ticket(self._ticket)
        self._actions.append(Emit(ticket, record))
        return ticket

    def send(self, link: LinkId, data: bytes, after: Ticket | None = None) -> None:
        """Queue bytes for a link, held until ``after`` is durable."""
        self._actions.append(Send(link, data, after))

    def close(self, link: LinkId, reason: str) -> None:
        """Ask the shell to close a link."""
        self._actions.append(Close(link, reason))

    def drain(self) -> list[Action]:
        """Take everything queued since the last call, in order."""
        out, self._actions = self._actions, []
        return out

    def deadline_ns(self) -> int | None:
        """No deadline unless the driver has one."""
        return None

    def wake(self, now: Now) -> None:
        """Nothing to do unless the driver has a deadline."""

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        """Nothing to say unless the driver acknowledges."""

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Nothing to do unless the driver tells patients apart."""
