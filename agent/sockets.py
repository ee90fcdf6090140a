"""Socket options both ends of every mesh connection need."""

from __future__ import annotations

import socket

from ledger.limits import LIMITS


def tune(sock: socket.socket) -> None:
    """No Nagle delay (42 to 86 ms a block under TLS), and a dead link noticed after about a second."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LIMITS.tcp_user_timeout_ms)
