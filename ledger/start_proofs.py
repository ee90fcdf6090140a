"""Which epochs' beginnings are proved: by promises of their own group and of the group of the log that they continue.

Which group that is shows in the continued log's first block. While this box does not hold that, and the promises are
not enough for every group that the epoch's box was ever in, it takes the epoch's blocks and vouches for none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.block import Header, decode_signed_header
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.manifests import Manifests
from ledger.messages import Promise
from ledger.notices import Head, Start
from ledger.replica import LogReader, Replica
from ledger.start import check_start, promised_in

_ANCESTORS_JUDGED = 64
"""After a restart, of a line of epochs each of which only the one before it proves: no honest box has a longer one."""


class StartProofs:
    """One per box, over the logs held there."""

    def __init__(self, manifests: Manifests, replicas: Mapping[LogId, Replica], reader: LogReader) -> None:
        self.refuted: dict[LogId, PeerFault] = {}
        self._untold: list[LogId] = []
        self._manifests = manifests
        self._replicas = replicas
        self._reader = reader
        self._kept: set[LogId] = set()
        self._judging = 0
        self._waiting: dict[LogId, tuple[bytes, LogId]] = {}

    def keep(self, log: LogId) -> None:
        """An epoch was held before this process began: it is judged again once somebody asks."""
        self._kept.add(log)

    def is_proved(self, log: LogId) -> bool:
        """False for an epoch held here whose beginning is not proved, or is refuted."""
        if log in self._kept:
            if self._judging >= _ANCESTORS_JUDGED:
                return False
            self._judging += 1
            self._judge_kept(log)
            self._judging -= 1
        return log not in self._waiting and log not in self.refuted

    def _judge_kept(self, log: LogId) -> None:
        self._kept.discard(log)
        signed_header = self._reader.signed_header(log, 0)
        if signed_header is None:
            return  # it went at its retention, and was vouched for while it was here
        try:
            self.take(decode_signed_header(signed_header), signed_header)
        except PeerFault as fault:
            self.refuted[log] = fault

    def take(self, header: Header, signed_header: bytes) -> bool:
        """An epoch's first block is here; True when it is proved. Raises PeerFault ``epoch.*``."""
        start = start_in(header)
        if self._judge(header, start):
            return True
        box = header.log.box
        if sum(log.box == box for log in self._waiting) >= LIMITS.unproved_epochs_per_box:
            raise PeerFault(
                "epoch.unproved", f"{box} began more epochs than can wait for what they continue", f"look at {box}"
            )
        if start.parent is not None:
            self._waiting[header.log] = (signed_header, start.parent.log)
        return False

    def refusal(self, log: LogId) -> PeerFault:
        """What every further block of a refuted epoch is answered with."""
        fault = self.refuted[log]
        return PeerFault(fault.id, fault.text, fault.next_step)

    def take_refuted(self) -> list[tuple[LogId, PeerFault]]:
        """The epochs that ``settle`` found to be refuted, once."""
        refuted = [(log, self.refuted[log]) for log in self._untold]
        self._untold.clear()
        return refuted

    def settle(self, here: LogId) -> list[tuple[Header, bytes]]:
        """The first block of ``here`` is held now; the epochs which that proves: header and signed header."""
        proved: list[tuple[Header, bytes]] = []
        following = [here]
        while following:
            parent = following.pop()
            for log in [log for log, (_, waits_for) in self._waiting.items() if waits_for == parent]:
                signed_header, _ = self._waiting[log]
                header = decode_signed_header(signed_header)
                try:
                    if not self._judge(header, start_in(header)):
                        continue
                    proved.append((header, signed_header))
                    following.append(log)
                except PeerFault as fault:
                    self.refuted[log] = fault
                    self._untold.append(log)
                del self._waiting[log]
        return proved

    def _judge(self, header: Header, start: Start) -> bool:
        box = header.log.box
        manifest = self._manifests.of(header.manifest_hash)
        older = self._manifests.older_listing(box, manifest)
        parent = self._held(start.parent)
        if start.parent is None:
            before = older[0] if older and manifest.peers_of(box) else None  # alone, a box asks nobody
        else:
            before = self._manifests.of(parent.manifest_hash) if parent is not None else None
        if before is not None and before.hash == manifest.hash:
            before = None
        givers = check_start(header, start, manifest, before, self._version_of, older)
        if start.parent is None or all(is_fenced_by(each, box, givers) for each in older):
            return True
        return parent is not None and self._is_sure_of(parent.log, givers, manifest)

    def _is_sure_of(self, parent: LogId, givers: Mapping[str, Promise], manifest: Manifest) -> bool:
        """The log to be continued is proved here, or so many report it as proved to them that one of them is honest."""
        reporting = [promise for promise in givers.values() if any(head.log == parent for head in promise.fenced)]
        return len(reporting) > manifest.quorum_of(parent.box).liars or self.is_proved(parent)

    def _held(self, parent: Head | None) -> Replica | None:
        replica = self._replicas.get(parent.log) if parent is not None else None
        return replica if replica is not None and replica.size else None

    def _version_of(self, log: LogId) -> int | None:
        replica = self._replicas.get(log)
        return self._manifests.version_of(replica.manifest_hash) if replica is not None else None


def start_in(header: Header) -> Start:
    """The start notice of a log's first block. Raises PeerFault ``log.no-start``."""
    start = next((notice for notice in header.notices if isinstance(notice, Start)), None)
    if start is None:
        raise PeerFault("log.no-start", f"{header.log} does not begin with a start notice")
    return start


def is_fenced_by(manifest: Manifest, box: str, givers: Mapping[str, Promise]) -> bool:
    """True when as many of this manifest's peers promised as its fence needs."""
    return promised_in(manifest, box, givers) >= manifest.quorum_of(box).fence
