from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from agent.capture_player import PtyStage, paced, play
from drivers.capture import CaptureItem
from drivers.capture_file import open_capture
from ledger.limits import MS_NS, S_NS
from ledger.records import Link, LinkId, Raw
from tests.drivers.test_capture_suite import FOLDER

LINK = LinkId(1)


def raw(at_ms: int, direction: str, data: bytes) -> Raw:
    return Raw(
        at_ns=5 * S_NS + at_ms * MS_NS, link=LINK, direction="<" if direction == "<" else ">", data=data,
        pieces=((0, len(data)),),
    )  # fmt: skip


class Notes:
    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.log: list[str] = []

    async def send(self, link: LinkId, data: bytes) -> None:
        self.log.append(f"{link} {data.decode()}")

    async def end(self, link: LinkId) -> None:
        self.log.append(f"{link} end")

    async def close(self) -> None:
        self.log.append("close")


def test_only_what_the_device_sent_is_played() -> None:
    down = Link(at_ns=6 * S_NS, link=LINK, state="down", reason="closed")
    stage = Notes()
    items: list[CaptureItem] = [raw(0, "<", b"a"), raw(0, ">", b"b"), raw(1, "<", b"c"), down]
    asyncio.run(play(items, stage, None))
    assert stage.log == ["1 a", "1 c", "1 end"]


@pytest.mark.parametrize(("speed", "slept_s"), [(1.0, [0.0, 2.0, 3.0]), (4.0, [0.0, 0.5, 0.75]), (None, [])])
def test_the_pace_is_that_of_the_capture_times_the_speed(
    speed: float | None, slept_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)

    async def scene() -> None:
        # a loop whose clock stands still: each wait is then the whole way from the start
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 100.0)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        async for _ in paced([raw(0, "<", b""), raw(2_000, "<", b""), raw(3_000, "<", b"")], speed):
            pass

    asyncio.run(scene())
    assert waits == slept_s


def test_a_pty_shows_the_device_to_whoever_opens_it() -> None:
    path = FOLDER / "ge-dri-s5.orcap.zst"

    async def scene() -> tuple[bytes, Counter[str]]:
        stage = PtyStage()
        loop = asyncio.get_running_loop()
        heard = loop.run_in_executor(None, read_all, Path(stage.path), sent_in(path))
        with open_capture(path) as capture:
            await play(capture, stage, None)
        data = await heard
        await stage.close()
        return data, stage.counters

    data, counters = asyncio.run(asyncio.wait_for(scene(), 60))
    with open_capture(path) as capture:
        said = b"".join(item.data for item in capture if isinstance(item, Raw) and item.direction == "<")
    assert data == said
    assert (counters["bytes_sent"], counters["bytes_answered"]) == (len(said), 1)


def sent_in(path: Path) -> int:
    with open_capture(path) as capture:
        return sum(len(item.data) for item in capture if isinstance(item, Raw) and item.direction == "<")


def read_all(port: Path, size: int) -> bytes:
    data = bytearray()
    handle = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(handle, b"?")
        while len(data) < size:
            data += os.read(handle, 4096)
    finally:
        os.close(handle)
    return bytes(data)
