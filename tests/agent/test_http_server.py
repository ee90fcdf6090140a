"""The page's server against real sockets: what it answers, and what it refuses to be held up by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.http_server import HttpServer, Request, Response
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS, MS_NS, S_NS, Limits
from tests.agent.mesh_site import until

GET = b"GET /page?x=1 HTTP/1.1\r\nHost: box\r\nAccept: text/plain\r\n\r\n"
QUICK = replace(LIMITS, page_request_ns=200 * MS_NS, page_answer_ns=200 * MS_NS, page_connections=2)
PATIENT = replace(LIMITS, page_request_ns=60 * S_NS, page_answer_ns=60 * S_NS)
QUICK_TO_ANSWER = replace(QUICK, page_request_ns=60 * S_NS)


async def page(request: Request) -> Response:
    return Response(HTTPStatus.OK, f"{request.path} for {request.headers['accept']}".encode(), "text/x-test")


async def broken(_request: Request) -> Response:
    raise ValueError("a bug")


async def endless(_request: Request) -> Response:
    await asyncio.sleep(60)
    raise AssertionError


def serving(work: Callable[[HttpServer], Awaitable[None]], limits: Limits = PATIENT) -> None:
    async def scenario() -> None:
        server = HttpServer({"/page": page, "/broken": broken, "/endless": endless}, limits)
        await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(60):
                await work(server)
        finally:
            await server.stop()

    asyncio.run(scenario())


async def answer(server: HttpServer, sent: bytes, *, half_close: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    received = b""
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        if half_close:
            writer.write_eof()
        received = await reader.read()
    writer.close()
    return received


def test_a_page_is_answered_and_the_connection_closed() -> None:
    async def work(server: HttpServer) -> None:
        head, _, body = (await answer(server, GET)).partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 200")
        assert {b"content-type: text/x-test", b"connection: close", b"cache-control: no-store"} <= set(lines)
        assert body == b"/page for text/plain"

        head, _, body = (await answer(server, GET.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
        assert b"content-length: 20" in head.lower()
        assert body == b""

    serving(work)


async def until_served(server: HttpServer) -> None:
    """On a busy machine a quick server may give up on whom it serves the next time."""
    while not (await answer(server, GET)).startswith(b"HTTP/1.1 200"):
        pass


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /other HTTP/1.1\r\nHost: box\r\n\r\n", 404),
        (b"GET /%00\xff HTTP/1.1\r\nHost: box\r\n\r\n", 400),
        (b"POST /page HTTP/1.1\r\nHost: box\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /page HTTP/1.1\r\nHost: box\r\n\r\n", 405),
        (b"GET /page HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00rubbish\r\n\r\n", 400),
        (b"GET /page HTTP/1.1\r\nHost: box\r\nX: " + b"x" * 2 * LIMITS.page_request_bytes + b"\r\n\r\n", 431),
        (b"GET /page HTTP/1.1\r\nHost:", 408),
        (b"", 408),
        (b"GET /broken HTTP/1.1\r\nHost: box\r\n\r\n", 500),
        (b"GET /endless HTTP/1.1\r\nHost: box\r\n\r\n", 503),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words_and_in_time(sent: bytes, status: int) -> None:
    async def work(server: HttpServer) -> None:
        refused = await answer(server, sent)
        assert refused.startswith(b"HTTP/1.1 %d " % status), refused
        assert refused.partition(b"\r\n\r\n")[2].endswith(b"\n")
        await until_served(server)

    serving(work, {408: QUICK, 503: QUICK_TO_ANSWER}.get(status, PATIENT))


def test_connections_beyond_the_bound_are_refused_and_the_others_end_in_time() -> None:
    async def work(server: HttpServer) -> None:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(QUICK.page_connections)]
        while server.refused_connections == 0:
            await answer(server, GET)
        for reader, writer in held:
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
            writer.close()
        await until(lambda: not server.connections)
        await until_served(server)

    serving(work, QUICK)


def test_one_that_never_reads_its_answer_is_cut_off() -> None:
    async def much(_request: Request) -> Response:
        return Response(HTTPStatus.OK, bytes(64 << 20))

    async def scenario() -> None:
        server = HttpServer({"/much": much}, QUICK)
        await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(b"GET /much HTTP/1.1\r\nHost: box\r\n\r\n")
        await until(lambda: server.connections)
        await until(lambda: not server.connections)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        await server.stop()

    asyncio.run(scenario())


def test_a_taken_port_is_named_with_the_next_step() -> None:
    async def work(server: HttpServer) -> None:
        with pytest.raises(ConfigurationFault, match=f":{server.port}") as refused:
            await HttpServer({}).start("127.0.0.1", server.port)
        assert "ss -ltnp" in refused.value.next_step

    serving(work)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_end_the_server(sent: bytes) -> None:
    async def work(server: HttpServer) -> None:
        got = await answer(server, sent, half_close=True)
        assert got == b"" or got.startswith(b"HTTP/1.1 ")
        assert (await answer(server, GET)).startswith(b"HTTP/1.1 200")

    serving(work)
