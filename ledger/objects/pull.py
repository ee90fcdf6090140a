"""One object on its way here: whom to ask for what, what to believe, what to do on the disk, as a state machine.

Header and index come first, from one peer at a time; then chunks, a few under way, from all that may have them; each
is checked before it is kept, in order. What is held of it is resumed; at the end the file gets its name. The shell does
what ``work`` gives on any thread, then calls ``worked``; as long as there is no work it asks the ``questions``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, Self

from ledger.errors import NoPeer, OrledgerError, PeerFault, StoreFault, VerificationFailed
from ledger.limits import LIMITS, Limits
from ledger.objects.assembly import Assembly
from ledger.objects.exchange import Denied
from ledger.objects.format import ObjectHeader
from ledger.objects.sealer import SealedSource, prove
from ledger.objects.turns import Turns, Wanted

_LOG = logging.getLogger(__name__)


class _Part(Protocol):
    length: int

    def write(self, data: bytes) -> None: ...

    def read(self, first: int, end: int) -> bytes: ...

    def cut(self, length: int) -> None: ...

    def keep(self, sha256: bytes) -> None: ...

    def discard(self) -> None: ...

    def close(self) -> None: ...


class _Source(SealedSource, Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Folder(Protocol):
    """What a pull needs of the ``ObjectFolder``. Raises StoreFault."""

    def length(self, sha256: bytes) -> int | None: ...

    def source(self, sha256: bytes) -> _Source: ...

    def delete(self, sha256: bytes) -> int: ...

    def resume(self, sha256: bytes) -> _Part: ...


class _Stage(Enum):
    """Where a pull is."""

    LOOK = auto()
    INDEX = auto()
    RESUME = auto()
    CHUNKS = auto()
    FINISH = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Question:
    """Bytes ``first`` to ``end`` of the object are wanted of ``peer``: chunk ``number``, or a piece of its index."""

    peer: str
    first: int
    end: int
    number: int | None


class Pull:
    """``header`` is known once the object lies here whole and durable; ENDED without it: nobody gives it now.

    ``faults`` are those of peers, to be counted, and taken. ``false_name``: the block that names it lies, so nobody
    will ever give it.
    """

    def __init__(self, row: Wanted, folder: Folder, turns: Turns, limits: Limits = LIMITS) -> None:
        """Raises PeerFault when the block names what cannot be."""
        self.header: ObjectHeader | None = None
        self.false_name: PeerFault | None = None
        self.faults: list[tuple[str, OrledgerError]] = []
        self._row = row
        self._name = row.stored.sha256
        self._folder = folder
        self._turns = turns
        self._limits = limits
        self._assembly = Assembly(row.stored)
        self._stage = _Stage.LOOK
        self._part: _Part | None = None
        self._index_peer = ""
        self._index: list[bytes] = []
        self._outstanding: set[Question] = set()
        self._came: dict[int, tuple[str, bytes]] = {}
        self._again: list[int] = []
        self._following = 0
        self._turn = 0

    @property
    def has_ended(self) -> bool:
        """Nothing more is to be asked or done: ``header`` says whether it is here."""
        return self._stage is _Stage.ENDED

    @property
    def more_bytes(self) -> int:
        """What it may still take of the disk."""
        return self._row.stored.sealed_bytes - (self._part.length if self._part is not None else 0)

    @property
    def kept_back(self) -> int:
        """Chunks in memory: asked for, or come and not kept yet."""
        return len(self._outstanding) + len(self._came)

    def close(self) -> None:
        """Let go of the file, whatever happened; a part stays for later."""
        self._stage = _Stage.ENDED
        if self._part is not None:
            self._part.close()
            self._part = None

    # ---- the disk ----------------------------------------------------------------------------------------------

    def work(self) -> Callable[[], None] | None:
        """What is to be done on the disk before anything is asked; it raises StoreFault, PeerFault."""
        match self._stage:
            case _Stage.LOOK:
                return self._look
            case _Stage.RESUME:
                return self._resume
            case _Stage.CHUNKS if self._assembly.next_chunk in self._came:
                return self._keep
            case _Stage.FINISH:
                return self._finish
            case _:
                return None

    def worked(self, fault: OrledgerError | None, now_ns: int) -> None:
        """The work is done, or failed. Raises StoreFault: our own disk's."""
        if isinstance(fault, StoreFault):
            self.close()
            raise fault
        match self._stage:
            case _Stage.LOOK:
                self._stage = _Stage.INDEX if self.header is None else _Stage.ENDED
            case _Stage.RESUME:
                self._following = self._assembly.next_chunk
                self._stage = _Stage.FINISH if self._assembly.is_whole else _Stage.CHUNKS
            case _Stage.CHUNKS:
                self._kept(fault, now_ns)
            case _Stage.FINISH:
                self._stage = _Stage.ENDED
                if isinstance(fault, PeerFault):
                    self.false_name = fault
                else:
                    self.header = self._assembly.header

    def _look(self) -> None:
        """A file of that name, from before the store was rebuilt; one that is damaged is removed."""
        if self._folder.length(self._name) is None:
            return
        try:
            with self._folder.source(self._name) as source:
                self.header = prove(source, self._name, None).header
        except (VerificationFailed, PeerFault) as fault:
            _LOG.warning("%s; it is fetched again", fault)
            self._folder.delete(self._name)

    def _resume(self) -> None:
        """Keep what is good of the part, begin it if nothing is."""
        part = self._part = self._folder.resume(self._name)
        good = self._assembly.resume(part.read, part.length)
        if good < part.length:
            part.cut(good)
        if not good:
            part.write(self._assembly.beginning)

    def _keep(self) -> None:
        number = self._assembly.next_chunk
        _, data = self._came[number]
        self._assembly.check(number, data)
        self._open_part.write(data)
        self._assembly.add(data)

    def _kept(self, fault: OrledgerError | None, now_ns: int) -> None:
        number = self._assembly.next_chunk - (fault is None)
        peer, _ = self._came.pop(number)
        if fault is not None:
            self._refused(peer, fault, now_ns)
            self._again.append(number)
        elif self._assembly.is_whole:
            self._stage = _Stage.FINISH

    def _finish(self) -> None:
        part = self._open_part
        try:
            part.write(self._assembly.end())
        except PeerFault:
            part.discard()
            raise
        part.keep(self._name)

    @property
    def _open_part(self) -> _Part:
        if self._part is None:
            raise StoreFault("objects.ended", "an object is no longer being fetched", "report this")
        return self._part

    # ---- peers -------------------------------------------------------------------------------------------------

    def questions(self, now_ns: int, window: int) -> list[Question]:
        """What to ask now, with at most ``window`` chunks under way. None, and none waited for: it has ended."""
        asked: list[Question] = []
        if self._stage is _Stage.INDEX and not self._outstanding:
            asked = self._index_question(now_ns)
        elif self._stage is _Stage.CHUNKS:
            asked = self._chunk_questions(now_ns, window)
        self._outstanding.update(asked)
        if not self._outstanding and self.work() is None:
            self._stage = _Stage.ENDED
        return asked

    def _index_question(self, now_ns: int) -> list[Question]:
        """From one peer at a time: only the whole tells whether it is right."""
        if not self._index_peer:
            self._index = []
            self._index_peer = next(iter(self._turns.sources(self._row, now_ns)), "")
        if not self._index_peer:
            return []
        first, end = self._assembly.index_pieces()[len(self._index)]
        return [Question(self._index_peer, first, end, None)]

    def _chunk_questions(self, now_ns: int, window: int) -> list[Question]:
        sources = self._turns.sources(self._row, now_ns)
        asked: list[Question] = []
        while sources and (number := self._next_to_ask(window - len(asked))) is not None:
            peer, self._turn = sources[self._turn % len(sources)], self._turn + 1
            asked.append(Question(peer, *self._assembly.layout.chunk_at(number), number))
        return asked

    def _next_to_ask(self, window: int) -> int | None:
        """The first that was not given; else the following one, while there is room for what comes."""
        if self._again:
            self._again.sort()
            if self.kept_back < window or self._again[0] == self._assembly.next_chunk:
                return self._again.pop(0)
        elif self._following < self._assembly.layout.chunks and self.kept_back < window:
            self._following += 1
            return self._following - 1
        return None

    def answered(self, question: Question, given: bytes | OrledgerError, now_ns: int) -> None:
        """A peer's answer, or why there is none. Raises StoreFault when that is our own disk."""
        self._outstanding.discard(question)
        if self._stage is _Stage.ENDED:
            return
        if isinstance(given, OrledgerError):
            self._not_given(question, given, now_ns)
        elif question.number is not None:
            self._came[question.number] = question.peer, given
        else:
            self._index.append(given)
            if len(self._index) == len(self._assembly.index_pieces()):
                self._take_index(question, now_ns)

    def _take_index(self, question: Question, now_ns: int) -> None:
        try:
            self._assembly.take_index(self._index)
        except OrledgerError as fault:
            self._not_given(question, fault, now_ns)
        else:
            self._index = []
            self._stage = _Stage.RESUME

    def _not_given(self, question: Question, fault: OrledgerError, now_ns: int) -> None:
        if question.number is None:
            self._index_peer = ""
        else:
            self._again.append(question.number)
        self._refused(question.peer, fault, now_ns)

    def _refused(self, peer: str, fault: OrledgerError, now_ns: int) -> None:
        """This peer is asked for it later; what is wrong, and not just absent, is counted."""
        self._turns.refused(peer, self._name, now_ns, denied=isinstance(fault, Denied))
        if isinstance(fault, StoreFault):
            self.close()
            raise fault
        if not isinstance(fault, NoPeer):
            self.faults.append((peer, fault))
