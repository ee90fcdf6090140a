"""The serial transport on real pseudo-terminals."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers.contract import Now
from drivers.transports.links import Backoff
from drivers.transports.serial_config import SerialConfig, SerialLine
from drivers.transports.serial_port import SerialPort
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS
from ledger.records import LinkId
from tests.drivers.transport_log import Log, until

TIOCGEXCL = 0x80045440
FAST = replace(LIMITS, reconnect_min_ns=5_000_000, reconnect_max_ns=20_000_000, link_write_bytes=4_096)
LINE = SerialLine.parse("19200 8E1")


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


def run(body: Callable[[SerialPort, Log], Coroutine[None, None, None]], path: str) -> Log:
    log = Log()

    async def main() -> None:
        port = SerialPort(SerialConfig(path, LINE, rtscts=True), now, limits=FAST)
        port.start(log)
        try:
            await body(port, log)
        finally:
            await port.stop()

    asyncio.run(main())
    return log


@dataclass
class Pty:
    device: int
    held: int
    path: str

    def close(self) -> None:
        for fd in (self.device, self.held):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def terminal() -> Pty:
    device, held = pty.openpty()
    tty.setraw(held)
    return Pty(device, held, os.ttyname(held))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19200 8E1", SerialLine(19_200, 8, "E", 1)),
        ("9600 7O2", SerialLine(9_600, 7, "O", 2)),
        ("115200 8N1", SerialLine(115_200, 8, "N", 1)),
    ],
)
def test_line_settings(text: str, expected: SerialLine) -> None:
    assert SerialLine.parse(text) == expected


@pytest.mark.parametrize("text", ["", "19200", "19200 9N1", "19200 8X1", "0 8N1", "19200 8N3", "19200  8N1", "1 8N1 "])
def test_wrong_line_settings_name_the_operator(text: str) -> None:
    with pytest.raises(ConfigurationFault) as caught:
        SerialLine.parse(text)
    assert caught.value.id == "serial.line"


def test_every_byte_value_passes_unchanged_in_both_directions(terminal: Pty) -> None:
    everything = bytes(range(256))

    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("up") == 1)
        os.write(terminal.device, everything)
        await until(lambda: len(log.data.get(1, b"")) >= 256)
        assert port.send(LinkId(1), everything)
        os.set_blocking(terminal.device, False)
        heard = bytearray()
        while len(heard) < 256:
            await asyncio.sleep(0.002)
            with contextlib.suppress(BlockingIOError):  # the kernel passes it on when it gets round to it
                heard += os.read(terminal.device, 4_096)
        assert bytes(heard) == everything

    log = run(body, terminal.path)
    assert log.data[1] == everything
    assert log.events == [("up", 1, terminal.path)]
    terminal.close()


def test_the_port_is_raw_exclusive_and_keeps_dtr(terminal: Pty) -> None:
    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("up") == 1)
        iflag, _, cflag, lflag, *_ = termios.tcgetattr(terminal.held)
        assert not iflag & (termios.IXON | termios.IXOFF | termios.ICRNL | termios.BRKINT | termios.ISTRIP)
        assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
        assert not cflag & termios.HUPCL
        flag = array.array("i", [0])
        fcntl.ioctl(terminal.held, TIOCGEXCL, flag)
        assert flag[0] == 1
        other = os.open(f"/proc/self/fd/{terminal.held}", os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 else None
        if other is not None:  # root may open it in spite of TIOCEXCL: the lock still keeps a second recorder out
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(other)

    run(body, terminal.path)
    flag = array.array("i", [1])
    fcntl.ioctl(terminal.held, TIOCGEXCL, flag)
    assert flag[0] == 0, "after stop the port must be open to others"
    terminal.close()


def test_a_port_held_by_another_recorder_is_refused_and_taken_when_free(terminal: Pty) -> None:
    fcntl.flock(terminal.held, fcntl.LOCK_EX)

    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("refused") >= 2)
        assert log.count("up") == 0
        assert not port.reachable
        fcntl.flock(terminal.held, fcntl.LOCK_UN)
        await until(lambda: log.count("up") == 1)
        assert port.reachable

    log = run(body, terminal.path)
    assert log.events[0] == ("refused", terminal.path, "another program holds the port")
    terminal.close()


def test_a_by_path_name_is_resolved_anew_after_unplugging(tmp_path: Path, terminal: Pty) -> None:
    by_path = tmp_path / "pci-0000:00:14.0-usb-0:2:1.0-port0"
    unplugged, held = pty.openpty()
    by_path.symlink_to(os.ttyname(held))
    os.close(held)

    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("up") == 1)
        by_path.unlink()
        os.close(unplugged)
        await until(lambda: log.count("down") == 1)
        by_path.symlink_to(terminal.path)
        await until(lambda: log.count("up") == 2)
        os.write(terminal.device, b"here")
        await until(lambda: log.data.get(2) == b"here")

    run(body, str(by_path))
    terminal.close()


def test_a_missing_port_is_tried_until_it_appears(tmp_path: Path, terminal: Pty) -> None:
    path = tmp_path / "usb-port0"

    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("refused") >= 2)
        path.symlink_to(terminal.path)
        await until(lambda: log.count("up") == 1)

    log = run(body, str(path))
    assert log.events[0] == ("refused", str(path), "No such file or directory")
    assert log.events[-1] == ("up", 1, str(path))
    terminal.close()


def test_close_by_the_driver_reopens_with_a_new_link(terminal: Pty) -> None:
    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("up") == 1)
        port.close(LinkId(1), "start over")
        port.close(LinkId(1), "twice is once")
        assert not port.send(LinkId(1), b"too late")
        assert log.count("down") == 0, "events come from the loop, never from inside a call"
        await until(lambda: log.count("up") == 2)
        assert not port.send(LinkId(1), b"the old link")
        assert port.send(LinkId(2), b"the new one")

    log = run(body, terminal.path)
    assert log.events == [("up", 1, terminal.path), ("down", 1, "start over"), ("up", 2, terminal.path)]
    terminal.close()


def test_a_device_that_takes_nothing_is_closed_at_the_bound(terminal: Pty) -> None:
    async def body(port: SerialPort, log: Log) -> None:
        await until(lambda: log.count("up") == 1)
        sent = 0
        while port.send(LinkId(1), bytes(1_024)):
            sent += 1_024
            assert sent < 1 << 20
        await until(lambda: log.count("down") == 1)

    log = run(body, terminal.path)
    assert log.events[1] == ("down", 1, "the device does not take what is sent to it")
    terminal.close()


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    path = tmp_path / "port"

    def plug_in() -> subprocess.Popen[bytes]:
        echo = f"PTY,link={path},rawer"
        return subprocess.Popen(["socat", echo, "EXEC:cat"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def body(port: SerialPort, log: Log) -> None:
        adapter = plug_in()
        try:
            await until(lambda: log.count("up") == 1)
            port.send(LinkId(1), b"before")
            await until(lambda: log.data.get(1) == b"before")
            adapter.kill()
            adapter.wait()
            await until(lambda: log.count("down") == 1)
            path.unlink(missing_ok=True)
            adapter = plug_in()
            await until(lambda: log.count("up") == 2)
            port.send(LinkId(2), b"after")
            await until(lambda: log.data.get(2) == b"after")
        finally:
            adapter.kill()
            adapter.wait()

    log = run(body, str(path))
    reason = next(event[2] for event in log.events if event[0] == "down")
    assert reason in {"the port hung up", "the port failed: Input/output error"}


def test_backoff_doubles_to_its_bound_and_restarts_after_a_link_that_lasted() -> None:
    backoff = Backoff(200, 1_000)
    assert [backoff.wait_ns() for _ in range(5)] == [200, 400, 800, 1_000, 1_000]
    backoff.lasted(999)
    assert backoff.wait_ns() == 1_000
    backoff.lasted(1_000)
    assert backoff.wait_ns() == 200
