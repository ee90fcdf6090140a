"""Asks by WS-Discovery where a device is: datagrams to the multicast group, or to one host, and the answers to them."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable

from drivers.sdc.discovery import Match, probe, read_matches, resolve
from ledger.errors import DeviceFault

_TTL = 1
_REPEAT_AFTER_S = 0.15
"""SOAP-over-UDP repeats each message, because datagrams are lost."""


async def find_epr(epr: str, interface: str, to: tuple[str, int], wait_s: float) -> tuple[str, ...]:
    """Where the device of this name says it is; empty if none answers within ``wait_s``. Raises OSError."""

    def wanted(matches: dict[str, Match]) -> bool:
        return bool(matches.get(epr) and matches[epr].addresses)

    message_id = uuid.uuid4().urn
    matches = await _ask(message_id, resolve(message_id, epr), interface, to, wait_s, wanted)
    return matches[epr].addresses if wanted(matches) else ()


async def find_all(interface: str, to: tuple[str, int], wait_s: float) -> list[Match]:
    """Every medical device that answers within ``wait_s``. Raises OSError."""
    message_id = uuid.uuid4().urn
    matches = await _ask(message_id, probe(message_id), interface, to, wait_s, lambda _: False)
    return sorted(matches.values(), key=lambda match: match.epr)


async def _ask(
    message_id: str,
    datagram: bytes,
    interface: str,
    to: tuple[str, int],
    wait_s: float,
    enough: Callable[[dict[str, Match]], bool],
) -> dict[str, Match]:
    loop = asyncio.get_running_loop()
    answers = _Answers(message_id, enough, loop.create_future())
    transport, _ = await loop.create_datagram_endpoint(lambda: answers, sock=_socket(interface))
    try:
        for pause_s in (_REPEAT_AFTER_S, wait_s - _REPEAT_AFTER_S):
            transport.sendto(datagram, to)
            await asyncio.wait([answers.done], timeout=max(0.0, pause_s))
            if answers.done.done():
                break
    finally:
        transport.close()
    if answers.fault is not None and not answers.matches:
        raise answers.fault
    return answers.matches


def _socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
        if interface:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        sock.bind((interface, 0))
    except OSError:
        sock.close()
        raise
    return sock


class _Answers(asyncio.DatagramProtocol):
    """Gathers what answers one message; what is no answer is somebody else's."""

    def __init__(self, message_id: str, enough: Callable[[dict[str, Match]], bool], done: asyncio.Future[None]) -> None:
        self.matches: dict[str, Match] = {}
        self.fault: Exception | None = None
        self.done = done
        self._message_id = message_id
        self._enough = enough

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One datagram."""
        try:
            found = read_matches(data, self._message_id)
        except DeviceFault:
            return  # anybody can send anything to this port, and no device is to be blamed for it
        for match in found:
            if len(self.matches) < _MOST_DEVICES:
                self.matches.setdefault(match.epr, match)
        if self._enough(self.matches) and not self.done.done():
            self.done.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """No such host, no such network: told if nobody answers."""
        self.fault = exc


_MOST_DEVICES = 256
