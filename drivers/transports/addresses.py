"""Where a device is on the network, and how its TCP connections are set up."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.errors import ConfigurationFault

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_KEEPALIVE_IDLE_S = 30
_KEEPALIVE_EVERY_S = 10
_KEEPALIVE_TRIES = 3


@dataclass(frozen=True, slots=True)
class TcpConfig:
    """A device, or the terminal server before it, that we connect to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UdpConfig:
    """A device that is asked by datagram."""

    host: str
    port: int


def networks_of(allow: Iterable[str]) -> tuple[Network, ...]:
    """An allow-list of addresses and networks. Raises ConfigurationFault."""
    networks = []
    for entry in allow:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError as fault:
            raise ConfigurationFault(
                "listen.allow", f"{entry!r} is no address or network", "write it like 10.20.1.7 or 10.20.1.0/24"
            ) from fault
    return tuple(networks)


def is_within(host: str, networks: Iterable[Network]) -> bool:
    """Whether a numeric address, IPv4 mapped into IPv6 too, lies in one of the networks."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in networks)


def address_text(host: str, port: int) -> str:
    """``10.20.3.13:4001`` or ``[::1]:4001``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tune(sock: socket.socket, *, user_timeout_ms: int = 0) -> None:
    """A dead peer is noticed though nothing is sent; with ``user_timeout_ms`` also soon after something was sent."""
    # what is sent is small and waited for: Nagle's algorithm would hold it back
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_TRIES)
    if user_timeout_ms:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)


def reason_of(fault: Exception) -> str:
    """What went wrong, for people. A name that cannot be resolved has an error number below 0 and a text of its own."""
    if not isinstance(fault, OSError):
        return str(fault) or type(fault).__name__
    if fault.errno is not None and fault.errno > 0:
        return os.strerror(fault.errno)
    return fault.strerror or str(fault) or "no answer in time"
