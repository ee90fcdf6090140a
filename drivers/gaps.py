"""Gap records at a bounded rate: faults of one cause within a second become one record with their sums."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.contract import Now
from ledger.limits import S_NS
from ledger.records import Gap, GapCause

WINDOW_NS = 1 * S_NS


@dataclass(slots=True)
class _Open:
    since_ns: int
    until_ns: int
    due_mono_ns: int
    lost_bytes: int | None
    lost_items: int | None
    detail: str


class GapCollector:
    """Adds up faults by cause; at most one Gap per cause and second leaves. Bounded by the number of causes."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[GapCause, _Open] = {}

    def add(
        self,
        cause: GapCause,
        now: Now,
        lost_bytes: int | None,
        detail: str = "",
        *,
        since: Now | None = None,
        lost_items: int | None = None,
    ) -> None:
        """One fault, since ``since`` or just now; no ``lost_bytes``: nothing was lost. The first ``detail`` stays.

        ``lost_items``: how many, where that is known and no bytes tell it; else each fault with bytes is one.
        """
        items = lost_items if lost_bytes is None else 1
        fault = self._open.get(cause)
        if fault is None:
            since_ns = (since or now).utc_ns
            self._open[cause] = _Open(since_ns, now.utc_ns, now.mono_ns + WINDOW_NS, lost_bytes, items, detail)
            return
        fault.until_ns = now.utc_ns
        if lost_bytes is not None:
            fault.lost_bytes = (fault.lost_bytes or 0) + lost_bytes
        if items is not None:
            fault.lost_items = (fault.lost_items or 0) + items

    def deadline_ns(self) -> int | None:
        """Monotonic time at which the next Gap is due."""
        return min([fault.due_mono_ns for fault in self._open.values()]) if self._open else None

    def take(self, now: Now, *, everything: bool = False) -> list[Gap]:
        """The Gaps that are due by now, or all."""
        due = [cause for cause, fault in self._open.items() if everything or fault.due_mono_ns <= now.mono_ns]
        return [_gap(cause, self._open.pop(cause), now) for cause in due]


def _gap(cause: GapCause, fault: _Open, now: Now) -> Gap:
    return Gap(
        at_ns=now.utc_ns,
        cause=cause,
        since_ns=fault.since_ns,
        until_ns=fault.until_ns,
        lost_bytes=fault.lost_bytes,
        lost_items=fault.lost_items,
        detail=fault.detail,
    )
