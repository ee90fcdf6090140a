"""Which part of a box's record a rebuild is to bring: a time, a case, or all of it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.block import Header
from ledger.limits import LIMITS
from ledger.notices import CaseBoundary
from ledger.plain_header import PlainHeader

AnyHeader = Header | PlainHeader


@dataclass(frozen=True, slots=True)
class Selection:
    """Blocks closed from ``from_ns`` to before ``to_ns`` (UTC), and of the case ``case_id``; None is any."""

    from_ns: int | None = None
    to_ns: int | None = None
    case_id: bytes | None = None

    @property
    def is_everything(self) -> bool:
        """True when nothing is left out."""
        return self.from_ns is None and self.to_ns is None and self.case_id is None

    def holds(self, header: AnyHeader) -> bool:
        """True for a block that is meant: closed within, and of the case or telling of its opening or closing."""
        if self.from_ns is not None and header.closed_ns < self.from_ns:
            return False
        if self.to_ns is not None and header.closed_ns >= self.to_ns:
            return False
        return self.case_id is None or self.case_id in cases_of(header)

    def choose(self, headers: Iterable[AnyHeader]) -> Iterator[Chosen]:
        """Of a log's headers in order, those whose payload is wanted, as soon as that is known.

        Before the first block of a run come those since its keyframe, so that the room's state at its start is known;
        but none of another case than that block's.
        """
        before: deque[AnyHeader] = deque(maxlen=LIMITS.restore_blocks)
        for header in headers:
            if header.keyframe_seq == header.seq:
                before.clear()
            if self.holds(header):
                same = (None, header.case_id)
                yield from (Chosen(each.seq, is_meant=False) for each in before if each.case_id in same)
                before.clear()
                yield Chosen(header.seq, is_meant=True)
            else:
                before.append(header)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A block whose payload is wanted: ``is_meant``, or only needed to know the state at the start of what is."""

    seq: int
    is_meant: bool


def cases_of(header: AnyHeader) -> set[bytes]:
    """The cases that a block belongs to, opens or closes."""
    told = {notice.case_id for notice in header.notices if isinstance(notice, CaseBoundary)}
    return told if header.case_id is None else told | {header.case_id}
