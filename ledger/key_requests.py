"""Data keys that blocks held here lack: when each is asked for again, until it comes.

A key may never come: what was recorded before a box joined was not wrapped to it, and a dead writer's key may be gone.
So each key is asked for ever more seldom, and anew when a peer comes back: it may be the one that holds it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from ledger.limits import LIMITS
from ledger.messages import GetWrap
from ledger.outbox import Outbox
from ledger.replica import Replica

_NEWEST = 4 * LIMITS.keys_asked


@dataclass(slots=True, eq=False)
class _Wanted:
    """``number`` falls: of keys that are due together the one comes first that was found to be lacking last."""

    replica: Replica
    key_id: bytes
    number: int
    due_ns: int = 0
    pause_ns: int = LIMITS.key_retry_min_ns

    @property
    def is_open(self) -> bool:
        """Neither here by now nor of a log that went."""
        return self.key_id in self.replica.missing_keys and not self.replica.expired


class KeyRequests:
    """Which keys of which logs to ask for, and when. Half of each second's questions are for the keys found to be
    lacking last, for they are likely to be of what is recorded now, and nobody vouches for that without them; the rest
    go by how long a key has been due, so that none waits for ever.
    """

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._waiting: list[tuple[int, int, _Wanted]] = []
        self._newest: deque[_Wanted] = deque(maxlen=_NEWEST)
        self._number = 0

    def lacks(self, replica: Replica, key_id: bytes) -> bool:
        """A block of this log is sealed under a key that is not held; True when that was not known yet."""
        if key_id in replica.missing_keys:
            return False
        replica.missing_keys.add(key_id)
        self._number -= 1
        wanted = _Wanted(replica, key_id, self._number)
        self._newest.append(wanted)
        self._wait(wanted)
        return True

    def _wait(self, wanted: _Wanted) -> None:
        heapq.heappush(self._waiting, (wanted.due_ns, wanted.number, wanted))

    def again(self) -> None:
        """A peer has come: every key is due, and soon asked for again if that brings nothing."""
        due = {wanted.number: wanted for _, _, wanted in self._waiting}
        for wanted in due.values():
            wanted.due_ns, wanted.pause_ns = 0, LIMITS.key_retry_min_ns
        self._waiting = [(0, number, wanted) for number, wanted in due.items()]
        heapq.heapify(self._waiting)

    def step(self, peers: Collection[str], now_ns: int) -> None:
        """Ask every peer for what is due, a few keys at a time. ``now_ns``: monotonic."""
        asked = 0
        for wanted in reversed(self._newest):
            if peers and asked < LIMITS.keys_asked // 2 and wanted.is_open and wanted.due_ns <= now_ns:
                self._ask(wanted, peers, now_ns)
                asked += 1
        while peers and asked < LIMITS.keys_asked and self._waiting and self._waiting[0][0] <= now_ns:
            due_ns, _, wanted = heapq.heappop(self._waiting)
            if wanted.is_open and wanted.due_ns == due_ns:  # else asked meanwhile, for being among the newest
                self._ask(wanted, peers, now_ns)
                asked += 1

    def _ask(self, wanted: _Wanted, peers: Collection[str], now_ns: int) -> None:
        wanted.due_ns = now_ns + wanted.pause_ns
        wanted.pause_ns = min(2 * wanted.pause_ns, LIMITS.key_retry_max_ns)
        self._wait(wanted)
        for peer in peers:
            self._out.tell(peer, GetWrap(wanted.replica.log, wanted.key_id))
