"""Data keys and what is sealed under them: XChaCha20-Poly1305, one random key per (case, incarnation).

Block and object keys are derived with BLAKE2b under different ``person`` strings; a block's nonce is incarnation ‖ seq,
each object has a key of its own (``ledger.objects.format``). A wrapped key is a libsodium sealed box to one box's
X25519 key; wraps are never in a log.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from nacl import bindings
from nacl.exceptions import CryptoError

from ledger.canonical import Fields, pack, unpack
from ledger.errors import VerificationFailed

KEY_BYTES = 32
TAG_BYTES = 16
_KEY_ID_DOMAIN = b"orledger/key-id/1\n"
_WRAP_DOMAIN = "orledger/wrap/1"
_WRAP_BYTES = 256
_NONCE_FRONT = bytes(4)
"""XChaCha20-Poly1305 is ChaCha20-Poly1305 under a subkey made of the nonce's first 16 bytes; this stands for them."""
_WORDS = struct.Struct("<8I")
_CHACHA_CONSTANT = b"expand 32-byte k"


@dataclass(frozen=True, slots=True)
class DataKey:
    """The secret of one (case, incarnation). ``key_id`` commits to it; the cipher alone would not."""

    secret: bytes = field(repr=False)
    key_id: bytes = field(init=False)
    _block_key: bytes = field(init=False, repr=False)
    _last_cipher: tuple[bytes, ChaCha20Poly1305] | None = field(default=None, init=False, repr=False, compare=False)
    """With the incarnation that it is for: all payloads of one log but for the seq have the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", hashlib.sha256(_KEY_ID_DOMAIN + self.secret).digest())
        derived = hashlib.blake2b(key=self.secret, person=b"orledger-block", digest_size=KEY_BYTES).digest()
        object.__setattr__(self, "_block_key", derived)

    def seal_payload(self, plain: bytes, incarnation: bytes, seq: int, associated_data: bytes) -> bytes:
        """Seal one block's payload. A seq is sealed once; sealing other bytes under it would reuse the nonce."""
        nonce = incarnation + seq.to_bytes(8, "big")
        return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, associated_data, nonce, self._block_key)

    def object_key(self, salt: bytes) -> bytes:
        """The key of one object (``ledger.objects``): with a salt that is random and never used twice."""
        return hashlib.blake2b(salt, key=self.secret, person=b"orledger-object", digest_size=KEY_BYTES).digest()

    def open_payload(self, sealed: bytes, incarnation: bytes, seq: int, associated_data: bytes) -> bytes:
        """Inverse of ``seal_payload``; raises VerificationFailed ``payload.unsealable``."""
        try:
            return self._cipher(incarnation).decrypt(_NONCE_FRONT + seq.to_bytes(8, "big"), sealed, associated_data)
        except (InvalidTag, ValueError):
            raise VerificationFailed("payload.unsealable", f"payload {seq} does not open under its key") from None

    def _cipher(self, incarnation: bytes) -> ChaCha20Poly1305:
        """XChaCha20-Poly1305 for nonces that begin so, its subkey made once: a third less time for each payload."""
        last = self._last_cipher
        if last is None or last[0] != incarnation:
            last = incarnation, ChaCha20Poly1305(_subkey(self._block_key, incarnation))
            object.__setattr__(self, "_last_cipher", last)
        return last[1]


def _subkey(key: bytes, nonce_head: bytes) -> bytes:
    """HChaCha20 (draft-irtf-cfrg-xchacha-03, 2.2): ChaCha20's block, less the words it began with."""
    block = Cipher(ChaCha20(key, nonce_head), mode=None).encryptor().update(bytes(64))
    ends, begun = _WORDS.unpack(block[:16] + block[48:]), _WORDS.unpack(_CHACHA_CONSTANT + nonce_head)
    return _WORDS.pack(*((end - begin) % (1 << 32) for end, begin in zip(ends, begun, strict=True)))


@dataclass(frozen=True, slots=True)
class BoxKey:
    """An X25519 key pair to receive data keys."""

    secret: bytes = field(repr=False)
    public: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", bindings.crypto_scalarmult_base(self.secret))


def wrap(key: DataKey, box: str, incarnation: bytes, recipient_public: bytes) -> bytes:
    """The data key sealed for one recipient, with the log it belongs to inside."""
    return bindings.crypto_box_seal(pack([_WRAP_DOMAIN, box, incarnation, key.secret]), recipient_public)


def unwrap(wrapped: bytes, box: str, incarnation: bytes, key_id: bytes, recipient: BoxKey) -> DataKey:
    """The data key inside; raises VerificationFailed unless it is the key of ``key_id`` for this log."""
    try:
        plain = bindings.crypto_box_seal_open(wrapped, recipient.public, recipient.secret)
    except (CryptoError, ValueError, TypeError) as error:
        raise VerificationFailed("wrap.unsealable", f"the key wrap from {box} is not for this box") from error
    take = Fields(unpack(plain, _WRAP_BYTES, "key wrap"), 4, "key wrap")
    named = (take.text(), take.text(), take.raw(16))
    key = DataKey(take.raw(KEY_BYTES))
    if named != (_WRAP_DOMAIN, box, incarnation) or key.key_id != key_id:
        raise VerificationFailed("wrap.mismatch", f"the key wrap from {box} holds another log's key")
    return key
