"""The manifests a box knows: the newest, by which it works, and the older ones, to which older logs are bound."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.manifest import Box, Manifest, SignedManifest
from ledger.ops import PutManifest
from ledger.outbox import Outbox, Warn


class Manifests:
    """``newest`` is the highest version seen; ``own`` the highest that lists this box: another, once it is removed."""

    def __init__(self, own_id: str, manifest: Manifest) -> None:
        self._own_id = own_id
        self._signed: dict[int, bytes] = {}
        self._by_hash = {manifest.hash: manifest}
        self.newest = manifest
        self.own = manifest
        self._boxes: dict[str, Box] = {}
        self._peers: frozenset[str] | None = None

    def load(self, history: Iterable[tuple[int, bytes]]) -> None:
        """Take over what the store holds: (version, signed manifest) pairs, each checked when it came."""
        for version, data in history:
            manifest = SignedManifest.decode(data).manifest
            self._signed[version] = data
            self._put(manifest)

    def _put(self, manifest: Manifest) -> None:
        self._by_hash[manifest.hash] = manifest
        self._boxes.clear()
        self._peers = None
        if manifest.version >= self.newest.version:
            self.newest = manifest
            if manifest.lists(self._own_id):
                self.own = manifest

    @property
    def site(self) -> str:
        """The site's name; no manifest changes it."""
        return self.own.site

    def of(self, manifest_hash: bytes) -> Manifest:
        """The manifest of that hash; raises PeerFault ``manifest.unknown``."""
        found = self._by_hash.get(manifest_hash)
        if found is None:
            raise PeerFault("manifest.unknown", "a manifest is named that this box does not know", "wait for its offer")
        return found

    def version_of(self, manifest_hash: bytes) -> int:
        """0 when that manifest is not known here."""
        found = self._by_hash.get(manifest_hash)
        return found.version if found is not None else 0

    def knows(self, manifest_hash: bytes) -> bool:
        """True when that manifest, or one that followed it, is held."""
        return manifest_hash in self._by_hash

    def box(self, box_id: str) -> Box:
        """A box of the newest manifest, or as an older one knew it; raises PeerFault ``manifest.unknown-box``."""
        found = self._boxes.get(box_id)
        if found is None:
            found = self._boxes[box_id] = self._newest_listing(box_id).box(box_id)
        return found

    def _newest_listing(self, box_id: str) -> Manifest:
        listing = (known for known in self._by_hash.values() if known.lists(box_id))
        return max(listing, key=lambda known: known.version, default=self.newest)

    def before_own(self) -> Manifest | None:
        """The manifest before the one in force that listed this box: the group that knew it, if any did."""
        return next(iter(self.older_listing(self._own_id, self.own)), None)

    def older_listing(self, box: str, than: Manifest) -> list[Manifest]:
        """The older manifests that listed a box, newest first."""
        older = [known for known in self._by_hash.values() if known.version < than.version and known.lists(box)]
        return sorted(older, key=lambda known: known.version, reverse=True)

    def peers(self) -> frozenset[str]:
        """Every box that was or is in this box's group: those whose word on past and present logs counts."""
        if self._peers is None:
            groups = [known.peers_of(self._own_id) for known in self._by_hash.values() if known.lists(self._own_id)]
            self._peers = frozenset(box.id for group in groups for box in group)
        return self._peers

    def next_after(self, manifest_hash: bytes) -> bytes | None:
        """The signed manifest that follows the one of that hash; None when that is the newest, or unknown."""
        known = self._by_hash.get(manifest_hash)
        return self._signed.get(known.version + 1) if known is not None else None

    def take(self, offered: bytes, out: Outbox) -> bool:
        """A signed manifest was offered; True when it is the next one and is in force from now on.

        Raises PeerFault when malformed, or when the next version is not signed by both versions' site keys.
        """
        signed = SignedManifest.decode(offered)
        manifest = signed.manifest
        if manifest.site != self.site:
            raise PeerFault("manifest.other-site", f"a manifest of {manifest.site} was offered")
        if manifest.version == self.newest.version and manifest.hash != self.newest.hash:
            signed.check(None)
            self._alarm(manifest, out)
        if manifest.version != self.newest.version + 1:
            return False
        signed.check(self.newest)
        if manifest.version in self._signed or len(self._by_hash) >= LIMITS.manifests:
            return False
        out.persist(PutManifest(manifest.version, offered))
        self._signed[manifest.version] = offered
        self._put(manifest)
        return True

    def _alarm(self, other: Manifest, out: Outbox) -> None:
        if not set(other.site_keys) & set(self.newest.site_keys):
            return  # signed by strangers alone: anyone can make such a thing
        out.warn(Warn(
            "manifest.fork", "critical", "operator", self.site,
            f"two manifests of version {other.version} carry the site's signatures",
            "find out who signed the second one; treat the site's keys as stolen",
        ))  # fmt: skip
