"""Reading MQTT packets from outside: whatever comes, in whatever pieces."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.broker_stream import Frame, FrameReader, ProtocolError
from ledger.limits import LIMITS
from tests.agent.raw_client import packet, remaining_length

FIRST = st.integers(0, 255)
BODY = st.one_of(st.binary(max_size=300), st.integers(120, 140).map(bytes), st.integers(16_380, 16_390).map(bytes))
PUBLISHES = st.lists(st.builds(Frame, st.integers(0x30, 0x3F), BODY), max_size=4)


def read_all(pieces: list[bytes]) -> tuple[list[Frame], str]:
    """Every packet of a stream that ends, and how it ended."""

    async def read() -> tuple[list[Frame], str]:
        reader = FrameReader()
        frames: list[Frame] = []

        async def feed() -> None:
            for piece in pieces:
                reader.data_received(piece)
                await asyncio.sleep(0)
            reader.connection_lost(None)

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
    allowed = first + remaining_length(cap)
    assert read_all([allowed]) == ([], f"ended {len(allowed)}")
    assert read_all([first + remaining_length(cap + 1)]) == ([], f"packet of type {packet_type} with {cap + 1} bytes")


def test_a_flood_is_read_a_burst_at_a_time_and_whole() -> None:
    taken: list[Frame] = []
    held: list[str] = []

    class Socket(asyncio.Transport):
        def pause_reading(self) -> None:
            held.append("held")

        def resume_reading(self) -> None:
            held.append("resumed")

        def is_closing(self) -> bool:
            return False

    async def read() -> list[int]:
        reader = FrameReader()
        reader.connection_made(Socket())
        reader.on_publish = taken.append
        reader.data_received(Frame(0x30, b"x").encode() * 1000)
        counts = [len(taken)]
        while held != ["held", "resumed"]:
            await asyncio.sleep(0)
            counts.append(len(taken))
        return counts

    counts = asyncio.run(read())
    assert counts[-1] == len(taken) == 1000
    assert max(after - before for before, after in itertools.pairwise([0, *counts])) < 100


def test_control_packets_that_nobody_reads_hold_up_their_client_alone() -> None:
    async def read() -> None:
        reader = FrameReader()
        pings = Frame(0xC0, b"")
        reader.data_received(pings.encode() * 1000)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(reader._frames) < 100
        assert [await reader.frame() for _ in range(1000)] == [pings] * 1000

    asyncio.run(read())
