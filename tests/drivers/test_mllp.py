from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mllp import HEAD_BYTES, RUNAWAY_FACTOR, Deframer, Stray, frame, framed_again
from ledger.limits import LIMITS

_BODIES = st.binary(max_size=60).map(lambda data: data.replace(b"\x0b", b"").replace(b"\x1c", b""))
_STREAM = st.lists(
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"\x00", b"MSH|", b"M", b"BH", b"x" * 9]), max_size=40
).map(b"".join)


def _fed_at_once(data: bytes, limit: int = 20) -> list[bytes | Stray]:
    deframer = Deframer(limit)
    return deframer.feed(data) + deframer.end()


@given(st.lists(_BODIES, max_size=5))
def test_what_is_framed_comes_out(bodies: list[bytes]) -> None:
    assert Deframer().feed(b"".join(map(frame, bodies))) == bodies


@given(_STREAM, st.data())
def test_cut_anywhere_is_the_same_as_at_once(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    deframer = Deframer(20)
    out: list[bytes | Stray] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += deframer.feed(stream[start:stop])
    assert out + deframer.end() == _fed_at_once(stream)


@given(st.binary(max_size=200))
def test_every_byte_is_in_a_message_a_stray_or_fill(stream: bytes) -> None:
    out = _fed_at_once(stream, limit=1_000)
    kept = sum(item.lost_bytes if isinstance(item, Stray) else len(item) for item in out)
    marks = sum(stream.count(mark) for mark in (b"\x0b", b"\x1c", b"\r", b"\n", b"\x00"))
    assert len(stream) - marks <= kept <= len(stream)


def test_fill_between_messages_is_no_stray() -> None:
    assert _fed_at_once(b"\x00\r\n" + frame(b"one") + b"\n\x00\r" + frame(b"two") + b"\r\n") == [b"one", b"two"]


def test_a_missing_cr_is_not_waited_for() -> None:
    assert Deframer().feed(b"\x0bone\x1c\x0btwo\x1c") == [b"one", b"two"]


def test_junk_before_a_message_is_counted() -> None:
    assert _fed_at_once(b"GET / HTTP/1.1\r\n" + frame(b"one")) == [Stray("junk", 14), b"one"]


def test_endless_junk_is_reported_in_pieces() -> None:
    out = Deframer().feed(b"j" * (2 * LIMITS.frame_bytes + 5))
    assert out == [Stray("junk", LIMITS.frame_bytes)] * 2


def test_a_new_start_inside_a_message_loses_the_old_one() -> None:
    for begin in (b"MSH|", b"FHS|", b"BHS|"):
        assert _fed_at_once(b"\x0bhalf" + frame(begin + b"whole")) == [Stray("restart", 4), begin + b"whole"]


def test_a_doubled_start_loses_nothing() -> None:
    assert _fed_at_once(b"\x0b" + frame(b"MSH|")) == [b"MSH|"]


@pytest.mark.parametrize("text", [b"\x0b", b"a\x0bb", b"a\x0bM", b"\x0bMS", b"\x0bmsh|"])
def test_a_line_end_of_an_editor_inside_a_message_belongs_to_it(text: bytes) -> None:
    whole = framed_again(text)
    assert _fed_at_once(whole) == [text]
    deframer = Deframer()
    assert [item for byte in whole for item in deframer.feed(bytes([byte]))] == [text]


def test_a_connection_that_ends_inside_a_message() -> None:
    assert _fed_at_once(b"\x0bhalf") == [Stray("cut", 4)]


def test_the_limit_is_the_last_length_taken() -> None:
    assert Deframer(10).feed(frame(b"x" * 10)) == [b"x" * 10]


def test_an_oversize_message_keeps_its_head_and_the_next_is_read() -> None:
    big = bytes(range(65, 91)) * 1_000
    out = Deframer(8_192).feed(frame(big) + frame(b"next"))
    assert out == [Stray("oversize", len(big), big[:HEAD_BYTES]), b"next"]


def test_a_message_without_end_is_called_runaway_and_holds_no_more_than_the_limit() -> None:
    deframer = Deframer(1_000)
    runaway = []
    for piece in (b"\x0b" + b"x" * (RUNAWAY_FACTOR * 1_000), b"x" * 1_001):
        assert deframer.feed(piece) == []
        runaway.append(deframer.runaway)
    assert runaway == [False, True]
    assert len(deframer._body) == 1_000


@pytest.mark.parametrize("mark", [b"\x0b", b"\x1c"])
def test_a_message_with_framing_bytes_cannot_be_framed(mark: bytes) -> None:
    with pytest.raises(ValueError, match="VT"):
        frame(b"a" + mark + b"b")
