"""The shells that put a device at the end of a socket, on real sockets."""

from __future__ import annotations

import asyncio
import math

from firmware_sim.clock import SimClock
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.socket_lines import TcpClientLine, TcpServerLine, UdpLine, host_and_port


class Parrot(SimulatedDevice):
    """Says a word when somebody listens, and what is said to it, in capitals."""

    def __init__(self, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self.blocked = [True]
        self.greet = False

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        return [data.upper()]

    def due(self, now_s: float) -> list[bytes]:
        greet, self.greet = self.greet, False
        return [b"hello "] if greet else []

    def next_due_s(self, now_s: float) -> float:
        return math.inf

    def set_blocked(self, blocked: bool, now_s: float) -> None:
        self.blocked.append(blocked)
        self.greet = self.greet or not blocked


async def until_blocked(parrot: Parrot, blocked: bool) -> None:
    async with asyncio.timeout(60):
        while parrot.blocked[-1] is not blocked:  # noqa: ASYNC110 - the socket sets no event of ours
            await asyncio.sleep(0.005)


def test_a_tcp_device_serves_one_caller_after_the_other() -> None:
    async def session() -> None:
        parrot = Parrot()
        line = TcpServerLine(parrot, SimClock(), "127.0.0.1", 0)
        host, port = host_and_port(await line.start(), "line")
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, port)
            assert await reader.readexactly(6) == b"hello "
            second, turned_away = await asyncio.open_connection(host, port)
            assert await second.read() == b""
            turned_away.close()
            writer.write(b"abc")
            assert await reader.readexactly(3) == b"ABC"
            writer.close()
            await until_blocked(parrot, True)
        await line.stop()
        assert line.bytes_sent == 18

    asyncio.run(session())


def test_a_tcp_client_connects_again() -> None:
    async def session() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"abc")
            heard.put_nowait(await reader.readexactly(9))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        line = TcpClientLine(Parrot(), SimClock(), "127.0.0.1", server.sockets[0].getsockname()[1])
        await line.start()
        async with asyncio.timeout(60):
            assert {bytes(sorted(await heard.get())) for _ in range(2)} == {bytes(sorted(b"hello ABC"))}
        await line.stop()
        server.close()

    asyncio.run(session())


class Caller(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.put_nowait(data)


def test_a_udp_device_answers_each_datagram_with_its_own() -> None:
    async def session() -> None:
        line = UdpLine(Parrot(), SimClock(), "127.0.0.1", 0)
        address = host_and_port(await line.start(), "line")
        transport, caller = await asyncio.get_running_loop().create_datagram_endpoint(Caller, remote_addr=address)
        transport.sendto(b"one")
        transport.sendto(b"two")
        async with asyncio.timeout(60):
            assert {await caller.heard.get() for _ in range(3)} == {b"ONE", b"TWO", b"hello "}
        transport.close()
        await line.stop()

    asyncio.run(session())


def test_faults_act_on_every_device_alike() -> None:
    faults = tuple(map(parse_fault, ("silence@1+1", "frame-lost@3+1:1", "frame-doubled@5+1:1", "reboot@7+1")))
    parrot = Parrot(FaultLine(faults))
    assert [parrot.receive(b"a", now_s) for now_s in (0.5, 1.5, 2.5, 3.5, 5.5, 7.5, 8.5)] == [
        [b"A"], [], [b"A"], [], [b"A", b"A"], [], [b"A"],
    ]  # fmt: skip
