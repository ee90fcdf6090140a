"""How one feed writes: raw bytes, links, gaps and what its driver decoded, in one order; and what found no room."""

from __future__ import annotations

import logging
from collections import Counter

from agent.feed_status import GapBook
from agent.intake import Intake
from agent.losses import Loss, LossCause, Losses, loss_of
from agent.raw_run import Direction, RawRun
from agent.silence import Span
from drivers.contract import Now
from drivers.transports.links import Clock
from ledger.limits import LIMITS, Limits
from ledger.records import Gap, GapCause, Link, LinkId, LinkState, Record

_log = logging.getLogger(__name__)


class FeedRecorder:
    """A feed's way into the intake. Raw bytes always enter before what was decoded from them."""

    def __init__(self, feed: str, intake: Intake, now: Clock, *, keep_raw: bool, limits: Limits = LIMITS) -> None:
        self.counters: Counter[str] = Counter()
        self.gaps = GapBook(limits.gaps_remembered)
        self.lost: Counter[LossCause] = Counter()
        self.newest_loss_ns: dict[LossCause, int] = {}
        self._feed = feed
        self._intake = intake
        self._now = now
        self._keep_raw = keep_raw
        self._raw = RawRun(limits)
        self._losses = Losses()

    def keep(self, link: LinkId, direction: Direction, data: bytes, at: Now) -> None:
        """Keep bytes as they passed."""
        self.counters["bytes_in" if direction == "<" else "bytes_out"] += len(data)
        if self._keep_raw:
            for raw in self._raw.add(link, direction, data, at.utc_ns):
                self._offer(raw)

    def record(self, record: Record) -> int | None:
        """Record this; None if it found no room: then the loss will be told. Raises OurFault as the intake does."""
        self._flush_raw()
        return self._offer(record)

    def link(self, link: LinkId, state: LinkState, at: Now, peer: str, reason: str = "") -> None:
        """Record that a link changed, and say so in the journal."""
        _log.info("feed %s: link %d %s, %s%s", self._feed, link, state, peer, f": {reason}" if reason else "")
        self.record(Link(at_ns=at.utc_ns, link=link, state=state, peer=peer, reason=reason))

    def gap(self, cause: GapCause, lost: Span, at: Now, detail: str, lost_bytes: int | None = None) -> None:
        """Record that something was lost, and when."""
        since_ns, until_ns = lost
        gap = Gap(
            at_ns=at.utc_ns, cause=cause, since_ns=since_ns, until_ns=until_ns, lost_bytes=lost_bytes, detail=detail
        )
        self.record(gap)

    def lose(self, record: Record, cause: LossCause) -> None:
        """This record cannot be written: tell so when there is room."""
        self.counters["records_lost"] += 1
        self.lost[cause] += 1
        self.newest_loss_ns[cause] = self._now().mono_ns
        self._losses.add(loss_of((record,), cause))

    def flush(self) -> None:
        """The tick is about to take: the run of raw bytes ends, and losses are told if there is room again."""
        self._flush_raw()
        self._tell_losses()

    def durable(self, position: int) -> None:
        """Everything up to here is durable."""
        self._losses.durable(position)

    def refused(self, first: int, last: int, loss: Loss | None) -> None:
        """Positions were lost with their block, and ``loss`` with them."""
        self._losses.refused(first, last, loss)
        self.counters["records_lost"] += loss.items if loss is not None else 0

    def _flush_raw(self) -> None:
        if self._raw:
            for raw in self._raw.end():
                self._offer(raw)

    def _offer(self, record: Record) -> int | None:
        told = not self._losses or self._tell_losses()
        position = self._intake.offer(self._feed, (record,)) if told else None
        if position is None:
            self.lose(record, "overflow")
            return None
        self.counters["records"] += 1
        if isinstance(record, Gap):
            self.gaps.add(record)
        return position

    def _tell_losses(self) -> bool:
        """Whether nothing is left to be told, so that what comes next stands behind the loss before it."""
        for loss in self._losses.untold():
            gap = loss.gap(self._now().utc_ns)
            position = self._intake.offer(self._feed, (gap,))
            if position is None:
                return False
            _log.warning("feed %s: %d records lost, %s", self._feed, loss.items, loss.cause)
            self._losses.told(loss, position)
            self.gaps.add(gap)
        return True
