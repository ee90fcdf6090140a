"""Ranges in C: the same bytes as the plain way, and nothing accepted that it refuses, or with other values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import message_codec
from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import Range
from ledger.range_codec import decode_range
from tests.ledger_strategies import plain_by_type

ranges = plain_by_type[Range]


def fields_of(message: Range) -> list[object]:
    blocks = [[header, payload] for header, payload in message.blocks]
    return [message.request_id, message.log.fields(), message.first, message.frontier, blocks]


def agree(wire: bytes) -> None:
    try:
        told = message_codec._decode_range(Fields(unpack(wire[1:], LIMITS.message_bytes, "message"), 5, "message"))
    except PeerFault:
        assert decode_range(wire[1:]) is None
        return
    assert message_codec._usual_range(wire) == told == decode_message(wire)


@given(ranges)
def test_a_range_has_the_bytes_that_any_message_would_have(message: Range) -> None:
    wire = encode_plain(message)
    assert wire == bytes([34]) + pack(fields_of(message))
    agree(wire)


@settings(max_examples=200)
@given(ranges, st.data())
def test_changed_bytes_are_judged_as_field_by_field(message: Range, data: st.DataObject) -> None:
    wire = bytearray(encode_plain(message))
    at = data.draw(st.integers(1, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    agree(bytes(wire))
    agree(bytes(wire[: data.draw(st.integers(1, len(wire)))]))


values = (
    st.none() | st.booleans() | st.integers(-1, 1 << 63) | st.text(max_size=65) | st.binary(max_size=20)
    | st.just(bytes(1 << 16)) | st.lists(st.binary(max_size=2), max_size=3)
)  # fmt: skip


@settings(max_examples=300)
@given(
    ranges, st.sampled_from([(0,), (1,), (1, 0), (1, 1), (1, 2), (1, 3), (2,), (3,), (4,), (4, 0), (4, 0, 1)]), values
)
def test_another_value_anywhere_is_judged_as_field_by_field(
    message: Range, place: tuple[int, ...], value: object
) -> None:
    fields = fields_of(message)
    *way, last = place
    within = fields
    for step in way:
        if step >= len(within):
            return
        within = within[step]  # type: ignore[assignment]
    if last >= len(within):
        return
    within[last] = value
    agree(bytes([34]) + pack(fields))


@pytest.mark.parametrize("fields", [[], [1], {"a": 1}, None, [1, 2, 3, 4, 5, 6]])
def test_what_has_another_shape_is_no_range(fields: object) -> None:
    assert decode_range(pack(fields)) is None
