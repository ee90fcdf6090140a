"""What a box may make its peers keep in a day beyond its live epoch, so that a crash loop or a liar fills no disk."""

from __future__ import annotations

from ledger.canonical import Fields, pack, unpack
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS

QUOTA = "quota"
_DAY_NS = 86_400 * S_NS
_QUOTA_BYTES = 64 * 1_024


class Quota:
    """Logs begun and blocks kept outside of a live epoch, by box, since midnight UTC. Saved once a second at most."""

    def __init__(self) -> None:
        self.day = 0
        self._since_ns: int | None = None
        self.dirty = False
        self._used: dict[str, list[int]] = {}

    def load(self, data: bytes) -> None:
        """Take over what was saved; raises PeerFault when malformed."""
        take = Fields(unpack(data, _QUOTA_BYTES, "quota"), 2, "quota")
        self.day = take.uint()
        for item in take.array(LIMITS.store_boxes):
            row = Fields(item, 3, "quota row")
            box = row.text(63, 1)
            self._used[box] = [row.uint(), row.uint()]

    def encode(self) -> bytes:
        """As stored."""
        self.dirty = False
        return pack([self.day, [[box, *used] for box, used in sorted(self._used.items())]])

    def today(self, now: Now) -> bool:
        """Time passes; True when a new day began. A clock stepped back does not give the day's quota twice, and one
        that was far ahead for a while withholds it for no more than a day.
        """
        if self._since_ns is None:
            self._since_ns = now.mono_ns
        day = now.utc_ns // _DAY_NS
        if day <= self.day and now.mono_ns - self._since_ns < _DAY_NS:
            return False
        self.day, self._since_ns = day, now.mono_ns
        self._used.clear()
        self.dirty = True
        return True

    def take_log(self, box: str) -> bool:
        """One more log of ``box``; False when it has had its number today."""
        return self._take(box, 0, LIMITS.epochs_per_day)

    def take_block(self, box: str) -> bool:
        """One more block of ``box`` outside of its live epoch; False when it has had its number today."""
        return self._take(box, 1, LIMITS.tail_blocks_per_day)

    def _take(self, box: str, column: int, most: int) -> bool:
        used = self._used.setdefault(box, [0, 0])
        if used[column] >= most:
            return False
        used[column] += 1
        self.dirty = True
        return True
