"""Who stands by for whom, as each box says once a second: of several for one, the first in the manifest acts.

The others are its reserve: they act while they do not hear it, and nobody who answers them does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.limits import LIMITS


class Duties:
    """What this box knows of them. ``own``: boxes that this one can speak for now; None when it was given none."""

    def __init__(self) -> None:
        self.own: tuple[str, ...] | None = None
        self._said: dict[str, tuple[frozenset[str], int]] = {}

    def take(self, sender: str, boxes: Sequence[str], now_ns: int) -> None:
        """``sender`` says for which boxes it stands by and can."""
        self._said[sender] = (frozenset(boxes), now_ns)

    def before(self, own: str, box: str, order: Sequence[str], heard_ns: Mapping[str, int]) -> list[str]:
        """Those listed before ``own`` in ``order`` that stand by for ``box``: by the last that was heard of each, but
        who is heard and says so no longer does not.
        """
        earlier = order[: order.index(own)] if own in order else order
        return [each for each in earlier if self._stands_by(each, box, heard_ns.get(each, 0))]

    def _stands_by(self, each: str, box: str, heard_ns: int) -> bool:
        boxes, said_ns = self._said.get(each, (frozenset(), 0))
        return box in boxes and heard_ns - said_ns < LIMITS.duty_ns
