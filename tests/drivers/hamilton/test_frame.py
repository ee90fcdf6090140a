from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.hamilton.block import GROUPS, SEND_ALL, SEND_VALUES, parse_block
from drivers.hamilton.frame import MOST_FRAME_BYTES, Deframer, Lost, block, block_body
from drivers.hamilton.parameters import number_or_text
from drivers.hamilton.poll import TX_ALLOWED, parse_answer, parse_value, question
from ledger.errors import DeviceFault

TEXT = st.binary(max_size=40).map(lambda data: bytes(byte for byte in data if byte not in (0x02, 0x03, 0x0B, 0x0D)))
RECORD = st.tuples(st.sampled_from(sorted(GROUPS)), st.integers(0x20, 0xFE), TEXT)


def message(records: list[tuple[int, int, bytes]]) -> bytes:
    return block(b"10" + b"".join(b"\x0b" + bytes((group, number)) + text for group, number, text in records))


def test_the_command_that_is_known_to_work_to_the_byte() -> None:
    assert SEND_VALUES.hex() == "02313050323030307033303030033142" + "0d"


def test_the_longer_command_has_the_same_form_and_its_checksum() -> None:
    assert block_body(SEND_ALL) == b"10" + b"@1000" + b"A1000" + b"P2000" + b"`3000" + b"p3000"


def test_questions_and_nothing_else_may_be_asked() -> None:
    allowed = [number for number in range(256) if TX_ALLOWED.pattern.fullmatch(question(number))]
    assert 40 in allowed
    assert 86 in allowed
    assert 120 not in allowed
    assert all(31 <= number <= 125 for number in allowed)


@given(st.lists(st.lists(RECORD, max_size=6), max_size=4), st.lists(st.integers(1, 30), max_size=40))
def test_frames_come_out_however_the_stream_is_cut(told: list[list[tuple[int, int, bytes]]], cuts: list[int]) -> None:
    frames = [message(records) for records in told]
    stream = b"".join(frames)
    deframer, found, at = Deframer(), list[bytes | Lost](), 0
    for cut in [*cuts, len(stream)]:
        found += deframer.feed(stream[at : at + cut])
        at += cut
    assert found == frames
    assert deframer.abandon() == 0
    for frame, records in zip(frames, told, strict=True):
        parsed = parse_block(block_body(frame))
        assert [(record.group, record.parameter) for record in parsed.records] == [(g, p) for g, p, _ in records]
        assert parsed.groups == {group for group, _, _ in records}


@given(st.lists(RECORD, max_size=6), st.data())
def test_one_changed_byte_is_noticed(records: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    wire = bytearray(message(records))
    at = data.draw(st.integers(0, len(wire) - 4))
    wire[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DeviceFault):
        block_body(bytes(wire))


@given(st.binary(max_size=200), st.sampled_from((40, 61, 86, 125)))
def test_any_bytes_are_read_or_refused(data: bytes, asked: int) -> None:
    for frame in (b"\x02" + data + b"\r", block(data)):
        with suppress(DeviceFault):
            parse_answer(frame, asked)
        with suppress(DeviceFault):
            parse_block(block_body(frame))


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_the_deframer_counts_every_byte_and_keeps_few(pieces: list[bytes]) -> None:
    deframer, seen = Deframer(), 0
    for piece in pieces:
        for item in deframer.feed(piece):
            seen += item.lost_bytes if isinstance(item, Lost) else len(item)
        assert len(deframer._buffer) < MOST_FRAME_BYTES
    assert seen + deframer.abandon() == sum(map(len, pieces))


def test_a_frame_that_never_ends_is_given_up() -> None:
    assert Deframer().feed(b"\x02" + b"x" * MOST_FRAME_BYTES) == [Lost(MOST_FRAME_BYTES + 1)]


@pytest.mark.parametrize(
    ("wire", "asked", "text"),
    [
        (b"\x02= 450.\x03\r", 61, "450."),
        (b"\x02>  7.2\x03\r", 62, "7.2"),
        (b"\x02RERROR\x03\r", 61, None),
        (b"\x02|G0200\x03\r", 124, "G0200"),
        (b"\x02A5342j\x03\r", 86, "A5342j"),
        (b"\x02C9999\x03\r", 86, "C9999"),
    ],
)
def test_answers_of_each_form(wire: bytes, asked: int, text: str | None) -> None:
    assert parse_answer(wire, asked).text == text


@pytest.mark.parametrize(
    "wire",
    [
        b"\x02>534j \x03\r", b"\x02! 450.\x03\r", b"\x02= 450.\r", b"\x02= 45.\x03\r", b"\x02= 4\xb50.\x03\r",
        b"\x02= 12? \x03\r", b"\x02= =.  \x03\r",
    ],
)  # fmt: skip
def test_answers_that_do_not_fit(wire: bytes) -> None:
    with pytest.raises(DeviceFault):
        parse_answer(wire, 61)


def test_an_answer_to_another_question_tells_by_its_number_what_it_is() -> None:
    for asked in (61, None):
        answer = parse_answer(b"\x02>  7.2\x03\r", asked)
        assert (answer.number, answer.text) == (62, "7.2")
    with pytest.raises(DeviceFault):
        parse_answer(b"\x02RERROR\x03\r", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("450.", "450"),
        ("-3", "-3"),
        (".5", "0.5"),
        ("9999.", None),
        ("99999", None),
        ("999.9", None),
        ("", None),
        ("1:2.0", "1:2.0"),
    ],
)
def test_values(text: str, value: str | None) -> None:
    assert parse_value(text) == value or str(parse_value(text)) == value


def test_in_the_block_protocol_nines_are_a_number() -> None:
    assert str(number_or_text("9999")) == "9999"
    assert [number_or_text(text) for text in ("", "--", "-.-", "***")] == [None] * 4
