"""What follows when this box's disk has forgotten: its word stops to count at once, and counts again once caught up.

Whether it has forgotten, and for which boxes it has caught up, is decided by ``voids``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from ledger.catchup import CatchUp
from ledger.instant import Now
from ledger.log import LogId
from ledger.messages import Answer
from ledger.voids import Voids
from ledger.witness import Witness


class LostMemory:
    """Carries out at the ``witness`` what ``voids`` decides, and has fetched what the answers show to be lacking."""

    def __init__(self, voids: Voids, witness: Witness, catchup: CatchUp) -> None:
        self._voids = voids
        self._witness = witness
        self._catchup = catchup

    def step(self, peers_up: Iterable[str], now: Now) -> None:
        """Time passes: ask while anything is open. Call a few times a second."""
        self._voids.step(peers_up, now.mono_ns)
        self._mend(now)

    def on_own_found(self, log: LogId, size: int) -> None:
        """A block of a log of ours that our disk does not hold is about to be taken."""
        self._voids.found(log, size)
        self._take_loss()

    def on_answer(self, sender: str, answer: Answer, written_since: Container[LogId], now: Now) -> bool:
        """True when the answer was to a question of ours. ``written_since``: our logs since this process began."""
        if not self._voids.on_answer(sender, answer, written_since):
            return False
        for report in answer.reports:
            mine = report.head.log in written_since
            if report.head.log.box == answer.box and not mine and not report.expired:
                self._catchup.learn(sender, report.head.log, report.head.size)
        self._mend(now)
        if self._voids.is_sure:
            self._witness.cosigner.vouch_again(now)
        return True

    def _mend(self, now: Now) -> None:
        """Our word stops to count when memory was lost, and counts again where we have caught up."""
        self._take_loss()
        for box in self._voids.take_mended():
            self._witness.promises.set_void(box, void=False)
            self._witness.cosigner.vouch_again(now)

    def _take_loss(self) -> None:
        promises, own = self._witness.promises, self._witness.own_id
        for box in self._voids.take_loss():
            promises.set_void(box, void=True)
            if not promises.of(own).void:
                promises.set_void(own, void=True)  # for good: what a newer manifest adds may have been forgotten, too
