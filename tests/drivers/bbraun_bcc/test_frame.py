"""Messages, character stuffing, and the maker's printed samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bbraun_bcc.frame import (
    MAX_MESSAGE_BYTES,
    Block,
    Deframer,
    Fault,
    Item,
    Refusal,
    destuff,
    message,
    parse,
    stuff,
)
from drivers.bbraun_bcc.recognise import recognise
from drivers.bbraun_bcc.request import ALIVE, NOBODY
from tests.drivers.bbraun_bcc.feeding import block

SAMPLES = Path(__file__).parents[4] / "shared/captures/frames"
CONTROLS = {b"SOH": 1, b"STX": 2, b"ETX": 3, b"EOT": 4, b"RS": 30, b"ETB": 23}
ALIVE_AS_PRINTED = b"\x0100031\x021/1/1>ADMIN:ALIVE\x0300061\x04"
BLOCK = block("214,50111,INRT,0.30", "214,50111,INSOL,Dobutamin\ue021")
texts = st.text(st.characters(exclude_characters="\x01\x02\x03\x04\x17\r\n", codec="utf-8"), max_size=60)


def printed(name: str) -> bytes:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("the maker's samples are not here")
    return re.sub(
        rb"<([A-Z]{2,3}|[0-9A-F]{2})>",
        lambda found: bytes((CONTROLS[found[1]] if found[1] in CONTROLS else int(found[1], 16),)),
        path.read_bytes().rstrip(b"\n"),
    )


def items(*pieces: bytes) -> list[Item]:
    deframer = Deframer()
    return [item for piece in pieces for item in deframer.feed(piece)]


def test_the_call_is_as_printed() -> None:
    assert message(NOBODY, ALIVE, stuffed=False) == ALIVE_AS_PRINTED
    assert message(NOBODY, ALIVE, stuffed=True) == b"\x0100031\x021/1/1>AEXMIN:ALIVEE\x0300061\x04"


def test_the_printed_answer_is_read_with_and_without_stuffing() -> None:
    sample = printed("bbraun_bcc_part50100_ETB.txt")
    (plain,) = items(sample)
    (stuffed,) = items(stuff(sample))
    assert isinstance(plain, Block)
    assert isinstance(stuffed, Block)
    assert (plain.stuffed, stuffed.stuffed) == (False, True)
    assert (plain.bed_id, plain.text, plain.last) == (stuffed.bed_id, stuffed.text, stuffed.last)
    assert (plain.bed_id, plain.last, plain.text.count(b"\x1e")) == ("ComSystem/1/1", False, 57)
    heard = recognise(sample)
    assert heard is not None
    assert (heard.frames, heard.device) == (1, "B. Braun Space, ComSystem/1/1")


@pytest.mark.parametrize("name", ["bbraun_bcc_part50113_ETB.txt", "bbraun_bcc_part50114_ETX.txt"])
def test_samples_edited_before_printing_are_refused(name: str) -> None:
    sample = printed(name)
    assert [type(item) for item in items(sample)] == [Fault]
    assert recognise(sample) is None


@given(st.binary(max_size=200))
def test_stuffing_is_undone_from_left_to_right(data: bytes) -> None:
    stuffed = stuff(data)
    assert destuff(stuffed) == data
    assert not re.search(rb"[Dd]", stuffed)


def test_what_was_never_stuffed_is_not_unstuffed() -> None:
    for wire in (b"D", b"d", b"E", b"Ex", b"eX", b"EEE", b"EXe", b"aEb"):
        assert destuff(wire) is None
    assert destuff(b"EEXEX") == b"EXD"  # search and replace would find EX first


@given(texts, st.booleans(), st.booleans())
def test_a_message_is_read_as_it_was_written(text: str, stuffed: bool, last: bool) -> None:
    (item,) = items(block(text, last=last, stuffed=stuffed))
    assert isinstance(item, Block)
    assert (item.text, item.last, item.bed_id) == (text.encode(), last, "ComSystem/1/1")
    assert item.stuffed is stuffed  # the bed id has an "e"


@given(
    st.lists(st.sampled_from([BLOCK, ALIVE_AS_PRINTED, b"\x15", b"\x06", b"xy", b"\x01123", stuff(BLOCK)])), st.data()
)
def test_pieces_do_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert items(*pieces) == items(wire)


@given(st.integers(0, len(BLOCK) - 1), st.integers(0, 7))
def test_no_flipped_bit_passes(place: int, bit: int) -> None:
    hurt = bytearray(BLOCK)
    hurt[place] ^= 1 << bit
    assert not any(isinstance(item, Block) for item in items(bytes(hurt)))


@given(st.binary(max_size=400))
def test_after_anything_the_next_message_is_read(noise: bytes) -> None:
    found = items(noise, BLOCK)
    assert isinstance(found[-1], Block)


def test_what_stands_between_messages_is_told() -> None:
    assert items(b"login: ", BLOCK)[:1] == [Fault("framing", 7, "bytes outside of messages", answerable=False)]
    assert items(b"\x15") == [Refusal()]
    assert items(b"\x06") == []


def test_a_message_without_end_is_given_up() -> None:
    (fault,) = items(b"\x01" + b"7" * (MAX_MESSAGE_BYTES - 1))
    assert isinstance(fault, Fault)
    assert fault.cause == "oversize"
    assert fault.lost_bytes == MAX_MESSAGE_BYTES
    assert Deframer().abandon() == 0


def test_wrong_check_and_wrong_length_are_told_apart() -> None:
    wrong_check = BLOCK[:-6] + b"%05d\x04" % ((int(BLOCK[-6:-1]) + 1) % 256)
    for wire in (wrong_check, stuff(wrong_check)):
        fault = parse(wire)
        assert isinstance(fault, Fault)
        assert fault.cause == "checksum"
        assert fault.answerable
    longer = parse(BLOCK.replace(b",0.30", b",0.300"))
    assert isinstance(longer, Fault)
    assert longer.cause == "framing"
