"""How many peers must vouch. ``n`` peers, the writer not counted, of which up to ``f`` may lie.

F = k = ⌊(n+f)/2⌋+1, w = max(⌊n/2⌋+1, n−F+f+1); for n = 2, F is 1 because w = n, so that a three-box site restarts with
one box down (docs/architecture.md, "Quorums").
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ledger.errors import ConfigurationFault

_NEVER_FINAL = 3
"""A liar among so few cannot be told from the rest."""


class Level(enum.IntEnum):
    """How far a block is vouched for."""

    LOCAL = 0
    COPIED = 1
    WITNESSED = 2
    FINAL = 3


@dataclass(frozen=True, slots=True)
class Quorum:
    """The thresholds of a group. ``final`` is None where no level above witnessed is ever claimed (n ≤ 3)."""

    peers: int
    liars: int
    fence: int
    witnessed: int
    final: int | None

    def level(self, cosigned: int, stored: int) -> Level:
        """The level of a block that ``cosigned`` peers cosigned and ``stored`` peers (those included) hold."""
        if self.peers == 0:
            return Level.LOCAL
        if self.final is not None and cosigned >= self.final:
            return Level.FINAL
        if cosigned >= self.witnessed:
            return Level.WITNESSED
        return Level.COPIED if stored else Level.LOCAL

    def liars_to_fork(self, vouching: int) -> int:
        """How many lying peers, beside the writer, a second history would need."""
        return max(0, vouching + self.witnessed - self.peers)


def quorum_for(peers: int, liars: int | None = None) -> Quorum:
    """The thresholds for ``peers`` peers; ``liars`` None takes the default: none for up to 3 peers, else one.

    Raises ConfigurationFault ``quorum.impossible`` when witnessing would need more peers than there are.
    """
    allowed = liars if liars is not None else (0 if peers <= 3 else 1)
    if peers == 0:
        return Quorum(0, 0, 0, 0, None)
    majority = (peers + allowed) // 2 + 1
    witnessed = max(peers // 2 + 1, peers - majority + allowed + 1)
    fence = majority
    if peers == 2 and allowed == 0:
        fence = 1
    if witnessed > peers or fence > peers:
        raise ConfigurationFault("quorum.impossible", f"{peers} peers cannot tolerate {allowed} liars")
    claims_final = allowed >= 1 and peers > _NEVER_FINAL
    return Quorum(peers, allowed, fence, witnessed, majority if claims_final else None)
