"""A device at the end of a pseudo terminal that looks like a serial port. A thin shell around any `Device`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from pathlib import Path

from firmware_sim.clock import SimClock
from firmware_sim.device import Device

_MAX_PENDING = 65536
_READ_SIZE = 4096
_ATTACH_POLL_S = 0.1


class PtyLine:
    """Runs a device on a pty. A closed port and a full buffer both count as a blocked line, as CTS would show them."""

    def __init__(self, device: Device, clock: SimClock, link: Path | None = None) -> None:
        self._device = device
        self._clock = clock
        self._link = link
        self._master = -1
        self._attached = False
        self._pending = bytearray()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.path = ""
        self.bytes_sent = 0

    async def start(self) -> str:
        """Open the pty in raw mode, point the link at it; return the path to open (the link, if there is one)."""
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(slave)
        # Held by nobody but the reader: so a closed port can be told from an open one.
        os.close(slave)
        if self._link is not None:
            fresh = self._link.with_name(self._link.name + ".new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.path)
            fresh.replace(self._link)
            self.path = str(self._link)
        self._task = asyncio.create_task(self._run())
        return self.path

    async def stop(self) -> None:
        """Close the line and remove the link."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._master >= 0:
            self._detach()
            os.close(self._master)
            self._master = -1
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()

    async def _run(self) -> None:
        while True:
            if not self._attached:
                self._try_attach()
            now_s = self._clock.now_s()
            self._take(self._device.poll(now_s))
            self._flush()
            now_s = self._clock.now_s()
            pause_s = self._device.next_due_s(now_s) - now_s
            if not self._attached:
                pause_s = min(pause_s, _ATTACH_POLL_S)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.005, pause_s)):
                    await self._wake.wait()

    def _try_attach(self) -> None:
        if self._read():
            self._attached = True
            asyncio.get_running_loop().add_reader(self._master, self._on_readable)
            self._device.set_blocked(False, self._clock.now_s())
        else:
            self._device.set_blocked(True, self._clock.now_s())

    def _detach(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        self._attached = False
        self._pending.clear()
        self._device.set_blocked(True, self._clock.now_s())

    def _on_readable(self) -> None:
        if not self._read():
            self._detach()
        self._wake.set()

    def _read(self) -> bool:
        """Pass on what has come; False if nobody has the port open."""
        try:
            data = os.read(self._master, _READ_SIZE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            self._take(self._device.receive(data, self._clock.now_s()))
        return bool(data)

    def _take(self, frames: list[bytes]) -> None:
        for frame in frames:
            if len(self._pending) + len(frame) <= _MAX_PENDING:
                self._pending += frame

    def _flush(self) -> None:
        if not self._attached or not self._pending:
            return
        try:
            sent = os.write(self._master, self._pending)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._detach()
            return
        self.bytes_sent += sent
        del self._pending[:sent]
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.add_writer(self._master, self._wake.set)
            self._device.set_blocked(True, self._clock.now_s())
        else:
            loop.remove_writer(self._master)
            self._device.set_blocked(False, self._clock.now_s())
