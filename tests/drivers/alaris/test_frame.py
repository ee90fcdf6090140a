from __future__ import annotations

import string
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.alaris.frame import encode, number_of, parse_line, seconds_of, split_line
from ledger.errors import DeviceFault

PUBLISHED = [
    "!INF|4961",
    "!COMMS_PROTOCOL|E8DA",
    "!INST_SERIALNO|457D",
    "!INF_VTBI|8456",
    "!ALARM|50B2",
    "!INF_RATE_MAX_SYRINGE|8F30",
    "!INST_SERIALNO^8002-51740|050B",
    "!COMMS_PROTOCOL^Asena Rev 2.1.5|661A",
    "!COMMS_RESPONSE_MAX^4000^ms|DFDF",
    "!SYRINGE_STATUS^BD PLASTIPAK^ 50^CONF|1CF8",
    "!INF_RATE_MAX_SYRINGE^1200.00^ml/h|8575",
    "!ALARM^AL_NOALM^ ^ |C73B",
    "!INF^8002-51733^A^HLD^0.00^ml/h^^0.969^ml^530.15^mmHg^00:04:09^EVENT^214725|DB9D",
]


@pytest.mark.parametrize("line", PUBLISHED)
def test_published_lines(line: str) -> None:
    body = line[1:-5]
    assert encode(body) == line.encode() + b"\r"
    reply = parse_line(line.encode())
    assert "^".join((reply.word, *reply.fields)) == body


@given(st.text(string.ascii_letters + string.digits + "^ .:/-", max_size=60))
def test_what_is_framed_is_read(text: str) -> None:
    reply = parse_line(encode("INF^" + text)[:-1])
    assert (reply.word, "^".join(reply.fields)) == ("INF", text)


@given(st.integers(0, 77), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, flip: int) -> None:
    line = bytearray(PUBLISHED[-1].encode())
    line[at] ^= flip
    if bytes(line).upper() == PUBLISHED[-1].encode():
        return
    with pytest.raises(DeviceFault):
        parse_line(bytes(line))


@pytest.mark.parametrize("junk", [b"", b"x", b"!INF^8002-51\x1b", b"!INF^80"])
def test_what_was_begun_before_a_line_does_not_spoil_it(junk: bytes) -> None:
    before, line = split_line(junk + b"!INF|4961")
    assert (before, line) == (len(junk), b"!INF|4961")


def test_numbers_and_times() -> None:
    assert (number_of(" 50"), number_of("0.969"), number_of(""), number_of("-")) == (
        Decimal(50),
        Decimal("0.969"),
        None,
        None,
    )
    assert seconds_of("00:04:09") == (Decimal(249), False)
    assert seconds_of("24+") == (Decimal(86_400), True)
    assert seconds_of("") == (None, False)


@given(st.binary(max_size=200))
def test_no_line_raises_anything_but_a_device_fault(line: bytes) -> None:
    try:
        parse_line(split_line(line)[1])
    except DeviceFault as fault:
        assert fault.id.startswith("alaris.")  # noqa: PT017 - either outcome is right
