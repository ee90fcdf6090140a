"""C2SP checkpoints v1.0.0, cosignature/v1 and offline proofs: the text forms of what boxes say about a log.

A checkpoint's text is three lines: origin, size, base64 root. No extension line is written or accepted: known cosigners
disagree on whether their signature covers one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.errors import PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.note import (
    COSIGNATURE_DOMAIN,
    TIME_BYTES,
    KeyType,
    Note,
    NoteSignature,
    Verifier,
    cosign_message,
    decode_base64,
    verify_cosignature,
)
from ledger.signing import SigningKey, signature_is_valid
from ledger.tree import HASH_BYTES, verify_inclusion

_MOST_SIZE = (1 << 63) - 1
_SIZE_DIGITS = 19
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_MOST_PATH = 63


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's name, number of leaves and Merkle root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """The bytes that are signed and cosigned."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Strict inverse of ``text``; raises PeerFault ``checkpoint.malformed``."""
        malformed = PeerFault("checkpoint.malformed", "not a checkpoint of three lines: origin, size, root")
        try:
            origin, size, encoded, end = text.decode().split("\n")
            checkpoint = cls(origin, _decimal(size), decode_base64(encoded))
        except ValueError as error:
            raise malformed from error
        if end or not origin or len(checkpoint.root) != HASH_BYTES:
            raise malformed
        return checkpoint


@dataclass(frozen=True, slots=True)
class Cosignature:
    """``name`` says: at ``time_s`` (POSIX seconds) I held all of this tree durably and knew of none against it."""

    name: str
    public: bytes
    time_s: int
    signature: bytes


def sign_checkpoint(key: SigningKey, checkpoint: Checkpoint) -> bytes:
    """The log's own 64-byte signature."""
    return key.sign(b"", checkpoint.text())


def checkpoint_signature_is_valid(public: bytes, checkpoint: Checkpoint, signature: bytes) -> bool:
    """True when the log's owner signed this checkpoint."""
    return signature_is_valid(public, b"", checkpoint.text(), signature)


def cosign(key: SigningKey, checkpoint: Checkpoint, time_s: int) -> bytes:
    """A peer's 64-byte cosignature/v1. Only after every block of the checkpoint is durable here."""
    return key.sign(COSIGNATURE_DOMAIN, cosign_message(checkpoint.text(), time_s))


def cosignature_is_valid(public: bytes, checkpoint: Checkpoint, time_s: int, signature: bytes) -> bool:
    """True when ``public``'s owner cosigned this checkpoint at ``time_s``."""
    return verify_cosignature(public, checkpoint.text(), time_s, signature)


def checkpoint_note(
    checkpoint: Checkpoint, log_public: bytes, log_signature: bytes, cosignatures: Iterable[Cosignature] = ()
) -> bytes:
    """The signed note: the log's signature (key name = origin) first, then the cosignatures."""
    log = Verifier(checkpoint.origin, KeyType.ED25519, log_public)
    lines = [NoteSignature(log.name, log.key_id, log_signature)]
    for each in cosignatures:
        witness = Verifier(each.name, KeyType.COSIGNATURE_V1, each.public)
        blob = each.time_s.to_bytes(TIME_BYTES, "big") + each.signature
        lines.append(NoteSignature(witness.name, witness.key_id, blob))
    return Note(checkpoint.text(), tuple(lines)).encode()


def open_checkpoint_note(
    data: bytes, log: Verifier, witnesses: Iterable[Verifier] = ()
) -> tuple[Checkpoint, tuple[Cosignature, ...]]:
    """The checkpoint and the cosignatures of known witnesses, all verified.

    Raises PeerFault when malformed; VerificationFailed when a known key's signature is wrong, ``checkpoint.unsigned``
    when the log itself did not sign, ``checkpoint.origin`` when the text names another log than ``log``.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.name:
        raise VerificationFailed("checkpoint.origin", f"the checkpoint is of {checkpoint.origin}, not of {log.name}")
    signers = note.verify([log, *witnesses])
    if all(verifier != log for verifier, _ in signers):
        raise VerificationFailed("checkpoint.unsigned", f"{log.name} did not sign its checkpoint")
    cosignatures = [
        Cosignature(
            verifier.name,
            verifier.public,
            int.from_bytes(line.signature[:TIME_BYTES], "big"),
            line.signature[TIME_BYTES:],
        )
        for verifier, line in signers
        if verifier.type is KeyType.COSIGNATURE_V1
    ]
    return checkpoint, tuple(cosignatures)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """C2SP tlog-proof: that one leaf stands in a cosigned log, checkable offline. ``note`` is a signed checkpoint."""

    index: int
    path: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The text that leaves the building."""
        hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in self.path)
        return f"{_PROOF_HEADER}\nindex {self.index}\n{hashes}\n".encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Strict inverse of ``encode`` (no ``extra`` line: we write none); raises PeerFault ``proof.malformed``."""
        malformed = PeerFault("proof.malformed", "not a tlog-proof")
        if len(data) > 2 * LIMITS.note_bytes:
            raise malformed
        head, blank, note = data.partition(b"\n\n")
        try:
            title, index_line, *hashes = head.decode().split("\n")
            index = _decimal(index_line.removeprefix("index "))
            path = tuple(decode_base64(each) for each in hashes)
        except ValueError as error:
            raise malformed from error
        if not blank or title != _PROOF_HEADER or not index_line.startswith("index ") or len(path) > _MOST_PATH:
            raise malformed
        if any(len(each) != HASH_BYTES for each in path):
            raise malformed
        return cls(index, path, note)

    def verify(
        self, leaf: bytes, log: Verifier, witnesses: Sequence[Verifier]
    ) -> tuple[Checkpoint, tuple[Cosignature, ...]]:
        """Prove that ``leaf`` stands at ``index``; returns what the note says and who cosigned it."""
        checkpoint, cosignatures = open_checkpoint_note(self.note, log, witnesses)
        verify_inclusion(self.index, checkpoint.size, leaf, self.path, checkpoint.root)
        return checkpoint, cosignatures


def _decimal(text: str) -> int:
    """A size or index: decimal, no leading zero, no sign; raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _SIZE_DIGITS) or (text[0] == "0" and text != "0"):
        raise ValueError(text)
    value = int(text)
    if value > _MOST_SIZE:
        raise ValueError(text)
    return value
