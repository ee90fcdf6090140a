"""When a block closes before its tick, because a sender waits for an acknowledgment that this block makes true.

Each tick allows one, and what ticks did not use is saved, up to a few: so there are at most twice as many blocks, and a
sender that comes twice between two ticks waits for neither. Never close to another block: many senders still share one.
For the sender of an object nothing is counted, as the next image waits for the answer to this one. Pure: no clock of
its own (docs/adr/0011).
"""

from __future__ import annotations

from ledger.limits import LIMITS, Limits


class EarlyClose:
    """Times are monotonic nanoseconds."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._apart_ns = limits.early_close_apart_ns
        self._object_apart_ns = limits.early_close_object_apart_ns
        self._before_tick_ns = limits.early_close_before_tick_ns
        self._closed_ns = 0
        self._next_tick_ns = 0
        self._most_saved = limits.early_close_saved_blocks
        self._saved = self._most_saved
        self._planned = False
        self.is_put_off = False
        """Somebody waits for whom no block closes before the disk is free."""

    def first_tick(self, due_ns: int) -> None:
        """The ticks begin: whoever sends before the first one need not wait for it, either."""
        self._next_tick_ns = due_ns

    def ticked(self, next_tick_ns: int) -> None:
        """A tick has come; the next one is due then."""
        self._next_tick_ns = next_tick_ns
        self._saved = min(self._saved + 1, self._most_saved)
        self._planned = False

    def closed(self, now_ns: int) -> None:
        """A block was closed, at a tick or before one."""
        self._closed_ns = now_ns
        self._planned = False

    def wanted(self, now_ns: int, *, for_object: bool = False) -> int | None:
        """Somebody waits: when to close early. None when the tick is as good, one is planned, or none is saved.

        ``for_object``: nothing is taken from what is saved, and blocks may be closer together: who comes while the disk
        writes shares the next.
        """
        if self._planned or not (self._saved or for_object):
            return None
        apart_ns = self._object_apart_ns if for_object else self._apart_ns
        due_ns = max(now_ns, self._closed_ns + apart_ns)
        if due_ns + self._before_tick_ns > self._next_tick_ns:
            return None
        self._planned = True
        if not for_object:
            self._saved -= 1
        return due_ns
