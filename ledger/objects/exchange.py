"""Pieces of objects asked of peers and given to them: which answer is to which question, how much at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ledger.errors import NoPeer, PeerFault
from ledger.limits import LIMITS, Limits
from ledger.messages import GetObject, ObjectPiece
from ledger.objects.assembly import PIECE_BYTES


class Denied(NoPeer):
    """A peer says that it does not hold an object."""


@dataclass(frozen=True, slots=True)
class _Asked:
    peer: str
    get: GetObject
    due_ns: int


class Exchange:
    """One box's. What waits for an answer is bounded by who asks (``Pull``), what is served by ``serve``."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._next_id = 0
        self._asked: dict[int, _Asked] = {}
        self._serving: Counter[str] = Counter()

    def ask(self, peer: str, sha256: bytes, first: int, end: int, now_ns: int) -> GetObject:
        """The message that asks a peer for bytes ``first`` to ``end``; it waits for its answer from now on."""
        self._next_id += 1
        get = GetObject(self._next_id, sha256, first, end)
        self._asked[get.request_id] = _Asked(peer, get, now_ns + self._limits.object_piece_timeout_ns)
        return get

    def belongs(self, sender: str, piece: ObjectPiece) -> GetObject | None:
        """What a piece answers, forgotten with this; None when it was not asked of its sender, or is too late."""
        asked = self._asked.get(piece.request_id)
        if asked is None or (asked.peer, asked.get.sha256, asked.get.first) != (sender, piece.sha256, piece.first):
            return None
        del self._asked[piece.request_id]
        return asked.get

    @staticmethod
    def opened(sender: str, get: GetObject, piece: ObjectPiece) -> bytes:
        """The bytes that came. Raises Denied when the sender holds none, PeerFault ``object.short-piece``."""
        if not piece.data:
            raise Denied("object.denied", f"{sender} does not hold object {get.sha256.hex()[:16]}")
        if len(piece.data) != get.end - get.first:
            raise PeerFault("object.short-piece", f"{sender} gave {len(piece.data)} bytes of a piece")
        return piece.data

    def forget(self, request_id: int) -> None:
        """Nobody waits for this answer any more."""
        self._asked.pop(request_id, None)

    def overdue(self, now_ns: int) -> list[int]:
        """Request ids that were not answered in time."""
        return [request_id for request_id, asked in self._asked.items() if asked.due_ns <= now_ns]

    @property
    def outstanding(self) -> int:
        """Answers that are waited for."""
        return len(self._asked)

    def serve(self, sender: str, get: GetObject) -> None:
        """A peer asks; ``served`` must follow. Raises PeerFault ``object.range``, ``peer.flood``."""
        if not 0 < get.end - get.first <= PIECE_BYTES:
            raise PeerFault("object.range", f"{sender} asks for bytes {get.first} to {get.end} of an object")
        if self._serving[sender] >= self._limits.object_serves_of_a_peer:
            raise PeerFault("peer.flood", f"{sender} asks for more pieces of objects than may be under way")
        self._serving[sender] += 1

    def served(self, sender: str) -> None:
        """What a peer asked for was read, or could not be."""
        self._serving[sender] -= 1
