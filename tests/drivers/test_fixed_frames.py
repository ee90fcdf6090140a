from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.checksums import sum8
from drivers.fixed_frames import FixedFrames, Skipped

SIZE, IN_ROW = 4, 3


def is_frame(frame: bytes) -> bool:
    return frame[0] == 0xA5 and sum8(frame[:-1]) == frame[-1]


def frame(a: int, b: int) -> bytes:
    body = bytes((0xA5, a, b))
    return body + bytes((sum8(body),))


BYTE = st.integers(0, 255)
FRAMES = st.lists(st.builds(frame, BYTE, BYTE), min_size=IN_ROW, max_size=8)
WIRE = st.lists(FRAMES.map(b"".join) | st.binary(max_size=9) | st.just(b"\xa5"), max_size=8).map(b"".join)


def finder() -> FixedFrames:
    return FixedFrames(SIZE, is_frame, IN_ROW)


@given(FRAMES)
def test_frames_in_a_row_are_found(frames: list[bytes]) -> None:
    assert finder().feed(b"".join(frames)) == frames


@given(WIRE)
def test_one_by_one_is_all_at_once(wire: bytes) -> None:
    found = finder()
    assert [item for i in range(len(wire)) for item in found.feed(wire[i : i + 1])] == finder().feed(wire)


@given(WIRE)
def test_every_byte_is_accounted_for(wire: bytes) -> None:
    found = finder()
    told = sum(item.lost_bytes if isinstance(item, Skipped) else len(item) for item in found.feed(wire))
    assert told + found.abandon() == len(wire)


@given(st.binary(max_size=40), FRAMES)
def test_after_any_noise_the_next_frames_in_a_row_are_found(noise: bytes, frames: list[bytes]) -> None:
    found = [item for item in finder().feed(noise + b"".join(frames * 2)) if isinstance(item, bytes)]
    assert found[-1] == frames[-1]


def test_a_chance_likeness_is_no_frame() -> None:
    assert [item for item in finder().feed(b"xx" + frame(1, 2) + b"yyyyyyyyyyyyyy") if isinstance(item, bytes)] == []


def test_endless_noise_is_told_of_in_pieces() -> None:
    found = finder().feed(bytes(5_000))
    assert [item.lost_bytes for item in found if isinstance(item, Skipped)] == [1_024] * 4


def test_without_a_checksum_the_next_beginning_confirms_a_frame() -> None:
    def looks_right(frame: bytes) -> bool:
        return frame[0] >= 0x80 and max(frame[1:]) < 0x80

    whole = [bytes((0x80, n, n, n)) for n in range(6)]
    longer = whole[3][:2] + b"\x11" + whole[3][2:]
    found = FixedFrames(SIZE, looks_right, IN_ROW, begins=lambda byte: byte >= 0x80)
    wire = b"".join(whole[:3]) + longer + b"".join(whole) + b"\x80"
    assert found.feed(wire) == [*whole[:3], Skipped(len(longer)), *whole]
