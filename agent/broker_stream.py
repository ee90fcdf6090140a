"""One client's MQTT packets on a TLS connection: whole and capped as they come in, bounded as they go out.

Read where the bytes arrive, in the loop's own call: a task that waits for each packet costs more
than what is done with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.errors import MQTTError
from amqtt.mqtt.packet import CONNECT, PUBLISH, MQTTFixedHeader

from ledger.limits import LIMITS

_BURST_PACKETS = 32
_PACKETS_WAITING = 8


class ProtocolError(MQTTError):  # type: ignore[misc]  # amqtt ships no types
    """A client broke MQTT 3.1.1 or one of our bounds; its connection is closed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One MQTT packet as it came: first byte, and all that follows the remaining length (MQTT 3.1.1, 2.2)."""

    first: int
    body: bytes

    @property
    def packet_type(self) -> int:
        return self.first >> 4

    def header(self) -> MQTTFixedHeader:
        return MQTTFixedHeader(self.first >> 4, self.first & 0x0F, len(self.body))

    def encode(self) -> bytes:
        """The packet's bytes for the wire."""
        return bytes(self.header().to_bytes()) + self.body


class FrameReader(asyncio.Protocol, ReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """Whole, capped packets. Those that ``on_publish`` takes are handed to it at once, all others wait for ``frame``.

    What one client sends is handled a burst at a time, so that everybody else has a turn between; what it sends beyond
    that stays in its socket.
    """

    def __init__(self) -> None:
        self.identity = ""
        """The box behind the connection, once TLS has told."""
        self.on_publish: Callable[[Frame], None] | None = None
        """Takes each PUBLISH; may raise ProtocolError. None: they wait like all others."""
        self.heard_s = 0.0
        """When bytes came last, by the loop's clock."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._frames: deque[Frame] = deque()
        self._end: Exception | None = None
        self._arrived = asyncio.Event()
        self._held = False
        self._scheduled = False

    # ---- what amqtt asks for

    async def read(self, n: int = -1) -> bytes:
        raise NotImplementedError("packets are read whole, by frame()")

    def feed_eof(self) -> None:
        self._finish(asyncio.IncompleteReadError(bytes(self._buffer), None))

    async def frame(self) -> Frame:
        """The next packet that is no one else's.

        Raises:
            ProtocolError: longer than its type may be, or a malformed length.
            asyncio.IncompleteReadError: the client has gone.
        """
        while not self._frames:
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            if self._held:
                self._take_more()
            await self._arrived.wait()
        return self._frames.popleft()

    # ---- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.heard_s = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or asyncio.IncompleteReadError(bytes(self._buffer), None))
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        self._buffer += data
        if not self._held:
            self._take()

    def _take(self) -> None:
        """Take packets out of what came; more of them in a turn of its own, or once those that wait are read."""
        self._scheduled = False
        try:
            for _ in range(_BURST_PACKETS):
                if self._end is not None:
                    return
                frame = self._next()
                if frame is None:
                    self._hold(False)
                    return
                if self.on_publish is not None and not self._frames and frame.packet_type == PUBLISH:
                    self.on_publish(frame)
                else:
                    self._frames.append(frame)
                    self._arrived.set()
                    if len(self._frames) >= _PACKETS_WAITING:
                        self._hold(True)
                        return
        except ProtocolError as error:
            self._finish(error)
            self._hold(True)
        else:
            self._hold(True)
            self._take_more()

    def _take_more(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._take)

    def _hold(self, held: bool) -> None:
        if held is not self._held:
            self._held = held
            if self._transport is not None and not self._transport.is_closing():
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def _finish(self, end: Exception) -> None:
        self._end = self._end or end
        self._arrived.set()

    def _next(self) -> Frame | None:
        """The first whole packet of what came. Raises ProtocolError."""
        buffer, length, at = self._buffer, 0, 1
        for shift in (0, 7, 14, 21):
            if at >= len(buffer):
                return None
            byte = buffer[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
        else:  # at most four bytes (2.2.3)
            raise ProtocolError("malformed remaining length")
        packet_type = buffer[0] >> 4
        if length > _cap(packet_type):
            raise ProtocolError(f"packet of type {packet_type} with {length} bytes")
        if len(buffer) < at + length:
            return None
        frame = Frame(buffer[0], bytes(buffer[at : at + length]))
        del buffer[: at + length]
        return frame


def _cap(packet_type: int) -> int:
    if packet_type == PUBLISH:
        return LIMITS.message_bytes + LIMITS.mqtt_topic_bytes + 2
    return LIMITS.mqtt_connect_bytes if packet_type == CONNECT else LIMITS.mqtt_control_bytes


class BoundedWriter(WriterAdapter):  # type: ignore[misc]  # amqtt ships no types
    """Writes to one client, never waiting; what a slow client leaves unread is bounded."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._address = transport.get_extra_info("peername")[:2]

    def write(self, data: bytes) -> None:
        """What a client asked for; one that asks and does not read is cut off."""
        if not self._transport.is_closing() and not self.offer(data):
            self.abort()

    def offer(self, data: bytes) -> bool:
        """Write without waiting; False, and nothing written, when the client is too far behind or gone."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() + len(data) > LIMITS.mqtt_client_bytes:
            return False
        transport.write(data)
        return True

    async def drain(self) -> None:
        """Nothing to wait for: ``write`` has its bound."""

    def get_peer_info(self) -> tuple[str, int]:
        return self._address[0], self._address[1]

    def get_ssl_info(self) -> ssl.SSLObject | None:
        info: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return info

    async def close(self) -> None:
        # Not awaited to the end: a client that reads nothing must not hold the broker up.
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()
