"""When a standby speaks for a silent box: never while anybody hears it, never in a storm.

One machine per box that this one stands by for. ``now_ns`` is monotonic. The shell asks the peers and restores; the
rules are here. A box is silent when nothing of it was heard for ``LIMITS.silence_ns``. Its state is handed out only
when F of its peers (this one counted) do not hear it and no peer that answers does, and not by a reserve while the
standby before it is there (``duties``). It ends when the box is heard again. What this box cannot find out because it
is cut off itself is no attempt. A box that comes and goes is restored ever more rarely; an attempt that handed out
nothing is made again soon, and is forgotten once the box was heard for a while.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from ledger.limits import LIMITS
from ledger.quorum import Quorum


class Phase(enum.Enum):
    """Where a standby is with one box."""

    HEARD = "heard"
    SILENT = "silent"
    RESTORING = "restoring"
    EMITTING = "emitting"


class Step(enum.Enum):
    """What the shell is to do now."""

    NOTHING = "nothing"
    ASK_AND_RESTORE = "ask and restore"
    END_EMISSION = "end emission"


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one peer said of the box: how long it has not heard it, in ms."""

    silent_ms: int

    @property
    def hears(self) -> bool:
        """True when the box was heard within the time that counts as presence."""
        return self.silent_ms * 1_000_000 < LIMITS.silence_ns


class Standby:
    """The machine for one box."""

    def __init__(self, box: str, quorum: Quorum, now_ns: int) -> None:
        self.box = box
        self.phase = Phase.HEARD
        self.quorum = quorum
        self.defers = False
        """Another box, before this one, stands by for it and is heard."""
        self.is_cut_off = False
        """Nobody at all is heard, so F peers cannot be asked."""
        self._heard_ns = now_ns
        self._restored_ns: int | None = None
        self._next_try_ns = now_ns
        self._pause_ns = LIMITS.standby_pause_min_ns
        self._retry_ns = LIMITS.standby_retry_min_ns
        self._heard_since_ns = now_ns

    def step(self, heard_ns: int | None, now_ns: int) -> Step:
        """``heard_ns``: when the box was last heard directly, None for never since start."""
        if heard_ns is not None:
            self._heard_ns = max(self._heard_ns, heard_ns)
        if now_ns - self._heard_ns < LIMITS.silence_ns:
            return self._heard(now_ns)
        if self.phase is Phase.HEARD:
            self.phase = Phase.SILENT
        if self.defers:
            was, self.phase = self.phase, Phase.SILENT
            return Step.END_EMISSION if was is Phase.EMITTING else Step.NOTHING
        if self.is_cut_off and self.quorum.fence > 1:
            return Step.NOTHING
        if self.phase is Phase.SILENT and now_ns >= self._next_try_ns:
            self.phase = Phase.RESTORING
            return Step.ASK_AND_RESTORE
        return Step.NOTHING

    def _heard(self, now_ns: int) -> Step:
        was, self.phase = self.phase, Phase.HEARD
        if was is not Phase.HEARD:
            self._heard_since_ns = now_ns
        elif now_ns - self._heard_since_ns >= LIMITS.standby_retry_max_ns:
            self._retry_ns = LIMITS.standby_retry_min_ns
        calm = self._restored_ns is not None and now_ns - self._restored_ns >= LIMITS.standby_calm_ns
        if was is Phase.HEARD and calm:
            self._pause_ns = LIMITS.standby_pause_min_ns
        return Step.END_EMISSION if was is Phase.EMITTING else Step.NOTHING

    def may_emit(self, others: Mapping[str, Hearing], heard_ns: int | None, now_ns: int) -> bool:
        """With the answers of the other peers: is the box silent to F of its peers, and heard by none that answered?"""
        if self.phase is not Phase.RESTORING or self.defers:
            return False
        if heard_ns is not None and now_ns - heard_ns < LIMITS.silence_ns:
            return False
        if any(hearing.hears for hearing in others.values()):
            return False
        return 1 + len(others) >= self.quorum.fence

    def emitted(self, now_ns: int) -> None:
        """The state was handed out; the next time this box falls silent soon after, it waits longer."""
        if self.phase is not Phase.RESTORING:
            return
        self.phase = Phase.EMITTING
        self._restored_ns = now_ns
        self._next_try_ns = now_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, LIMITS.standby_pause_max_ns)

    def failed(self, now_ns: int) -> None:
        """The restore did not verify, or somebody still hears the box: try again later."""
        if self.phase is Phase.RESTORING:
            self.phase = Phase.SILENT
        if self.is_cut_off or self.defers:
            self._next_try_ns = now_ns + LIMITS.standby_retry_min_ns
            return
        self._next_try_ns = now_ns + self._retry_ns
        self._retry_ns = min(2 * self._retry_ns, LIMITS.standby_retry_max_ns)
