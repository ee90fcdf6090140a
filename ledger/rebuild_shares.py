"""Rebuilding a log from several sources at once: who is asked for which piece, and what is ready to be proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PIECE_BLOCKS = 1_024
PIECES_AHEAD = 8
_THIN_PIECES = 8
Blocks = Sequence[tuple[bytes, bytes]]
"""(signed header, payload) pairs in order; a payload is empty where the source does not hold it."""


def _held(blocks: Blocks) -> int:
    return sum(1 for _, payload in blocks if payload)


@dataclass(slots=True)
class _Piece:
    first: int
    end: int
    tried: set[str] = field(default_factory=set)
    taken_by: str | None = None
    blocks: Blocks | None = None
    lacking: set[str] = field(default_factory=set)
    """Who gave it without some of its payloads; ``thin`` is who gave the most of them, and what."""
    thin: tuple[str, Blocks] | None = None

    def settle(self, taken_by: str | None, blocks: Blocks | None) -> None:
        """Who gives it and what is known; who lacked payloads may be asked again."""
        self.taken_by, self.blocks, self.thin = taken_by, blocks, None
        self.lacking.clear()


class Shares:
    """One log's missing blocks, shared out in pieces between all that hold them; handed on in order.

    A source that gives nothing, or something that does not prove itself, is not asked for that piece again. Where
    ``wants_payloads``, one that lacks some is used only when nobody gives them all, and is asked for the next pieces
    after the others. At most ``PIECES_AHEAD`` pieces are held or under way.
    """

    def __init__(
        self, have: int, sizes: Mapping[str, int], piece_blocks: int = PIECE_BLOCKS, *, wants_payloads: bool = False
    ) -> None:  # fmt: skip
        self._sizes = dict(sizes)
        self._wants_payloads = wants_payloads
        self._thin_until: dict[str, int] = {}
        self._end = max((*sizes.values(), have))
        self._piece_blocks = piece_blocks
        self._pieces: list[_Piece] = []
        self._cut = have
        self._cut_ahead()

    def _cut_ahead(self) -> None:
        """Only the next pieces exist: how long the log is says a source that may lie."""
        while len(self._pieces) < PIECES_AHEAD and self._cut < self._end:
            first, self._cut = self._cut, min(self._end, self._cut + self._piece_blocks)
            self._pieces.append(_Piece(first, self._cut))

    @property
    def next_seq(self) -> int:
        """The first block that is not accepted yet; the log's end when all are."""
        return self._pieces[0].first if self._pieces else self._end

    @property
    def is_whole(self) -> bool:
        """True when every block that any source spoke of is accepted."""
        return not self._pieces

    @property
    def is_stuck(self) -> bool:
        """True when nobody is left who could give the next piece."""
        if not self._pieces:
            return False
        piece = self._pieces[0]
        waiting = piece.blocks is not None or piece.taken_by is not None
        return not waiting and not any(self._may(source, piece) for source in self._sizes)

    def _may(self, source: str, piece: _Piece) -> bool:
        return source not in piece.tried and source not in piece.lacking and self._sizes[source] > piece.first

    def take(self, source: str) -> tuple[int, int] | None:
        """The next range (first, end) that ``source`` is to give; None while there is none for it."""
        for piece in self._pieces:
            is_open = piece.taken_by is None and piece.blocks is None
            if is_open and self._may(source, piece) and not self._is_for_others(source, piece):
                piece.taken_by = source
                return piece.first, min(piece.end, self._sizes[source])
        return None

    def _is_for_others(self, source: str, piece: _Piece) -> bool:
        """True when ``source`` lacked payloads just before, and somebody may have more of them."""
        if piece.first >= self._thin_until.get(source, 0):
            return False
        return any(
            piece.first >= self._thin_until.get(other, 0) and self._may(other, piece)
            for other in self._sizes
            if other != source
        )

    def gave(self, source: str, first: int, blocks: Blocks) -> None:
        """What ``source`` gave for the range that begins at ``first``: whole, its beginning, or nothing."""
        piece = self._piece(source, first)
        if piece is None:
            return
        given = blocks[: piece.end - piece.first]
        if given and not (self._wants_payloads and any(not payload for _, payload in given)):
            piece.blocks = given
            return
        piece.taken_by = None
        if not given:
            piece.tried.add(source)
        else:
            piece.lacking.add(source)
            self._thin_until[source] = piece.end + _THIN_PIECES * self._piece_blocks
            if piece.thin is None or _held(given) > _held(piece.thin[1]):
                piece.thin = source, given
        self._settle_for_less(piece)

    def _settle_for_less(self, piece: _Piece) -> None:
        """Nobody is left who could give all payloads: what there is will do."""
        if piece.thin is not None and not any(self._may(source, piece) for source in self._sizes):
            piece.settle(*piece.thin)

    @property
    def sources(self) -> tuple[str, ...]:
        """Those who may still be asked."""
        return tuple(self._sizes)

    def gone(self, source: str) -> None:
        """``source`` gives nothing any more: it is asked no more. Nothing may be under way from it."""
        self._sizes.pop(source, None)
        for piece in self._pieces:
            if piece.taken_by is None and piece.blocks is None:
                self._settle_for_less(piece)

    def _piece(self, source: str, first: int) -> _Piece | None:
        for piece in self._pieces:
            if piece.first == first and piece.taken_by == source:
                return piece
        return None

    def ready(self) -> tuple[str, int, Blocks] | None:
        """(source, first, blocks) of the next piece in order, once it is here."""
        if not self._pieces:
            return None
        piece = self._pieces[0]
        if piece.blocks is None or piece.taken_by is None:
            return None
        return piece.taken_by, piece.first, piece.blocks

    def accepted(self) -> None:
        """What ``ready`` gave is kept."""
        piece = self._pieces[0]
        piece.first += len(piece.blocks or ())
        piece.settle(None, None)
        if piece.first >= piece.end:
            self.skip()

    def skip(self) -> None:
        """Go on behind the next piece: it is kept, or nobody gives it and it is left out."""
        del self._pieces[0]
        self._cut_ahead()

    def rejected(self) -> None:
        """What ``ready`` gave does not prove itself: another source is asked."""
        piece = self._pieces[0]
        if piece.taken_by is not None:
            piece.tried.add(piece.taken_by)
        piece.settle(None, None)
