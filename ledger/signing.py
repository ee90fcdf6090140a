"""Ed25519 over domain-separated bytes. Every signed thing has a prefix of its own, so that none passes for another."""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl import bindings
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key from its 32-byte seed."""

    seed: bytes = field(repr=False)
    public: bytes = field(init=False)
    _expanded: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        public, expanded = bindings.crypto_sign_seed_keypair(self.seed)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "_expanded", expanded)

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """64-byte signature of ``domain ‖ message``."""
        return bindings.crypto_sign(domain + message, self._expanded)[:SIGNATURE_BYTES]


def signature_is_valid(public: bytes, domain: bytes, message: bytes, signature: bytes) -> bool:
    """True when ``signature`` over ``domain ‖ message`` was made by ``public``'s owner."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + domain + message, public)
    except BadSignatureError:
        return False
    return True
