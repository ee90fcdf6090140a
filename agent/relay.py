"""Hands a peer's answers through to a command line, as they came: for rebuilding logs in a process of its own.

The agent proves nothing here and keeps nothing: whoever asked does that. What is under way is bounded, goes by the
connection for bulk, and waits whenever the asker does not read, so that live blocks never wait for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgpack

from agent.pump import Pump
from ledger.errors import NoPeer, PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.member import RELAYED_REQUESTS_FROM, Member
from ledger.messages import Get, Want

_WINDOW = 6
_FIRST_STEP = 24
_MOST_STEP = 1_024
_RANGE_KIND = 34
_ID_PREFIX = bytes([_RANGE_KIND, 0x95, 0xCF])
"""A RANGE whose request id takes eight bytes: kind, array of 5, uint64."""


@dataclass(slots=True)
class _Stream:
    """One asker's range from one peer: what is still to ask for, what is under way, what came."""

    peer: str
    todo: deque[tuple[int, int]]
    under_way: dict[int, tuple[int, int]] = field(default_factory=dict)
    came: asyncio.Queue[tuple[int, bytes]] = field(default_factory=lambda: asyncio.Queue(_WINDOW))
    step: int = _FIRST_STEP


class Relay:
    """Fetches ranges from peers for others. Belongs to the loop."""

    def __init__(self, member: Member, pump: Pump) -> None:
        self._member = member
        self._pump = pump
        self._next_id = RELAYED_REQUESTS_FROM
        self._streams: dict[int, _Stream] = {}
        self._rebuilding: Counter[LogId] = Counter()
        pump.take_range = self.take
        pump.rebuilding = self._rebuilding

    async def fetch(
        self, peer: str, log: LogId, first: int, end: int, want: Want, send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Every answer of ``peer`` for blocks ``first`` to ``end`` - 1, in whatever order they come.

        Ends early when the peer holds no more. Raises NoPeer when it cannot be reached or falls silent.
        """
        stream = _Stream(peer, deque([(first, end)]))
        self._rebuilding[log] += 1
        try:
            while True:
                self._ask(stream, log, want)
                if not stream.under_way:
                    return
                number, wire = await self._next(stream)
                asked = stream.under_way.pop(number)
                self._note(stream, asked, _count(wire))
                await send(wire)
        finally:
            self._rebuilding -= Counter({log: 1})
            for number in stream.under_way:
                self._streams.pop(number, None)

    def _ask(self, stream: _Stream, log: LogId, want: Want) -> None:
        while stream.todo and len(stream.under_way) < _WINDOW:
            first, end = stream.todo.popleft()
            middle = min(end, first + stream.step)
            if middle < end:
                stream.todo.appendleft((middle, end))
            self._next_id += 1
            if self._pump.wire is None:
                raise NoPeer("restore.no-network", "this box has no peers to ask", "add [replication] and enrol peers")
            get = Get(self._next_id, log, first, middle, want)
            if not self._pump.wire.send_to(stream.peer, self._member.sign(get), bulk=True):
                raise NoPeer("peer.away", f"{stream.peer} cannot be reached", f"orledger status; look at {stream.peer}")
            stream.under_way[self._next_id] = (first, middle)
            self._streams[self._next_id] = stream

    async def _next(self, stream: _Stream) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(LIMITS.range_timeout_ns / S_NS):
                return await stream.came.get()
        except TimeoutError:
            raise NoPeer("peer.silent", f"{stream.peer} does not answer", f"look at {stream.peer}") from None

    @staticmethod
    def _note(stream: _Stream, asked: tuple[int, int], count: int) -> None:
        """Ask for as many blocks at a time as fit one answer; ask for what did not."""
        first, end = asked
        if count == 0:
            stream.todo.clear()
        elif count < end - first:
            stream.step = max(1, count * 9 // 10)
            stream.todo.appendleft((first + count, end))
        else:
            stream.step = min(_MOST_STEP, stream.step + 1 + stream.step // 8)

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


def _count(wire: bytes) -> int:
    """How many blocks a RANGE holds, without taking them apart. Raises PeerFault when it is none."""
    try:
        unpacker = msgpack.Unpacker(max_buffer_size=LIMITS.message_bytes)
        unpacker.feed(wire[1:])
        unpacker.read_array_header()
        for _ in range(4):
            unpacker.skip()
        return int(unpacker.read_array_header())
    except (ValueError, msgpack.UnpackException) as error:
        raise PeerFault("message.malformed", f"a peer's answer is no range: {error}") from error
