from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.capnostream.frame import Deframer, Fault, Frame, encode
from drivers.capnostream.message import (
    FastStatus,
    parse_device_id,
    parse_revision,
    parse_sample,
    parse_values,
)
from ledger.errors import DeviceFault

PUBLISHED_ID = b"V45.67 02/24/2008 B355987654  "


@pytest.mark.parametrize(
    ("code", "published"), [(1, "85010100"), (2, "85010203"), (4, "85010405"), (5, "85010504"), (6, "85010607")]
)
def test_commands_as_published(code: int, published: str) -> None:
    assert encode(code) == bytes.fromhex(published)


def test_80_and_85_are_escaped_and_the_check_does_not_mind() -> None:
    frame = encode(0, b"\x80\x85\x05\x00")
    assert frame == bytes.fromhex("85 05 00 8000 8005 05 00") + bytes((5 ^ 0x80 ^ 0x85 ^ 5,))
    assert Deframer().feed(frame) == [Frame(0, b"\x80\x85\x05\x00", len(frame))]


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=254)), max_size=8), st.integers(1, 40))
def test_what_is_framed_is_read_in_any_pieces(messages: list[tuple[int, bytes]], piece: int) -> None:
    stream = b"".join(encode(code, payload) for code, payload in messages)
    deframer = Deframer()
    found = [item for at in range(0, len(stream), piece) for item in deframer.feed(stream[at : at + piece])]
    assert [(item.code, item.payload) for item in found if isinstance(item, Frame)] == messages
    assert len(found) == len(messages)
    assert deframer.abandon() == 0


@given(st.binary(max_size=3_000))
def test_every_byte_is_in_a_frame_or_told_as_lost(noise: bytes) -> None:
    deframer = Deframer()
    found = deframer.feed(noise)
    told = sum(item.wire_bytes if isinstance(item, Frame) else item.lost_bytes for item in found)
    assert told + deframer.abandon() == len(noise)


@given(st.binary(max_size=400))
def test_byte_by_byte_is_all_at_once(noise: bytes) -> None:
    whole, single = Deframer(), Deframer()
    assert whole.feed(noise) == [item for byte in noise for item in single.feed(bytes((byte,)))]


def test_a_sample_with_a_zero_too_many_before_its_check_counts() -> None:
    frame = encode(0, bytes((7, 12, 34, 0)))
    padded = frame[:-1] + b"\0" + frame[-1:]
    items = Deframer().feed(padded + frame)
    assert [(item.code, item.payload) for item in items if isinstance(item, Frame)] == [(0, bytes((7, 12, 34, 0)))] * 2
    assert len(items) == 2
    wrong = Deframer().feed(frame[:-1] + b"\0" + bytes((frame[-1] ^ 1,)) + frame)
    assert [item.cause if isinstance(item, Fault) else item.code for item in wrong] == ["checksum", 0]


@pytest.mark.parametrize("at", range(1, 7))
def test_a_zero_within_a_sample_is_a_fault_and_no_other_sample(at: int) -> None:
    frame = encode(0, bytes((7, 12, 34, 0)))
    items = Deframer().feed(frame[:at] + b"\0" + frame[at:] + frame)
    samples = [item.payload for item in items if isinstance(item, Frame) and item.code == 0]
    assert set(samples) == {bytes((7, 12, 34, 0))}
    assert len(samples) == 1 or at == 6  # there it does no harm


def test_a_longer_sample_of_a_later_revision_counts() -> None:
    assert parse_sample(bytes((7, 12, 34, 0, 9))) == parse_sample(bytes((7, 12, 34, 0)))


def test_a_fault_costs_one_frame() -> None:
    good = encode(0, b"\x01\x02\x03\x04")
    hurt = bytearray(good)
    hurt[4] ^= 0x10
    assert Deframer().feed(good + bytes(hurt) + good[:5] + good) == [
        Frame(0, b"\x01\x02\x03\x04", 8),
        Fault("checksum", 8),
        Fault("framing", 5),
        Frame(0, b"\x01\x02\x03\x04", 8),
    ]


def test_the_published_identification() -> None:
    told = parse_device_id(PUBLISHED_ID)
    assert (told.version, told.date, told.serial) == ("45.67", "02/24/2008", "B355987654")
    assert parse_revision(b"B\x05") == "B5"


def test_a_sample() -> None:
    told = parse_sample(bytes((200, 38, 128, 0x49)))
    assert (told.number, told.co2 / 256) == (200, 38.5)
    assert told.status == FastStatus.INVALID_CO2 | FastStatus.END_OF_BREATH | FastStatus.FILTER_LINE_OFF


def test_values_that_lost_a_byte_are_refused() -> None:
    values = bytes.fromhex("59d3a1c0 26 00 0d 62 48 00 000000 00 00 1e 32 1c 1e 05 08 64 5a 78 32 01 00")
    told = parse_values(values)
    assert (told.time_s, told[4], told[7], told[24], told[26]) == (0x59D3A1C0, 0x26, 0x62, 0x32, 0)
    with pytest.raises(DeviceFault, match="unit"):
        parse_values(values[1:] + b"\x00")


@given(st.sampled_from([parse_sample, parse_values, parse_device_id, parse_revision]), st.binary(max_size=60))
def test_no_payload_raises_anything_but_a_device_fault(parse: object, payload: bytes) -> None:
    try:
        parse(payload)  # type: ignore[operator]
    except DeviceFault as fault:
        assert fault.id.startswith("capnostream.")  # noqa: PT017 - either outcome is right
