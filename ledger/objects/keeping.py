"""When an object's row changes and when its file may go: rules without a clock, a disk or a thread of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.limits import LIMITS, Limits
from ledger.notices import StoredObject
from ledger.objects.vouching import Row
from ledger.ops import MarkObject, ObjectState


def marks(rows: Iterable[Row], stored: StoredObject, state: ObjectState) -> Iterator[MarkObject]:
    """For every block that wants exactly this object: one that names it with another length or index means another."""
    for row in rows:
        if row.stored == stored and row.state is ObjectState.WANTED:
            yield MarkObject(row.log, row.seq, stored.sha256, state)


def is_unwanted(rows: Iterable[Row]) -> bool:
    """No block wants it any more: its file may go."""
    return all(row.state is ObjectState.GONE for row in rows)


def is_litter(state: ObjectState | None, modified_ns: int, utc_ns: int, limits: Limits = LIMITS) -> bool:
    """Whether a whole file may go whose rows say ``state``; None: no block names it.

    That one is given a day, for its block may still come from a peer.
    """
    if state is None:
        return utc_ns - modified_ns > limits.object_unreferenced_ns
    return state is ObjectState.GONE
