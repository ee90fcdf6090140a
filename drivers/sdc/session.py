"""What is known of one connection to an SDC device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from drivers.contract import Now
from drivers.sdc import soap
from drivers.sdc.description import duration_s
from drivers.sdc.frame import Deframer
from drivers.sdc.mdib import VersionGroup
from drivers.sdc.metadata import Metadata
from drivers.sdc.versions import Versions
from drivers.sdc.xml import Element
from ledger.limits import LIMITS, S_NS
from ledger.records import LinkId

REREAD_APART_NS: Final = 1 * S_NS
LONGEST_REREAD_APART_NS: Final = 60 * S_NS
WAVES_SILENT_NS: Final = 3 * S_NS
_LONGEST_GRANT_S: Final = 3_600.0
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
    renew_ns: int = 0

    def granted(self, body: Element | None, asked_s: int, now: Now) -> None:
        """Renew after half of what was granted; a device that says no time is taken at our word."""
        expires = duration_s(body.text_of("Expires")[:64]) if body is not None else 0
        granted_s = float(expires) or float(asked_s)
        self.renew_ns = now.mono_ns + int(max(1.0, min(granted_s, _LONGEST_GRANT_S) / 2) * S_NS)


@dataclass(slots=True)
class Session:
    """One connection. ``stale``: no report can be decoded before the MDIB is read (again); reports are held.
    ``told_anew``: that the MDIB began anew is told already; ``last_before_read``: the last report before it was asked
    for.
    """

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
    told_anew: bool = False
    last_before_read: Now | None = None
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

    def deadline_ns(self, heartbeat_ns: int) -> int | None:
        """When something is due; None while the link is being closed."""
        if self.closing:
            return None
        deadlines = []
        if not self.stale and (missing_ns := self.versions.deadline_ns()) is not None:
            deadlines.append(missing_ns)
        if self.reread_due_ns is not None:
            deadlines.append(self.reread_due_ns)
        if self.asked is not None:
            deadlines.append(self.answer_due_ns)
        elif self.subscriptions:
            deadlines.append(self.heard.mono_ns + heartbeat_ns)
            deadlines += [subscription.renew_ns for subscription in self.subscriptions]
        if self.waves_heard is not None:
            deadlines.append(self.waves_heard.mono_ns + WAVES_SILENT_NS)
        return min(deadlines, default=None)

    def plan_reread(self, now: Now) -> None:
        """The MDIB is to be read again: soon if reports wait for it, else ever less often, so no device is flooded."""
        if self.reading:
            return
        last_ns = self.read_at_ns if self.read_at_ns is not None else now.mono_ns - LONGEST_REREAD_APART_NS
        if self.stale:
            due_ns = last_ns + REREAD_APART_NS
        elif self.reread_due_ns is not None:
            return
        else:
            if now.mono_ns - last_ns >= LONGEST_REREAD_APART_NS:
                self.reread_apart_ns = REREAD_APART_NS
            due_ns = last_ns + self.reread_apart_ns
            self.reread_apart_ns = min(2 * self.reread_apart_ns, LONGEST_REREAD_APART_NS)
        self.reread_due_ns = max(now.mono_ns, due_ns)

    def waves_silent_since(self, now: Now) -> Now | None:
        """Since when no waves come, told once."""
        heard = self.waves_heard
        if heard is None or now.mono_ns - heard.mono_ns < WAVES_SILENT_NS:
            return None
        self.waves_heard = None
        return heard
