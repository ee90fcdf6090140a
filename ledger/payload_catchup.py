"""Payloads that are not here although their headers are: asked for newest first, from whichever peer holds them.

A restore reads from the newest keyframe on, so the newest come first. Every box's logs get their turn, one piece at a
time; the next pieces are asked for once the last are durable, so that live blocks never wait behind them. What a peer
does not give is asked of the others, and of that peer again only after a pause that grows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ledger.block import Header, decode_signed_header, payload_hash
from ledger.errors import PeerFault, StoreFault
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import Get, Range, Want
from ledger.ops import FillPayload
from ledger.outbox import Outbox
from ledger.replica import LogReader, Replica
from ledger.retention import DAY_NS
from ledger.spans import Spans

PIECE_BLOCKS = 64
PAYLOAD_REQUESTS_FROM = 1 << 31
"""GET request ids from here on, below those of restores, ask for payloads of blocks whose headers are held."""


@dataclass(slots=True)
class _Asked:
    log: LogId
    peer: str
    first: int
    end: int
    until_ns: int


@dataclass(slots=True)
class _Refusals:
    """What one peer did not give of one log: not asked again until ``until_ns``.

    ``refused`` was asked for and not given, ``without`` is that and what is thought likely to be refused too;
    ``denied``: the peer said itself, since all was asked for the last time, that it does not hold it. Nothing else may
    ever be in there, for what all peers deny is given up; what is forgotten of it they say again.
    """

    without: Spans = field(default_factory=Spans)
    refused: Spans = field(default_factory=Spans)
    denied: Spans = field(default_factory=Spans)
    until_ns: int = 0
    pause_ns: int = LIMITS.payload_retry_min_ns
    in_a_row: int = 0

    def add(self, first: int, end: int, now_ns: int) -> None:
        """Each refusal in a row reaches twice as far back: retention takes the oldest first, catch-up brings the newest
        first, so what is older is likely not held either. What that passes over is asked for after the pause.
        """
        reach = (end - first) << min(self.in_a_row, 32)
        self.refused.add(first, end)
        self.without.add(max(0, end - reach), end)
        self.in_a_row += 1
        self.until_ns = now_ns + self.pause_ns

    def expire(self, now_ns: int) -> None:
        """What was passed over is tried next; once all was asked for, all of it again: one hole hides nothing."""
        if self.without and now_ns >= self.until_ns:
            passed_over = self.without.count > self.refused.count
            if not passed_over:
                self.refused, self.denied = Spans(), Spans()
            self.without = self.refused.copy()
            self.in_a_row = 0
            self.pause_ns = min(2 * self.pause_ns, LIMITS.payload_retry_max_ns)
            self.until_ns = now_ns + self.pause_ns


class PayloadCatchUp:
    """``step`` a few times a second and after each commit. ``is_current``: the log may be vouched for once whole."""

    def __init__(
        self, out: Outbox, reader: LogReader, replicas: Mapping[LogId, Replica], is_current: Callable[[LogId], bool],
        on_other_header: Callable[[str, bytes], None], on_filled: Callable[[Replica, int], None],
    ) -> None:  # fmt: skip
        self._out = out
        self._reader = reader
        self._replicas = replicas
        self._is_current = is_current
        self._on_other_header = on_other_header
        self._on_filled = on_filled
        self.keeps_payloads_of: Callable[[str, str], bool] = lambda _peer, _box: True
        self._peers: set[str] = set()
        self._asked: dict[int, _Asked] = {}
        self._refusals: dict[tuple[str, LogId], _Refusals] = {}
        self._turns: dict[str, None] = {}
        self._next_id = PAYLOAD_REQUESTS_FROM

    @property
    def outstanding(self) -> int:
        """Requests not answered yet."""
        return len(self._asked)

    @property
    def lacking(self) -> int:
        """Payloads not held here that no retention took."""
        return sum(replica.unheld.count for replica in self._replicas.values())

    def peer_up(self, peer: str) -> None:
        """A peer can be asked, whatever it refused before."""
        self._peers.add(peer)
        self._forget(peer)

    def peer_down(self, peer: str) -> None:
        """A peer cannot be asked."""
        self._peers.discard(peer)
        self._forget(peer)

    def _forget(self, peer: str) -> None:
        self._asked = {number: asked for number, asked in self._asked.items() if asked.peer != peer}
        self._refusals = {key: refusals for key, refusals in self._refusals.items() if key[0] != peer}

    # ---- asking ------------------------------------------------------------------------------------------------

    def step(self, now_ns: int, most: int = LIMITS.ranges_outstanding) -> None:
        """Ask for pieces, at most ``most`` at a time, one of each box."""
        for number, asked in list(self._asked.items()):
            if asked.until_ns <= now_ns:
                del self._asked[number]
                self._refused(asked.peer, asked.log).add(asked.first, asked.end, now_ns)
        lacking: dict[str, list[Replica]] = {}
        for replica in self._replicas.values():
            if replica.unheld and not replica.frozen:
                lacking.setdefault(replica.log.box, []).append(replica)
        self._turns = {box: None for box in (*self._turns, *lacking) if box in lacking}
        busy = {asked.log.box for asked in self._asked.values()}
        for box in [box for box in self._turns if box not in busy]:
            if len(self._asked) >= most:
                return
            if self._ask_for(lacking[box], now_ns):
                self._turns[box] = self._turns.pop(box)  # to the end of the line

    def _ask_for(self, logs: list[Replica], now_ns: int) -> bool:
        logs.sort(key=lambda each: (each.log.fenced, each.log.counter, each.closed_ns), reverse=True)
        for replica in logs:
            best: tuple[int, int, str] | None = None
            for peer in sorted(peer for peer in self._peers if self.keeps_payloads_of(peer, replica.log.box)):
                refusals = self._refusals.get((peer, replica.log))
                if refusals is not None:
                    refusals.expire(now_ns)
                without = refusals.without if refusals is not None else Spans()
                piece = replica.unheld.newest(PIECE_BLOCKS, replica.durable_size, without)
                if piece is not None and (best is None or (piece[1], peer == replica.log.box) > (best[1], False)):
                    best = (*piece, peer)
            if best is not None:
                self._ask(replica.log, *best, now_ns)
                return True
        return False

    def _ask(self, log: LogId, first: int, end: int, peer: str, now_ns: int) -> None:
        self._next_id += 1
        self._asked[self._next_id] = _Asked(log, peer, first, end, now_ns + LIMITS.range_timeout_ns)
        self._out.tell(peer, Get(self._next_id, log, first, end, Want.BLOCKS), bulk=True)

    def _refused(self, peer: str, log: LogId) -> _Refusals:
        return self._refusals.setdefault((peer, log), _Refusals())

    # ---- answers -----------------------------------------------------------------------------------------------

    def on_range(self, sender: str, message: Range, peers: Collection[str], now: Now) -> None:
        """An answer: payloads that fit their headers are kept. ``peers``: everybody who could hold one.

        Raises PeerFault ``block.bad-payload`` when one does not fit, StoreFault when our disk does not give back its
        header; the others are kept all the same.
        """
        asked = self._asked.get(message.request_id)
        if asked is None or (asked.peer, asked.log, asked.first) != (sender, message.log, message.first):
            return
        del self._asked[message.request_id]
        replica = self._replicas.get(asked.log)
        if replica is None or replica.frozen:
            return
        given, denied, bad, damage = 0, 0, 0, None
        for seq, (signed_header, payload) in zip(range(asked.first, asked.end), message.blocks, strict=False):
            try:
                held = self._reader.signed_header(asked.log, seq)
            except StoreFault as fault:  # our disk's: it must not keep the others from coming
                damage = fault
                continue
            if held is None:  # the block was dropped at its retention
                replica.give_up(seq, seq + 1)
            elif signed_header != held:
                with suppress(PeerFault):  # one nobody signed proves nothing; it is told of below like any bad one
                    self._on_other_header(sender, signed_header)
                bad += 1
            elif not payload:
                denied += seq in replica.unheld
                self._denied(sender, replica, seq, decode_signed_header(held), peers, now)
            elif seq in replica.unheld:
                fits = self._fill(replica, seq, decode_signed_header(held), payload)
                given, bad = given + fits, bad + (not fits)
        if given:
            self._gave(sender, replica)
        if denied or bad or damage or not message.blocks:
            self._refuses(asked, len(message.blocks), now)
        _raise_what_was_wrong(asked, bad, damage)

    def _gave(self, sender: str, replica: Replica) -> None:
        refusals = self._refused(sender, replica.log)
        refusals.in_a_row, refusals.pause_ns = 0, LIMITS.payload_retry_min_ns
        self._on_filled(replica, replica.filled_at)

    def _refuses(self, asked: _Asked, answered: int, now: Now) -> None:
        """Something of what was asked for did not come: ask others."""
        end = min(asked.first + answered, asked.end) if answered else asked.end
        self._refused(asked.peer, asked.log).add(asked.first, end, now.mono_ns)

    def _fill(self, replica: Replica, seq: int, header: Header, payload: bytes) -> bool:
        if len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash:
            return False
        replica.filled_at = self._out.persist(FillPayload(replica.log, seq, payload))
        replica.give_up(seq, seq + 1)
        return True

    def _denied(
        self, sender: str, replica: Replica, seq: int, header: Header, peers: Collection[str], now: Now
    ) -> None:
        """What every peer says it does not hold, and is so old that retention may have taken it, is gone for good."""
        self._refused(sender, replica.log).denied.add_or_forget(seq, seq + 1)
        everywhere = all(
            (refusals := self._refusals.get((peer, replica.log))) is not None and seq in refusals.denied
            for peer in peers
            if self.keeps_payloads_of(peer, replica.log.box)
        )
        if everywhere and self._may_be_pruned(replica, header, now):
            replica.give_up(seq, seq + 1)
            self._on_filled(replica, replica.filled_at)

    def _may_be_pruned(self, replica: Replica, header: Header, now: Now) -> bool:
        """Retention takes no payload within a day. Of a log that may yet be vouched for, its own clock is believed."""
        last = self._reader.signed_header(replica.log, replica.durable_size - 1)
        if last is None:
            return False
        newest = decode_signed_header(last)
        age_ns = newest.boot_ns - header.boot_ns
        if not self._is_current(replica.log):
            age_ns += max(0, now.utc_ns - newest.closed_ns)
        return age_ns > DAY_NS


def _raise_what_was_wrong(asked: _Asked, bad: int, damage: StoreFault | None) -> None:
    if bad:
        raise PeerFault("block.bad-payload", f"{asked.peer} gave {bad} payloads of {asked.log} that do not fit")
    if damage is not None:
        raise damage
