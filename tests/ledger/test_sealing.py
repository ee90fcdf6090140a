"""Sealed payloads and wrapped keys open with exactly what they were sealed for, and with nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings
from nacl.exceptions import CryptoError

from ledger.canonical import pack
from ledger.errors import PeerFault, VerificationFailed
from ledger.sealing import TAG_BYTES, BoxKey, DataKey, unwrap, wrap
from tests.ledger_strategies import exactly

KEY = DataKey(bytes(range(32)))
RECEIVER = BoxKey(bytes([5]) * 32)
INCARNATION = bytes([1]) * 16


@settings(max_examples=50)
@given(st.binary(max_size=100), exactly(16), st.integers(0, (1 << 63) - 1), st.binary(max_size=50))
def test_a_payload_opens_as_it_was_sealed(plain: bytes, incarnation: bytes, seq: int, data: bytes) -> None:
    sealed = KEY.seal_payload(plain, incarnation, seq, data)
    assert len(sealed) == len(plain) + TAG_BYTES
    assert KEY.open_payload(sealed, incarnation, seq, data) == plain


@pytest.mark.parametrize(
    ("key", "incarnation", "seq", "data"),
    [
        (DataKey(bytes(32)), INCARNATION, 3, b"data"),
        (KEY, bytes(16), 3, b"data"),
        (KEY, INCARNATION, 4, b"data"),
        (KEY, INCARNATION, 3, b"dato"),
        (KEY, INCARNATION, 3, b""),
    ],
)
def test_another_key_log_seq_or_header_does_not_open_it(
    key: DataKey, incarnation: bytes, seq: int, data: bytes
) -> None:
    sealed = KEY.seal_payload(b"plain", INCARNATION, 3, b"data")
    with pytest.raises(VerificationFailed) as caught:
        key.open_payload(sealed, incarnation, seq, data)
    assert caught.value.id == "payload.unsealable"


@settings(max_examples=50)
@given(st.binary(max_size=30), st.data())
def test_a_flipped_bit_or_a_cut_does_not_open(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal_payload(plain, INCARNATION, 0, b""))
    cut = bytes(sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(sealed), cut):
        with pytest.raises(VerificationFailed):
            KEY.open_payload(wrong, INCARNATION, 0, b"")


def test_the_key_id_commits_to_the_key_and_is_not_the_cipher_key() -> None:
    assert DataKey(KEY.secret).key_id == KEY.key_id
    assert DataKey(bytes(32)).key_id != KEY.key_id
    assert KEY.secret not in (KEY.key_id, KEY._block_key)
    assert KEY.key_id != KEY._block_key


def test_no_secret_is_shown() -> None:
    for secret, text in ((KEY.secret, repr(KEY)), (RECEIVER.secret, repr(RECEIVER))):
        assert repr(secret) not in text
        assert secret.hex() not in text


@settings(max_examples=30)
@given(exactly(32), exactly(16))
def test_a_wrap_gives_the_key_to_its_recipient(secret: bytes, incarnation: bytes) -> None:
    key = DataKey(secret)
    wrapped = wrap(key, "or-1", incarnation, RECEIVER.public)
    assert unwrap(wrapped, "or-1", incarnation, key.key_id, RECEIVER) == key


def test_a_wrap_to_another_recipient_does_not_open() -> None:
    wrapped = wrap(KEY, "or-1", INCARNATION, BoxKey(bytes([6]) * 32).public)
    with pytest.raises(VerificationFailed) as caught:
        unwrap(wrapped, "or-1", INCARNATION, KEY.key_id, RECEIVER)
    assert caught.value.id == "wrap.unsealable"


@pytest.mark.parametrize(
    ("box", "incarnation", "key_id"),
    [("or-2", INCARNATION, KEY.key_id), ("or-1", bytes(16), KEY.key_id), ("or-1", INCARNATION, bytes(32))],
)
def test_a_wrap_of_another_log_or_key_is_refused(box: str, incarnation: bytes, key_id: bytes) -> None:
    wrapped = wrap(KEY, "or-1", INCARNATION, RECEIVER.public)
    with pytest.raises(VerificationFailed) as caught:
        unwrap(wrapped, box, incarnation, key_id, RECEIVER)
    assert caught.value.id == "wrap.mismatch"


@settings(max_examples=50)
@given(st.binary(max_size=120))
def test_garbage_in_place_of_a_wrap_names_the_peer(data: bytes) -> None:
    with pytest.raises(VerificationFailed):
        unwrap(data, "or-1", INCARNATION, KEY.key_id, RECEIVER)


@pytest.mark.parametrize(
    "inside",
    [b"", pack(1), pack(["orledger/wrap/2", "or-1", INCARNATION, KEY.secret]), pack(["orledger/wrap/1", "or-1"])],
)
def test_a_wrap_that_holds_something_else_is_refused(inside: bytes) -> None:
    with pytest.raises((PeerFault, VerificationFailed)):
        unwrap(bindings.crypto_box_seal(inside, RECEIVER.public), "or-1", INCARNATION, KEY.key_id, RECEIVER)


@settings(max_examples=80)
@given(st.binary(max_size=60), exactly(24), st.binary(max_size=20), st.sampled_from(["as it is", "flipped", "cut"]))
def test_what_opens_is_what_nacl_opens(plain: bytes, nonce: bytes, data: bytes, change: str) -> None:
    block_key = KEY._block_key
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, data, nonce, block_key)
    sealed = {"as it is": sealed, "flipped": sealed[:-1] + bytes([sealed[-1] ^ 1]), "cut": sealed[:-1]}[change]
    incarnation, seq = nonce[:16], int.from_bytes(nonce[16:], "big")
    try:
        expected = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, data, nonce, block_key)
    except (CryptoError, ValueError):
        with pytest.raises(VerificationFailed):
            KEY.open_payload(sealed, incarnation, seq, data)
    else:
        assert KEY.open_payload(sealed, incarnation, seq, data) == expected
