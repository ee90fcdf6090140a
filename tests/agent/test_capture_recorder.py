from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable
from typing import ClassVar

import msgspec
import pytest

from agent.capture_player import TcpStage, play
from agent.capture_recorder import CaptureRecorder
from agent.clock import read_now
from drivers.capture import CaptureHeader, CaptureItem, CaptureReader, CaptureWriter
from drivers.capture_file import open_capture
from drivers.contract import Driver, Message, Now, Outbox, Sendable, Spec, Ticket, Transport
from drivers.hl7v2 import Hl7v2
from drivers.hl7v2.routing import Hl7Config
from drivers.replay import Replay
from drivers.transports.links import LinkEvents
from drivers.transports.mllp_listener import MllpConfig, MllpListener
from ledger.errors import StoreFault
from ledger.limits import S_NS
from ledger.records import Link, LinkId, Raw
from tests.drivers.test_capture_suite import FOLDER

T0_NS = 1_764_000_000 * S_NS
AT = Now(mono_ns=1, utc_ns=T0_NS)
HEADER = CaptureHeader(orcap=1, driver="", feed="capture", transport="serial", t0="2025-11-24T16:00:00.000000Z")
LINK = LinkId(1)


class NoOptions(msgspec.Struct, frozen=True):
    pass


class Echo(Outbox):
    """Answers every byte once it is durable, and also what it never declared."""

    spec: ClassVar[Spec[NoOptions]] = Spec(
        "echo", (), (Transport.SERIAL,), NoOptions, tx_allowed=(Sendable(re.compile(rb"[a-z]+"), ""),)
    )

    def __init__(self) -> None:
        super().__init__()
        self.woken = asyncio.Event()
        self.due_ns: int | None = None

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.due_ns = now.mono_ns

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert isinstance(data, bytes)
        self.send(link, data, Ticket(1))
        self.send(link, b"UNDECLARED")

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        pass

    def wake(self, now: Now) -> None:
        self.woken.set()
        self.due_ns = None

    def deadline_ns(self) -> int | None:
        return self.due_ns


class Line:
    """A transport that remembers what it was asked, in the order of everything else."""

    listens = False
    reachable = True

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self, events: LinkEvents) -> None:
        self.log.append("start")

    async def stop(self) -> None:
        self.log.append("stop")

    def send(self, link: LinkId, data: bytes) -> bool:
        self.log.append(f"send {data.decode()}")
        return True

    def close(self, link: LinkId, reason: str) -> None:
        self.log.append("close")

    def set_reading(self, reading: bool) -> None:
        raise NotImplementedError


def recorder_on(
    line: Line, driver: Driver | None, stream: io.BytesIO, sync: Callable[[], None] | None = None
) -> tuple[CaptureRecorder, CaptureWriter]:
    writer = CaptureWriter(stream, HEADER)
    sync = sync or (lambda: line.log.append("sync"))
    return CaptureRecorder(writer, sync, line, driver, lambda: AT), writer


def lines(stream: io.BytesIO, writer: CaptureWriter) -> list[CaptureItem]:
    writer.finish()
    return list(CaptureReader(io.BytesIO(stream.getvalue())))


def test_without_a_driver_nothing_is_ever_sent() -> None:
    line, stream = Line(), io.BytesIO()
    recorder, writer = recorder_on(line, None, stream)
    recorder.on_refused("/dev/ttyS9", "no such port", AT)
    recorder.on_up(LINK, "/dev/ttyS0", AT)
    recorder.on_bytes(LINK, b"abc", AT)
    recorder.on_down(LINK, "unplugged", AT)
    assert line.log == []
    refused, up, raw, down = lines(stream, writer)
    assert refused == Link(at_ns=T0_NS, link=LinkId(0), state="refused", peer="/dev/ttyS9", reason="no such port")
    assert (up, down) == (
        Link(at_ns=T0_NS, link=LINK, state="up", peer="/dev/ttyS0"),
        Link(at_ns=T0_NS, link=LINK, state="down", reason="unplugged"),
    )
    assert raw == Raw(at_ns=T0_NS, link=LINK, direction="<", data=b"abc", pieces=((0, 3),))


def test_an_answer_leaves_only_after_the_disk_has_what_it_answers() -> None:
    async def scene() -> None:
        line, stream = Line(), io.BytesIO()
        recorder, writer = recorder_on(line, Echo(), stream)
        recorder.on_bytes(LINK, b"abc", AT)
        assert line.log == ["sync", "send abc"]  # and never what the driver did not declare
        assert recorder.counters["tx_blocked"] == 1
        assert [item.direction for item in lines(stream, writer) if isinstance(item, Raw)] == ["<", ">"]

    asyncio.run(scene())


def test_a_driver_is_woken() -> None:
    async def scene() -> None:
        driver = Echo()
        recorder, _ = recorder_on(Line(), driver, io.BytesIO())
        recorder.on_up(LINK, "port", AT)
        async with asyncio.timeout(60):
            await driver.woken.wait()

    asyncio.run(scene())


def test_a_full_disk_ends_the_recording_and_says_so() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    async def scene() -> None:
        line = Line()
        recorder, _ = recorder_on(line, Echo(), io.BytesIO(), full)
        asyncio.get_running_loop().call_later(0.01, recorder.on_bytes, LINK, b"abc", AT)
        with pytest.raises(StoreFault, match="No space left"):
            await asyncio.wait_for(recorder.run(asyncio.Event()), 60)
        assert line.log == ["start", "stop"]

    asyncio.run(scene())


def test_a_capture_played_to_a_listener_is_recorded_and_answered_as_before() -> None:
    async def scene() -> tuple[bytes, int, int]:
        stream = io.BytesIO()
        listener = MllpListener(MllpConfig.parse("127.0.0.1:0", ["127.0.0.1"]), read_now)
        writer = CaptureWriter(stream, msgspec.structs.replace(HEADER, driver="hl7"))
        recorder = CaptureRecorder(writer, lambda: None, listener, Hl7v2(Hl7Config()), read_now)
        recorder.start()
        async with asyncio.timeout(60):
            while (address := listener.address) is None:  # noqa: ASYNC110 - a listener tells nobody that it is bound
                await asyncio.sleep(0.01)
            stage = TcpStage(*address)
            with open_capture(FOLDER / "hl7-gateway.orcap.zst") as capture:
                await play(capture, stage, None)
            await stage.close()
        await recorder.stop()
        writer.finish()
        return stream.getvalue(), stage.counters["bytes_sent"], stage.counters["bytes_answered"]

    recorded, sent, answered = asyncio.run(scene())
    items = list(CaptureReader(io.BytesIO(recorded)))
    passed = {"<": 0, ">": 0}
    for item in items:
        if isinstance(item, Raw):
            passed[item.direction] += len(item.data)
    assert passed == {"<": sent, ">": answered}
    assert answered
    replay = Replay(Hl7v2(Hl7Config()), HEADER.t0_ns)
    list(replay.steps(items))
    assert all(link.differs_at is None for link in replay.sent.values())
