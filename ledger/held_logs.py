"""The logs that this box holds, and the ends of logs that epochs name: what to tell of, and what is still missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import HeadReport
from ledger.notices import Head
from ledger.replica import Replica

_UNNAMED_TOLD = 64


class HeldLogs:
    """Other boxes' logs and this box's own older ones. ``named``: how far epochs' starts name each log."""

    def __init__(self, own_id: str) -> None:
        self.replicas: dict[LogId, Replica] = {}
        self.named: dict[LogId, int] = {}
        self._own_id = own_id
        self._wanted: dict[LogId, int] = {}

    def expire(self, logs: Iterable[LogId]) -> None:
        """Whole logs go at their retention, or begin to."""
        for log in logs:
            replica = self.replicas.get(log)
            if replica is not None:
                replica.expired = True

    def of_box(self, box: str) -> list[Replica]:
        """Every log of a box."""
        return [replica for replica in self.replicas.values() if replica.log.box == box]

    def name(self, heads: Iterable[Head]) -> None:
        """An epoch's start names these ends."""
        for head in heads:
            size = max(head.size, self.named.get(head.log, 0))
            self.named[head.log] = size
            if head.log.box != self._own_id:
                self._wanted[head.log] = size

    def lacking(self) -> dict[LogId, int]:
        """Logs of others that an epoch names further than they are held here, and how far: of each box those named
        last, for it can name what was never there.
        """
        held = self.replicas
        self._wanted = {log: size for log, size in self._wanted.items() if log not in held or held[log].size < size}
        newest: Counter[str] = Counter()
        for log in reversed(list(self._wanted)):
            newest[log.box] += 1
            if newest[log.box] > LIMITS.wanted_logs_per_box:
                del self._wanted[log]
        return self._wanted

    def unnamed(self, box: str) -> list[Head]:
        """Durable ends of a box's logs that no epoch known here names."""
        held = [replica for replica in self.of_box(box) if not replica.frozen and not replica.expired]
        heads = [head for replica in held if (head := replica.head_at(replica.durable_size)) is not None]
        return [head for head in heads if head.size > self.named.get(head.log, 0)]

    def check_incarnation(self, log: LogId) -> None:
        """The store keeps one log under an incarnation: a second one there would end its transaction, and this box."""
        for held in self.replicas:
            if (held.box, held.incarnation) == (log.box, log.incarnation):
                raise PeerFault(
                    "log.incarnation-reused", f"{log} and {held} have one incarnation", f"restart {log.box}"
                )

    def reports(self, box: str | None = None) -> list[HeadReport]:
        """Durable heads of one box's logs or of all, newest epochs first."""
        chosen = [r for r in self.replicas.values() if (box is None or r.log.box == box) and r.durable_size]
        chosen.sort(key=lambda r: (r.log.fenced, r.log.counter, r.closed_ns), reverse=True)
        return [report for replica in chosen if (report := replica.report()) is not None]

    def live(self) -> list[Replica]:
        """Replicas worth talking about once a second: the newest epoch of each box and what no epoch has named yet."""
        newest: dict[str, Replica] = {}
        for replica in self.replicas.values():
            best = newest.get(replica.log.box)
            if replica.log.fenced and (best is None or replica.log.counter > best.log.counter):
                newest[replica.log.box] = replica
        unnamed = [r for r in self.replicas.values()
                   if not r.log.fenced and not r.expired and r.durable_size > self.named.get(r.log, 0)]  # fmt: skip
        return [*newest.values(), *unnamed[-_UNNAMED_TOLD:]]
