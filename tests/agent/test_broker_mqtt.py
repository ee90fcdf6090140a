"""Reading MQTT packets from outside: whatever comes, in whatever pieces."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.broker_mqtt import Frame, FrameReader, ProtocolError
from ledger.limits import LIMITS
from tests.agent.raw_client import packet, remaining_length

FIRST = st.integers(0, 255)
BODY = st.one_of(st.binary(max_size=300), st.integers(120, 140).map(bytes), st.integers(16_380, 16_390).map(bytes))
PUBLISHES = st.lists(st.builds(Frame, st.integers(0x30, 0x3F), BODY), max_size=4)


def read_all(pieces: list[bytes]) -> tuple[list[Frame], str]:
    """Every packet of a stream that ends, and how it ended."""

    async def read() -> tuple[list[Frame], str]:
        stream = asyncio.StreamReader()
        reader = FrameReader(stream, "or-2")
        frames: list[Frame] = []

        async def feed() -> None:
            for piece in pieces:
                stream.feed_data(piece)
                await asyncio.sleep(0)
            stream.feed_eof()

        feeding = asyncio.create_task(feed())
        try:
            while True:
                frames.append(await reader.frame())
        except asyncio.IncompleteReadError as error:
            return frames, f"ended {len(error.partial)}"
        except ProtocolError as error:
            return frames, str(error)
        finally:
            await feeding

    return asyncio.run(read())


@given(PUBLISHES)
def test_packets_come_back_as_they_were_encoded(frames: list[Frame]) -> None:
    assert read_all([frame.encode() for frame in frames]) == (frames, "ended 0")


@given(FIRST, BODY)
def test_encoding_is_that_of_the_standard(first: int, body: bytes) -> None:
    assert Frame(first, body).encode() == packet(first, body)


@given(
    st.one_of(st.binary(max_size=200), PUBLISHES.map(lambda frames: b"".join(each.encode() for each in frames)[:700]))
)
def test_any_bytes_one_by_one_give_what_they_give_at_once(data: bytes) -> None:
    at_once = read_all([data])
    one_by_one = read_all([bytes([byte]) for byte in data])
    assert one_by_one[0] == at_once[0]
    assert one_by_one[1].split()[0] == at_once[1].split()[0]


@pytest.mark.parametrize(
    ("packet_type", "cap"),
    [
        (1, LIMITS.mqtt_connect_bytes),
        (3, LIMITS.message_bytes + LIMITS.mqtt_topic_bytes + 2),
        (8, LIMITS.mqtt_control_bytes),
        (15, LIMITS.mqtt_control_bytes),
    ],
)
def test_a_packet_over_its_cap_is_refused_by_its_length_alone(packet_type: int, cap: int) -> None:
    first = bytes([packet_type << 4])
    assert read_all([first + remaining_length(cap)]) == ([], "ended 0")
    assert read_all([first + remaining_length(cap + 1)]) == ([], f"packet of type {packet_type} with {cap + 1} bytes")
