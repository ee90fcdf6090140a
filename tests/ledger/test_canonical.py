"""One value, one encoding: nothing else is decoded, and nothing but PeerFault comes out of foreign bytes."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault

scalars = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=40) | st.binary(max_size=40)
)
values = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


def refused(data: bytes, limit: int = 1 << 16) -> str:
    with pytest.raises(PeerFault) as caught:
        unpack(data, limit, "thing")
    assert "thing" in caught.value.text
    return caught.value.id


@settings(max_examples=200)
@given(values)
def test_what_is_packed_comes_back(value: Any) -> None:
    assert unpack(pack(value), 1 << 16, "thing") == value


@settings(max_examples=300)
@given(st.binary(max_size=64))
def test_any_bytes_decode_to_their_only_encoding_or_are_a_peers_fault(data: bytes) -> None:
    try:
        value = unpack(data, 64, "thing")
    except PeerFault:
        return
    assert pack(value) == data


@settings(max_examples=200)
@given(values, st.data())
def test_no_truncation_and_no_extra_byte_is_accepted(value: Any, data: st.DataObject) -> None:
    wire = pack(value)
    refused(wire[: data.draw(st.integers(0, len(wire) - 1))])
    refused(wire + b"\x00")


@pytest.mark.parametrize(
    "data",
    [
        b"\xcc\x05",  # 5 as uint8
        b"\xcd\x00\xff",  # 255 as uint16
        b"\xd1\xff\xff",  # -1 as int16
        b"\xd9\x01a",  # a short string as str8
        b"\xdc\x00\x01\x01",  # a short array as array16
        b"\xc5\x00\x01a",  # short bytes as bin16
        b"\x82\xa1a\x01\xa1a\x02",  # one key twice
        struct.pack(">Bf", 0xCA, 1.5),  # a 32-bit float
    ],
)
def test_a_second_encoding_of_a_value_is_refused(data: bytes) -> None:
    assert refused(data) == "codec.not-canonical"


def test_a_byte_too_many_is_refused_before_decoding() -> None:
    wire = pack(b"x" * 100)
    assert unpack(wire, len(wire), "thing") == b"x" * 100
    assert refused(wire, len(wire) - 1) == "codec.oversize"


@pytest.mark.parametrize("depth", [2_000, 5_000, 60_000])
def test_deep_nesting_is_malformed_not_a_crash(depth: int) -> None:
    assert refused(b"\x91" * depth + b"\x01") == "codec.malformed"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xa2\xff\xfe", b"\x81\x01\x02", b"\x81\xc0\x02"],
)
def test_what_is_not_msgpack_or_claims_more_than_there_is_is_malformed(data: bytes) -> None:
    assert refused(data) == "codec.malformed"


def test_extension_types_never_pass_for_a_field() -> None:
    for value in (msgpack.ExtType(5, b"abcd"), msgpack.Timestamp(1, 2)):
        take = Fields([unpack(msgpack.packb(value), 64, "thing")] * 5, 5, "thing")
        for method in (take.uint, take.sint, take.boolean, take.text):
            with pytest.raises(PeerFault):
                method()
        with pytest.raises(PeerFault):
            take.blob(64)


@settings(max_examples=300)
@given(scalars)
def test_each_field_takes_its_own_type_only(value: Any) -> None:
    def taken(name: str, *arguments: Any) -> bool:
        try:
            getattr(Fields([value], 1, "thing"), name)(*arguments)
        except PeerFault as fault:
            return (fault.id, fault.text[:14]) != ("codec.field", "thing: field 0")
        return True

    is_int = type(value) is int
    assert taken("uint", 255) == (is_int and 0 <= value <= 255)
    assert taken("uint") == (is_int and 0 <= value < 1 << 63)
    assert taken("sint") == (is_int and -(1 << 63) <= value < 1 << 63)
    assert taken("boolean") == isinstance(value, bool)
    assert taken("raw", 3) == (isinstance(value, bytes) and len(value) == 3)
    assert taken("blob", 9) == (isinstance(value, bytes) and len(value) <= 9)
    assert taken("text", 9, 1) == (isinstance(value, str) and 1 <= len(value) <= 9)
    assert taken("literal", "x") == (value == "x")
    assert not taken("array", 9)


@pytest.mark.parametrize("value", [[1], [1, 2, 3], None, {"a": 1}, b"ab", "ab", 2])
def test_a_structure_has_exactly_its_fields(value: Any) -> None:
    with pytest.raises(PeerFault, match="array of 2 fields"):
        Fields(value, 2, "thing")


def test_an_array_field_is_bounded() -> None:
    assert Fields([[1, 2]], 1, "thing").array(2) == [1, 2]
    with pytest.raises(PeerFault, match="at most 1 items"):
        Fields([[1, 2]], 1, "thing").array(1)
