from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.line_splitter import LineFault, LineSplitter

LONGEST = 12
WIRE = st.lists(st.binary(max_size=20) | st.sampled_from([b"\r\n", b"\r", b"\n", b"abc\r\n"]), max_size=12).map(
    b"".join
)


def test_lines_without_their_ends() -> None:
    assert LineSplitter(LONGEST).feed(b"one\r\ntwo\rthree\n\r\nfo") == [b"one", b"two", b"three"]


def test_a_line_goes_on_in_the_next_piece() -> None:
    splitter = LineSplitter(LONGEST)
    assert splitter.feed(b"on") == []
    assert splitter.feed(b"e\r") == [b"one"]


def test_only_the_given_ends_end_a_line() -> None:
    assert LineSplitter(LONGEST, b"\x04").feed(b"a\r\nb\x04") == [b"a\r\nb"]


def test_a_line_too_long_is_told_once_and_the_next_is_whole() -> None:
    assert LineSplitter(LONGEST).feed(b"x" * 100 + b"\rnext\r") == [LineFault(100), b"next"]


def test_what_was_begun_is_counted_when_the_link_goes() -> None:
    splitter = LineSplitter(LONGEST)
    splitter.feed(b"one\rtw")
    assert splitter.abandon() == 2
    assert splitter.abandon() == 0
    splitter.feed(b"y" * 50)
    assert splitter.abandon() == 50


@given(WIRE)
def test_one_by_one_is_all_at_once(wire: bytes) -> None:
    splitter = LineSplitter(LONGEST)
    singly = [item for i in range(len(wire)) for item in splitter.feed(wire[i : i + 1])]
    assert singly == LineSplitter(LONGEST).feed(wire)


@given(WIRE)
def test_every_byte_is_accounted_for(wire: bytes) -> None:
    splitter = LineSplitter(LONGEST)
    items = splitter.feed(wire)
    told = sum(item.lost_bytes if isinstance(item, LineFault) else len(item) for item in items)
    assert told + splitter.abandon() == len(wire) - wire.count(b"\r") - wire.count(b"\n")
