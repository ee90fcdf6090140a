"""The site's signed, versioned list of boxes, keys and quorum. Peers, keys and quorum live nowhere else.

Version n+1 is signed by thresholds of both n's and n+1's site keys. A log is bound to one manifest hash.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from functools import cached_property

from ledger.canonical import Fields, pack, unpack
from ledger.errors import ConfigurationFault, PeerFault
from ledger.limits import LIMITS
from ledger.quorum import Quorum, quorum_for
from ledger.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SigningKey, signature_is_valid

MANIFEST_DOMAIN = b"orledger/manifest/1\n"
_VERSION = 1
_CERTIFICATE_BYTES = 4_096
_SITE_KEYS = 16


class Role(enum.IntEnum):
    """A member records and holds peers' logs whole; a witness holds headers only and records nothing."""

    MEMBER = 0
    WITNESS = 1


@dataclass(frozen=True, slots=True)
class Box:
    """One box as the site knows it. ``address`` is host:port of its broker, ``tls_certificate`` DER."""

    id: str
    room: str
    group: str
    role: Role
    signing_public: bytes
    receiving_public: bytes
    tls_certificate: bytes
    address: str

    def fields(self) -> list[object]:
        """For embedding."""
        return [
            self.id, self.room, self.group, int(self.role), self.signing_public, self.receiving_public,
            self.tls_certificate, self.address,
        ]  # fmt: skip

    @classmethod
    def from_fields(cls, value: object) -> Box:
        """Strict inverse of ``fields``; raises PeerFault."""
        take = Fields(value, 8, "manifest box")
        return cls(
            take.text(63, 1), take.text(127), take.text(63, 1), Role(take.uint(1)), take.raw(PUBLIC_KEY_BYTES),
            take.raw(PUBLIC_KEY_BYTES), take.blob(_CERTIFICATE_BYTES), take.text(255),
        )  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """One version. ``liars`` is the number of lying peers allowed for in each group, None for the default;
    ``recovery_public`` is the site's X25519 recovery key, to which every data key is wrapped too.
    """

    site: str
    version: int
    previous_hash: bytes
    boxes: tuple[Box, ...]
    liars: int | None
    format_max: int
    site_keys: tuple[bytes, ...]
    threshold: int
    recovery_public: bytes | None

    def encode(self) -> bytes:
        """The canonical body that site keys sign."""
        return pack([
            _VERSION, self.site, self.version, self.previous_hash, [box.fields() for box in self.boxes], self.liars,
            self.format_max, list(self.site_keys), self.threshold, self.recovery_public,
        ])  # fmt: skip

    @classmethod
    def decode(cls, body: bytes) -> Manifest:
        """Strict inverse of ``encode``; raises PeerFault."""
        take = Fields(unpack(body, LIMITS.manifest_bytes, "manifest"), 10, "manifest")
        if take.uint() != _VERSION:
            raise PeerFault("manifest.version", "this manifest's format is unknown", "upgrade this box")
        site, version, previous = take.text(63, 1), take.uint(), take.raw(32)
        boxes = tuple(Box.from_fields(item) for item in take.array(LIMITS.boxes))
        liars = take.optional()
        if liars is not None and (type(liars) is not int or not 0 <= liars <= LIMITS.boxes):
            raise PeerFault("codec.field", "manifest: the number of liars must be a small integer or nil")
        format_max, keys, threshold = take.uint(255), take.array(_SITE_KEYS), take.uint(_SITE_KEYS)
        recovery = take.optional()
        for key in [*keys, *([recovery] if recovery is not None else [])]:
            if type(key) is not bytes or len(key) != PUBLIC_KEY_BYTES:
                raise PeerFault("codec.field", "manifest: keys must be 32 bytes")
        if len({box.id for box in boxes}) != len(boxes):
            raise PeerFault("manifest.duplicate-box", "the manifest lists a box twice")
        if len({box.signing_public for box in boxes}) != len(boxes):
            raise PeerFault(
                "manifest.duplicate-key", "two boxes of the manifest sign with one key: each would vouch twice"
            )
        if not 1 <= threshold <= len(set(keys)):
            raise PeerFault("manifest.threshold", "the manifest's threshold does not fit its site keys")
        return cls(site, version, previous, boxes, liars, format_max, tuple(keys), threshold, recovery)

    @cached_property
    def hash(self) -> bytes:
        """What logs and messages are bound to."""
        return hashlib.sha256(MANIFEST_DOMAIN + self.encode()).digest()

    @cached_property
    def _by_id(self) -> dict[str, Box]:
        return {box.id: box for box in self.boxes}

    @cached_property
    def _peers(self) -> dict[str, tuple[Box, ...]]:
        return {}

    def box(self, box_id: str) -> Box:
        """The box of that id; raises PeerFault ``manifest.unknown-box``."""
        found = self._by_id.get(box_id)
        if found is None:
            raise PeerFault("manifest.unknown-box", f"box {box_id!r} is not in the manifest of {self.site}")
        return found

    def lists(self, box_id: str) -> bool:
        """True when the site has a box of that id."""
        return box_id in self._by_id

    def peers_of(self, box_id: str) -> tuple[Box, ...]:
        """The other boxes of this box's group."""
        known = self._peers.get(box_id)
        if known is None:
            own = self.box(box_id)
            known = tuple(box for box in self.boxes if box.group == own.group and box.id != box_id)
            self._peers[box_id] = known
        return known

    def quorum_of(self, box_id: str) -> Quorum:
        """The thresholds for this box's blocks."""
        return quorum_for(len(self.peers_of(box_id)), self.liars)


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest with its site-key signatures: (public key, signature) pairs."""

    manifest: Manifest
    signatures: tuple[tuple[bytes, bytes], ...]

    def encode(self) -> bytes:
        """As stored and gossiped."""
        return pack([self.manifest.encode(), [[key, signature] for key, signature in self.signatures]])

    @classmethod
    def decode(cls, data: bytes) -> SignedManifest:
        """Strict inverse of ``encode``, signatures NOT checked; raises PeerFault."""
        take = Fields(unpack(data, LIMITS.manifest_bytes, "signed manifest"), 2, "signed manifest")
        manifest = Manifest.decode(take.blob(LIMITS.manifest_bytes))
        pairs = []
        for item in take.array(2 * _SITE_KEYS):
            pair = Fields(item, 2, "manifest signature")
            pairs.append((pair.raw(PUBLIC_KEY_BYTES), pair.raw(SIGNATURE_BYTES)))
        return cls(manifest, tuple(pairs))

    def check(self, previous: Manifest | None) -> None:
        """Raise PeerFault ``manifest.unsigned`` unless enough of its own site keys signed, and of ``previous``'s."""
        body = self.manifest.encode()
        valid = {key for key, signature in self.signatures if signature_is_valid(key, MANIFEST_DOMAIN, body, signature)}
        wanted = [(self.manifest.site_keys, self.manifest.threshold)]
        if previous is not None:
            if self.manifest.version != previous.version + 1 or self.manifest.previous_hash != previous.hash:
                raise PeerFault("manifest.not-next", f"manifest {self.manifest.version} does not follow ours")
            wanted.append((previous.site_keys, previous.threshold))
        for keys, threshold in wanted:
            if len(valid & set(keys)) < threshold:
                raise PeerFault("manifest.unsigned", f"manifest {self.manifest.version} lacks {threshold} signatures")


def sign_manifest(manifest: Manifest, keys: list[SigningKey]) -> SignedManifest:
    """Sign with the given site keys; raises ConfigurationFault when the group's quorum is impossible."""
    for box in manifest.boxes:
        manifest.quorum_of(box.id)
    body = manifest.encode()
    signed = SignedManifest(manifest, tuple((key.public, key.sign(MANIFEST_DOMAIN, body)) for key in keys))
    if len(signed.encode()) > LIMITS.manifest_bytes:
        raise ConfigurationFault("manifest.oversize", "the manifest is too large", "use fewer boxes per site")
    return signed
