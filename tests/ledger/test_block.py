"""The signed header: round trip, every flipped bit noticed, unknown versions, extra fields and sizes refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import (
    BLOCK_DOMAIN,
    Header,
    decode_signed_header,
    header_signature_is_valid,
    payload_hash,
    sign_header,
)
from ledger.canonical import pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.notices import Start
from ledger.signing import SigningKey
from ledger.tree import leaf_hash
from tests.ledger_strategies import headers

KEY = SigningKey(bytes([7]) * 32)


@settings(max_examples=150)
@given(headers())
def test_a_header_survives_signing_and_decoding(header: Header) -> None:
    signed = sign_header(header, KEY)
    assert decode_signed_header(signed) == header
    assert header_signature_is_valid(signed, KEY.public)
    assert not header_signature_is_valid(signed, SigningKey(bytes(32)).public)


@settings(max_examples=100)
@given(headers(), st.data())
def test_any_flipped_bit_is_refused_and_changes_the_leaf(header: Header, data: st.DataObject) -> None:
    signed = sign_header(header, KEY)
    bit = data.draw(st.integers(0, 8 * len(signed) - 1))
    flipped = bytearray(signed)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not header_signature_is_valid(bytes(flipped), KEY.public)
    assert leaf_hash(bytes(flipped)) != leaf_hash(signed)


@settings(max_examples=100)
@given(headers(), st.data())
def test_a_flipped_bit_or_a_cut_raises_only_a_peers_fault(header: Header, data: st.DataObject) -> None:
    body = bytearray(header.encode())
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    with suppress(PeerFault):
        assert Header.decode(bytes(body)) != header
    with pytest.raises(PeerFault):
        Header.decode(header.encode()[: data.draw(st.integers(0, len(body) - 1))])


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_garbage_is_a_peers_fault(data: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_signed_header(data)
    assert not header_signature_is_valid(data, KEY.public)


@settings(max_examples=20)
@given(headers())
def test_an_unknown_version_and_an_extra_field_are_refused(header: Header) -> None:
    fields = unpack(header.encode(), 1 << 16, "header")
    with pytest.raises(PeerFault) as caught:
        Header.decode(pack([2, *fields[1:]]))
    assert caught.value.id == "block.version"
    for wrong in ([*fields, None], fields[:-1]):
        with pytest.raises(PeerFault, match="19 fields"):
            Header.decode(pack(wrong))


@settings(max_examples=20)
@given(headers())
def test_a_keyframe_later_than_its_block_is_refused(header: Header) -> None:
    with pytest.raises(PeerFault):
        Header.decode(replace(header, keyframe_seq=header.seq + 1).encode())


@settings(max_examples=50)
@given(headers(), headers())
def test_associated_data_binds_what_stands_before_the_payload_hash(a: Header, b: Header) -> None:
    same = replace(
        b, log=a.log, seq=a.seq, opened_ns=a.opened_ns, closed_ns=a.closed_ns, boot_ns=a.boot_ns, clock=a.clock,
        previous_leaf=a.previous_leaf,
    )  # fmt: skip
    assert same.associated_data() == a.associated_data()
    for changed in (
        replace(a, seq=a.seq ^ 1), replace(a, opened_ns=a.opened_ns ^ 1), replace(a, closed_ns=a.closed_ns ^ 1),
        replace(a, boot_ns=a.boot_ns ^ 1), replace(a, log=replace(a.log, fenced=not a.log.fenced)),
        replace(a, previous_leaf=bytes(31) + bytes([a.previous_leaf[31] ^ 1])),
    ):  # fmt: skip
        assert changed.associated_data() != a.associated_data()


@settings(max_examples=5)
@given(headers())
def test_sizes_are_bounded_where_signed_and_where_read(header: Header) -> None:
    start = Start(bytes(16), (b"x" * LIMITS.signed_header_bytes,), None, ())
    with pytest.raises(PeerFault) as caught:
        sign_header(replace(header, notices=(start,)), KEY)
    assert caught.value.id == "codec.oversize"
    with pytest.raises(PeerFault) as caught:
        decode_signed_header(bytes(LIMITS.signed_header_bytes + 1))
    assert caught.value.id == "codec.oversize"


@settings(max_examples=5)
@given(headers())
def test_too_many_notices_are_refused(header: Header) -> None:
    fields = unpack(header.encode(), 1 << 16, "header")
    with pytest.raises(PeerFault):
        Header.decode(pack([*fields[:-1], [[8, 1]] * (LIMITS.notices + 1)]))


def test_a_header_signature_needs_its_own_domain() -> None:
    body = b"\x01"
    assert not header_signature_is_valid(body + KEY.sign(b"", body), KEY.public)
    assert header_signature_is_valid(body + KEY.sign(BLOCK_DOMAIN, body), KEY.public)


def test_payload_hash_is_plain_sha256() -> None:
    assert payload_hash(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
