"""Feeds as configured, over a real pseudo-terminal and a real TCP connection, on the real loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import tty
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from agent.clock import read_now
from agent.feed_build import build_feed
from agent.feed_config import FeedSetup, TransportConfig
from agent.intake import Intake
from agent.wake_timer import loop_schedule
from drivers.transports.addresses import TcpConfig, UdpConfig
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.serial_config import SerialConfig, SerialLine
from ledger.records import Link, Numeric, Raw, Record
from tests.agent.feed_fakes import Codes
from tests.drivers.transport_log import until
from tests.processes.site import free_port


class Options(msgspec.Struct, frozen=True):
    greeting: str = ""


class Configured(Codes):
    """A driver as the registry knows it: made from its options."""

    made_from: list[Options] = []  # noqa: RUF012 - shared on purpose: the test looks here

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.made_from.append(options)


def record_until(
    config: TransportConfig, talk: Callable[[], None], heard: Callable[[], bytes], want: bytes
) -> list[Record]:
    """Run one feed, let a device talk, tick until it has heard ``want``, stop; all that was recorded."""
    recorded: list[Record] = []
    options = Options("hello")

    async def main() -> None:
        intake = Intake()
        setup = FeedSetup("vent", Configured, config, options)
        feed = build_feed(setup, intake, read_now, loop_schedule(asyncio.get_running_loop()))

        def tick() -> None:
            batch = intake.take()
            recorded.extend(batch.groups.get("vent", []))
            intake.durable(batch.last_position)

        def done() -> bool:
            tick()
            return heard() == want

        feed.start()
        await until(lambda: feed.status().state != "down")
        talk()
        await until(done)
        await feed.stop()
        tick()

    asyncio.run(main())
    assert Configured.made_from[-1] is options
    return recorded


def test_a_serial_feed() -> None:
    device, held = pty.openpty()
    tty.setraw(held)
    os.set_blocking(device, False)
    answered = bytearray()

    def heard() -> bytes:
        with contextlib.suppress(BlockingIOError):
            answered.extend(os.read(device, 100))
        return bytes(answered)

    config = SerialConfig(os.ttyname(held), SerialLine.parse("19200 8E1"))
    records = record_until(config, lambda: (os.write(device, b"1a?"), None)[1], heard, b"a!")
    assert [record.value for record in records if isinstance(record, Numeric)] == [Decimal(49), Decimal(97)]
    assert [(raw.direction, raw.data) for raw in records if isinstance(raw, Raw)] == [("<", b"1a?"), (">", b"a!")]
    assert [(link.state, link.peer) for link in records if isinstance(link, Link)] == [
        ("up", os.ttyname(held)), ("down", os.ttyname(held)),
    ]  # fmt: skip
    os.close(device)
    os.close(held)


def test_an_mllp_feed() -> None:
    port = free_port()
    callers: list[socket.socket] = []
    answered = bytearray()

    def talk() -> None:
        callers.append(socket.create_connection(("127.0.0.1", port)))
        callers[0].sendall(b"1a")
        callers[0].setblocking(False)

    def heard() -> bytes:
        with contextlib.suppress(BlockingIOError):
            answered.extend(callers[0].recv(100))
        return bytes(answered)

    records = record_until(MllpConfig.parse(f"127.0.0.1:{port}", ["127.0.0.1"]), talk, heard, b"a")
    assert [record.value for record in records if isinstance(record, Numeric)] == [Decimal(49), Decimal(97)]
    assert [link.reason for link in records if isinstance(link, Link)] == ["", "the recorder stopped"]
    callers[0].close()


def test_a_tcp_feed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as device:
        device.setblocking(False)
        callers: list[socket.socket] = []
        answered = bytearray()

        def talk() -> None:
            callers.append(device.accept()[0])
            callers[0].sendall(b"1a?")
            callers[0].setblocking(False)

        def heard() -> bytes:
            with contextlib.suppress(BlockingIOError):
                answered.extend(callers[0].recv(100))
            return bytes(answered)

        config = TcpConfig("127.0.0.1", device.getsockname()[1])
        records = record_until(config, talk, heard, b"a!")
        callers[0].close()
    assert [record.value for record in records if isinstance(record, Numeric)] == [Decimal(49), Decimal(97)]
    assert [(raw.direction, raw.data) for raw in records if isinstance(raw, Raw)] == [("<", b"1a?"), (">", b"a!")]


def test_a_udp_feed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        device.setblocking(False)
        told: list[bytes] = []
        config = UdpConfig("127.0.0.1", device.getsockname()[1])

        def talk() -> None:
            # The driver speaks only when spoken to: the test looks up where its socket is.
            for row in Path("/proc/net/udp").read_text().splitlines()[1:]:
                local, remote = row.split()[1:3]
                if int(remote.partition(":")[2], 16) == config.port:
                    device.sendto(b"1a?", ("127.0.0.1", int(local.partition(":")[2], 16)))

        def heard() -> bytes:
            with contextlib.suppress(BlockingIOError):
                told.append(device.recv(100))
            return b"|".join(told)

        records = record_until(config, talk, heard, b"a|!")
    assert [record.value for record in records if isinstance(record, Numeric)] == [Decimal(49), Decimal(97)]
