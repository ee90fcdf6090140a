"""The few words said to systemd (sd_notify(3)): ready, status, alive, stopping, give me more time.

Saying them must never cost a recording: a missing or full socket is reported to the caller, not raised.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from ledger.errors import ConfigurationFault

_LOG = logging.getLogger(__name__)
_STATUS_CHARACTERS = 512


class Notifier:
    """One datagram socket to the service manager; says nothing when there is none.

    ``watchdog_interval_s`` is how often ``watchdog`` is wanted: half of WATCHDOG_USEC, None if nobody waits for it.
    """

    __slots__ = ("_address", "_failing", "_socket", "watchdog_interval_s")

    def __init__(self, environ: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._failing = False
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.watchdog_interval_s = _watchdog_interval_s(environ, os.getpid() if pid is None else pid)

    def ready(self, status: str = "") -> bool:
        """Start-up is finished: the first feed is being recorded."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}" if status else "READY=1")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> bool:
        """The loop still turns; without it for WATCHDOG_USEC systemd restarts the service."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Shutting down on purpose."""
        return self._send("STOPPING=1")

    def extend_timeout(self, more_us: int) -> bool:
        """Ask for ``more_us`` microseconds from now before the present start or stop counts as hung."""
        return self._send(f"EXTEND_TIMEOUT_USEC={more_us}")

    def close(self) -> None:
        """Release the socket; later calls say nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> bool:
        if self._socket is None or self._address is None:
            return False
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._failing:
                _LOG.warning("systemd does not hear us: %s", error)
            self._failing = True
            return False
        self._failing = False
        return True


def _address(notify_socket: str) -> bytes | None:
    """Socket address out of NOTIFY_SOCKET; a leading @ means Linux' abstract namespace."""
    if not notify_socket:
        return None
    if notify_socket.startswith("@"):
        return b"\0" + os.fsencode(notify_socket[1:])
    if notify_socket.startswith("/"):
        return os.fsencode(notify_socket)
    raise ConfigurationFault(
        "systemd.notify-socket",
        f"NOTIFY_SOCKET is {notify_socket!r}, neither a path nor an abstract socket",
        "start orledger from its systemd unit, or unset NOTIFY_SOCKET",
    )


def _watchdog_interval_s(environ: Mapping[str, str], pid: int) -> float | None:
    wanted_us, wanted_pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (wanted_us.isascii() and wanted_us.isdecimal()) or int(wanted_us) == 0:
        return None
    if wanted_pid not in ("", str(pid)):
        return None
    return int(wanted_us) / 2 / 1_000_000


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_CHARACTERS]
