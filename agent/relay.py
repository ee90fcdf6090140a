"""Hands a peer's answers through to a command line, as they came: for rebuilding logs in a process of its own.

The agent proves nothing here and keeps nothing: whoever asked does that. What is under way is bounded, goes by the
connection for bulk, and waits whenever the asker does not read, so that live blocks never wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import msgpack

from agent.pump import Pump
from ledger.errors import NoPeer, PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.member import RELAYED_REQUESTS_FROM, Member
from ledger.messages import Get, Want
from ledger.range_codec import FRONTIER_BYTES

_WINDOW = 4
_FIRST_STEP = 24
_MOST_STEP = 512
_REMEMBERED_S = 60.0
_ENDED_AFTER_S = 30.0
"""Without another piece a log counts as rebuilt no longer. An asker keeps and audits what came: copying the same log in
bulk meanwhile would take the processors of all who hold it."""
_RANGE_KIND = 34
_BEFORE_BLOCKS_BYTES = FRONTIER_BYTES + 512
"""What a RANGE takes at most before its blocks: request id, log, first block, frontier."""
_ID_PREFIX = bytes([_RANGE_KIND, 0x95, 0xCF])
"""A RANGE whose request id takes eight bytes: kind, array of 5, uint64."""


@dataclass(slots=True)
class _Giver:
    """What a peer's answers taught: how many blocks fit one, and whether it gives large ones (None: not known yet)."""

    step: int = _FIRST_STEP
    gives_large: bool | None = None
    seen_s: float = 0.0

    @property
    def reply_bytes(self) -> int:
        """How large an answer it is asked for."""
        return LIMITS.range_reply_bytes if self.gives_large is False else LIMITS.relayed_reply_bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    first: int
    end: int
    is_trial: bool = False
    """Of one block, asked for behind a large answer in the way that every version knows."""


@dataclass(slots=True)
class _Stream:
    """One asker's range from one peer: what is still to ask for, what is under way, what came."""

    peer: str
    giver: _Giver
    todo: deque[tuple[int, int]]
    under_way: dict[int, _Asked] = field(default_factory=dict)
    came: asyncio.Queue[tuple[int, bytes]] = field(default_factory=lambda: asyncio.Queue(_WINDOW + 1))


class Relay:
    """Fetches ranges from peers for others. Belongs to the loop.

    Peers are asked for large answers. One of an earlier version refuses such a request without a word, and answers in
    order: so the first is followed by a small one, and when that is answered first, small ones are all it is sent.
    """

    def __init__(self, member: Member, pump: Pump) -> None:
        self._member = member
        self._pump = pump
        self._next_id = RELAYED_REQUESTS_FROM
        self._streams: dict[int, _Stream] = {}
        self._givers: dict[str, _Giver] = {}
        self._rebuilding: Counter[LogId] = Counter()
        pump.take_range = self.take
        pump.rebuilding = self._rebuilding

    async def fetch(
        self, peer: str, log: LogId, first: int, end: int, want: Want, send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Every answer of ``peer`` for blocks ``first`` to ``end`` - 1, in whatever order they come.

        Ends early when the peer holds no more. Raises NoPeer when it cannot be reached or falls silent.
        """
        stream = _Stream(peer, self._giver(peer), deque([(first, end)]))
        self._rebuilding[log] += 1
        try:
            while True:
                self._ask(stream, log, want)
                if not stream.under_way:
                    return
                number, wire = await self._next(stream)
                asked = stream.under_way.pop(number)
                if asked.is_trial:
                    self._on_trial(stream, number)
                else:
                    self._note(stream, asked, wire)
                    await send(wire)
        finally:
            stream.giver.seen_s = asyncio.get_running_loop().time()
            asyncio.get_running_loop().call_later(_ENDED_AFTER_S, self._ended, log)
            self._forget(stream.under_way)

    def _ended(self, log: LogId) -> None:
        self._rebuilding -= Counter({log: 1})

    def _giver(self, peer: str) -> _Giver:
        """What is known of it; not for long, for it may come back as another version."""
        giver = self._givers.get(peer)
        if giver is None or asyncio.get_running_loop().time() - giver.seen_s > _REMEMBERED_S:
            giver = self._givers[peer] = _Giver(seen_s=asyncio.get_running_loop().time())
        return giver

    def _ask(self, stream: _Stream, log: LogId, want: Want) -> None:
        giver = stream.giver
        while stream.todo and len(stream.under_way) < _WINDOW:
            if giver.gives_large is None and stream.under_way:
                return
            first, end = stream.todo.popleft()
            middle = first + _even_step(end - first, giver.step)
            if middle < end:
                stream.todo.appendleft((middle, end))
            get = Get(self._new_id(), log, first, middle, want, giver.reply_bytes)
            self._send(stream, get, _Asked(first, middle))
            if giver.gives_large is None:
                trial = Get(self._new_id(), log, first, first + 1, Want.HEADERS)
                self._send(stream, trial, _Asked(first, first + 1, is_trial=True))

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _send(self, stream: _Stream, get: Get, asked: _Asked) -> None:
        if self._pump.wire is None:
            raise NoPeer("restore.no-network", "this box has no peers to ask", "add [replication] and enrol peers")
        if not self._pump.wire.send_to(stream.peer, self._member.sign(get), bulk=True):
            raise NoPeer("peer.away", f"{stream.peer} cannot be reached", f"orledger status; look at {stream.peer}")
        stream.under_way[get.request_id] = asked
        self._streams[get.request_id] = stream

    async def _next(self, stream: _Stream) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(LIMITS.range_timeout_ns / S_NS):
                return await stream.came.get()
        except TimeoutError:
            raise NoPeer("peer.silent", f"{stream.peer} does not answer", f"look at {stream.peer}") from None

    def _on_trial(self, stream: _Stream, trial: int) -> None:
        """The small request is answered; what was asked for before it and is not, that peer does not know.

        Another stream may have learned that meanwhile.
        """
        if stream.giver.gives_large:
            return
        stream.giver.gives_large = False
        unknown = [number for number in stream.under_way if number < trial]
        self._forget(unknown)
        for number in reversed(unknown):
            asked = stream.under_way.pop(number)
            stream.todo.appendleft((asked.first, asked.end))

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._streams.pop(number, None)

    @staticmethod
    def _note(stream: _Stream, asked: _Asked, wire: bytes) -> None:
        """Ask for as many blocks at a time as fit one answer, by the size of those that came last; ask for what did
        not.
        """
        giver, count = stream.giver, _count(wire)
        giver.gives_large = giver.gives_large is not False
        if count == 0:
            stream.todo.clear()
            return
        fit = giver.reply_bytes * 9 // 10 * count // len(wire)
        giver.step = min(_MOST_STEP, max(1, fit))
        if count < asked.end - asked.first:
            stream.todo.appendleft((asked.first + count, asked.end))

    def take(self, sender: str, wire: bytes) -> bool:
        """True when the message is an answer to something asked for here; the pump's tap."""
        if not wire.startswith(_ID_PREFIX):
            return False
        number = int.from_bytes(wire[3:11], "big")
        stream = self._streams.get(number)
        if stream is not None and stream.peer == sender:
            del self._streams[number]  # an answer counts once; hence the queue never holds more than the window
            stream.came.put_nowait((number, wire))
        return number >= RELAYED_REQUESTS_FROM  # a late one is waited for by nobody any more


def _even_step(blocks: int, most: int) -> int:
    """How many to ask for first, so that all of them come in as few answers as ``most`` allows, none of them small."""
    answers = -(-blocks // most)
    return -(-blocks // answers)


def _count(wire: bytes) -> int:
    """How many blocks a RANGE holds, without taking them apart. Raises PeerFault when it is none."""
    try:
        unpacker = msgpack.Unpacker(max_buffer_size=_BEFORE_BLOCKS_BYTES)
        unpacker.feed(memoryview(wire)[1 : 1 + _BEFORE_BLOCKS_BYTES])
        unpacker.read_array_header()
        for _ in range(4):
            unpacker.skip()
        return int(unpacker.read_array_header())
    except (ValueError, msgpack.UnpackException) as error:
        raise PeerFault("message.malformed", f"a peer's answer is no range: {error}") from error
