"""What to ask whom: ranges of blocks that another box holds and this one lacks, bounded and from whoever has them.

A short gap is fetched whole. Of a long one the headers come first: with them live blocks follow on, a promise counts
and lost memory is mended; the payloads come after (``payload_catchup``).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.messages import Get, Range, Want
from ledger.outbox import Outbox
from ledger.replica import Replica

SHORT_GAP_BLOCKS = 64
RANGE_BLOCKS = 64
"""Asked for, and taken, few at a time, so that taking an answer in never keeps the loop from its tick."""
_SERVED_BLOCKS = 512
ReadBlocks = Callable[[LogId, int, int], Iterable[tuple[bytes, bytes]]]
"""(log, first, end) to (signed header, payload) pairs, committed data only."""


@dataclass(slots=True)
class _Asked:
    log: LogId
    peer: str
    until_ns: int
    have: int


class CatchUp:
    """Asks for what is missing. ``learn`` who holds what, ``step`` a few times a second.

    What a peer claims takes neither the room nor the turn of what others claim; who did not deliver is asked for one
    log at a time, and for a log that others have too only after them.
    """

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._claims: dict[str, dict[LogId, int]] = {}
        self._failures: dict[str, int] = {}
        self._asked: dict[int, _Asked] = {}
        self._answered: dict[LogId, _Asked] = {}
        self._next_id = 0
        self._gained_ns = -LIMITS.range_timeout_ns

    def is_gaining(self, now_ns: int) -> bool:
        """True while answers make logs longer."""
        return bool(self._asked) and now_ns - self._gained_ns < LIMITS.range_timeout_ns

    @property
    def outstanding(self) -> int:
        """Requests not answered yet."""
        return len(self._asked)

    @property
    def claims(self) -> int:
        """How many lengths of logs are remembered, of all peers together."""
        return sum(len(claimed) for claimed in self._claims.values())

    def learn(self, peer: str, log: LogId, size: int) -> None:
        """``peer`` says that it holds ``size`` blocks of ``log``."""
        claimed = self._claims.setdefault(peer, {})
        if size > claimed.get(log, 0) and (log in claimed or len(claimed) < LIMITS.catchup_logs_per_peer):
            claimed[log] = size  # a log beyond the bound is not lost: heads are told again every second

    def forget(self, peer: str) -> None:
        """``peer`` is gone: what was asked of it is asked of others."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked.peer != peer}
        self._claims.pop(peer, None)
        self._failures.pop(peer, None)

    def answered(self, message: Range) -> None:
        """A range arrived; whether it was of any use shows in the next ``step``."""
        asked = self._asked.pop(message.request_id, None)
        if asked is not None:
            self._answered[asked.log] = asked

    def lacking(self, sizes: Mapping[LogId, int]) -> dict[LogId, int]:
        """How many blocks of each log others say they hold that are not here."""
        longest: dict[LogId, int] = {}
        for claimed in self._claims.values():
            for log, size in claimed.items():
                longest[log] = max(size, longest.get(log, 0))
        return {log: size - sizes.get(log, 0) for log, size in longest.items() if size > sizes.get(log, 0)}

    def most(self, log: LogId) -> int:
        """The longest that any peer says it holds of ``log``."""
        return max((claimed.get(log, 0) for claimed in self._claims.values()), default=0)

    def step(
        self, replicas: Mapping[LogId, Replica], now_ns: int, refused: Container[LogId] = frozenset(),
        crowded: Container[str] = frozenset(), *, paused: bool = False,
    ) -> None:  # fmt: skip
        """Ask for missing ranges, at most ``LIMITS.ranges_outstanding`` at a time, one per log, each peer's claims and
        each log among them in its turn.

        Nothing is asked of the ``refused`` logs, nor of those of ``crowded`` boxes, of which too much waits for the
        disk; nothing at all while ``paused``, for too much waits of all together.
        """
        for number, asked in list(self._asked.items()):
            if asked.until_ns <= now_ns:
                del self._asked[number]
                self._failed(asked)
        for asked in self._answered.values():
            if _size_of(replicas.get(asked.log)) <= asked.have:
                self._failed(asked)
            else:
                self._gained_ns = now_ns
                self._failures.pop(asked.peer, None)
        self._answered.clear()
        if not paused:
            while len(self._asked) < LIMITS.ranges_outstanding and self._ask(replicas, now_ns, refused, crowded):
                pass

    def _failed(self, asked: _Asked) -> None:
        self._claims.get(asked.peer, {}).pop(asked.log, None)
        self._failures[asked.peer] = self._failures.get(asked.peer, 0) + 1

    def _ask(
        self, replicas: Mapping[LogId, Replica], now_ns: int, refused: Container[LogId], crowded: Container[str]
    ) -> bool:
        """Ask for one range, if there is one to be asked for."""
        busy = {asked.log for asked in self._asked.values()}
        waiting = {asked.peer for asked in self._asked.values() if asked.peer in self._failures}
        for claimant in [peer for peer in self._claims if peer not in waiting]:
            claimed = self._claims[claimant]
            for log, size in list(claimed.items()):
                replica = replicas.get(log)
                have = _size_of(replica)
                if log in busy or log in refused or log.box in crowded or (replica is not None and replica.frozen):
                    continue
                if size <= have:
                    del claimed[log]  # it takes no room from logs that are still to be learned of
                    continue
                self._claims[claimant] = self._claims.pop(claimant)  # to the end of the line
                claimed[log] = claimed.pop(log)
                self._ask_for(log, self._best(log, waiting, have), have, now_ns)
                return True
        return False

    def _best(self, log: LogId, waiting: Container[str], have: int) -> str:
        """Of those that hold more: who failed least, then who holds most."""
        holders = [(-self._failures.get(peer, 0), claimed[log], peer) for peer, claimed in self._claims.items()
                   if claimed.get(log, 0) > have and peer not in waiting]  # fmt: skip
        return max(holders)[2]

    def _ask_for(self, log: LogId, peer: str, have: int, now_ns: int) -> None:
        size = self._claims[peer][log]
        self._next_id += 1
        self._asked[self._next_id] = _Asked(log, peer, now_ns + LIMITS.range_timeout_ns, have)
        short = size - have <= SHORT_GAP_BLOCKS
        want = Want.BLOCKS if short else Want.HEADERS
        get = Get(self._next_id, log, have, min(size, have + RANGE_BLOCKS), want)
        self._out.tell(peer, get, bulk=not short)


def _size_of(replica: Replica | None) -> int:
    return replica.size if replica is not None else 0


def serve_range(get: Get, frontier: bytes, read_blocks: ReadBlocks) -> Range:
    """Answer a GET with at most the bytes it asks for (one block at least); the server keeps no state."""
    most = min(get.reply_bytes, LIMITS.relayed_reply_bytes)
    blocks: list[tuple[bytes, bytes]] = []
    total = 0
    for signed_header, stored_payload in read_blocks(get.log, get.first, min(get.end, get.first + _SERVED_BLOCKS)):
        payload = stored_payload if get.want is Want.BLOCKS else b""
        total += len(signed_header) + len(payload)
        if blocks and total > most:
            break
        blocks.append((signed_header, payload))
    return Range(get.request_id, get.log, get.first, frontier, tuple(blocks))
