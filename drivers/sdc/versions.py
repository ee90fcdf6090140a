"""The version of an MDIB as its reports tell it: what was missed shows as a number that never comes.

Every change of an MDIB has a version, one more than before, and is told in one or more reports with that version
(11073-10207, MdibVersionGroup). Reports of several subscriptions may overtake each other; what is missing is therefore
given some time to come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from drivers.contract import Now
from ledger.limits import S_NS

GRACE_NS: Final = 1 * S_NS
_MOST_MISSING: Final = 16


@dataclass(frozen=True, slots=True)
class Missed:
    """Versions that never came, between the report before them and the one after."""

    count: int
    since: Now
    until: Now


@dataclass(frozen=True, slots=True)
class _Span:
    first: int
    last: int
    since: Now
    until: Now
    joined: int = 0
    """Versions in between that came: of spans that were joined."""

    @property
    def count(self) -> int:
        return self.last - self.first + 1 - self.joined

    def without(self, version: int) -> list[_Span]:
        """What is missing yet when this version has come."""
        if self.joined:
            return [replace(self, joined=self.joined + 1)]
        around = (replace(self, last=version - 1), replace(self, first=version + 1))
        return [span for span in around if span.first <= span.last]

    def join(self, later: _Span) -> _Span:
        """Both in one."""
        count = self.count + later.count
        return replace(self, last=later.last, joined=later.last - self.first + 1 - count)


class Versions:
    """The versions seen since the first ``read``. Bounded: of many gaps the older are taken together."""

    __slots__ = ("_missing", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._missing: list[_Span] = []

    def read(self, version: int) -> None:
        """The whole MDIB was read, in this version: what was missing before it is known now."""
        self._next = max(self._next, version + 1)
        self._missing = [span for span in self._missing if span.last > version]

    def saw(self, version: int, since: Now, now: Now) -> None:
        """A report of this version came, and the one before it at ``since``."""
        if version >= self._next:
            if version > self._next:
                self._missing.append(_Span(self._next, version - 1, since, now))
                if len(self._missing) > _MOST_MISSING:
                    older, old, *others = self._missing
                    self._missing = [older.join(old), *others]
            self._next = version + 1
            return
        for place, span in enumerate(self._missing):
            if span.first <= version <= span.last:
                self._missing[place : place + 1] = span.without(version)
                return

    def deadline_ns(self) -> int | None:
        """When something that is missing will not be waited for any longer."""
        return self._missing[0].until.mono_ns + GRACE_NS if self._missing else None

    def overdue(self, now: Now) -> Missed | None:
        """What will not come any more; it is forgotten."""
        over = [span for span in self._missing if now.mono_ns - span.until.mono_ns >= GRACE_NS]
        if not over:
            return None
        self._missing = self._missing[len(over) :]
        return Missed(sum(span.count for span in over), over[0].since, over[-1].until)
