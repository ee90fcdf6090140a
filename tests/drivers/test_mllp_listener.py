"""The HL7 listener on real TCP connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace

import pytest

from drivers.contract import Now
from drivers.transports.mllp_listener import MllpConfig, MllpListener
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId
from tests.drivers.transport_log import Log, until

LOCAL = MllpConfig.parse("127.0.0.1:0", ["127.0.0.1"])


@dataclass
class Clock:
    """Real time plus what a test adds."""

    ahead_ns: int = 0

    def __call__(self) -> Now:
        return Now(time.monotonic_ns() + self.ahead_ns, time.time_ns())


Body = Callable[[MllpListener, Log, int], Coroutine[None, None, None]]


def run(body: Body, config: MllpConfig = LOCAL, limits: Limits = LIMITS, clock: Clock | None = None) -> Log:
    log = Log()

    async def main() -> None:
        listener = MllpListener(config, clock or Clock(), limits=limits)
        listener.start(log)
        await until(lambda: listener.address is not None)
        assert listener.address is not None
        try:
            await body(listener, log, listener.address[1])
        finally:
            await listener.stop()

    asyncio.run(main())
    return log


@pytest.mark.parametrize("listen", ["", "2575", ":2575", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:70000"])
def test_a_wrong_address_names_the_operator(listen: str) -> None:
    with pytest.raises(ConfigurationFault) as caught:
        MllpConfig.parse(listen, [])
    assert caught.value.id == "mllp.listen"


def test_a_wrong_allow_entry_names_the_operator() -> None:
    with pytest.raises(ConfigurationFault) as caught:
        MllpConfig.parse("10.0.0.1:2575", ["gateway"])
    assert caught.value.id == "listen.allow"


@pytest.mark.parametrize(
    ("allow", "host", "admitted"),
    [
        (["10.20.1.7"], "10.20.1.7", True),
        (["10.20.1.7"], "10.20.1.8", False),
        (["10.20.1.0/24"], "10.20.1.200", True),
        (["10.20.1.7"], "::ffff:10.20.1.7", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        ([], "127.0.0.1", False),
    ],
)
def test_allow_list(allow: list[str], host: str, admitted: bool) -> None:
    assert MllpConfig.parse("[::]:2575", allow).admits(host) is admitted


def test_bytes_pass_both_ways_and_both_ends_may_close() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x0bMSH|\x1c\r")
        await until(lambda: log.data.get(1) == b"\x0bMSH|\x1c\r")
        assert listener.send(LinkId(1), b"\x0bACK\x1c\r")
        assert await reader.readexactly(6) == b"\x0bACK\x1c\r"
        writer.close()
        await until(lambda: log.count("down") == 1)
        assert not listener.send(LinkId(1), b"late")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("up") == 2)
        listener.send(LinkId(2), b"last words")
        listener.close(LinkId(2), "held too long")
        assert log.count("down") == 1, "events come from the loop, never from inside a call"
        assert await reader.read() == b"last words"
        await until(lambda: log.count("down") == 2)
        writer.close()

    log = run(body)
    downs = [event for event in log.events if event[0] == "down"]
    assert downs == [("down", 1, "the sender closed the connection"), ("down", 2, "held too long")]
    assert [event[1] for event in log.events if event[0] == "up"] == [1, 2]


def test_small_answers_leave_at_once_and_dead_peers_are_noticed() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("up") == 1)
        connection = listener._open[LinkId(1)]
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        writer.close()

    run(body)


def test_strangers_are_cut_off_and_reported() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await until(lambda: log.count("refused") == 1)

    log = run(body, MllpConfig.parse("127.0.0.1:0", ["10.20.1.7"]))
    assert log.events == [("refused", "127.0.0.1", "the address is not on the allow-list")]


def test_connections_are_bounded() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
        await until(lambda: log.count("up") == 2)
        _, third = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("refused") == 1)
        writers.pop().close()
        await until(lambda: log.count("down") == 1)
        _, fourth = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("up") == 3)
        for writer in (*writers, third, fourth):
            writer.close()

    log = run(body, limits=replace(LIMITS, mllp_connections=2))
    assert ("refused", "127.0.0.1", "2 connections are open") in log.events


def test_an_idle_connection_is_cut() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("down") == 1)
        writer.close()

    log = run(body, limits=replace(LIMITS, mllp_idle_ns=20_000_000))
    assert log.events[-1] == ("down", 1, "nothing received for 0.02 s")


def test_a_sender_that_does_not_read_its_answers_is_cut() -> None:
    async def body(listener: MllpListener, log: Log, port: int) -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        await until(lambda: log.count("up") == 1)
        sent = 0
        while listener.send(LinkId(1), bytes(65_536)):
            sent += 65_536
            assert sent < 1 << 28, "the write buffer has no bound"
        await until(lambda: log.count("down") == 1)
        sock.close()

    log = run(body)
    assert log.events[-1] == ("down", 1, "the sender does not read its answers")


def test_a_stalled_intake_holds_senders_back_and_nothing_is_lost() -> None:
    everything = bytes(range(256)) * (1 << 16)  # 16 MiB: more than the socket buffers hold

    async def body(listener: MllpListener, log: Log, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("up") == 1)
        listener.set_reading(False)
        listener.set_reading(False)
        writer.write(everything)
        for _ in range(20):
            await asyncio.sleep(0)
        held = len(log.data.get(1, b""))
        _, late = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: log.count("up") == 2)
        late.write(b"me too")
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert len(log.data.get(1, b"")) == held
        assert 2 not in log.data, "a connection accepted meanwhile is held back as well"
        listener.set_reading(True)
        await until(lambda: len(log.data.get(1, b"")) == len(everything) and log.data.get(2) == b"me too")
        writer.close()
        late.close()

    log = run(body)
    assert log.data[1] == everything


def test_an_address_in_use_is_tried_until_free() -> None:
    blocker = socket.socket()
    blocker.bind(("127.0.0.1", 0))
    blocker.listen()
    port = blocker.getsockname()[1]
    log = Log()

    async def main() -> None:
        listener = MllpListener(
            MllpConfig.parse(f"127.0.0.1:{port}", ["127.0.0.1"]),
            Clock(),
            limits=replace(LIMITS, reconnect_min_ns=1_000_000),
        )
        listener.start(log)
        await until(lambda: log.count("refused") >= 2)
        assert listener.address is None
        assert not listener.reachable
        blocker.close()
        await until(lambda: listener.address == ("127.0.0.1", port) and listener.reachable)
        await listener.stop()

    asyncio.run(main())
    assert log.events[0][1] == f"127.0.0.1:{port}"
