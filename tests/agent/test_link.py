"""A link to a broker that is not one of ours: what it may send, and what ends the connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.link import Link, LinkTarget
from agent.mqtt_packets import Frame, publish
from agent.tls import client_context, create_identity, server_context
from agent.tls_stream import TlsStream
from ledger.limits import LIMITS
from tests.agent.mesh_site import until

CONNACK, SUBACK, PINGRESP = Frame(0x20, b"\0\0").encode(), Frame(0x90, b"\0\1\0").encode(), Frame(0xD0, b"").encode()
TOO_LONG = b"\x30" + b"\xff\xff\xff\x7f"


class Linked:
    """A link, and what it told."""

    def __init__(self, tls: ssl.SSLContext, port: int, executor: ThreadPoolExecutor) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.ups = 0
        self.downs: list[str] = []
        target = LinkTarget("127.0.0.1", port, tls, "or-2/live/1", ("a",))
        self.link = Link(target, executor, lambda *message: self.heard.append(message), self._up, self.downs.append)

    def _up(self) -> None:
        self.ups += 1


@contextlib.asynccontextmanager
async def linked(folder: Path, answers: bytes) -> AsyncIterator[Linked]:
    """A link to a broker that sends all its answers at once, whatever it is asked."""
    server, client = (create_identity(box, folder / f"{box}.pem") for box in ("or-1", "or-2"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    context = server_context(server, [client.certificate_der])
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    executor = ThreadPoolExecutor(1)
    found = Linked(client_context(client, server.certificate_der), listener.sockets[0].getsockname()[1], executor)
    running = asyncio.create_task(found.link.run())
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(executor.shutdown)
        listener.close()
        await listener.wait_closed()


def test_what_is_granted_is_delivered_in_order_in_however_many_packets(tmp_path: Path) -> None:
    sent = [publish("a", b"%d" % number) for number in range(200)]

    async def test() -> None:
        async with linked(tmp_path, CONNACK + sent[0] + SUBACK + PINGRESP + b"".join(sent[1:])) as broker:
            await until(lambda: len(broker.heard) == len(sent))
            assert broker.heard == [("a", b"%d" % number) for number in range(200)]
            assert (broker.ups, broker.link.up, broker.downs) == (1, True, [])

    asyncio.run(test())


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (Frame(0x20, b"\0\5").encode(), "refused: not authorized"),
        (CONNACK + Frame(0x90, b"\0\1\x80").encode(), "refused: subscription"),
        (CONNACK + SUBACK + TOO_LONG, "the broker broke the protocol: packet of type 3 with 268435455 bytes"),
        (CONNACK + SUBACK + CONNACK, "the broker broke the protocol: unexpected packet of type 2"),
        (publish("a", b"early"), "the broker broke the protocol: unexpected packet of type 3"),
        (CONNACK + SUBACK + b"\x32\x06\0\1a\0\1x", "the broker broke the protocol: only QoS 0"),
    ],
)
def test_what_ends_the_connection_is_told(tmp_path: Path, answers: bytes, reason: str) -> None:
    async def test() -> None:
        async with linked(tmp_path, answers) as broker:
            await until(lambda: bool(broker.downs))
            assert broker.downs[0].startswith(reason)
            assert broker.heard == []

    asyncio.run(test())


def test_a_message_of_many_records_passes_a_small_socket_whole_and_the_end_is_told_once(tmp_path: Path) -> None:
    server, client = (create_identity(box, tmp_path / f"{box}.pem") for box in ("or-1", "or-2"))

    async def test() -> None:
        ends = socket.socketpair()
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        own, peer = server_context(server, [client.certificate_der]), client_context(client, server.certificate_der)
        given, taken = await asyncio.gather(
            asyncio.to_thread(own.wrap_socket, ends[0], server_side=True), asyncio.to_thread(peer.wrap_socket, ends[1])
        )
        came, over = bytearray(), list[str]()
        giver = TlsStream(given, came.extend, lambda: over.append("giver"))
        taker = TlsStream(taken, came.extend, lambda: over.append("taker"))
        taker.read(wanted=False)
        messages = [b"%d" % number + bytes(LIMITS.range_reply_bytes) for number in range(3)]
        for message in messages:
            giver.send(message)
        assert giver.unsent[0] == len(messages)
        taker.read(wanted=True)
        await until(lambda: len(came) == sum(map(len, messages)))
        assert bytes(came) == b"".join(messages)
        assert giver.unsent == (0, 0)
        giver.close()
        giver.send(b"too late")
        await until(lambda: bool(over))
        taker.close()
        assert over == ["taker"]

    asyncio.run(test())
