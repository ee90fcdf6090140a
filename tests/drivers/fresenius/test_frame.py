from __future__ import annotations

import string
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Now
from drivers.fresenius.frame import ACK, ENQ, NAK, Control, Deframer, Fault, Reply, encode
from drivers.fresenius.values import condition, measured, modules_of, parse_variables
from ledger.errors import DeviceFault

TEXT = st.text(string.ascii_letters + string.digits + "; %.", max_size=60)


@pytest.mark.parametrize(("module", "text", "check"), [("0", "DC", b"48"), ("1", "LE;dr", b"2C")])
def test_published_check_values(module: str, text: str, check: bytes) -> None:
    assert encode(module, text) == b"\x02" + module.encode() + text.encode() + check + b"\x03"


@given(st.lists(st.tuples(st.sampled_from(["", *string.digits]), st.sampled_from("CIEM"), TEXT), max_size=6),
       st.integers(1, 30))  # fmt: skip
def test_what_is_framed_is_read_in_any_pieces(messages: list[tuple[str, str, str]], piece: int) -> None:
    stream = b"".join(encode(module, f"{status};{text}") for module, status, text in messages)
    deframer = Deframer()
    found = [item for at in range(0, len(stream), piece) for item in deframer.feed(stream[at : at + piece])]
    assert [(item.module, item.status, item.text) for item in found if isinstance(item, Reply)] == messages
    assert len(found) == len(messages)
    assert deframer.abandon() == 0


@given(st.binary(max_size=400))
def test_byte_by_byte_is_all_at_once_and_every_byte_is_told(noise: bytes) -> None:
    whole, single = Deframer(), Deframer()
    found = whole.feed(noise)
    assert found == [item for byte in noise for item in single.feed(bytes((byte,)))]
    told = whole.abandon()
    for item in found:
        if isinstance(item, Control):
            told += 1 + len(item.code)
        else:
            told += item.wire_bytes if isinstance(item, Reply) else item.lost_bytes
    assert told == len(noise)


def test_the_line_is_asked_whether_it_is_alive_even_within_a_message() -> None:
    frame = encode("1", "C;d0064")
    assert Deframer().feed(frame[:5] + b"\x05" + frame[5:] + b"\x06\x156") == [
        Control(ENQ),
        Reply("1", "C", "d0064", len(frame)),
        Control(ACK),
        Control(NAK, "6"),
    ]


def test_a_check_in_small_letters_is_right_too() -> None:
    frames = (encode("1", f"C;d{rate:04X}") for rate in range(256))
    frame = next(frame for frame in frames if chr(frame[-2]).isalpha())
    (reply,) = Deframer().feed(frame[:-3] + frame[-3:].lower())
    assert isinstance(reply, Reply)


def test_a_fault_costs_one_message() -> None:
    good = encode("1", "C;d0064")
    assert Deframer().feed(good[:6] + good + good.replace(b"64", b"65", 1) + b"\x02" + b"x" * 121 + good) == [
        Fault("framing", 6),
        Reply("1", "C", "d0064", len(good)),
        Fault("checksum", len(good), is_frame=True),
        Fault("oversize", 122),
        Reply("1", "C", "d0064", len(good)),
    ]


def test_rate_and_volume_have_their_decimals() -> None:
    told = {record.device_code: record for record in measured("module-1", parse_variables("d0064;r0012AB"), Now(0, 0))}
    assert (str(told["d rate"].value), told["d rate"].unit) == ("10.0", "mL/h")
    assert (told["r volume infused"].value, told["r volume infused"].unit) == (Decimal("4.779"), "mL")
    assert told["d rate"].sub == "module-1"


def test_modules_are_bits() -> None:
    assert modules_of({"b": "15"}) == ["1", "3", "5"]
    assert modules_of({"b": "00"}) == []
    with pytest.raises(DeviceFault):
        modules_of({"d": "01"})


def test_an_alarm_word_is_active_while_it_is_not_zero() -> None:
    assert condition("a", "0000") == []
    assert [active.device_code for active in condition("a", "0010")] == ["a0010"]


@given(TEXT)
def test_no_text_raises_anything_but_a_device_fault(text: str) -> None:
    try:
        parse_variables(text)
    except DeviceFault as fault:
        assert fault.id.startswith("fresenius.")  # noqa: PT017 - either outcome is right
