"""Carries what boxes say to each other about objects (``ledger.objects.exchange``): futures, threads and the wire.

Pieces travel on the connection for bulk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from agent.pump import Pump
from ledger.errors import NoPeer, OrledgerError
from ledger.limits import LIMITS, S_NS, Limits
from ledger.member import Member
from ledger.message_codec import encode_plain
from ledger.messages import AskHoldings, GetObject, Holding, ObjectBody, ObjectPiece, SignedBody
from ledger.objects.exchange import Exchange
from ledger.objects.folder import ObjectFolder


@dataclass(slots=True)
class ExchangeCounters:
    """Bytes of objects that came from peers and that were given to them."""

    bytes_in: int = 0
    bytes_out: int = 0


class ObjectExchange:
    """Belongs to the loop; what it reads of the disk it reads on ``threads``.

    ``on_holding(sender, holding, wire)`` and ``on_asked(sender, names)`` are told of what peers say and ask.
    """

    def __init__(
        self, member: Member, pump: Pump, folder: ObjectFolder, threads: Executor, limits: Limits = LIMITS
    ) -> None:
        self._member = member
        self._pump = pump
        self._folder = folder
        self._threads = threads
        self._limits = limits
        self._open = True
        self._exchange = Exchange(limits)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self.counters = ExchangeCounters()
        self.on_holding: Callable[[str, Holding, bytes], None] = lambda _sender, _holding, _wire: None
        self.on_asked: Callable[[str, tuple[bytes, ...]], None] = lambda _sender, _names: None
        member.on_object = self._on_message

    def close(self) -> None:
        """Hear nothing more; what is being read is not sent."""
        self._open = False

    # ---- asking ------------------------------------------------------------------------------------------------

    async def fetch(self, peer: str, sha256: bytes, first: int, end: int) -> bytes:
        """Bytes of an object from a peer. Raises Denied, NoPeer when it does not answer, PeerFault."""
        loop = asyncio.get_running_loop()
        get = self._exchange.ask(peer, sha256, first, end, round(loop.time() * S_NS))
        came: asyncio.Future[bytes] = loop.create_future()
        self._waiting[get.request_id] = came
        try:
            if not self.say(peer, get, bulk=True):
                raise NoPeer("peer.away", f"{peer} cannot be reached", f"orledger status; look at {peer}")
            async with asyncio.timeout(self._limits.object_piece_timeout_ns / S_NS):
                return await came
        except TimeoutError:
            raise NoPeer("peer.silent", f"{peer} does not answer", f"look at {peer}") from None
        finally:
            self._exchange.forget(get.request_id)
            del self._waiting[get.request_id]

    def say(self, peer: str, body: SignedBody, *, bulk: bool = False) -> bool:
        """Say something signed to a peer; False when it cannot be reached."""
        wire = self._pump.wire
        return wire is not None and wire.send_to(peer, self._member.sign(body), bulk=bulk)

    # ---- what comes --------------------------------------------------------------------------------------------

    def _on_message(self, sender: str, body: ObjectBody, wire: bytes) -> None:
        if not self._open:
            return
        match body:
            case ObjectPiece():
                self._on_piece(sender, body)
            case GetObject():
                self._on_get(sender, body)
            case Holding():
                self.on_holding(sender, body, wire)
            case AskHoldings(names):
                self.on_asked(sender, names)

    def _on_piece(self, sender: str, piece: ObjectPiece) -> None:
        """What was not asked for, or comes too late, is nobody's."""
        get = self._exchange.belongs(sender, piece)
        came = self._waiting.get(piece.request_id)
        if get is None or came is None or came.done():
            return
        try:
            came.set_result(Exchange.opened(sender, get, piece))
        except OrledgerError as fault:
            came.set_exception(fault)
        else:
            self.counters.bytes_in += len(piece.data)

    def _on_get(self, sender: str, get: GetObject) -> None:
        self._exchange.serve(sender, get)
        reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, get)
        reading.add_done_callback(lambda read: self._give(sender, get, read))

    def _read(self, get: GetObject) -> bytes:
        """On a thread. Empty when it is not held, or not so long."""
        length = self._folder.length(get.sha256)
        if length is None or get.end > length:
            return b""
        with self._folder.source(get.sha256) as source:
            return source.read(get.first, get.end)

    def _give(self, sender: str, get: GetObject, read: asyncio.Future[bytes]) -> None:
        self._exchange.served(sender)
        if read.cancelled() or not self._open:
            return
        fault = read.exception()
        if fault is not None and not isinstance(fault, OrledgerError):
            raise fault
        data = b"" if fault is not None else read.result()  # what our disk does not give back, another may hold
        self.counters.bytes_out += len(data)
        if self._pump.wire is not None:
            piece = ObjectPiece(get.request_id, get.sha256, get.first, data)
            self._pump.wire.reply_to(sender, encode_plain(piece), bulk=True)
