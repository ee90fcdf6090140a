"""Who vouches for the live log, and how far: cosignatures by peer, thresholds by the quorum table."""

from __future__ import annotations

from collections import OrderedDict

from ledger.certificate import Certificate
from ledger.checkpoint import Checkpoint, cosignature_is_valid
from ledger.errors import PeerFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.messages import Cosign
from ledger.quorum import Level, Quorum

_ROOTS_KEPT = 4_096
_CERTIFICATES_KEPT = 64


class Vouching:
    """Sizes up to which each peer cosigned or stores one log."""

    def __init__(self, manifest: Manifest, log: LogId, quorum: Quorum) -> None:
        self.cosigned: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self._manifest = manifest
        self._log = log
        self._quorum = quorum
        self._peers = {box.id: box.signing_public for box in manifest.peers_of(log.box)}
        self._roots: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._certificates: OrderedDict[int, dict[str, tuple[int, bytes]]] = OrderedDict()

    def add(self, size: int, root: bytes, log_signature: bytes) -> None:
        """The log grew: its new root and our own signature of that checkpoint."""
        self._roots[size] = (root, log_signature)
        if len(self._roots) > _ROOTS_KEPT:
            self._roots.popitem(last=False)

    def root_at(self, size: int) -> bytes | None:
        """The log's root at a size, if that is among the newest."""
        known = self._roots.get(size)
        return known[0] if known is not None else None

    def on_cosign(self, cosign: Cosign) -> None:
        """Take a cosignature. Raises PeerFault ``cosign.*`` when it is not one of this log's, or of another history."""
        public = self._peers.get(cosign.cosigner)
        if public is None:
            raise PeerFault("cosign.stranger", f"{cosign.cosigner} is not a peer of {self._log.box}")
        known = self._roots.get(cosign.size)
        if known is None:
            return
        checkpoint = Checkpoint(self._log.origin(self._manifest.site), cosign.size, cosign.root)
        if not cosignature_is_valid(public, checkpoint, cosign.time_s, cosign.signature):
            raise PeerFault("cosign.bad-signature", f"{cosign.cosigner} sent a cosignature that it did not make")
        if known[0] != cosign.root:
            raise PeerFault("cosign.other-root", f"{cosign.cosigner} cosigned another history of {self._log}")
        self._certificates.setdefault(cosign.size, {})[cosign.cosigner] = (cosign.time_s, cosign.signature)
        if len(self._certificates) > _CERTIFICATES_KEPT:
            self._certificates.popitem(last=False)
        self.cosigned[cosign.cosigner] = max(self.cosigned.get(cosign.cosigner, 0), cosign.size)
        self.on_stored(cosign.cosigner, cosign.size)

    def on_stored(self, peer: str, size: int) -> None:
        """A peer holds the log up to ``size``."""
        if peer in self._peers:
            self.stored[peer] = max(self.stored.get(peer, 0), size)

    def size_at(self, level: Level) -> int:
        """How many blocks have reached ``level``; LOCAL is the caller's to know."""
        match level:
            case Level.COPIED:
                return _nth(self.stored, 1)
            case Level.WITNESSED:
                return _nth(self.cosigned, self._quorum.witnessed)
            case Level.FINAL:
                return _nth(self.cosigned, self._quorum.final)
            case _:
                return max(self._roots, default=0)

    def level_of(self, seq: int) -> Level:
        """The highest level that block ``seq`` has reached."""
        cosigned = sum(1 for size in self.cosigned.values() if size > seq)
        stored = sum(1 for size in self.stored.values() if size > seq)
        return self._quorum.level(cosigned, stored)

    def certificate(self) -> Certificate | None:
        """The newest checkpoint that most peers cosigned exactly; without peers the newest. None before the first."""
        if not self._peers and self._roots:
            newest = max(self._roots)
            return Certificate(newest, *self._roots[newest], ())
        best = max(self._certificates, key=lambda size: (len(self._certificates[size]), size), default=None)
        if best is None or best not in self._roots:
            return None
        pairs = sorted(self._certificates[best].items())
        cosignatures = tuple((peer, time_s, signature) for peer, (time_s, signature) in pairs)
        return Certificate(best, *self._roots[best], cosignatures)


def _nth(sizes: dict[str, int], count: int | None) -> int:
    """The size that at least ``count`` peers have reached."""
    if not count or len(sizes) < count:
        return 0
    return sorted(sizes.values(), reverse=True)[count - 1]
