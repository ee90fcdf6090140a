"""Ed25519 with a domain in front: RFC 8032 vectors, flipped bits, foreign keys and foreign domains."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.signing import SigningKey, signature_is_valid

KEY = SigningKey(bytes(range(32)))


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_rfc_8032_vectors(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(b"", bytes.fromhex(message)).hex() == signature


@settings(max_examples=100)
@given(st.binary(max_size=8), st.binary(max_size=30), st.integers(0, 511))
def test_a_flipped_bit_in_the_signature_or_the_message_is_refused(domain: bytes, message: bytes, bit: int) -> None:
    signature = KEY.sign(domain, message)
    assert signature_is_valid(KEY.public, domain, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not signature_is_valid(KEY.public, domain, message, bytes(flipped))
    assert not signature_is_valid(KEY.public, domain, message + b"\x00", signature)


def test_another_key_or_another_domain_is_refused() -> None:
    signature = KEY.sign(b"one/1\n", b"text")
    assert not signature_is_valid(SigningKey(bytes(32)).public, b"one/1\n", b"text", signature)
    assert not signature_is_valid(KEY.public, b"two/1\n", b"text", signature)


@settings(max_examples=100)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_keys_and_signatures_of_any_length_never_raise(public: bytes, signature: bytes) -> None:
    assert not signature_is_valid(public, b"d", b"m", signature)


def test_no_secret_is_shown() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY.seed) not in repr(KEY)
