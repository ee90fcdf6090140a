"""A checkpoint with everyone's word on it: the writer's signature and the peers' cosignatures on exactly that root."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.canonical import Fields, pack, unpack
from ledger.checkpoint import Checkpoint, Cosignature, checkpoint_note
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.signing import SIGNATURE_BYTES

_CERTIFICATE_BYTES = 16_384
_COSIGNERS = 64


@dataclass(frozen=True, slots=True)
class Certificate:
    """``cosignatures``: (box id, POSIX seconds, signature). Binary in the store and on the wire; a note where shown."""

    size: int
    root: bytes
    log_signature: bytes
    cosignatures: tuple[tuple[str, int, bytes], ...]

    def encode(self) -> bytes:
        """As stored under its size."""
        cosignatures = [[name, time_s, signature] for name, time_s, signature in self.cosignatures]
        return pack([self.size, self.root, self.log_signature, cosignatures])

    @classmethod
    def decode(cls, data: bytes) -> Certificate:
        """Strict inverse of ``encode``; raises PeerFault."""
        take = Fields(unpack(data, _CERTIFICATE_BYTES, "certificate"), 4, "certificate")
        size, root, signature = take.uint(), take.raw(32), take.blob(SIGNATURE_BYTES)
        cosignatures = []
        for item in take.array(_COSIGNERS):
            fields = Fields(item, 3, "cosignature")
            cosignatures.append((fields.text(63, 1), fields.uint(), fields.raw(SIGNATURE_BYTES)))
        return cls(size, root, signature, tuple(cosignatures))

    def checkpoint(self, site: str, log: LogId) -> Checkpoint:
        """What was signed."""
        return Checkpoint(log.origin(site), self.size, self.root)

    def note(self, manifest: Manifest, log: LogId) -> bytes:
        """The C2SP signed note; a cosigner's key name is ``<site>/<box>``."""
        cosignatures = [
            Cosignature(cosigner_name(manifest.site, box), manifest.box(box).signing_public, time_s, signature)
            for box, time_s, signature in self.cosignatures
        ]
        public = manifest.box(log.box).signing_public
        return checkpoint_note(self.checkpoint(manifest.site, log), public, self.log_signature, cosignatures)


def cosigner_name(site: str, box: str) -> str:
    """The C2SP key name under which a box cosigns."""
    return f"{site}/{box}"
