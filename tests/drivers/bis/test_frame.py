from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bis.frame import (
    LONGEST_FRAME_BYTES,
    SEND_EEG,
    SEND_PROCESSED,
    SEND_PROCESSED_AND_SPECTRA,
    SEND_REVISION,
    STOP_EEG,
    TX_ALLOWED,
    Deframer,
    Fault,
    Item,
    Message,
    Reply,
)


def packet(data: bytes, directive: int = 1, number: int = 0) -> bytes:
    summed = struct.pack("<HHH", number, len(data), directive) + data
    return b"\xba\xab" + summed + struct.pack("<H", sum(summed) & 0xFFFF)


def message(message_id: int, data: bytes, number: int = 0) -> bytes:
    return packet(struct.pack("<IIHH", 4, message_id, number, len(data)) + data)


MESSAGES = st.tuples(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF), st.binary(max_size=1_028))


@pytest.mark.parametrize(
    ("sent", "golden"),
    [
        (SEND_PROCESSED, "baab00000d000100040000007300000000000100008600"),
        (SEND_PROCESSED_AND_SPECTRA, "baab00000d000100040000007300000000000100018700"),
        (SEND_EEG, "baab00000e000100040000006f0000000000020080000401"),
        (STOP_EEG, "baab00000c0001000400000070000000000000008100"),
        (SEND_REVISION, "baab00000c00010006000000ec030000000000000201"),
    ],
)
def test_what_is_sent_to_the_byte(sent: bytes, golden: str) -> None:
    assert sent.hex() == golden
    assert [sendable.pattern.fullmatch(sent) is not None for sendable in TX_ALLOWED].count(True) == 1


def test_nothing_else_may_be_sent() -> None:
    assert len(TX_ALLOWED) == 5
    assert not any(sendable.pattern.fullmatch(SEND_EEG[:-1]) for sendable in TX_ALLOWED)


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(1, 200), max_size=20))
def test_messages_come_out_however_the_stream_is_cut(told: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(message(*_ordered(item)) for item in told)
    expected: list[Item] = [Message(message_id, number, data) for message_id, number, data in told]
    assert Deframer().feed(stream) == expected
    deframer, found, at = Deframer(), list[Item](), 0
    for cut in [*cuts, len(stream)]:
        found += deframer.feed(stream[at : at + cut])
        at += cut
    assert found + deframer.feed(stream[at:]) == expected
    assert deframer.abandon() is None


def _ordered(told: tuple[int, int, bytes]) -> tuple[int, bytes, int]:
    message_id, number, data = told
    return message_id, data, number


@given(st.binary(max_size=300), MESSAGES, MESSAGES)
def test_after_garbage_it_reads_again(
    garbage: bytes, first: tuple[int, int, bytes], second: tuple[int, int, bytes]
) -> None:
    stream = garbage + message(*_ordered(first)) + bytes(LONGEST_FRAME_BYTES) + message(*_ordered(second))
    found = Deframer().feed(stream)
    assert found[-1] == Message(*second)
    assert [item for item in found if isinstance(item, Message)][-2:][0] in (Message(*first), Message(*second))


@given(MESSAGES, st.data())
def test_one_changed_byte_is_never_taken_for_the_message(told: tuple[int, int, bytes], data: st.DataObject) -> None:
    wire = bytearray(message(*_ordered(told)))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    deframer = Deframer()
    found = deframer.feed(bytes(wire) + bytes(LONGEST_FRAME_BYTES))
    assert Message(*told) not in found
    lost = sum(item.lost_bytes for item in found if isinstance(item, Fault))
    left = deframer.abandon()
    assert lost + (left.lost_bytes if left else 0) > 0


def test_replies_and_faults_are_told_apart() -> None:
    wrong = bytearray(message(52, b"\x01\x02"))
    wrong[-1] ^= 1
    found = Deframer().feed(packet(b"", 2) + packet(b"", 3) + bytes(wrong) + b"\x00\x00" + packet(b"", 2))
    assert found == [Reply(True), Reply(False), Fault("checksum", len(wrong) + 2), Reply(True)]
    assert Deframer().feed(b"\x01\x02" + packet(b"", 2)) == [Fault("framing", 2), Reply(True)]


def test_it_keeps_less_than_the_longest_packet() -> None:
    deframer = Deframer()
    start = b"\xba\xab\x00\x00" + (1_040).to_bytes(2, "little") + b"\x01\x00"
    for _ in range(1_000):
        deframer.feed(start)
        assert len(deframer._buffer) < LONGEST_FRAME_BYTES
