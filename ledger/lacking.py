"""How much this box still has to copy, by the box that recorded it: what a person asks after a box was away."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.limits import LIMITS
from ledger.member import Member


@dataclass(frozen=True, slots=True)
class Lacking:
    """``headers``: blocks of which peers say that they hold them and nothing is here; ``payloads``: blocks of which
    only the header is here.
    """

    headers: int = 0
    payloads: int = 0

    @property
    def blocks(self) -> int:
        """Not whole here."""
        return self.headers + self.payloads


def lacking(member: Member) -> dict[str, Lacking]:
    """By box, only boxes of which something is lacking. What is asked for no more does not count: logs that are frozen
    or refused, and ends of which only an epoch's start speaks: they may have gone everywhere at their retention.
    """
    witness, found = member.witness, dict[str, Lacking]()
    named = witness.held.lacking()
    sizes = {log: replica.size for log, replica in witness.replicas.items()}
    for log, count in member.fetching.catchup.lacking(sizes).items():
        replica = witness.replicas.get(log)
        is_begun = replica is not None and replica.size > 0
        if log in witness.refused or (replica is not None and replica.frozen) or (log in named and not is_begun):
            continue
        before = found.get(log.box, Lacking())
        found[log.box] = Lacking(before.headers + min(count, LIMITS.epoch_blocks), before.payloads)
    for log, replica in witness.replicas.items():
        if replica.unheld and not replica.frozen:
            before = found.get(log.box, Lacking())
            found[log.box] = Lacking(before.headers, before.payloads + replica.unheld.count)
    return found
