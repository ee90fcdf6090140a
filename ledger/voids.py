"""Has this box lost memory? A disk put back from an older image has forgotten promises and cosignatures.

At start, before it promises or cosigns anything, a box asks its peers what they hold of its own logs. As soon as one
of them holds more than its disk does, its word is void for every box, durably, until it holds headers up to a fresh
head of that box's live fenced log, or up to the heads of n - w + 1 other peers (docs/architecture.md, "Lost memory").
Once it has caught up with its own logs, nothing shows the loss any more: so its word is void before it takes any.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifests import Manifests
from ledger.messages import NONCE_BYTES, Answer, Ask
from ledger.notices import Head
from ledger.outbox import Outbox, Warn
from ledger.replica import LogReader


@dataclass(slots=True)
class _Void:
    """What must be held again before our word on a box counts: its own fresh head, and what others answered."""

    live: Head | None = None
    others: dict[str, dict[LogId, int]] = field(default_factory=dict)


class Voids:
    """Decides for which boxes this one may promise and cosign."""

    def __init__(
        self, own_id: str, manifests: Manifests, reader: LogReader, out: Outbox, random: Callable[[int], bytes]
    ) -> None:
        self._own_id = own_id
        self._manifests = manifests
        self._reader = reader
        self._out = out
        self._nonce = random(NONCE_BYTES)
        self._own_at_start: dict[LogId, int] = {}
        self._answered: set[str] = set()
        self._newest: LogId | None = None
        self._ahead: dict[LogId, int] = {}
        self._is_lost = False
        self._is_news = False
        self._mended: set[str] = set()
        self._told = False
        self._warn_due: int | None = None
        self._is_to_warn = False
        self._void: dict[str, _Void] = {}
        self._next_ask_ns = 0

    def start(self, own_logs: Iterable[LogId], void: Mapping[str, bool]) -> None:
        """What the disk held when this process began (logs as they were opened), and whether our word on each box that
        it knew was void before; of this box itself: whether it ever lost memory.
        """
        self._own_at_start = {log: self._reader.length(log) for log in own_logs}
        self._newest = next(reversed(self._own_at_start), None)
        self._void = {box: _Void() for box, is_void in void.items() if is_void and box != self._own_id}
        self._mended = void.keys() - self._void.keys()
        self._is_to_warn = bool(self._void)
        self._is_lost = self._is_to_warn or void.get(self._own_id, False)

    @property
    def is_sure(self) -> bool:
        """True once enough peers said what they hold of our own logs."""
        own = self._manifests.own
        quorum = own.quorum_of(self._own_id)
        group = {box.id for box in own.peers_of(self._own_id)}
        return len(self._answered & group) >= quorum.peers - quorum.witnessed + bool(quorum.peers)

    def may_vouch(self, box: str) -> bool:
        """True when this box may promise and cosign for ``box``."""
        is_void = box in self._void or (self._is_lost and box not in self._mended)
        return self.is_sure and not is_void

    @property
    def void(self) -> frozenset[str]:
        """The boxes for which our word is void."""
        return frozenset(self._void)

    def step(self, peers_up: Iterable[str], now_ns: int) -> None:
        """Ask while anything is open, once a second; warn of a loss that is not mended soon."""
        self._warn_late(now_ns)
        if now_ns < self._next_ask_ns or (self.is_sure and not self._void):
            return
        self._next_ask_ns = now_ns + LIMITS.heads_every_ns
        for peer in sorted(peers_up):
            self.ask(peer)

    def ask(self, peer: str) -> None:
        """A peer can be spoken to: ask it at once."""
        if not self.is_sure:
            self._out.tell(peer, Ask(self._nonce, self._own_id))
        for box in sorted(self._void):
            self._out.tell(peer, Ask(self._nonce, box))

    def on_answer(self, sender: str, answer: Answer, written_since: Container[LogId]) -> bool:
        """True when the answer was to a question of ours. ``written_since``: our logs since this process began."""
        if answer.nonce != self._nonce:
            return False
        if answer.box in self._void:
            self._learn(sender, answer)
        if answer.box == self._own_id and not self.is_sure:
            for head in [report.head for report in answer.reports]:
                if head.log.box == self._own_id and head.log not in written_since:
                    self.found(head.log, head.size)
            self._answered.add(sender)
        return True

    def found(self, log: LogId, size: int) -> None:
        """Others hold this much of a log of ours that this process did not write."""
        more = size - self._own_at_start.get(log, 0)
        if more <= self._ahead.get(log, 0):
            return
        if not self._ahead:
            self._mended.clear()  # of an earlier loss, and forgotten again with this one
        self._ahead[log] = more
        self._is_lost = self._is_news = True

    def take_loss(self) -> frozenset[str]:
        """The boxes for which our word becomes void now: all of them once it shows that memory was lost, and those that
        a newer manifest adds, for what was forgotten may be of them.
        """
        if not self._is_lost:
            return frozenset()
        fresh = self._manifests.peers() - self._void.keys() - self._mended
        if fresh:
            self._void.update({box: _Void() for box in fresh})
            self._next_ask_ns = 0
            self._is_to_warn |= bool(self._ahead)
        if self._is_news and self._void and not self._told and not self._was_in_flight():
            self._warn(active=True)
        self._is_news = False
        return frozenset(fresh)

    def take_mended(self) -> frozenset[str]:
        """The boxes for which enough is held again: our word counts from now on."""
        mended = frozenset(box for box, void in self._void.items() if self._is_mended(box, void))
        for box in mended:
            del self._void[box]
            self._mended.add(box)
        if mended and not self._void:
            self._is_to_warn = False
            if self._told:
                self._warn(active=False)
        return mended

    def _was_in_flight(self) -> bool:
        """True when a crash alone explains it: the last few blocks left for the peers before they were durable here, of
        the newest log, and of the one that was being opened.
        """
        opening = [log for log in self._ahead if log not in self._own_at_start]
        older = self._ahead.keys() - {self._newest, *opening}
        return not older and len(opening) <= 1 and sum(self._ahead.values()) <= LIMITS.in_flight_blocks

    def _warn_late(self, now_ns: int) -> None:
        if not self._is_to_warn or self._told:
            self._warn_due = None
        elif self._warn_due is None:
            self._warn_due = now_ns + LIMITS.memory_lost_wait_ns
        elif now_ns >= self._warn_due:
            self._warn(active=True)

    def _warn(self, *, active: bool) -> None:
        self._told = active
        self._out.warn(Warn(
            "memory.lost", "warning", "disk", self._own_id,
            "the peers hold more of this box's own log than its disk does: it vouches again once it has caught up",
            "see which case is open (orledger case list): it and the last values may be the older disk's; if an image"
            " was put back, do not do so again: enrol a replacement box instead", active,
        ))  # fmt: skip

    def _learn(self, sender: str, answer: Answer) -> None:
        box, void = answer.box, self._void[answer.box]
        fenced = {report.head.log: report.head.size for report in answer.reports
                  if report.head.log.box == box and report.head.log.fenced and not report.expired}  # fmt: skip
        if sender == box and answer.reports and answer.reports[0].head.log.fenced:
            void.live = answer.reports[0].head
        if sender != box or self._manifests.own.quorum_of(self._own_id).peers == 1:
            void.others[sender] = fenced

    def _is_mended(self, box: str, void: _Void) -> bool:
        if void.live is not None and self._reader.length(void.live.log) >= void.live.size:
            return True
        if not self._manifests.newest.lists(box):
            return False
        quorum = self._manifests.newest.quorum_of(box)
        peers = {peer.id for peer in self._manifests.newest.peers_of(box)} | ({box} if quorum.peers == 1 else set())
        heard = [heads for peer, heads in void.others.items() if peer in peers]
        if len(heard) < quorum.peers - quorum.witnessed + 1:
            return False
        return all(self._reader.length(log) >= size for heads in heard for log, size in heads.items())
