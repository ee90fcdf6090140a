"""Which object is fetched next, and from whom: no box's objects and no liar keep another's waiting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.notices import StoredObject

_REMEMBERED = 8_192


class Wanted(Protocol):
    """A row of the store: block ``seq`` of ``log`` names this object."""

    @property
    def log(self) -> LogId: ...

    @property
    def seq(self) -> int: ...

    @property
    def stored(self) -> StoredObject: ...


Row = TypeVar("Row", bound=Wanted)


@dataclass(slots=True)
class _Pause:
    until_ns: int
    next_ns: int


class Turns:
    """What was refused, by whom, until when. Bounded: what is forgotten is asked for again."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.peers: set[str] = set()
        self._limits = limits
        self._refusals: OrderedDict[tuple[str, bytes], _Pause] = OrderedDict()
        self._denials: OrderedDict[bytes, set[str]] = OrderedDict()
        self._boxes: dict[str, None] = {}

    def peer_up(self, peer: str) -> None:
        """A peer can be asked, whatever it refused before."""
        self.peers.add(peer)
        for key in [key for key in self._refusals if key[0] == peer]:
            del self._refusals[key]
        for denied in self._denials.values():
            denied.discard(peer)

    def peer_down(self, peer: str) -> None:
        """A peer cannot be asked."""
        self.peers.discard(peer)

    def refused(self, peer: str, sha256: bytes, now_ns: int, *, denied: bool = False) -> None:
        """A peer did not give this object: it is asked again later, each time a little later.

        ``denied``: it said that it does not hold it.
        """
        key, limits = (peer, sha256), self._limits
        pause = self._refusals.pop(key, None) or _Pause(0, limits.object_retry_min_ns)
        self._refusals[key] = _Pause(now_ns + pause.next_ns, min(2 * pause.next_ns, limits.object_retry_max_ns))
        if len(self._refusals) > _REMEMBERED:
            self._refusals.popitem(last=False)
        if denied:
            self._denials.setdefault(sha256, set()).add(peer)
            if len(self._denials) > _REMEMBERED:
                self._denials.popitem(last=False)

    def done(self, sha256: bytes) -> None:
        """The object is here, or given up."""
        self._denials.pop(sha256, None)
        for peer in self.peers:
            self._refusals.pop((peer, sha256), None)

    def nobody_has(self, sha256: bytes, group: Collection[str]) -> bool:
        """True when every other box of the group said that it does not hold it."""
        return bool(group) and self._denials.get(sha256, set()) >= set(group)

    def sources(self, row: Wanted, now_ns: int) -> list[str]:
        """Whom to ask for this object now; the box that recorded it first."""
        free = [peer for peer in sorted(self.peers) if self._is_due(peer, row.stored.sha256, now_ns)]
        return sorted(free, key=lambda peer: peer != row.log.box)

    def _is_due(self, peer: str, sha256: bytes, now_ns: int) -> bool:
        pause = self._refusals.get((peer, sha256))
        return pause is None or pause.until_ns <= now_ns

    def choose(self, rows: Iterable[Row], busy: Collection[bytes], now_ns: int, *, smallest: bool) -> Row | None:
        """The next object of the box whose turn it is: its smallest, or the first that it recorded."""
        by_box: dict[str, list[Row]] = {}
        for row in rows:
            if row.stored.sha256 not in busy and self.sources(row, now_ns):
                by_box.setdefault(row.log.box, []).append(row)
        self._boxes = {box: None for box in (*self._boxes, *by_box) if box in by_box}
        for box in self._boxes:
            self._boxes[box] = self._boxes.pop(box)  # to the end of the line
            return _first(by_box[box], smallest=smallest)
        return None


def _first(rows: Sequence[Row], *, smallest: bool) -> Row:
    return min(rows, key=lambda row: row.stored.sealed_bytes) if smallest else rows[0]
