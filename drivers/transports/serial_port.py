"""A serial port on the asyncio loop: opened raw and exclusively, kept open, opened again when its adapter comes back.

pyserial opens and configures; reading and writing use the descriptor directly, without threads. A pseudo-terminal
has neither parity nor modem lines and works all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import stat
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import serial

from drivers.transports.links import Backoff, Clock, LinkEvents
from drivers.transports.paced_reader import PacedReader
from drivers.transports.serial_config import SerialConfig
from ledger.limits import LIMITS, Limits
from ledger.records import LinkId

_READ_BYTES = 65_536
_PTY_MAJORS = range(136, 144)


@dataclass(slots=True)
class _Open:
    """The open port and what waits to be written to it."""

    link: LinkId
    port: serial.Serial
    fd: int
    since_ns: int
    waiting: bytearray
    reason: str = ""
    reader: PacedReader | None = None


class SerialPort:
    """One device on one port: the ``LinkTransport`` for serial lines.

    Software flow control is never used: XON and XOFF are data in binary protocols. A port that cannot be opened is
    tried again for ever, with back-off. With ``pace_ns`` a busy line is read at that beat.
    """

    listens = False

    def __init__(
        self,
        config: SerialConfig,
        now: Clock,
        links: Iterator[int] | None = None,
        limits: Limits = LIMITS,
        *,
        pace_ns: int = 0,
    ) -> None:
        self._config = config
        self._now = now
        self._links = links if links is not None else itertools.count(1)
        self._limits = limits
        self._pace_ns = pace_ns
        self._backoff = Backoff(limits.reconnect_min_ns, limits.reconnect_max_ns)
        self._events: LinkEvents | None = None
        self._open: _Open | None = None
        self._timer: asyncio.Handle | None = None

    @property
    def reachable(self) -> bool:
        """Whether the port is open."""
        return self._open is not None

    def start(self, events: LinkEvents) -> None:
        """Open the port from the loop's next turn on."""
        self._events = events
        self._timer = asyncio.get_running_loop().call_soon(self._connect)

    async def stop(self) -> None:
        """Close the port at once; what the device did not take is lost."""
        self._events = None
        if self._timer is not None:
            self._timer.cancel()
        self._release()

    def set_reading(self, reading: bool) -> None:
        """Ignored: a serial device does not wait, its bytes would be lost."""

    def read_waiting(self) -> None:
        """Read what may wait for the beat."""
        if self._open is not None and self._open.reader is not None:
            self._open.reader.read_waiting()

    def send(self, link: LinkId, data: bytes) -> bool:
        """Write what the port takes now, queue the rest up to ``link_write_bytes``."""
        port = self._open
        if port is None or port.link != link or port.reason:
            return False
        if len(port.waiting) + len(data) > self._limits.link_write_bytes:
            self.close(link, "the device does not take what is sent to it")
            return False
        port.waiting += data
        self._write()
        return not port.reason

    def close(self, link: LinkId, reason: str) -> None:
        """Close on the loop's next turn; the port is opened again after the back-off."""
        port = self._open
        if port is not None and port.link == link and not port.reason:
            port.reason = reason
            asyncio.get_running_loop().call_soon(self._down, link)

    def _connect(self) -> None:
        events = self._events
        if events is None:
            return
        try:
            port = _open_port(self._config)
        except (OSError, termios.error, ValueError) as fault:
            # pyserial's SerialException is an OSError; termios.error is not
            events.on_refused(self._config.path, _why(fault), self._now())
            self._retry()
            return
        at = self._now()
        opened = _Open(LinkId(next(self._links)), port, port.fileno(), at.mono_ns, bytearray())
        self._open = opened
        events.on_up(opened.link, self._config.path, at)
        if self._open is opened and not opened.reason:
            opened.reader = PacedReader(opened.fd, self._read, self._pace_ns)

    def _retry(self) -> None:
        wait_s = self._backoff.wait_ns() / 1e9
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._connect)

    def _read(self, _waited: bool) -> int:
        port, events = self._open, self._events
        if port is None or events is None or port.reason:
            return 0
        try:
            data = os.read(port.fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as fault:
            self.close(port.link, f"the port failed: {_why(fault)}")
            return 0
        if not data:  # VMIN is 1, so that nothing to read is EAGAIN and this is a hang-up
            self.close(port.link, "the port hung up")
            return 0
        events.on_bytes(port.link, data, self._now())
        return len(data)

    def _write(self) -> None:
        port = self._open
        if port is None or port.reason:
            return
        loop = asyncio.get_running_loop()
        try:
            while port.waiting:
                del port.waiting[: os.write(port.fd, port.waiting)]
        except (BlockingIOError, InterruptedError):
            loop.add_writer(port.fd, self._write)
            return
        except OSError as fault:
            self.close(port.link, f"the port failed: {_why(fault)}")
        loop.remove_writer(port.fd)

    def _down(self, link: LinkId) -> None:
        port, events = self._open, self._events
        if port is None or events is None or port.link != link:
            return
        self._release()
        at = self._now()
        self._backoff.lasted(at.mono_ns - port.since_ns)
        events.on_down(link, port.reason, at)
        self._retry()

    def _release(self) -> None:
        port, self._open = self._open, None
        if port is None:
            return
        loop = asyncio.get_running_loop()
        if port.reader is not None:
            port.reader.stop()
        loop.remove_writer(port.fd)
        with contextlib.suppress(OSError, termios.error):  # the adapter may be gone: then there is nothing to undo
            # closing would wait up to 30 s for a device that holds CTS low, and stop the whole loop
            termios.tcflush(port.fd, termios.TCOFLUSH)
            fcntl.ioctl(port.fd, termios.TIOCNXCL)
        with contextlib.suppress(OSError):
            port.port.close()


def _open_port(config: SerialConfig) -> serial.Serial:
    parity, rtscts = config.line.parity, config.rtscts
    if _is_pty(config.path):
        parity, rtscts = serial.PARITY_NONE, False
    port = serial.Serial(
        port=config.path,
        baudrate=config.line.rate_bd,
        bytesize=config.line.data_bits,
        parity=parity,
        stopbits=config.line.stop_bits,
        rtscts=rtscts,
        xonxoff=False,
        dsrdtr=False,
        timeout=0,
        write_timeout=0,
        exclusive=True,
    )
    try:
        fd = port.fileno()
        # flock keeps out only programs that ask for it; TIOCEXCL keeps out cat, minicom and ModemManager as well
        fcntl.ioctl(fd, termios.TIOCEXCL)
        iflag, oflag, cflag, lflag, ispeed, ospeed, control = termios.tcgetattr(fd)
        # a restart must not drop DTR; a break must not flush the queue (BRKINT), it is a NUL like any other
        cflag &= ~termios.HUPCL
        iflag &= ~(termios.BRKINT | termios.IGNPAR)
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, control])
    except (OSError, termios.error):
        port.close()
        raise
    return port


def _is_pty(path: str) -> bool:
    status = Path(path).stat()
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _PTY_MAJORS


def _why(fault: Exception) -> str:
    number = fault.errno if isinstance(fault, OSError) else (fault.args[0] if fault.args else None)
    if number in (errno.EWOULDBLOCK, errno.EBUSY):
        return "another program holds the port"
    if isinstance(number, int):
        return os.strerror(number)
    return str(fault) or type(fault).__name__
