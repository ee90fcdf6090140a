from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sdc.frame import LONGEST_HEAD_BYTES, Deframer, Frame, encode, read_request
from ledger.errors import DeviceFault
from ledger.limits import LIMITS

FRAMES = st.one_of(
    st.builds(Frame, st.just("OPENED"), st.binary(max_size=50)),
    st.builds(Frame, st.just("NOTIFY"), st.binary(max_size=50)),
    st.builds(Frame, st.just("ANSWER"), st.binary(max_size=50), st.integers(100, 599)),
    st.builds(lambda body: Frame("POST", body, url="https://10.20.1.7:6464/x/Get"), st.binary(max_size=50)),
)


@given(st.lists(FRAMES, max_size=6), st.data())
def test_frames_come_back_however_they_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream, deframer, found = b"".join(map(encode, frames)), Deframer(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += list(deframer.feed(stream[:size]))
        stream = stream[size:]
    assert found == frames
    assert len(deframer) == 0


@pytest.mark.parametrize(
    "stream",
    [b"HELLO 3\nabc", b"NOTIFY x\n", b"NOTIFY -1\n", b"A" * LONGEST_HEAD_BYTES,
     b"NOTIFY %d\n" % (LIMITS.sdc_message_bytes + 1), b"ANSWER 20 1\n"],
)  # fmt: skip
def test_what_is_no_frame_is_told(stream: bytes) -> None:
    with pytest.raises(DeviceFault) as caught:
        list(Deframer().feed(stream))
    assert caught.value.id == "sdc.bad-frame"


def test_only_one_whole_request_is_sent() -> None:
    post = encode(Frame("POST", b"<a/>", url="http://h/x"))
    assert read_request(post) == ("http://h/x", b"<a/>")
    for wrong in (post + post, post[:-1], encode(Frame("NOTIFY", b"<a/>")), b""):
        with pytest.raises(DeviceFault):
            read_request(wrong)
