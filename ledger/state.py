"""The room's state: the latest of everything, folded from records; what a keyframe holds and a console goes on from.

What is of a patient does not cross a case's boundary (docs/cases.md): folding a case's opening or closing leaves only
what is known of the devices. Two boxes that fold the same records hold the same bytes. Every part is bounded by
``LIMITS.state_*``; what does not fit pushes out what was touched longest ago, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ledger.errors import VerificationFailed
from ledger.limits import LIMITS
from ledger.payload import pack, unpack
from ledger.record_codec import records_of, rows_of
from ledger.records import (
    NOT_A_PATIENT,
    CaseChange,
    Clock,
    Event,
    Gap,
    Identity,
    Keyframe,
    Link,
    Numeric,
    Object,
    Quality,
    Record,
    Setting,
    Wave,
)

LEDGER_FEED: Final = ""
"""The feed of the ledger's own records. It sorts before every other, so a keyframe holds the state before its block."""

_WITHOUT_CASE: Final = 1
_WITH_CASE: Final = 2
"""The form of a state; with a case open there is one part more."""

_NO_VALUE_BITS: Final = int(Quality.INVALID | Quality.UNAVAILABLE)
_STALE_BITS: Final = int(Quality.STALE)
_NOT_A_PATIENT_BITS: Final = int(NOT_A_PATIENT)
_ROW_BYTES: Final = 128
"""What a row takes beside its texts and samples: an estimate from above."""
_MARK_BYTES: Final = 32
_ENTRY_SHARE: Final = 16
"""One entry may take this part of its shelf, so that one device's endless text cannot push out all others."""

_CASE_KEY: Final = ()

Key = tuple[object, ...]
R = TypeVar("R", bound=Record)


class _Entry(NamedTuple, Generic[R]):
    feed: str
    records: tuple[R, ...]
    cost_bytes: int


class _Shelf(Generic[R]):
    """A bounded map in order of last touch, of the records of one kind."""

    __slots__ = ("_bytes", "_max_bytes", "_max_entries", "entries", "evicted")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self.entries: dict[Key, _Entry[R]] = {}
        self.evicted = 0

    def put(self, key: Key, entry: _Entry[R]) -> None:
        """Keep this entry; one too large by itself is not kept, and what it was to replace is gone all the same."""
        before = self.entries.pop(key, None)
        if before is not None:
            self._bytes -= before.cost_bytes
        if entry.cost_bytes > self._max_bytes // _ENTRY_SHARE:
            self.evicted += 1
            return
        self.entries[key] = entry
        self._bytes += entry.cost_bytes
        while len(self.entries) > self._max_entries or self._bytes > self._max_bytes:
            self.remove(next(iter(self.entries)))
            self.evicted += 1

    def put_one(self, key: Key, feed: str, record: R, *texts: str) -> None:
        """Keep one record, whose texts are these."""
        self.put(key, _Entry(feed, (record,), _cost(feed, *texts)))

    def remove(self, key: Key) -> None:
        """Forget this key, if it is there."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.cost_bytes

    def get(self, key: Key) -> R | None:
        """The latest record kept under this key."""
        entry = self.entries.get(key)
        return None if entry is None else entry.records[-1]

    def each(self) -> Iterator[tuple[str, R]]:
        """The latest record of every entry, with its feed."""
        for entry in self.entries.values():
            yield entry.feed, entry.records[-1]


def _other() -> _Shelf[Any]:
    return _Shelf(LIMITS.state_others, LIMITS.state_others_bytes)


@dataclass(frozen=True, slots=True)
class _Shelves:
    """All parts of the state, in the order in which they are encoded."""

    values: _Shelf[Numeric] = field(default_factory=lambda: _Shelf(LIMITS.state_values, LIMITS.state_values_bytes))
    waves: _Shelf[Wave] = field(default_factory=lambda: _Shelf(LIMITS.state_waves, LIMITS.state_waves_bytes))
    alarms: _Shelf[Event] = field(default_factory=_other)
    modes: _Shelf[Event] = field(default_factory=_other)
    identities: _Shelf[Identity] = field(default_factory=_other)
    links: _Shelf[Link] = field(default_factory=_other)
    clocks: _Shelf[Clock] = field(default_factory=_other)
    gaps: _Shelf[Gap] = field(default_factory=_other)
    objects: _Shelf[Object] = field(default_factory=_other)
    case: _Shelf[CaseChange] = field(default_factory=lambda: _Shelf(1, LIMITS.state_case_bytes * _ENTRY_SHARE))

    def without_patient(self) -> _Shelves:
        """What is known of the devices alone: who they are, how they are connected, how their clocks stand."""
        return _Shelves(identities=self.identities, links=self.links, clocks=self.clocks)

    def all(self) -> list[_Shelf[Any]]:
        return [getattr(self, part.name) for part in fields(self)]


class RoomState:
    """The latest value of everything in one room. ``fold`` records in order; read with the methods below.

    A value's ``at_ns`` is when it was measured: ``STALE`` repeats do not renew it. A value of None says that there is
    none since ``at_ns``. TEST and DEMO records are not of a patient and never get in.
    """

    __slots__ = ("_shelves",)

    def __init__(self) -> None:
        self._shelves = _Shelves()

    def fold_groups(self, groups: Mapping[str, Sequence[Record]]) -> None:
        """Fold the records of one block, in the order in which its payload holds them. One that stands apart, about
        another patient than the room's, changes nothing.
        """
        if any(type(record) is CaseChange and record.phase == "apart" for record in groups.get(LEDGER_FEED, ())):
            return
        for feed in sorted(groups):
            for record in groups[feed]:
                self.fold(feed, record)

    def fold(self, feed: str, record: Record) -> None:
        """Take one record in. A keyframe replaces all. Raises ``VerificationFailed`` if a keyframe cannot be read."""
        if type(record) is Keyframe:
            self._shelves = decode_state(record.state)._shelves  # noqa: SLF001 - of the same class
            return
        if type(record) is CaseChange:
            self._fold_case(feed, record)
            return
        folder = _FOLDERS.get(type(record))
        if folder is not None and not int(record.quality) & _NOT_A_PATIENT_BITS:
            folder(self._shelves, feed, record)

    def _fold_case(self, feed: str, record: CaseChange) -> None:
        if record.phase in {"open", "close"}:
            self.leave_patient()
        if record.phase in {"open", "change"}:
            _put_case(self._shelves, feed, record)

    def leave_patient(self) -> None:
        """Forget all that is of a patient, and the case: what a case's boundary does."""
        self._shelves = self._shelves.without_patient()

    def case(self) -> CaseChange | None:
        """The open case: the record that opened it or that last changed its context."""
        return self._shelves.case.get(_CASE_KEY)

    @property
    def evicted(self) -> int:
        """How many entries the bounds pushed out, ever."""
        return sum(shelf.evicted for shelf in self._shelves.all())

    def values(self) -> Iterator[tuple[str, Numeric]]:
        """Measured values and settings, each with its feed."""
        return self._shelves.values.each()

    def waves(self) -> Iterator[tuple[str, tuple[Wave, ...]]]:
        """The last ``LIMITS.state_wave_ns`` of each wave, as recorded, oldest first."""
        for entry in self._shelves.waves.entries.values():
            yield entry.feed, entry.records

    def alarms(self) -> Iterator[tuple[str, Event]]:
        """Active alarms and advisories; ``at_ns`` is their start."""
        return self._shelves.alarms.each()

    def modes(self) -> Iterator[tuple[str, Event]]:
        """The last mode told by each device, per code."""
        return self._shelves.modes.each()

    def identities(self) -> Iterator[tuple[str, Identity]]:
        """Who each device says it is."""
        return self._shelves.identities.each()

    def links(self) -> Iterator[tuple[str, Link]]:
        """Connections not lost, and for a feed without one, its last."""
        return self._shelves.links.each()

    def clocks(self) -> Iterator[tuple[str, Clock]]:
        """The last known offset of each device's clock."""
        return self._shelves.clocks.each()

    def gaps(self) -> Iterator[tuple[str, Gap]]:
        """The last gap of each feed and logical device."""
        return self._shelves.gaps.each()

    def objects(self) -> Iterator[tuple[str, Object]]:
        """The objects named last."""
        return self._shelves.objects.each()


def encode_state(state: RoomState) -> bytes:
    """The state as a ``Keyframe`` holds it: the same records folded give the same bytes, on every box."""
    shelves = state._shelves.all()  # noqa: SLF001 - this room's own
    version = _WITH_CASE if shelves[-1].entries else _WITHOUT_CASE
    if version == _WITHOUT_CASE:
        del shelves[-1]
    return pack(
        (
            version,
            [
                (shelf.evicted, [(entry.feed, rows_of(entry.records)) for entry in shelf.entries.values()])
                for shelf in shelves
            ],
        )
    )


def decode_state(data: bytes) -> RoomState:
    """The inverse of ``encode_state``. Raises ``VerificationFailed``, and nothing else, for any other bytes."""
    state = RoomState()
    try:
        _fill(state, unpack(data))
    except (ValueError, TypeError) as error:
        raise VerificationFailed("state.malformed", f"a keyframe cannot be read: {error}") from error
    if encode_state(state) != data:  # also refuses a part on the wrong shelf, a key told twice, a bound passed
        raise VerificationFailed("state.not-canonical", "a keyframe is not what its own content folds to")
    return state


def _fill(state: RoomState, tree: Any) -> None:
    shelves = state._shelves  # noqa: SLF001 - this room's own
    version, parts = tree
    if type(version) is not int or version not in (_WITHOUT_CASE, _WITH_CASE):
        raise ValueError("its version is unknown")
    expected = shelves.all() if version == _WITH_CASE else shelves.all()[:-1]
    for shelf, (evicted, entries) in zip(expected, parts, strict=True):
        if type(evicted) is not int or evicted < 0:
            raise ValueError("a count is not a count")
        for feed, rows in entries:
            if type(feed) is not str:
                raise ValueError("a feed is not text")
            for record in records_of(rows):
                if type(record) is Keyframe:
                    raise ValueError("it holds a keyframe")
                if type(record) is CaseChange:
                    _put_case(shelves, feed, record)
                else:
                    state.fold(feed, record)
        shelf.evicted = evicted


def _cost(*texts: str) -> int:
    joined = "".join(texts)
    return _ROW_BYTES + (len(joined) if joined.isascii() else 4 * len(joined))


def _fold_value(shelves: _Shelves, feed: str, record: Numeric) -> None:
    names = (feed, record.sub, record.code, record.channel, record.device_code)
    key = (type(record), names)
    bits = int(record.quality)
    if record.value is None or bits & _NO_VALUE_BITS:
        before = shelves.values.get(key)
        since = before if before is not None and before.value is None else record
        if since is not record or record.value is not None:
            record = replace(record, value=None, at_ns=since.at_ns, device_time=since.device_time)
    elif bits & _STALE_BITS:
        before = shelves.values.get(key)
        if before is not None and (before.value, before.unit) == (record.value, record.unit):
            record = replace(record, at_ns=before.at_ns, device_time=before.device_time)
    text = record.value if isinstance(record.value, str) else ""
    shelves.values.put(key, _Entry(feed, (record,), _cost(*names, record.unit, text)))


def _fold_wave(shelves: _Shelves, feed: str, record: Wave) -> None:
    key = (feed, record.sub, record.code, record.channel)
    entry = shelves.waves.entries.get(key)
    pieces: tuple[Wave, ...] = () if entry is None else entry.records[1 - LIMITS.state_wave_pieces :]
    too_old_ns = record.at_ns - LIMITS.state_wave_ns
    # Every piece is judged, not only the first: after a step of the clock their times are not in order.
    pieces = (*[piece for piece in pieces if piece.at_ns > too_old_ns], record)
    cost = len(pieces) * _cost(feed, record.sub, record.code, record.unit, record.channel)
    cost += sum([len(piece.samples) + _MARK_BYTES * len(piece.marks) for piece in pieces])
    shelves.waves.put(key, _Entry(feed, pieces, cost))


def _fold_event(shelves: _Shelves, feed: str, record: Event) -> None:
    if record.kind == "mode":
        shelf, name = shelves.modes, record.code
    elif record.kind in {"marker", "operator"} or record.phase == "once":
        return  # a moment, not a state
    else:
        shelf, name = shelves.alarms, record.alarm_id
    key = (feed, record.sub, name)
    if record.phase == "end":
        shelf.remove(key)
        return
    before = shelves.alarms.get(key) if shelf is shelves.alarms else None
    if before is not None and record.phase in {"continue", "change"}:
        record = replace(record, at_ns=before.at_ns, device_time=before.device_time)
    texts = (record.sub, record.alarm_id, record.code, record.source, record.text)
    shelf.put_one(key, feed, record, *texts, record.device_code, record.device_priority)


def _fold_link(shelves: _Shelves, feed: str, record: Link) -> None:
    # Connection numbers are never reused, so lost ones must go: kept is what is up, or the last that was.
    lost = [
        key
        for key, entry in shelves.links.entries.items()
        if key[:2] == (feed, record.sub) and entry.records[0].state in {"down", "refused"}
    ]
    for key in lost:
        shelves.links.remove(key)
    shelves.links.put_one((feed, record.sub, record.link), feed, record, record.sub, record.peer, record.reason)


def _fold_identity(shelves: _Shelves, feed: str, record: Identity) -> None:
    texts = (record.make, record.model, record.serial, record.software, record.protocol, record.udi, record.position)
    shelves.identities.put_one((feed, record.sub), feed, record, record.sub, *texts)


def _fold_clock(shelves: _Shelves, feed: str, record: Clock) -> None:
    shelves.clocks.put_one((feed, record.sub), feed, record, record.sub)


def _fold_gap(shelves: _Shelves, feed: str, record: Gap) -> None:
    shelves.gaps.put_one((feed, record.sub), feed, record, record.sub, record.detail)


def _put_case(shelves: _Shelves, feed: str, record: CaseChange) -> None:
    if record.phase not in {"open", "change"}:
        raise ValueError("it holds a case that is not open")
    shelves.case.put_one(_CASE_KEY, feed, record, record.by, record.reason, *record.facts, *record.facts.values())


def _fold_object(shelves: _Shelves, feed: str, record: Object) -> None:
    texts = (record.sub, record.media_type, record.name, *record.meta, *record.meta.values())
    shelves.objects.put_one((feed, record.name), feed, record, *texts)


_FOLDERS: Final[Mapping[type, Callable[[_Shelves, str, Any], None]]] = {
    Numeric: _fold_value,
    Setting: _fold_value,
    Wave: _fold_wave,
    Event: _fold_event,
    Link: _fold_link,
    Identity: _fold_identity,
    Clock: _fold_clock,
    Gap: _fold_gap,
    Object: _fold_object,
}
