"""How far each log of this box is witnessed: the live one, and those before it that a restart or a day ended.

A former log is witnessed as far as enough peers cosigned it, and as far as a later epoch's start names it, once that
start is witnessed itself (docs/architecture.md, "Tails"): nobody cosigns an epoch that is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.block import decode_signed_header
from ledger.certificate import Certificate
from ledger.errors import PeerFault, StoreFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Head, Start
from ledger.store import Store


@dataclass(frozen=True, slots=True)
class _Former:
    """What the disk says of a log that is over: how far each peer cosigned it, and which ends its start names."""

    cosigned: Mapping[str, int]
    named: tuple[Head, ...]


class WitnessedLogs:
    """Reads the disk, so ask on a thread; what is over is read once."""

    def __init__(self, store: Store, own: str) -> None:
        self._store = store
        self._own = own
        self._known: dict[LogId, _Former] = {}

    def sizes(self, manifest: Manifest, live: LogId, live_size: int) -> dict[LogId, int]:
        """How many blocks of each own log are witnessed; ``live_size`` of the one that is written."""
        peers = {box.id for box in manifest.peers_of(self._own)}
        needed = manifest.quorum_of(self._own).witnessed
        logs = [log for log, _ in self._store.logs(self._own)]
        sizes = dict.fromkeys(logs, 0) | {live: live_size}
        if not needed:
            return sizes
        for log in reversed(logs):  # a log is named by later ones alone
            former = self._former(log, live)
            if log != live and log.fenced:
                held = sorted((size for peer, size in former.cosigned.items() if peer in peers), reverse=True)
                sizes[log] = max(sizes[log], held[needed - 1] if len(held) >= needed else 0)
            if log.fenced and sizes[log]:
                for end in former.named:
                    sizes[end.log] = max(sizes.get(end.log, 0), end.size)
        return sizes

    def _former(self, log: LogId, live: LogId) -> _Former:
        known = self._known.get(log)
        if known is None:
            cosigned: dict[str, int] = {}
            for size, row in self._store.checkpoints(log) if log != live else ():
                for peer, _, _ in Certificate.decode(row).cosignatures:
                    cosigned[peer] = max(cosigned.get(peer, 0), size)
            known = _Former(cosigned, self._named_by(log))
            if log != live:
                self._known[log] = known
        return known

    def _named_by(self, log: LogId) -> tuple[Head, ...]:
        """The ends that a log's start names; none where its first block is no longer held."""
        try:
            first = self._store.block(log, 0)
            notices = () if first is None else decode_signed_header(first.signed_header).notices
        except (PeerFault, StoreFault):
            return ()
        for notice in notices:
            if isinstance(notice, Start):
                return ((notice.parent,) if notice.parent is not None else ()) + notice.tails
        return ()
