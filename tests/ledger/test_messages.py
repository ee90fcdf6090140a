"""Every kind of message: round trip, cuts, flips, garbage, and signatures that hold for one kind only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import message_codec
from ledger.canonical import pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.message_codec import decode_message, encode_plain, encode_signed
from ledger.messages import MESSAGE_DOMAIN, Get, PlainBody, Signed, SignedBody, Stored, Want
from ledger.signing import SIGNATURE_BYTES, SigningKey
from tests.ledger_strategies import (
    hashes,
    names,
    plain_bodies,
    plain_by_type,
    signed_bodies,
    signed_by_type,
)

KEY = SigningKey(bytes([3]) * 32)
HASH = bytes([9]) * 32


def wire_of(body: SignedBody) -> bytes:
    return encode_signed(body, "st-mary", HASH, "or-1", KEY)


def decoded(wire: bytes) -> Signed:
    message = decode_message(wire)
    assert isinstance(message, Signed)
    return message


def test_a_get_of_before_is_unchanged_and_a_larger_answer_is_a_field_more() -> None:
    get = Get(1 << 48, LogId("or-3", 1, bytes(16), fenced=True), 5, 9, Want.BLOCKS)
    envelope = unpack(wire_of(get)[1:-SIGNATURE_BYTES], 1_000, "get")
    assert envelope[3] == [1 << 48, ["or-3", 1, bytes(16), True], 5, 9, 1]
    large = replace(get, reply_bytes=1 << 19)
    assert unpack(wire_of(large)[1:-SIGNATURE_BYTES], 1_000, "get")[3] == [*envelope[3], 1 << 19]
    assert decoded(wire_of(large)).body == large
    envelope[3].append(LIMITS.range_reply_bytes)
    with pytest.raises(PeerFault, match="not-canonical"):
        decode_message(bytes([6]) + pack(envelope) + bytes(SIGNATURE_BYTES))
    envelope[3][5:] = [1 << 19, 0]
    with pytest.raises(PeerFault, match="5 fields"):
        decode_message(bytes([6]) + pack(envelope) + bytes(SIGNATURE_BYTES))


@pytest.mark.parametrize("block", [b"h", [b"h"], [b"h", b"p", b""], ["h", b"p"], [b"h", None], [bytes(1 << 16), b""]])
def test_what_is_no_block_is_refused_in_a_range(block: object) -> None:
    log = LogId("or-3", 1, bytes(16), fenced=True)
    wire = bytes([34]) + pack([1, log.fields(), 0, b"", [[b"h", b"p"], block]])
    with pytest.raises(PeerFault, match=r"codec\.field"):
        decode_message(wire)


def test_the_strategies_know_every_kind() -> None:
    assert {row[0] for row in message_codec._TABLE.values()} == {*signed_by_type, *plain_by_type}


@settings(max_examples=200)
@given(signed_bodies, names, hashes, names)
def test_a_signed_message_survives_the_wire(body: SignedBody, site: str, manifest_hash: bytes, sender: str) -> None:
    message = decoded(encode_signed(body, site, manifest_hash, sender, KEY))
    assert (message.site, message.manifest_hash, message.sender, message.body) == (site, manifest_hash, sender, body)
    assert message.is_signed_by(KEY.public)
    assert not message.is_signed_by(SigningKey(bytes(32)).public)


@settings(max_examples=100)
@given(plain_bodies)
def test_a_plain_message_survives_the_wire(body: PlainBody) -> None:
    assert decode_message(encode_plain(body)) == body


@settings(max_examples=200)
@given(signed_bodies, st.data())
def test_a_flipped_bit_is_refused_or_breaks_the_signature(body: SignedBody, data: st.DataObject) -> None:
    wire = bytearray(wire_of(body))
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    try:
        message = decode_message(bytes(wire))
    except PeerFault:
        return
    assert not isinstance(message, Signed) or not message.is_signed_by(KEY.public)


@settings(max_examples=100)
@given(st.one_of(signed_bodies.map(wire_of), plain_bodies.map(encode_plain)))
def test_every_cut_raises_only_a_peers_fault_or_is_unsigned(wire: bytes) -> None:
    for end in range(len(wire)):
        try:
            message = decode_message(wire[:end])
        except PeerFault:
            continue
        assert isinstance(message, Signed)
        assert not message.is_signed_by(KEY.public)


@settings(max_examples=300)
@given(st.sampled_from([*range(1, 13), 32, 33, 34, 0, 255]), st.binary(max_size=150))
def test_garbage_raises_only_a_peers_fault(kind: int, rest: bytes) -> None:
    try:
        message = decode_message(bytes([kind]) + rest)
    except PeerFault:
        return
    assert not isinstance(message, Signed) or not message.is_signed_by(KEY.public)


@settings(max_examples=200)
@given(signed_bodies, st.integers(0, 255))
def test_a_message_of_one_kind_never_verifies_as_another(body: SignedBody, kind: int) -> None:
    wire = wire_of(body)
    if kind == wire[0]:
        return
    try:
        message = decode_message(bytes([kind]) + wire[1:])
    except PeerFault:
        return
    assert not isinstance(message, Signed) or not message.is_signed_by(KEY.public)


@settings(max_examples=30)
@given(signed_bodies)
def test_a_signature_made_elsewhere_does_not_count_here(body: SignedBody) -> None:
    unsigned = wire_of(body)[:-SIGNATURE_BYTES]
    for domain in (b"", b"orledger/block/1\n", b"orledger/manifest/1\n"):
        assert not decoded(unsigned + KEY.sign(domain, unsigned)).is_signed_by(KEY.public)
    assert decoded(unsigned + KEY.sign(MESSAGE_DOMAIN, unsigned)).is_signed_by(KEY.public)


@pytest.mark.parametrize("wire", [b"", b"\x01", bytes(LIMITS.message_bytes + 1)])
def test_sizes_are_bounded(wire: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        decode_message(wire)
    assert caught.value.id == "message.size"


def test_an_unknown_kind_says_so() -> None:
    with pytest.raises(PeerFault) as caught:
        decode_message(b"\x63" + bytes(100))
    assert caught.value.id == "message.kind"


@settings(max_examples=50)
@given(signed_by_type[Stored])
def test_bytes_after_a_message_are_refused(body: SignedBody) -> None:
    wire = wire_of(body)
    with pytest.raises(PeerFault):
        decode_message(wire[:-SIGNATURE_BYTES] + b"\x00" + wire[-SIGNATURE_BYTES:])
