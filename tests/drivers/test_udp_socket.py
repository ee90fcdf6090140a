"""The UDP transport, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace

import pytest

from drivers.contract import Now
from drivers.transports.addresses import UdpConfig
from drivers.transports.udp_socket import UdpSocket
from ledger.limits import LIMITS
from ledger.records import LinkId
from tests.drivers.transport_log import Log, until

FAST = replace(LIMITS, reconnect_min_ns=5_000_000, reconnect_max_ns=20_000_000)


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


@dataclass
class Datagrams(Log):
    """Keeps datagrams apart."""

    datagrams: list[bytes] = field(default_factory=list)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        self.datagrams.append(data)


@pytest.fixture
def device() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


def run(body: Callable[[UdpSocket, Datagrams], Coroutine[None, None, None]], port: int) -> Datagrams:
    log = Datagrams()

    async def main() -> None:
        transport = UdpSocket(UdpConfig("127.0.0.1", port), now, limits=FAST)
        transport.start(log)
        try:
            await until(lambda: transport.reachable)
            await body(transport, log)
        finally:
            await transport.stop()

    asyncio.run(main())
    return log


async def heard(device: socket.socket) -> tuple[bytes, tuple[str, int]]:
    data, address = await asyncio.get_running_loop().sock_recvfrom(device, 65_535)
    return data, address


def test_each_datagram_is_one_and_stays_whole(device: socket.socket) -> None:
    async def body(transport: UdpSocket, log: Datagrams) -> None:
        assert transport.send(LinkId(1), b"ask")
        assert transport.send(LinkId(1), b"again")
        assert (await heard(device))[0] == b"ask"
        data, address = await heard(device)
        assert data == b"again"
        for sent in (b"one", b"", b"x" * 40_000):
            device.sendto(sent, address)
        await until(lambda: len(log.datagrams) == 3)
        assert not transport.send(LinkId(2), b"nobody")

    log = run(body, device.getsockname()[1])
    assert log.datagrams == [b"one", b"", b"x" * 40_000]
    assert log.events == [("up", 1, f"127.0.0.1:{device.getsockname()[1]}")]


def test_what_others_send_is_not_heard(device: socket.socket) -> None:
    async def body(transport: UdpSocket, log: Datagrams) -> None:
        transport.send(LinkId(1), b"ask")
        _, address = await heard(device)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"false", address)
        device.sendto(b"true", address)
        await until(lambda: bool(log.datagrams))

    assert run(body, device.getsockname()[1]).datagrams == [b"true"]


def test_a_device_that_is_off_is_told_once_and_the_link_stays(device: socket.socket) -> None:
    port = device.getsockname()[1]
    device.close()

    async def body(transport: UdpSocket, log: Datagrams) -> None:
        for _ in range(5):
            transport.send(LinkId(1), b"ask")
            await asyncio.sleep(0.02)
        await until(lambda: log.count("refused") == 1)
        assert transport.reachable

    log = run(body, port)
    reason = "a datagram did not arrive: Connection refused"
    assert log.events == [("up", 1, f"127.0.0.1:{port}"), ("refused", f"127.0.0.1:{port}", reason)]


def test_the_driver_s_close_opens_another(device: socket.socket) -> None:
    async def body(transport: UdpSocket, log: Datagrams) -> None:
        transport.close(LinkId(1), "no answer to the association request")
        assert not transport.send(LinkId(1), b"late")
        await until(lambda: log.count("up") == 2)
        assert transport.send(LinkId(2), b"ask")
        assert (await heard(device))[0] == b"ask"

    log = run(body, device.getsockname()[1])
    assert log.events[1] == ("down", 1, "no answer to the association request")


def test_a_datagram_too_long_is_refused_not_cut(device: socket.socket) -> None:
    async def body(transport: UdpSocket, log: Datagrams) -> None:
        assert not transport.send(LinkId(1), bytes(70_000))
        await until(lambda: log.count("refused") == 1)

    run(body, device.getsockname()[1])
