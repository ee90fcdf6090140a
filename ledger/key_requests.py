"""Data keys that blocks held here lack: when each is asked for again, until it comes.

A key may never come: what was recorded before a box joined was not wrapped to it, and a dead writer's key may be gone.
So each key is asked for ever more seldom, and anew when a peer comes back: it may be the one that holds it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import NamedTuple

from ledger.limits import LIMITS
from ledger.messages import GetWrap
from ledger.outbox import Outbox
from ledger.replica import Replica


class _Request(NamedTuple):
    """``number`` falls: of requests that are due together the key comes first that was found to be lacking last. It is
    likely to be of what is recorded now, and nobody vouches for that without it.
    """

    due_ns: int
    number: int
    replica: Replica
    key_id: bytes
    pause_ns: int = LIMITS.key_retry_min_ns


class KeyRequests:
    """Which keys of which logs to ask for, and when."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._requests: list[_Request] = []
        self._number = 0

    def lacks(self, replica: Replica, key_id: bytes) -> bool:
        """A block of this log is sealed under a key that is not held; True when that was not known yet."""
        if key_id in replica.missing_keys:
            return False
        replica.missing_keys.add(key_id)
        self._number -= 1
        heapq.heappush(self._requests, _Request(0, self._number, replica, key_id))
        return True

    def again(self) -> None:
        """A peer has come: every key is due, and soon asked for again if that brings nothing."""
        self._requests = [_Request(0, number, replica, key_id) for _, number, replica, key_id, _ in self._requests]
        heapq.heapify(self._requests)

    def step(self, peers: Collection[str], now_ns: int) -> None:
        """Ask every peer for what is due, a few keys at a time. ``now_ns``: monotonic."""
        asked = 0
        while peers and asked < LIMITS.keys_asked and self._requests and self._requests[0].due_ns <= now_ns:
            _, number, replica, key_id, pause_ns = heapq.heappop(self._requests)
            if key_id not in replica.missing_keys or replica.expired:
                continue
            asked += 1
            following_ns = min(2 * pause_ns, LIMITS.key_retry_max_ns)
            heapq.heappush(self._requests, _Request(now_ns + pause_ns, number, replica, key_id, following_ns))
            for peer in peers:
                self._out.tell(peer, GetWrap(replica.log, key_id))
