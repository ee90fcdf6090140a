"""Signatures for the simulation: keyed hashes behind PyNaCl's three functions, fifty times as quick as Ed25519.

The rules only ask whether a signature verifies; nobody in the simulation forges one. Everything above stays real. What
all boxes are sent alike is decoded once for all of them: messages are frozen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import pytest
from nacl.exceptions import BadSignatureError

from ledger import member, signing
from ledger.message_codec import decode_message


class HashedSignatures:
    """Stands in for ``nacl.bindings`` within ``ledger.signing``."""

    @staticmethod
    def crypto_sign_seed_keypair(seed: bytes) -> tuple[bytes, bytes]:
        public = hashlib.blake2b(seed, digest_size=32).digest()
        return public, public

    @staticmethod
    def crypto_sign(message: bytes, secret: bytes) -> bytes:
        return hashlib.blake2b(message, key=secret, digest_size=64).digest() + message

    @staticmethod
    def crypto_sign_open(signed: bytes, public: bytes) -> bytes:
        message = signed[64:]
        if hashlib.blake2b(message, key=public, digest_size=64).digest() != signed[:64]:
            raise BadSignatureError("forged")
        return message


@contextmanager
def quick_signatures() -> Iterator[None]:
    """Within this, keys are made and signatures checked by hashing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "bindings", HashedSignatures)
        patch.setattr(member, "decode_message", lru_cache(maxsize=1_024)(decode_message))
        yield
