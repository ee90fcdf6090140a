from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from pathlib import Path

from firmware_sim.clock import SimClock
from firmware_sim.ge_s5 import S5Monitor
from firmware_sim.patient import Patient
from firmware_sim.pty_line import PtyLine
from tests.firmware_sim.test_ge_s5 import Got, decode, displayed, waves


async def until(done: Callable[[], bool]) -> None:
    """Let the simulator run until `done`; the suite's time limit is the only clock here."""
    while not done():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.02)


def simulated(link: Path | None = None) -> tuple[S5Monitor, PtyLine]:
    clock = SimClock()
    monitor = S5Monitor(Patient(3), clock.started_unix_s)
    return monitor, PtyLine(monitor, clock, link)


class Port:
    """A reader's end of the line: an ordinary file descriptor on the pty's path."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.data = b""

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.data += os.read(self.fd, 65536)

    def records(self) -> list[Got]:
        whole, _, _ = self.data.rpartition(b"\x7e")
        return [decode(b"\x7e" + part + b"\x7e") for part in whole.split(b"\x7e") if part]

    async def until(self, done: Callable[[], bool]) -> None:
        """Read until `done`."""

        def read_and_look() -> bool:
            self.read()
            return done()

        await until(read_and_look)

    def close(self) -> None:
        os.close(self.fd)


def test_a_session_over_a_real_pty(tmp_path: Path) -> None:
    async def session() -> None:
        link = tmp_path / "monitor"
        _, line = simulated(link)
        path = await line.start()
        assert path == str(link) == line.path
        port = Port(path)
        port.write(displayed(5))
        for byte in waves(1, 4, 8):
            port.write(bytes((byte,)))
        await port.until(lambda: {g.main_type for g in port.records()} == {0, 1})
        assert len(next(g for g in port.records() if g.main_type == 0).parts) == 4
        assert tuple(next(g for g in port.records() if g.main_type == 1).subrecords) == (1, 4, 8)
        assert line.bytes_sent >= len(port.data)
        port.close()
        await line.stop()
        assert not link.is_symlink()

    asyncio.run(session())


def test_a_port_closed_and_opened_again_works_and_stays_raw() -> None:
    async def session() -> None:
        _, line = simulated()
        path = await line.start()
        for _ in range(2):
            port = Port(path)
            port.write(waves(1))
            await port.until(lambda port=port: len(port.records()) >= 2)  # type: ignore[misc]
            port.write(waves(stop=True))
            port.close()
            await asyncio.sleep(0.3)
        await line.stop()

    asyncio.run(session())


def test_a_reader_that_stops_reading_loses_the_waves_until_it_asks_again() -> None:
    async def session() -> None:
        monitor, line = simulated()
        path = await line.start()
        port = Port(path)
        port.write(waves(1))
        await port.until(lambda: bool(port.records()))
        port.close()  # CTS falls; the monitor waits two seconds and stops
        await until(lambda: not monitor.waves_flowing)
        port = Port(path)
        async with asyncio.timeout(60):
            while True:  # what was sent before lies in the kernel's buffers, piece by piece
                port.data = b""
                await asyncio.sleep(0.5)
                port.read()
                if not port.data:
                    break
        port.write(waves(1))
        await port.until(lambda: bool(port.records()))
        port.close()
        await line.stop()

    asyncio.run(session())


def test_a_full_buffer_blocks_the_line() -> None:
    async def session() -> None:
        monitor, line = simulated()
        path = await line.start()
        port = Port(path)
        port.write(waves(1))
        await port.until(lambda: bool(port.records()))
        # Fill what the kernel holds for a reader that does not read.
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(line._master, bytes(4096))
        await until(lambda: not monitor.waves_flowing)
        port.close()
        await line.stop()

    asyncio.run(session())
