"""The transport against devices that do not keep to HTTP, and against strangers: a small server, no SDC library."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable

import pytest

from drivers.contract import Message, Now
from drivers.sdc import soap
from drivers.sdc.frame import Deframer, Frame, encode
from drivers.transports.sdc_config import SdcLinkConfig
from drivers.transports.sdc_link import SdcTransport
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

SMALL = Limits(sdc_message_bytes=20_000, reconnect_min_ns=10_000_000, sdc_answer_ns=3 * 1_000_000_000)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class Log:
    """``LinkEvents`` that keeps what came."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.ups: list[LinkId] = []
        self.downs: list[str] = []
        self.refusals: list[str] = []
        self._deframer = Deframer()

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        self.ups.append(link)
        self._deframer = Deframer()

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        self.frames += self._deframer.feed(data)

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        raise AssertionError

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        self.downs.append(reason)

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        self.refusals.append(reason)

    async def until(self, true: Callable[[], object]) -> None:
        ends_s = time.monotonic() + 60
        while not true():
            assert time.monotonic() < ends_s, (self.frames, self.downs, self.refusals)
            await asyncio.sleep(0.005)

    @property
    def notify(self) -> str:
        opened = [frame for frame in self.frames if frame.kind == "OPENED"][-1]
        where: str = json.loads(opened.body)["notify"]
        return where


def with_device(handler: Handler, talk: Callable[[SdcTransport, Log, str], Awaitable[None]]) -> Log:
    log = Log()

    async def session() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        transport = SdcTransport(SdcLinkConfig(url, "", "", ("127.0.0.1", 9)), now, limits=SMALL)
        transport.start(log)
        await log.until(lambda: log.frames)
        await talk(transport, log, url)
        await transport.stop()
        server.close()

    asyncio.run(session())
    return log


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(size)


def answering(*answers: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_of(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return handler


def post(transport: SdcTransport, log: Log, url: str, body: bytes = b"<ask/>") -> bool:
    return transport.send(log.ups[-1], encode(Frame("POST", body, url=url)))


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n<a\r\n2\r\n/>\r\n0\r\n\r\n"
ZIPPED = gzip.compress(b"<a/>")
GZIP = b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\n\r\n<a/>"


def test_answers_in_every_form_of_http() -> None:
    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        for count in range(3):
            assert post(transport, log, url)
            await log.until(lambda count=count: len(log.frames) == count + 2)  # type: ignore[misc]

    log = with_device(answering(OK, CHUNKED, GZIP), talk)
    assert [(frame.kind, frame.status, frame.body) for frame in log.frames[1:]] == [
        ("ANSWER", 200, b"<a/>"), ("ANSWER", 200, b"<a/>"), ("ANSWER", 400, b"<a/>"),
    ]  # fmt: skip
    assert log.downs == []


BOMB = gzip.compress(bytes(10_000_000))
GZIPPED_OK = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n", "does not keep to HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99_999, "too long"),
        (GZIPPED_OK % len(BOMB) + BOMB, "cut off, or too"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "not asked for"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "does not keep to HTTP"),
    ],
)
def test_an_answer_that_is_none_ends_the_link_with_its_reason(answer: bytes, why: str) -> None:
    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        post(transport, log, url)
        await log.until(lambda: log.downs)

    log = with_device(answering(answer), talk)
    assert why in log.downs[0]


def test_a_device_that_hangs_up_is_asked_again_and_one_that_is_gone_is_told() -> None:
    async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK)
        await writer.drain()

    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        for count in range(3):
            post(transport, log, url)
            await log.until(lambda count=count: len(log.frames) == count + 2)  # type: ignore[misc]
            await asyncio.sleep(0.02)

    log = with_device(hanging_up, talk)
    assert log.downs == []


def test_only_so_many_requests_wait() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        taken = [post(transport, log, url) for _ in range(LIMITS.sdc_requests + 1)]
        assert taken == [True] * LIMITS.sdc_requests + [False]
        await log.until(lambda: log.downs)

    assert "too many requests" in with_device(silent, talk).downs[0]


def test_an_address_in_an_answer_sends_us_to_no_other_host() -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await request_of(reader))
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        port = url.partition("127.0.0.1:")[2].partition("/")[0]
        post(transport, log, f"http://192.0.2.1:{port}/elsewhere?x=1")
        await log.until(lambda: len(log.frames) == 2)

    with_device(handler, talk)
    assert asked[0].startswith(b"POST /elsewhere?x=1 HTTP/1.1\r\nHost: 192.0.2.1:")


# What comes to us ---------------------------------------------------------------------------------------------


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def said(where: str, data: bytes) -> bytes:
    host, _, port = where.partition("//")[2].partition("/")[0].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(4_096), 60)
    except ConnectionError:
        return b"cut"
    finally:
        writer.transport.abort()


def report(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_reports_are_taken_at_once_and_nothing_else_is() -> None:
    answers: dict[str, bytes] = {}
    wholes: dict[str, bytes] = {}

    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        path = "/" + log.notify.rpartition("/")[2]
        zipped = gzip.compress(b"<b/>")
        for name, data in {
            "report": report(path, b"<a/>"),
            "zipped": report(path, zipped, "Content-Encoding: gzip\r\n"),
            "no token": report("/", b"<x/>"),
            "other token": report("/0123", b"<x/>"),
            "noise": b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
            "too long": report(path, b"x" * 30_000),
            "bomb": report(path, BOMB[:9_000], "Content-Encoding: gzip\r\n"),
            "a get": f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        }.items():
            wholes[name] = await said(log.notify, data)
            answers[name] = wholes[name][:12]
        await log.until(lambda: len(log.frames) >= 3)

    log = with_device(idle, talk)
    assert answers["report"] == answers["zipped"] == b"HTTP/1.1 202"
    for unknown in ("no token", "other token"):
        assert answers[unknown] == b"HTTP/1.1 400"
        fault = soap.read(wholes[unknown].partition(b"\r\n\r\n")[2])
        assert soap.fault_text(fault) == "Sender DestinationUnreachable"
    assert answers["a get"] == b"HTTP/1.1 405"
    assert b"Allow: POST" in wholes["a get"]
    for refused in ("noise", "too long", "bomb"):
        assert answers[refused] in {b"HTTP/1.1 400", b"", b"cut"}
    assert [frame.body for frame in log.frames if frame.kind == "NOTIFY"] == [b"<a/>", b"<b/>"]
    assert log.downs == []


def test_only_so_many_connections_are_open() -> None:
    async def talk(transport: SdcTransport, log: Log, url: str) -> None:
        host, _, port = log.notify.partition("//")[2].partition("/")[0].rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(LIMITS.sdc_connections + 1)]
        await log.until(lambda: log.refusals)
        for _, writer in opened:
            writer.transport.abort()

    assert with_device(idle, talk).refusals == [f"{LIMITS.sdc_connections} connections are open"]
