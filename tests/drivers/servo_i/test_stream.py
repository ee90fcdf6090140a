from __future__ import annotations

import random
from functools import reduce
from operator import xor

from hypothesis import given
from hypothesis import strategies as st

from drivers.servo_i.frame import MISSING
from drivers.servo_i.stream import (
    BreathPhase,
    CurvesChecked,
    Item,
    Sample,
    StreamError,
    StreamFault,
    StreamReader,
    Text,
    Values,
)

# A breath of a real ventilator: flow, then channels 200, 205 and 209. Published with src-jds/servoscreen.
REAL_BREATH = (
    "8030870c080d09080e080e080c0a080c0e090a0b090b0b070e0b0b060d0b090d0c080b0b080e0810f805fb00000500fb000000000000"
    "00010006fa0000000000000000000000000600fb0000000000ff05fb00000005fb00000000000005fbff00000005fb00000000000000"
    "00000001000000000000000000000600fa06fa0100000000000000ff00000000000000000000000000000005fb00000005fb00ff05fb"
    "000005fb0001000006fa0000000000000005fb0000010005fb00000005fa00000005fb0005fb00000000000000ff00000005fb05fb00"
    "00000500fb000001000000fd08fb000006fa06fa0006fa0105fbfd0800fb00ff00000005fb05fb00000005fb000005fa00000005fb05"
    "fb00000000000000000100000005fb05fb05fb00000005fb00a38130803008f380294080210a801555801082800d64800cb6800d9880"
    "0e9e8010438011b080140180154980171f80188b801a5e801b65801d1d801e3f801f878020938021fc8022ec80247e8025c68027d880"
    "296f802bd1802db280300c81106a7f634200a900d003e87faf"
)


def closed(block: bytes) -> bytes:
    whole = block + b"\x7f"
    return whole + bytes((reduce(xor, whole, 0),))


def absolute(raw: int) -> bytes:
    return b"\x80" + raw.to_bytes(2, "big")


def read(data: bytes, curves: int = 1) -> list[Item]:
    return StreamReader(curves).feed(data)


def samples(items: list[Item], curve: int = 0) -> list[int]:
    return [item.raw for item in items if isinstance(item, Sample) and item.curve == curve]


def test_a_block_of_one_curve() -> None:
    items = read(closed(b"\x81\x10" + absolute(9_871) + b"\xfa\x09\x00" + b"\x81\x30" + absolute(12_000)))
    assert items[0] == BreathPhase("inspiration")
    assert samples(items) == [9_871, 9_865, 9_874, 9_874, 12_000]
    assert BreathPhase("expiration") in items
    assert items[-1] == CurvesChecked()


def test_bytes_that_mean_xon_xoff_and_an_error_elsewhere_are_differences_within_a_curve() -> None:
    assert samples(read(absolute(1_000) + b"\x11\x13\xe0\x04\x42")) == [1_000, 1_017, 1_036, 1_004, 1_008, 1_074]


def test_curves_take_turns() -> None:
    items = read(closed(absolute(100) + absolute(5_000) + b"\x01\xff\x7e\x82"), curves=2)
    assert samples(items, 0) == [100, 101, 227]
    assert samples(items, 1) == [5_000, 4_999, 4_873]


def test_a_block_of_values_with_one_missing() -> None:
    assert read(closed(b"B\x00\x5b\x01\x2c\x7e\xff")) == [Values("B", (91, 300, MISSING))]


def test_a_breath_of_a_real_ventilator_whose_checks_cover_the_ends_of_the_blocks() -> None:
    items = read(bytes.fromhex(REAL_BREATH))
    assert items[-2:] == [CurvesChecked(), Values("B", (169, 208, 1000))]
    assert [item for item in items if isinstance(item, BreathPhase)] == [
        BreathPhase("expiration"),
        BreathPhase("inspiration"),
    ]
    assert (len(samples(items)), min(samples(items)), max(samples(items))) == (326, 3254, 12817)


def test_a_block_of_values_whose_check_is_wrong_gives_none() -> None:
    block = closed(b"S\x00\x32")
    assert read(block[:-1] + bytes((block[-1] ^ 1,))) == [StreamFault("checksum", 5, False)]


def test_the_check_may_leave_out_the_end_of_the_block() -> None:
    block = closed(b"S\x00\x32")
    assert read(block[:-1] + bytes((block[-1] ^ 0x7F,))) == [Values("S", (50,))]


def test_differences_go_on_after_another_block() -> None:
    first = closed(absolute(100) + b"\x05")
    assert samples(read(first + closed(b"B\x00\x01") + absolute(200) + b"\xff")) == [100, 105, 200, 199]


def test_an_error_ends_the_stream() -> None:
    assert read(closed(b"\xe0\x11")) == [StreamError(17)]


def test_an_answer_instead_of_the_stream() -> None:
    assert read(b"ER1710\x04*2A\x04") == [Text(b"ER1710"), Text(b"*2A")]


def test_several_curves_joined_in_their_middle_are_not_given_before_a_block_has_ended() -> None:
    reader = StreamReader(2, joined=True)
    items = reader.feed(absolute(7) + b"\x01" + closed(b"")[:1] + b"\x00")
    assert samples(items) == []
    assert samples(reader.feed(absolute(9) + absolute(8)), 1) == [8]


def test_after_nonsense_it_reads_again_from_the_next_end_of_a_block() -> None:
    items = read(b"nonsense\x7fx" + closed(b"B\x00\x01"))
    assert items == [StreamFault("framing", 0, False), StreamFault("framing", 10, False), Values("B", (1,))]


RAWS = st.integers(0, MISSING - 1)


@given(st.lists(st.tuples(RAWS, RAWS, RAWS), min_size=1, max_size=40), st.integers(1, 3), st.integers(0, 99))
def test_any_curves_read_as_written_however_they_are_cut(rows: list[tuple[int, ...]], curves: int, seed: int) -> None:
    before: list[int | None] = [None] * curves
    block = b""
    for row in rows:
        for place, raw in enumerate(row[:curves]):
            last = before[place]
            step = None if last is None else raw - last
            block += absolute(raw) if step is None or abs(step) > 126 else bytes((step & 0xFF,))
            before[place] = raw
    data, reader, items, cut = closed(block), StreamReader(curves), list[Item](), random.Random(seed)
    while data:
        size = cut.randint(1, 9)
        items += reader.feed(data[:size])
        data = data[size:]
    assert [samples(items, place) for place in range(curves)] == [
        [row[place] for row in rows] for place in range(curves)
    ]
    assert items[-1] == CurvesChecked()
    assert reader.abandon() == 0


@given(st.binary(max_size=300), st.integers(0, 4))
def test_no_bytes_raise_and_a_sound_stream_is_read_again(data: bytes, curves: int) -> None:
    reader = StreamReader(curves)
    reader.feed(data)
    sound = closed(b"B\x00\x01\x00\x02")
    assert Values("B", (1, 2)) in reader.feed(sound * 4)
