"""Restore drills: when each peer's state is to be restored into nowhere again, and what came of it the last time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ledger.canonical import Fields, pack, unpack
from ledger.limits import LIMITS

DRILLS = "drills"
GOOD = "good"
_ROWS_BYTES = 64 * 1_024
_RESULT_BYTES = 200
_OVERDUE_PERIODS = 2


@dataclass(frozen=True, slots=True)
class Drilled:
    """One box. ``since_ns``: first known here; ``success_ns``, ``tried_ns``: the last, 0 for never (UTC).
    ``result`` is ``good`` or what went wrong; ``took_ns`` how long the last success took.
    """

    box: str
    since_ns: int
    success_ns: int = 0
    tried_ns: int = 0
    result: str = ""
    took_ns: int = 0

    @property
    def failed(self) -> bool:
        """True when the last drill did not end well."""
        return self.result not in ("", GOOD)


class DrillBook:
    """What is known of every box's drills; durable as one value."""

    def __init__(self, saved: bytes | None = None) -> None:
        """Raises PeerFault when what was saved is malformed."""
        self._rows: dict[str, Drilled] = {}
        if saved is None:
            return
        for item in Fields(unpack(saved, _ROWS_BYTES, "drills"), 1, "drills").array(LIMITS.store_boxes):
            take = Fields(item, 6, "drill")
            row = Drilled(
                take.text(63, 1), take.uint(), take.uint(), take.uint(), take.text(_RESULT_BYTES), take.uint()
            )
            self._rows[row.box] = row

    def encode(self) -> bytes:
        """As stored."""
        rows = [[row.box, row.since_ns, row.success_ns, row.tried_ns, row.result, row.took_ns] for row in self.rows()]
        return pack([rows])

    def rows(self) -> Sequence[Drilled]:
        """By box."""
        return [self._rows[box] for box in sorted(self._rows)]

    def keep(self, boxes: Iterable[str], utc_ns: int) -> bool:
        """These are the boxes to drill from now on; True when that changed anything."""
        rows = {box: self._rows.get(box, Drilled(box, utc_ns)) for box in boxes}
        changed = rows.keys() != self._rows.keys()
        self._rows = rows
        return changed

    def due(self, utc_ns: int, period_ns: int) -> list[str]:
        """Boxes to drill now, the longest waiting first: a period after the last success, sooner while none is known
        or the last one failed. A clock that was set back counts as time that has passed.
        """
        waits = []
        for row in self._rows.values():
            wait_ns = min(period_ns, LIMITS.drill_retry_ns) if row.failed else period_ns
            if not row.tried_ns:
                wait_ns = min(period_ns, LIMITS.drill_first_ns)
            last_ns = row.tried_ns or row.since_ns
            if not 0 <= utc_ns - last_ns < wait_ns:
                waits.append((last_ns, row.box))
        return [box for _, box in sorted(waits)]

    def note(self, box: str, utc_ns: int, took_ns: int, fault: str | None) -> None:
        """A drill ended after ``took_ns``; ``fault`` says why it failed."""
        row = self._rows.get(box, Drilled(box, utc_ns))
        if fault is None:
            self._rows[box] = replace(row, success_ns=utc_ns, tried_ns=utc_ns, result=GOOD, took_ns=took_ns)
        else:
            text = fault.encode()[:_RESULT_BYTES].decode(errors="ignore")
            self._rows[box] = replace(row, tried_ns=utc_ns, result=text or "failed")

    def overdue(self, utc_ns: int, period_ns: int) -> list[Drilled]:
        """Boxes whose last success lies more than two periods back."""
        return [row for row in self.rows() if utc_ns - (row.success_ns or row.since_ns) > _OVERDUE_PERIODS * period_ns]
