"""Notices: what must stay readable without a data key and survive the payload's pruning.

They stand in the header in clear: no names of patients or staff, only random ids, box ids and counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ledger.canonical import Fields
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId

_TAILS = 256
_PROMISES = 64


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log stands: ``size`` blocks, their RFC 6962 root, and the leaf hash of the last block."""

    log: LogId
    size: int
    root: bytes
    leaf: bytes

    def fields(self) -> list[object]:
        """For embedding."""
        return [self.log.fields(), self.size, self.root, self.leaf]

    @classmethod
    def from_fields(cls, value: object, what: str) -> Head:
        """Strict inverse of ``fields``; raises PeerFault."""
        take = Fields(value, 4, what)
        return cls(LogId.from_fields(take.optional(), what), take.uint(), take.raw(32), take.raw(32))


@dataclass(frozen=True, slots=True)
class Start:
    """First notice of block 0. ``promises`` are the whole signed PROMISE messages (none in a provisional log);
    ``parent`` is the fenced head this epoch continues; ``tails`` are the other live ends it knows of.
    """

    boot_id: bytes
    promises: tuple[bytes, ...]
    parent: Head | None
    tails: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class CaseBoundary:
    """A case was opened, or closed, or goes on in this new log; the id is random."""

    phase: Literal["open", "close", "continue"]
    case_id: bytes


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """The site's manifest changed to this version and hash; the next epoch is bound to it."""

    version: int
    manifest_hash: bytes


@dataclass(frozen=True, slots=True)
class Access:
    """A grant was given, withdrawn or used; ``grant_id`` is random."""

    action: Literal["granted", "revoked", "used"]
    grant_id: bytes


@dataclass(frozen=True, slots=True)
class RestorePerformed:
    """A box's state was restored here: which head, how many vouched of how many, and whether it verified."""

    head: Head
    vouching: int
    peers: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Drill:
    """A restore into nowhere, as practice."""

    box: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert was raised or cleared; ``alert_id`` like "peer.silent", ``subject`` a box or feed."""

    alert_id: str
    subject: str
    active: bool


@dataclass(frozen=True, slots=True)
class ClockStep:
    """UTC jumped by ``step_ns`` against the boot clock before this block."""

    step_ns: int


@dataclass(frozen=True, slots=True)
class TailFound:
    """An end of an older log that the epoch's start did not name."""

    head: Head


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as everybody may know it: its name (SHA-256 of its sealed bytes), their number, its index's hash."""

    sha256: bytes
    sealed_bytes: int
    index_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """Objects that this block's records name: with this a peer can fetch and check them without reading anything."""

    objects: tuple[StoredObject, ...]


Notice = (
    Start | CaseBoundary | ManifestChange | Access | RestorePerformed | Drill | Alert | ClockStep | TailFound
    | StoredObjects
)  # fmt: skip

_CASE_PHASES: tuple[Literal["open", "close", "continue"], ...] = ("open", "close", "continue")
_ACTIONS: tuple[Literal["granted", "revoked", "used"], ...] = ("granted", "revoked", "used")


def notice_fields(notice: Notice) -> list[Any]:  # noqa: PLR0911 - one return per kind is the table
    """The notice as a msgpack array whose first item is its kind."""
    match notice:
        case Start(boot_id, promises, parent, tails):
            end = parent.fields() if parent else None
            return [1, boot_id, list(promises), end, [tail.fields() for tail in tails]]
        case CaseBoundary(phase, case_id):
            return [2, _CASE_PHASES.index(phase), case_id]
        case ManifestChange(version, manifest_hash):
            return [3, version, manifest_hash]
        case Access(action, grant_id):
            return [4, _ACTIONS.index(action), grant_id]
        case RestorePerformed(head, vouching, peers, verified):
            return [5, head.fields(), vouching, peers, verified]
        case Drill(box, verified):
            return [6, box, verified]
        case Alert(alert_id, subject, active):
            return [7, alert_id, subject, active]
        case ClockStep(step_ns):
            return [8, step_ns]
        case TailFound(head):
            return [9, head.fields()]
        case StoredObjects(objects):
            return [10, [[each.sha256, each.sealed_bytes, each.index_hash] for each in objects]]


_FIELD_COUNTS = {1: 5, 2: 3, 3: 3, 4: 3, 5: 5, 6: 3, 7: 4, 8: 2, 9: 2, 10: 2}


def notice_from_fields(value: object) -> Notice:  # noqa: PLR0911 - one return per kind is the table
    """Strict inverse of ``notice_fields``; raises PeerFault."""
    kind = value[0] if isinstance(value, list) and value else None
    count = _FIELD_COUNTS.get(kind) if type(kind) is int else None
    if count is None:
        raise PeerFault("codec.field", f"unknown notice kind {kind!r}")
    take = Fields(value, count, "notice")
    match take.uint():
        case 1:
            return _start(take)
        case 2:
            return CaseBoundary(_CASE_PHASES[take.uint(2)], take.raw(16))
        case 3:
            return ManifestChange(take.uint(), take.raw(32))
        case 4:
            return Access(_ACTIONS[take.uint(2)], take.raw(16))
        case 5:
            head = Head.from_fields(take.optional(), "notice head")
            return RestorePerformed(head, take.uint(255), take.uint(255), take.boolean())
        case 6:
            return Drill(take.text(63, 1), take.boolean())
        case 7:
            return Alert(take.text(63, 1), take.text(63), take.boolean())
        case 8:
            return ClockStep(take.sint())
        case 9:
            return TailFound(Head.from_fields(take.optional(), "notice head"))
        case _:
            return StoredObjects(tuple(_stored_object(item) for item in take.array(LIMITS.object_notice_entries)))


def _stored_object(value: object) -> StoredObject:
    take = Fields(value, 3, "stored object")
    return StoredObject(take.raw(32), take.uint(), take.raw(32))


def _start(take: Fields) -> Start:
    boot_id = take.raw(16)
    promises = take.array(_PROMISES)
    if any(type(promise) is not bytes for promise in promises):
        raise PeerFault("codec.field", "a start notice's promises must be bytes")
    parent = take.optional()
    tails = take.array(_TAILS)
    return Start(
        boot_id,
        tuple(promises),
        None if parent is None else Head.from_fields(parent, "start parent"),
        tuple(Head.from_fields(tail, "start tail") for tail in tails),
    )
