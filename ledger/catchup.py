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
_ASKED_BLOCKS = 64
"""Few at a time, so that taking an answer in never keeps the loop from its tick."""
_RANGE_BLOCKS = 1_024
ReadBlocks = Callable[[LogId, int, int], Iterable[tuple[bytes, bytes]]]
"""(log, first, end) to (signed header, payload) pairs, committed data only."""


@dataclass(slots=True)
class _Asked:
    log: LogId
    peer: str
    until_ns: int
    have: int


class CatchUp:
    """Asks for what is missing. ``learn`` who holds what, ``step`` a few times a second."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._sizes: dict[LogId, dict[str, int]] = {}
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
    def logs(self) -> int:
        """Logs of which somebody's length is known."""
        return len(self._sizes)

    def learn(self, peer: str, log: LogId, size: int) -> None:
        """``peer`` says that it holds ``size`` blocks of ``log``."""
        if size == 0 or (log not in self._sizes and len(self._sizes) >= LIMITS.catchup_logs):
            return  # a log beyond the bound is not lost: heads are told again every second
        holders = self._sizes.setdefault(log, {})
        if size > holders.get(peer, 0):
            holders[peer] = size

    def forget(self, peer: str) -> None:
        """``peer`` is gone: what was asked of it is asked of others."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked.peer != peer}
        for log in list(self._sizes):
            self._drop(log, peer)

    def answered(self, message: Range) -> None:
        """A range arrived; whether it was of any use shows in the next ``step``."""
        asked = self._asked.pop(message.request_id, None)
        if asked is not None:
            self._answered[asked.log] = asked

    def lacking(self, sizes: Mapping[LogId, int]) -> int:
        """How many blocks others hold that are not here."""
        return sum(max(0, max(h.values(), default=0) - sizes.get(log, 0)) for log, h in self._sizes.items())

    def most(self, log: LogId) -> int:
        """The longest that any peer says it holds of ``log``."""
        return max(self._sizes.get(log, {}).values(), default=0)

    def step(
        self, replicas: Mapping[LogId, Replica], now_ns: int, refused: Container[LogId] = frozenset(),
        *, paused: bool = False,
    ) -> None:  # fmt: skip
        """Ask for missing ranges, at most ``LIMITS.ranges_outstanding`` at a time, one per log, each log in its turn.

        Nothing is asked of the ``refused`` logs; ``paused`` while live blocks wait for the disk.
        """
        for number, asked in list(self._asked.items()):
            if asked.until_ns <= now_ns:
                del self._asked[number]
                self._drop(asked.log, asked.peer)
        for asked in self._answered.values():
            if _size_of(replicas.get(asked.log)) <= asked.have:
                self._drop(asked.log, asked.peer)
            else:
                self._gained_ns = now_ns
        self._answered.clear()
        if not paused:
            self._ask(replicas, now_ns, refused)

    def _drop(self, log: LogId, peer: str) -> None:
        holders = self._sizes.get(log, {})
        holders.pop(peer, None)
        if not holders:
            self._sizes.pop(log, None)

    def _ask(self, replicas: Mapping[LogId, Replica], now_ns: int, refused: Container[LogId]) -> None:
        busy = {asked.log for asked in self._asked.values()}
        for log, holders in list(self._sizes.items()):
            if len(self._asked) >= LIMITS.ranges_outstanding:
                return
            replica = replicas.get(log)
            have = _size_of(replica)
            if log in busy or log in refused or (replica is not None and replica.frozen):
                continue
            peer, size = max(holders.items(), key=lambda item: item[1])
            if size <= have:
                del self._sizes[log]  # nobody holds more: it takes no room from logs that are still to be learned of
                continue
            self._next_id += 1
            self._asked[self._next_id] = _Asked(log, peer, now_ns + LIMITS.range_timeout_ns, have)
            short = size - have <= SHORT_GAP_BLOCKS
            want = Want.BLOCKS if short else Want.HEADERS
            get = Get(self._next_id, log, have, min(size, have + _ASKED_BLOCKS), want)
            self._sizes[log] = self._sizes.pop(log)  # to the end of the line: every log gets its turn
            self._out.tell(peer, get, bulk=not short)


def _size_of(replica: Replica | None) -> int:
    return replica.size if replica is not None else 0


def serve_range(get: Get, frontier: bytes, read_blocks: ReadBlocks) -> Range:
    """Answer a GET with at most ``LIMITS.range_reply_bytes`` (one block at least); the server keeps no state."""
    blocks: list[tuple[bytes, bytes]] = []
    total = 0
    for signed_header, stored_payload in read_blocks(get.log, get.first, min(get.end, get.first + _RANGE_BLOCKS)):
        payload = stored_payload if get.want is Want.BLOCKS else b""
        total += len(signed_header) + len(payload)
        if blocks and total > LIMITS.range_reply_bytes:
            break
        blocks.append((signed_header, payload))
    return Range(get.request_id, get.log, get.first, frontier, tuple(blocks))
