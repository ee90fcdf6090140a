"""What this box alone may read of what it must remember: identifiers as keyed hashes, promises to others sealed.

Both keys are derived from the box's ring key, so they are unrelated to any data key and never leave the box.
"""

from __future__ import annotations

import hashlib

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from ledger.errors import StoreFault
from ledger.sealing import KEY_BYTES

LABEL_BYTES = 32


class LocalSecret:
    """Made of the ring key (``agent.box_files``)."""

    def __init__(self, ring_key: bytes) -> None:
        self._label_key = _derived(ring_key, b"orledger-label")
        self._cipher = SecretBox(_derived(ring_key, b"orledger-pending"))

    def label(self, kind: str, text: str) -> bytes:
        """A keyed hash of 32 bytes: without the box's key nobody can tell, or try out, what it is of."""
        return hashlib.blake2b(
            kind.encode() + b"\x00" + text.encode(), key=self._label_key, digest_size=LABEL_BYTES
        ).digest()

    def seal(self, plain: bytes) -> bytes:
        """For a row that no other program may read."""
        return bytes(self._cipher.encrypt(plain))

    def open(self, sealed: bytes) -> bytes:
        """Inverse of ``seal``. Raises StoreFault ``store.corrupt``."""
        try:
            return self._cipher.decrypt(sealed)
        except (CryptoError, ValueError) as error:
            text = "what this box had to remember does not open under its ring key"
            raise StoreFault("store.corrupt", text, "put back the keys folder of the same box") from error


def _derived(ring_key: bytes, person: bytes) -> bytes:
    return hashlib.blake2b(key=ring_key, person=person, digest_size=KEY_BYTES).digest()
