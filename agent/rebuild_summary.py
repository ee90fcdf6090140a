"""What a rebuild did: the logs, who gave what, what was refused, what is missing, and what was left out on purpose."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from ledger.log import LogId
from ledger.replica import Replica

_REFUSALS_TOLD = 64
_CASES_TOLD = 16


@dataclass(frozen=True, slots=True)
class Refused:
    """What a source gave and was not kept."""

    source: str
    log: LogId
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Blocks ``first`` to ``end`` - 1 that are not there now, or only their headers."""

    log: LogId
    first: int
    end: int
    why: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A log of which every source that answered kept its end only: it went at the retention set there."""

    log: LogId
    blocks: int
    closed_ns: int


@dataclass(slots=True)
class Built:
    """One log as it stands in the folder now. ``left_out``: payloads that nobody asked for and that are not there."""

    log: LogId
    replica: Replica
    had: int
    witnessed: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Summary:
    """What a rebuild did. ``meant``: blocks of the selection; ``skipped``: logs that hold none of it; ``cases``: some
    of the cases met while looking for one.
    """

    logs: list[Built] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    refused: deque[Refused] = field(default_factory=lambda: deque(maxlen=_REFUSALS_TOLD))
    missing: list[Missing] = field(default_factory=list)
    expired: list[Expired] = field(default_factory=list)
    skipped: list[LogId] = field(default_factory=list)
    cases: set[bytes] = field(default_factory=set)
    signatures: int = 0
    roots: int = 0
    payloads: int = 0
    meant: int = 0

    @property
    def blocks(self) -> int:
        """Blocks in the folder now."""
        return sum(built.replica.size for built in self.logs)

    @property
    def left_out(self) -> int:
        """Payloads that are not in the folder because nobody asked for them."""
        return sum(built.left_out for built in self.logs)

    def met(self, cases: set[bytes]) -> None:
        """Remember some."""
        if len(self.cases) < _CASES_TOLD:
            self.cases |= cases
