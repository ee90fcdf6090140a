"""C2SP signed notes v1.0.0 and verifier keys: a text and the signatures under it.

The text, an empty line, then for each signature a line of U+2014, the key's name and base64(key id[4] ‖ signature).
What is signed is the text with its final line feed.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.errors import BadInput, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, signature_is_valid

COSIGNATURE_DOMAIN = b"cosignature/v1\n"
TIME_BYTES = 8
MOST_TIME_S = (1 << 63) - 1
_KEY_ID_BYTES = 4
_DASH = "\u2014 "
_NAME_CHARACTERS = 255


class KeyType(enum.IntEnum):
    """Signature types of signed-note that this ledger makes and checks."""

    ED25519 = 1
    COSIGNATURE_V1 = 4


@dataclass(frozen=True, slots=True)
class Verifier:
    """Whose signature counts: a key name, its type and its 32-byte public key. ``key_id`` is derived."""

    name: str
    type: KeyType
    public: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not _is_key_name(self.name) or len(self.public) != PUBLIC_KEY_BYTES:
            raise BadInput("note.key", f"{self.name[:80]!r} is not a key name, or its key is not 32 bytes")
        digest = hashlib.sha256(f"{self.name}\n".encode() + bytes([self.type]) + self.public).digest()
        object.__setattr__(self, "key_id", digest[:_KEY_ID_BYTES])

    def vkey(self) -> str:
        """The key as people exchange it: ``name+hex key id+base64(type ‖ key)``."""
        encoded = base64.b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def accepts(self, text: bytes, signature: bytes) -> bool:
        """True when ``signature`` (without key id) is this key's over ``text``."""
        if self.type is KeyType.ED25519:
            return signature_is_valid(self.public, b"", text, signature)
        if len(signature) != TIME_BYTES + SIGNATURE_BYTES:
            return False
        time_s = int.from_bytes(signature[:TIME_BYTES], "big")
        return verify_cosignature(self.public, text, time_s, signature[TIME_BYTES:])


def parse_vkey(text: str) -> Verifier:
    """A verifier key of type 01 or 04; raises BadInput ``note.vkey``."""
    parts = text.split("+", 2)  # base64 may hold a "+" too
    try:
        name, key_id, encoded = parts
        raw = decode_base64(encoded)
        verifier = Verifier(name, KeyType(raw[0]), raw[1:])
    except (ValueError, IndexError, BadInput) as error:
        raise BadInput("note.vkey", f"{text[:120]!r} is not an Ed25519 verifier key") from error
    if verifier.key_id.hex() != key_id:
        raise BadInput("note.vkey", f"the key id in {text[:120]!r} is not that of its name and key")
    return verifier


def cosign_message(text: bytes, time_s: int) -> bytes:
    """What a cosignature/v1 signs, after its domain line: the time line and the whole checkpoint text."""
    if not 0 <= time_s <= MOST_TIME_S:
        raise VerificationFailed("note.time", f"{time_s} is not a cosignature's time")
    return b"time %d\n%b" % (time_s, text)


def verify_cosignature(public: bytes, text: bytes, time_s: int, signature: bytes) -> bool:
    """True when ``public``'s owner signed the checkpoint ``text`` at ``time_s`` with cosignature/v1."""
    if not 0 <= time_s <= MOST_TIME_S:
        return False
    return signature_is_valid(public, COSIGNATURE_DOMAIN, cosign_message(text, time_s), signature)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line; ``signature`` is what follows the key id (for a cosignature its time too)."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line as it stands under the text."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signature lines, well-formed but not yet checked."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Split and check the form; raises PeerFault ``note.size`` or ``note.malformed``."""
        if len(data) > LIMITS.note_bytes:
            raise PeerFault("note.size", f"a signed note of {len(data)} bytes is over the limit")
        try:
            content = data.decode()
        except UnicodeDecodeError as error:
            raise PeerFault("note.malformed", "the signed note is not UTF-8") from error
        text, blank, signatures = content.rpartition("\n\n")
        if not blank or not signatures.endswith("\n") or _has_control(content):
            raise PeerFault("note.malformed", "the signed note has no signatures, or holds control characters")
        lines = signatures[:-1].split("\n")
        if len(lines) > LIMITS.note_signatures:
            raise PeerFault("note.size", f"a signed note with {len(lines)} signatures is over the limit")
        return cls(f"{text}\n".encode(), tuple(_parse_line(line) for line in lines))

    def encode(self) -> bytes:
        """Inverse of ``parse``."""
        return self.text + b"\n" + "".join(each.line() for each in self.signatures).encode()

    def verify(self, verifiers: Iterable[Verifier]) -> tuple[tuple[Verifier, NoteSignature], ...]:
        """The signatures of known keys, in the note's order, each key's first only. Unknown keys are passed over.

        Raises VerificationFailed ``note.bad-signature`` when a known key's signature is wrong, ``note.unsigned`` when
        no known key signed.
        """
        known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
        found: dict[Verifier, NoteSignature] = {}
        for each in self.signatures:
            verifier = known.get((each.name, each.key_id))
            if verifier is None:
                continue
            if not verifier.accepts(self.text, each.signature):
                raise VerificationFailed("note.bad-signature", f"the signature of {each.name} does not fit the note")
            found.setdefault(verifier, each)
        if not found:
            raise VerificationFailed("note.unsigned", "no known key signed the note")
        return tuple(found.items())


def _parse_line(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        raw = decode_base64(encoded)
    except ValueError as error:
        raise PeerFault("note.malformed", "a signature line is not base64") from error
    if not line.startswith(_DASH) or not space or not _is_key_name(name) or len(raw) <= _KEY_ID_BYTES:
        raise PeerFault("note.malformed", "a signature line is not '— name base64'")
    return NoteSignature(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def decode_base64(text: str) -> bytes:
    """Padded RFC 4648 section 4 in its one canonical form; raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical")
    return raw


def _is_key_name(name: str) -> bool:
    spaced = any(character.isspace() for character in name)
    return 0 < len(name) <= _NAME_CHARACTERS and not spaced and "+" not in name and not _has_control(name)


def _has_control(text: str) -> bool:
    return any(character < " " and character != "\n" for character in text)
