"""The TCP transport that connects to devices, on real sockets."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace

import pytest

from drivers.contract import Now
from drivers.transports.addresses import TcpConfig
from drivers.transports.tcp_client import _SO_TIMESTAMPNS, TcpClient, _arrival
from ledger.limits import LIMITS, S_NS
from ledger.records import LinkId
from tests.drivers.transport_log import Log, until

FAST = replace(
    LIMITS, reconnect_min_ns=5_000_000, reconnect_max_ns=20_000_000, link_write_bytes=4_096, link_connect_ns=300_000_000
)


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


async def until_the_kernel_stamps() -> None:
    """The kernel begins to stamp a while after it is asked to, and until then stamps what comes when it is read."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
        listener.accept()[0] as receiver,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        while True:
            sender.send(b"x")
            select.select([receiver], [], [], 10)
            read_at = now()
            await asyncio.sleep(0.005)
            _, stamps, _, _ = receiver.recvmsg(16, 64)
            if _arrival(stamps, now(), Now(0, 0)).utc_ns <= read_at.utc_ns:
                return


class Device:
    """A listening socket and whoever called."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setblocking(False)
        self.host = host
        self.port: int = self.listener.getsockname()[1]

    async def accept(self) -> socket.socket:
        caller, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        caller.setblocking(False)
        return caller


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.listener.close()


def run(
    body: Callable[[TcpClient, Log], Coroutine[None, None, None]],
    host: str,
    port: int,
    *,
    pace_ns: int = 0,
    log: Log | None = None,
) -> Log:
    log = log or Log()

    async def main() -> None:
        client = TcpClient(TcpConfig(host, port), now, limits=FAST, pace_ns=pace_ns)
        client.start(log)
        try:
            await body(client, log)
        finally:
            await client.stop()

    asyncio.run(main())
    return log


def test_bytes_pass_both_ways_and_the_socket_is_set_up(device: Device) -> None:
    async def body(client: TcpClient, log: Log) -> None:
        caller = await device.accept()
        await until(lambda: client.reachable)
        assert client._open is not None
        sock = client._open.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == FAST.link_user_timeout_ms
        assert client.send(LinkId(1), b"ask")
        assert await asyncio.get_running_loop().sock_recv(caller, 10) == b"ask"
        caller.send(b"told")
        await until(lambda: log.data.get(1) == b"told")
        assert not client.send(LinkId(2), b"nobody")
        caller.close()

    log = run(body, device.host, device.port)
    assert log.events[0] == ("up", 1, f"127.0.0.1:{device.port}")


def test_over_ipv6() -> None:
    device = Device("::1")

    async def body(client: TcpClient, log: Log) -> None:
        (await device.accept()).close()
        await until(lambda: log.count("down") == 1)

    log = run(body, "::1", device.port)
    device.listener.close()
    assert log.events[0] == ("up", 1, f"[::1]:{device.port}")


def test_a_connection_that_falls_is_made_again_as_another_link(device: Device) -> None:
    async def body(client: TcpClient, log: Log) -> None:
        for count in (1, 2, 3):
            (await device.accept()).close()
            await until(lambda count=count: log.count("down") == count)  # type: ignore[misc]

    log = run(body, device.host, device.port)
    assert log.events[:4] == [
        ("up", 1, f"127.0.0.1:{device.port}"), ("down", 1, "the device closed the connection"),
        ("up", 2, f"127.0.0.1:{device.port}"), ("down", 2, "the device closed the connection"),
    ]  # fmt: skip


def test_a_device_that_is_not_there_is_tried_again_and_named(device: Device) -> None:
    device.listener.close()

    async def body(client: TcpClient, log: Log) -> None:
        await until(lambda: log.count("refused") >= 2)
        assert not client.reachable
        again = socket.create_server(("127.0.0.1", device.port))
        await until(lambda: client.reachable)
        again.close()

    log = run(body, device.host, device.port)
    assert log.events[0] == ("refused", f"127.0.0.1:{device.port}", "cannot connect: Connection refused")


def test_a_name_that_nobody_knows_is_no_crash() -> None:
    async def body(client: TcpClient, log: Log) -> None:
        await until(lambda: log.count("refused") >= 1)

    log = run(body, "no-such-device.invalid", 4001)
    assert log.events[0][2].startswith("cannot connect: ")


def test_the_driver_s_close_has_its_reason_and_connects_again(device: Device) -> None:
    async def body(client: TcpClient, log: Log) -> None:
        first = await device.accept()
        await until(lambda: client.reachable)
        client.close(LinkId(1), "nonsense came")
        client.close(LinkId(1), "said twice")
        assert not client.send(LinkId(1), b"late")
        second = await device.accept()
        await until(lambda: log.count("up") == 2)
        first.close()
        second.close()

    log = run(body, device.host, device.port)
    assert ("down", 1, "nonsense came") in log.events


def test_a_device_that_does_not_read_is_cut_off_at_the_bound(device: Device) -> None:
    async def body(client: TcpClient, log: Log) -> None:
        caller = await device.accept()
        await until(lambda: client.reachable)
        sent = 0
        while client.send(LinkId(1), bytes(1_000)):
            sent += 1_000
            if sent % 100_000 == 0:
                await asyncio.sleep(0)
        await until(lambda: log.count("down") == 1)
        caller.close()

    log = run(body, device.host, device.port)
    assert log.events[1] == ("down", 1, "the device does not take what is sent to it")


def test_nothing_is_told_after_stop(device: Device) -> None:
    async def body(client: TcpClient, log: Log) -> None:
        caller = await device.accept()
        await until(lambda: client.reachable)
        await client.stop()
        caller.close()
        await asyncio.sleep(0.05)

    log = run(body, device.host, device.port)
    assert [event[0] for event in log.events] == ["up"]


@dataclass
class TimedLog(Log):
    """Also the times of what came."""

    times: list[Now] = field(default_factory=list)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        super().on_bytes(link, data, at)
        self.times.append(at)


def test_what_waits_for_the_beat_is_read_when_asked_and_bears_the_time_of_its_arrival(device: Device) -> None:
    log = TimedLog()

    async def body(client: TcpClient, _: Log) -> None:
        caller = await device.accept()
        await until(lambda: client.reachable)
        await until_the_kernel_stamps()
        for count in range(1, 6):
            caller.send(b"x")
            await until(lambda count=count: len(log.times) == count)  # type: ignore[misc]
            if client._open is not None and client._open.reader is not None and client._open.reader.is_paced:
                break
        caller.send(b"waits")
        assert client._open is not None
        select.select([client._open.sock], [], [], 10)
        here = now()
        await asyncio.sleep(0.02)
        assert not log.data[1].endswith(b"waits")
        client.read_waiting()
        assert log.data[1].endswith(b"waits")
        assert log.times[-1].utc_ns <= here.utc_ns
        assert log.times == sorted(log.times, key=lambda at: at.mono_ns)
        assert client.send(LinkId(1), b"ask")
        caller.close()

    run(body, device.host, device.port, pace_ns=3_600 * S_NS, log=log)


@pytest.mark.parametrize(
    ("stamped_ns", "expected_ns"),
    [
        (99 * S_NS + 970_000_000, 970_000_000),
        (99 * S_NS + 100_000_000, 900_000_000),  # other bytes passed after that
        (100 * S_NS + 1, S_NS),  # UTC was set back since
        (90 * S_NS, S_NS),  # UTC was set forward since
    ],
)
def test_the_time_of_arrival_is_the_kernel_s_unless_utc_was_set(stamped_ns: int, expected_ns: int) -> None:
    stamps = [(socket.SOL_SOCKET, 35, struct.pack("ll", *divmod(stamped_ns, S_NS)))]
    arrived = _arrival(stamps, Now(S_NS, 100 * S_NS), Now(900_000_000, 0))
    assert arrived == Now(expected_ns, 99 * S_NS + expected_ns)
    assert _arrival([], Now(1, 2), Now(0, 0)) == Now(1, 2)
