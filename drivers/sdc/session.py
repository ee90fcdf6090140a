"""What is known of one connection to an SDC device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from drivers.contract import Now
from drivers.sdc import soap
from drivers.sdc.frame import Deframer
from drivers.sdc.mdib import VersionGroup
from drivers.sdc.metadata import Metadata
from drivers.sdc.versions import Versions
from drivers.sdc.xml import Element
from ledger.limits import LIMITS, S_NS
from ledger.records import LinkId

REREAD_APART_NS: Final = 1 * S_NS
LONGEST_REREAD_APART_NS: Final = 60 * S_NS
MOST_HELD: Final = 256
MOST_HELD_BYTES: Final = LIMITS.sdc_message_bytes


class Opened(msgspec.Struct, frozen=True):
    """What the transport says of a link: where the device is, its name if it is known, where it is to send reports."""

    device: str
    notify: str
    epr: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what it is, for the gap if it is refused, and what is done with its answer."""

    what: str
    data: bytes
    then: Callable[[Element | None, Now], None]
    refused: Callable[[str, Now], None]
    patience_ns: int


@dataclass(slots=True)
class Subscription:
    """Reports that were asked for of one hosted service."""

    manager: soap.Endpoint
    renew_ns: int


@dataclass(slots=True)
class Session:
    """One connection. ``stale``: no report can be decoded before the MDIB is read (again); reports are held."""

    link: LinkId
    peer: str
    heard: Now
    reported: Now
    deframer: Deframer = field(default_factory=Deframer)
    opened: Opened | None = None
    requests: soap.Requests = field(default_factory=lambda: soap.Requests(""))
    metadata: Metadata | None = None
    subscriptions: list[Subscription] = field(default_factory=list)
    waiting: deque[Asked] = field(default_factory=deque)
    asked: Asked | None = None
    answer_due_ns: int = 0
    group: VersionGroup | None = None
    versions: Versions = field(default_factory=Versions)
    stale: bool = True
    reading: bool = False
    read_at_ns: int | None = None
    reread_apart_ns: int = REREAD_APART_NS
    reread_due_ns: int | None = None
    held: deque[tuple[Element, int, Now]] = field(default_factory=deque)
    held_bytes: int = 0
    waves_heard: Now | None = None
    closing: bool = False

    def hold(self, report: Element, size: int, now: Now) -> int:
        """Keep a report until the MDIB that it changes is known; answers how many bytes of the oldest found no room."""
        self.held.append((report, size, now))
        self.held_bytes += size
        lost = 0
        while len(self.held) > MOST_HELD or self.held_bytes > MOST_HELD_BYTES:
            _, one, _ = self.held.popleft()
            self.held_bytes -= one
            lost += one
        return lost

    def let_go(self) -> list[tuple[Element, int, Now]]:
        """The reports held, in order."""
        held = list(self.held)
        self.held.clear()
        self.held_bytes = 0
        return held
