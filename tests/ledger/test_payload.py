from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import msgpack
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import OurFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.payload import (
    PayloadTooLarge,
    compress,
    decode_payload,
    decode_records,
    decompress,
    encode_payload,
    encode_record,
    encode_records,
    pack,
    pad,
    unpack,
    unpad,
)
from ledger.record_codec import rows_of
from ledger.records import LinkId, Numeric, Raw, Record
from tests import record_strategies

AT_NS = 1_764_000_000_000_000_000
PULSE = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal(72), unit="/min")


def raw_of(size: int) -> Raw:
    return Raw(at_ns=AT_NS, link=LinkId(1), direction="<", data=bytes(size), pieces=((0, size),))


@settings(max_examples=40)
@given(record_strategies.groups)
def test_records_come_back_from_the_sealed_form(groups: dict[str, list[Record]]) -> None:
    expected = {feed: tuple(records) for feed, records in groups.items()}
    payload = encode_payload(groups)
    assert decode_payload(payload) == expected
    assert list(decode_payload(payload)) == sorted(groups)
    assert len(payload) % LIMITS.payload_pad_bytes == 0


@settings(max_examples=40)
@given(record_strategies.groups)
def test_one_content_has_one_form(groups: dict[str, list[Record]]) -> None:
    plain = encode_records(groups)
    assert encode_records(decode_records(plain)) == plain
    assert encode_records(dict(reversed(groups.items()))) == plain


@settings(max_examples=40)
@given(record_strategies.groups)
def test_records_encoded_one_by_one_make_the_bytes_of_all_their_rows(groups: dict[str, list[Record]]) -> None:
    assert encode_records(groups) == pack({feed: rows_of(groups[feed]) for feed in sorted(groups)})
    for record in (record for records in groups.values() for record in records):
        assert encode_record(record).size == len(encode_records({"": (record,)}))


@given(st.binary(max_size=200))
@example(b"\x80")
@example(b"\x81\xa0\x91\x91\x90")
@example(b"\x81\xa0" + b"\x91" * 600)
def test_any_bytes_either_are_the_canonical_form_or_are_refused(plain: bytes) -> None:
    try:
        groups = decode_records(plain)
    except VerificationFailed:
        return
    assert encode_records(groups) == plain


@settings(max_examples=40)
@given(record_strategies.groups, st.data())
def test_a_changed_payload_is_refused_or_reads_as_what_it_says(
    groups: dict[str, list[Record]], data: st.DataObject
) -> None:
    plain = bytearray(encode_records(groups))
    position = data.draw(st.integers(0, len(plain) - 1))
    plain[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_records(bytes(plain))
    except VerificationFailed:
        return
    assert encode_records(changed) == bytes(plain)


@given(st.binary(max_size=600))
def test_nothing_but_verification_failed_comes_out_of_decoding(data: bytes) -> None:
    for candidate in (data, pad(data), pad(compress(data))):
        try:
            decode_payload(candidate)
        except VerificationFailed as error:
            assert error.id.startswith("payload.")  # noqa: PT017 - a refusal is as good as a success here


@given(st.binary(max_size=2_000))
def test_padding_comes_off_again(frame: bytes) -> None:
    padded = pad(frame)
    assert unpad(padded) == frame
    assert len(padded) - len(frame) <= LIMITS.payload_pad_bytes + 3


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        bytes(255),
        pad(b"abc")[:-1],
        pad(b"abc") + bytes(256),
        pad(b"abc")[:-1] + b"\x01",
        struct.pack(">I", 253) + bytes(252),
        struct.pack(">I", 0xFFFFFFFF) + bytes(252),
    ],
)
def test_padding_that_pad_would_not_make_is_refused(padded: bytes) -> None:
    with pytest.raises(VerificationFailed) as refusal:
        unpad(padded)
    assert refusal.value.id == "payload.bad-padding"


def test_a_decompression_bomb_is_refused_before_it_grows() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(LIMITS.payload_plain_bytes + 1))
    with pytest.raises(VerificationFailed) as refusal:
        decompress(bomb)
    assert refusal.value.id == "payload.oversize"


def test_a_frame_without_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(encode_records({"": [PULSE]}))
    with pytest.raises(VerificationFailed) as refusal:
        decompress(frame)
    assert refusal.value.id == "payload.oversize"


@pytest.mark.parametrize("tail", [b"\0", compress(b"second frame")])
def test_bytes_after_the_frame_are_refused(tail: bytes) -> None:
    with pytest.raises(VerificationFailed):
        decompress(compress(b"first frame") + tail)


def test_an_unknown_codec_is_refused() -> None:
    payload = encode_payload({"monitor": [PULSE]})
    with pytest.raises(VerificationFailed) as refusal:
        decode_payload(payload, codec=2)
    assert refusal.value.id == "payload.unknown-codec"
    with pytest.raises(OurFault):
        encode_payload({"monitor": [PULSE]}, codec=2)


@pytest.mark.parametrize(
    "plain",
    [
        b"\xde\x00\x00",  # a map whose length is not in its shortest form
        b"\x81\xd9\x01a\x90",  # so for a text
        b"\x82\xa1b\x90\xa1a\x90",  # feeds out of order
        b"\x82\xa1a\x90\xa1a\x90",  # a feed told twice
        b"\x81\x01\x90",  # a feed that is not text
        b"\x81\xa1a\x80",  # records that are not an array
        b"\x90",
        b"\x80\x00",
        msgpack.packb({"": [[1, msgpack.ExtType(1, b"\x05"), "", None, 0, "", None, "", "", ""]]}),
        msgpack.packb({"": [[1, 0, "", None, 0, "", msgpack.ExtType(2, b"7.10"), "", "", ""]]}),
        msgpack.packb({"": [[1, 0, "", None, 0, "", msgpack.ExtType(2, b"nan"), "", "", ""]]}),
        msgpack.packb({"": [[1, 0, "", None, 0, "", msgpack.ExtType(3, b""), "", "", ""]]}),
    ],
)
def test_another_form_of_the_same_is_refused(plain: bytes) -> None:
    with pytest.raises(VerificationFailed) as refusal:
        decode_records(plain)
    assert refusal.value.id == "payload.malformed"


def test_unpack_takes_only_what_pack_makes() -> None:
    assert unpack(b"\x01") == 1
    with pytest.raises(ValueError, match="canonical"):
        unpack(b"\xcc\x01")


def test_a_block_too_large_says_so() -> None:
    with pytest.raises(PayloadTooLarge):
        encode_payload({"monitor": [raw_of(LIMITS.payload_plain_bytes)]})


def test_the_largest_block_is_read_back() -> None:
    groups: dict[str, Sequence[Record]] = {"monitor": (raw_of(LIMITS.payload_plain_bytes - 100),)}
    assert decode_payload(encode_payload(groups)) == groups


def test_a_refused_record_is_our_fault_and_leaves_nothing_behind() -> None:
    before = encode_records({"": [PULSE]})
    with pytest.raises(OurFault) as refusal:
        encode_records({"": [PULSE, replace(PULSE, value=Decimal("NaN"))]})
    assert refusal.value.id == "payload.bad-record"
    assert encode_records({"": [PULSE]}) == before


@given(
    st.binary(max_size=300), st.integers(0, 600), st.integers(-3, 3), st.sampled_from([b"", b"\0", b"\1", bytes(256)])
)
def test_padding_is_accepted_exactly_where_pad_makes_it(frame: bytes, size: int, off: int, more: bytes) -> None:
    body = max(0, len(frame) + off).to_bytes(4, "big") + frame + more
    padded = body + bytes(max(0, size - len(body)))
    claimed = padded[4 : 4 + int.from_bytes(padded[:4], "big")]
    if pad(claimed) == padded:
        assert unpad(padded) == claimed
    else:
        with pytest.raises(VerificationFailed):
            unpad(padded)
    assert unpad(pad(frame)) == frame
