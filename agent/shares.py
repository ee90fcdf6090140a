"""Each peer's share of the loop: one that sends more than it may be served waits in a queue of its own, and only it.

A message is handled at once while its sender has time left. What a message costs is measured; time comes back at a
fixed share of the clock. Beyond a full queue the sender's messages are refused: blocks are pulled later, requests asked
again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.limits import LIMITS, S_NS

_AT_ONCE = 8


@dataclass(slots=True)
class _Peer:
    left_ns: float
    seen_ns: int
    waiting: deque[tuple[bytes, bool]] = field(default_factory=deque)
    waiting_bytes: int = 0


class Shares:
    """``handle(sender, wire, bulk)`` does the work, ``refuse(sender)`` is told of each message that found no room."""

    def __init__(
        self, handle: Callable[[str, bytes, bool], None], refuse: Callable[[str], None], clock_ns: Callable[[], int]
    ) -> None:
        self._handle = handle
        self._refuse = refuse
        self._clock_ns = clock_ns
        self._peers: dict[str, _Peer] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Messages not handled yet, of all peers."""
        return sum(len(peer.waiting) for peer in self._peers.values())

    def arrived(self, sender: str, wire: bytes, bulk: bool) -> None:
        """A message came in: handle it, or keep it until its sender's turn."""
        peer = self._refilled(sender)
        if peer.left_ns > 0 and not peer.waiting:
            self._serve(sender, peer, wire, bulk)
            return
        if (
            len(peer.waiting) >= LIMITS.peer_waiting_messages
            or peer.waiting_bytes + len(wire) > LIMITS.peer_waiting_bytes
        ):
            self._refuse(sender)
            return
        peer.waiting.append((wire, bulk))
        peer.waiting_bytes += len(wire)
        self._wake()

    def close(self) -> None:
        """Handle nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._peers.clear()

    def _refilled(self, sender: str) -> _Peer:
        now_ns = self._clock_ns()
        peer = self._peers.setdefault(sender, _Peer(LIMITS.peer_share_burst_ns, now_ns))
        gained = (now_ns - peer.seen_ns) * LIMITS.peer_share_percent / 100
        peer.left_ns = min(peer.left_ns + gained, LIMITS.peer_share_burst_ns)
        peer.seen_ns = now_ns
        return peer

    def _serve(self, sender: str, peer: _Peer, wire: bytes, bulk: bool) -> None:
        began_ns = self._clock_ns()
        try:
            self._handle(sender, wire, bulk)
        finally:
            peer.left_ns -= self._clock_ns() - began_ns

    def _wake(self) -> None:
        """When the first of those that wait has time again."""
        if self._timer is not None:
            return
        short_ns = min((-peer.left_ns for peer in self._peers.values() if peer.waiting), default=None)
        if short_ns is not None:
            delay_s = max(0.0, short_ns) / S_NS * 100 / LIMITS.peer_share_percent
            self._timer = asyncio.get_running_loop().call_later(delay_s + 0.001, self._drain)

    def _drain(self) -> None:
        """One message of each in turn, a few at once, so that the loop's other work goes on between."""
        self._timer = None
        for _ in range(_AT_ONCE):
            for sender in [sender for sender, peer in self._peers.items() if peer.waiting]:
                peer = self._refilled(sender)
                if peer.left_ns > 0:
                    wire, bulk = peer.waiting.popleft()
                    peer.waiting_bytes -= len(wire)
                    self._serve(sender, peer, wire, bulk)
        self._wake()
