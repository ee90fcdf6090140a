from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.checksums import crc16_x25
from drivers.intellivue.frame import LONGEST_FRAME_BYTES, MAX_USER_BYTES, Deframer, Fault, encode

MESSAGES = st.lists(st.binary(min_size=1, max_size=80), max_size=6)


def framed(message: bytes) -> bytes:
    """As the guide says it, byte by byte."""
    content = b"\x11\x01" + len(message).to_bytes(2, "big") + message
    content += crc16_x25(content).to_bytes(2, "little")
    out = b"".join(bytes((0x7D, byte ^ 0x20)) if byte in (0xC0, 0xC1, 0x7D) else bytes((byte,)) for byte in content)
    return b"\xc0" + out + b"\xc1"


@given(st.binary(max_size=300))
def test_a_message_is_framed_as_the_guide_says(message: bytes) -> None:
    assert encode(message) == framed(message)


@given(MESSAGES, st.data())
def test_messages_come_back_however_the_stream_is_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(framed, messages))
    deframer, found, at = Deframer(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        found += deframer.feed(stream[at : at + size])
        at += size
    assert found == messages
    assert deframer.abandon() is None


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_give_the_same_however_they_are_cut(stream: bytes, size: int) -> None:
    whole, cut = Deframer(), Deframer()
    pieces = [item for at in range(0, len(stream), size) for item in cut.feed(stream[at : at + size])]
    assert whole.feed(stream) == pieces
    assert whole.abandon() == cut.abandon()


@given(st.binary(min_size=1, max_size=60), st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_noticed_and_the_next_frame_is_read(message: bytes, position: int, change: int) -> None:
    frame = bytearray(framed(message))
    frame[position % len(frame)] ^= change
    found = Deframer().feed(bytes(frame) + framed(b"next") + framed(b"after"))
    assert found[-1] == b"after"
    assert message not in found[:-2] or bytes(frame) == framed(message)


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (b"\xc0\x11\x01\x00\x7d\xc1", Fault("framing", 4)),
        (b"\xc0\x11\x01\x00\xc0", Fault("framing", 3)),
        (b"noise\xc0", Fault("framing", 5)),
        (framed(b"abc")[:-2] + b"\x00\xc1", Fault("checksum", 9)),
    ],
)
def test_what_is_no_frame_is_lost_with_its_size(stream: bytes, fault: Fault) -> None:
    assert Deframer().feed(stream) == [fault]


def test_a_right_check_value_over_a_wrong_length_is_refused() -> None:
    content = b"\x11\x01\x00\x05abc"
    frame = b"\xc0" + content + crc16_x25(content).to_bytes(2, "little") + b"\xc1"
    assert Deframer().feed(frame) == [Fault("framing", 9)]


def test_an_endless_frame_is_held_within_bounds() -> None:
    deframer = Deframer()
    deframer.feed(b"\xc0" + bytes(10 * MAX_USER_BYTES))
    assert len(deframer._buffer) <= LONGEST_FRAME_BYTES
    assert deframer.feed(b"\xc1") == [Fault("oversize", 10 * MAX_USER_BYTES)]


def test_check_values_of_the_guide() -> None:
    assert crc16_x25(bytes.fromhex("3a71")).to_bytes(2, "little") == bytes.fromhex("9b26")
    assert crc16_x25(bytes.fromhex("3a91")).to_bytes(2, "little") == bytes.fromhex("95c1")


def test_a_byte_that_need_not_be_escaped_may_be() -> None:
    whole = framed(b"\x11abc")
    assert whole.count(b"\x11") == 2  # the header's and the message's
    assert Deframer().feed(whole.replace(b"\x11", b"\x7d\x31")) == [b"\x11abc"]
