from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.demo.proxy import Cable

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def cabled() -> AsyncIterator[tuple[Cable, int]]:
    """A cable to a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    cable = Cable(server.sockets[0].getsockname()[1])
    port = await cable.start()
    try:
        async with asyncio.timeout(60):
            yield cable, port
    finally:
        await cable.stop()
        server.close()


async def connect(port: int) -> Ends:
    return await asyncio.open_connection("127.0.0.1", port)


async def exchange(ends: Ends, data: bytes) -> bytes:
    """What came back; fewer bytes when the connection was dropped."""
    reader, writer = ends
    try:
        writer.write(data)
        await writer.drain()
        return await reader.readexactly(len(data))
    except asyncio.IncompleteReadError as dropped:
        return dropped.partial
    except ConnectionError:
        return b""


def test_bytes_pass_unchanged_both_ways() -> None:
    async def scene() -> None:
        async with cabled() as (_, port):
            ends = await connect(port)
            data = bytes(range(256)) * 512
            reader, writer = ends
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()

    asyncio.run(scene())


def test_the_end_of_a_stream_passes_too() -> None:
    async def scene() -> None:
        async with cabled() as (_, port):
            reader, writer = await connect(port)
            writer.write(b"last words")
            writer.write_eof()
            assert await reader.read() == b"last words"
            writer.close()

    asyncio.run(scene())


def test_cut_drops_what_is_open_and_what_comes_until_mended() -> None:
    async def scene() -> None:
        async with cabled() as (cable, port):
            before = await connect(port)
            assert await exchange(before, b"whole") == b"whole"
            cable.set_cut(cut=True)
            assert await exchange(before, b"lost") == b""
            during = await connect(port)
            assert await exchange(during, b"lost") == b""
            cable.set_cut(cut=False)
            assert await exchange(before, b"still lost") == b""
            after = await connect(port)
            assert await exchange(after, b"whole again") == b"whole again"
            for _, writer in (before, during, after):
                writer.close()

    asyncio.run(scene())


def test_a_dead_target_drops_the_connection() -> None:
    async def scene() -> None:
        unused = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        target = unused.sockets[0].getsockname()[1]
        unused.close()
        cable = Cable(target)
        port = await cable.start()
        assert await exchange(await connect(port), b"hello") == b""
        await cable.stop()

    asyncio.run(scene())
