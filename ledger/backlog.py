"""Blocks that were taken and are not durable yet: how many, of which box, and which those up to an operation are."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.replica import Replica


class Appended(NamedTuple):
    """A block asked to be stored, until it is: ``position`` is its operation's."""

    position: int
    replica: Replica
    size: int
    signed_header: bytes
    bytes: int = 0


class Backlog:
    """In the order of the operations. ``bytes`` is what all of it weighs."""

    def __init__(self) -> None:
        self.bytes = 0
        self._waiting: deque[Appended] = deque()
        self._blocks_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Appended]:
        return iter(self._waiting)

    def add(self, appended: Appended) -> None:
        """One more waits."""
        self._waiting.append(appended)
        self._count(appended, 1)

    def durable(self, position: int) -> Iterator[Appended]:
        """Those up to an operation, which wait no longer."""
        while self._waiting and self._waiting[0].position <= position:
            appended = self._waiting.popleft()
            self._count(appended, -1)
            yield appended

    def _count(self, appended: Appended, sign: int) -> None:
        box = appended.replica.log.box
        self.bytes += sign * appended.bytes
        self._blocks_of[box] += sign
        self._bytes_of[box] += sign * appended.bytes

    @property
    def is_short_of_time(self) -> bool:
        """True while what can wait is to wait: blocks of several boxes do. Of one box only some are counted, so that
        its flood keeps nobody from fetching what another's blocks lack.
        """
        most = LIMITS.payload_backlog_blocks_per_box
        return sum(min(blocks, most) for blocks in self._blocks_of.values()) >= LIMITS.payload_backlog_blocks

    def crowded(self) -> frozenset[str]:
        """The boxes of whose logs no more is to be asked for: what is on its way would find no room."""
        most = LIMITS.catchup_backlog_blocks_per_box
        return frozenset(box for box, blocks in self._blocks_of.items() if blocks >= most)

    def check_share(self, box: str) -> None:
        """Others' blocks must find room, and not wait for a transaction that is one box's alone.

        Raises PeerFault ``block.flood`` when no more of this box's may wait.
        """
        if (
            self._blocks_of[box] >= LIMITS.commit_queue_blocks_per_box
            or self._bytes_of[box] >= LIMITS.commit_queue_bytes_per_box
        ):
            raise PeerFault(
                "block.flood", f"{box} records more than this disk takes of one box: what is refused is fetched later",
                f"check this box's disk, then look at {box}",
            )  # fmt: skip
