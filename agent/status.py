"""What the agent says about itself: the status document, version 1. Fields are only ever added within a version.

The command line prints it; monitoring reads it as JSON. Names carry their units; times are UTC, RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ledger.errors import Party

SCHEMA = "orledger.status/1"

Severity = Literal["info", "warning", "critical"]
State = Literal["ok", "attention", "critical"]
ExitCode = Literal[0, 1, 2]


class Alert(msgspec.Struct, frozen=True):
    """One thing to know; what is more than ``info`` needs somebody.

    ``subject`` is the box, feed or disk meant; ``since`` a UTC time.
    """

    id: str
    severity: Severity
    party: Party
    subject: str
    since: str
    text: str
    next: str


class Log(msgspec.Struct, frozen=True):
    """The log being written. ``seq`` is None before its first block; ``level`` is the best that one
    of the newest blocks has, ``age_ms`` the newest block's age; ``peers_holding`` of ``peers`` keep up with this log.
    """

    epoch: int
    incarnation: str
    fenced: bool
    seq: int | None
    level: Literal["local", "copied", "witnessed", "final"]
    age_ms: int | None
    peers_holding: int
    peers: int


class Case(msgspec.Struct, frozen=True):
    """The open case: its random id, never a name."""

    id: str
    opened: str
    age_s: float


class Feed(msgspec.Struct, frozen=True):
    """One feed. ``devices`` counts the devices behind it; ``device`` is what they call themselves."""

    name: str
    driver: str
    device: str
    devices: int
    state: str
    last_age_s: float | None
    gaps_24h: int
    gaps_24h_s: float
    gap_causes: tuple[str, ...]


class Peer(msgspec.Struct, frozen=True):
    """One peer: the highest seq it holds of our log, and the highest we hold of its."""

    id: str
    connected: bool
    holds_ours: int | None
    we_hold: int | None
    heard_age_s: float | None


class CatchingUp(msgspec.Struct, frozen=True):
    """What is still being copied of the blocks of ``box``: ``headers`` of which nothing is here yet, ``payloads`` of
    which only the header is; ``left_s``: until then at the rate of the last seconds, None while that is not known.
    """

    box: str
    headers: int
    payloads: int
    left_s: float | None = None


class Disk(msgspec.Struct, frozen=True):
    """``days_left`` until only the reserve is free, at the rate of the last hour; ``wear_percent`` at most, as the
    drive reports it; None where unknown. ``reusable_bytes``: freed inside the ledger's file, which never shrinks.
    """

    free_bytes: int
    days_left: float | None = None
    wear_percent: int | None = None
    fsync_p99_ms: float | None = None
    reusable_bytes: int = 0


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """Images, videos and documents beside the log, of all boxes. ``wanted``: not held here yet; ``own`` counts this
    box's own by how far they are vouched for. As of the last minute; None before the first look.
    """

    held: int
    held_bytes: int
    wanted: int
    wanted_bytes: int
    own: dict[str, int]


class Commitments(msgspec.Struct, frozen=True, kw_only=True):
    """Storage commitments (DICOM) that are open: ``undecided`` wait until the group holds their instances,
    ``unreported`` until their asker was told. ``oldest_age_s``: since the oldest was asked for, None without any.
    """

    undecided: int
    unreported: int
    oldest_age_s: float | None


class Drill(msgspec.Struct, frozen=True):
    """Restore drills of one peer: the last success (UTC, None for never) and its age, and ``good`` or what went wrong
    the last time (empty: none yet). ``took_ms``: how long the last success took.
    """

    box: str
    last_success: str | None
    age_s: float | None
    last_result: str
    took_ms: float | None = None


class Clock(msgspec.Struct, frozen=True):
    """``error_ms`` bounds the clock's error where the kernel knows one."""

    state: Literal["synchronised", "unsynchronised", "unknown"]
    error_ms: float | None = None


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. ``state`` and ``exit`` follow from ``alerts``: see ``judged``."""

    v: Literal[1] = 1
    schema: str = SCHEMA
    box: str
    room: str
    site: str
    at: str
    recording: bool
    state: State
    exit: ExitCode
    alerts: tuple[Alert, ...]
    log: Log | None
    case: Case | None
    feeds: tuple[Feed, ...]
    peers: tuple[Peer, ...]
    disk: Disk
    clock: Clock
    drills: tuple[Drill, ...] = ()
    objects: Objects | None = None
    commitments: Commitments | None = None
    catching_up: tuple[CatchingUp, ...] = ()


def judged(alerts: Iterable[Alert]) -> tuple[State, ExitCode]:
    """State and exit code these alerts make, as a monitoring check reads them: 0 good, 1 attention, 2 critical."""
    severities = {alert.severity for alert in alerts}
    if "critical" in severities:
        return "critical", 2
    return ("attention", 1) if "warning" in severities else ("ok", 0)
