"""A client that speaks MQTT 3.1.1 byte by byte, so that it can also misbehave."""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType
from typing import Self

CONNACK, PUBLISH, SUBACK, PINGRESP = 2, 3, 9, 13


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + remaining_length(len(body)) + body


def remaining_length(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def connect(client_id: str, flags: int = 0x02, extra: bytes = b"", keepalive_s: int = 600, level: int = 4) -> bytes:
    return packet(0x10, text("MQTT") + bytes([level, flags]) + struct.pack("!H", keepalive_s) + text(client_id) + extra)


def subscribe(*topic_filters: str) -> bytes:
    return packet(0x82, b"\x00\x01" + b"".join(text(each) + b"\x00" for each in topic_filters))


def publish(topic: str, data: bytes, first: int = 0x30) -> bytes:
    packet_id = b"\x00\x07" if first & 0x06 else b""
    return packet(first, text(topic) + packet_id + data)


class RawClient:
    """Connected by TLS; `hello` makes it an MQTT client."""

    def __init__(self, port: int, tls: ssl.SSLContext, receive_buffer: int | None = None) -> None:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", port))
        try:
            self.sock = tls.wrap_socket(sock)
        except OSError:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hello(self, client_id: str) -> Self:
        self.send(connect(client_id))
        assert self.receive() == (CONNACK << 4, b"\x00\x00")
        return self

    def subscribed(self, *topic_filters: str) -> bytes:
        """Subscribe; returns the return codes."""
        self.send(subscribe(*topic_filters))
        first, body = self.receive()
        assert (first, body[:2]) == (SUBACK << 4, b"\x00\x01")
        return body[2:]

    def receive(self) -> tuple[int, bytes]:
        """First byte and body of the next packet. Raises EOFError when the broker has closed."""
        first, shift, length = self._exactly(1)[0], 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return first, self._exactly(length)

    def message(self) -> tuple[str, bytes]:
        """Topic and payload of the next packet, which must be a PUBLISH of QoS 0 without retain."""
        first, body = self.receive()
        assert first == PUBLISH << 4
        (length,) = struct.unpack_from("!H", body)
        return body[2 : 2 + length].decode(), body[2 + length :]

    def ping(self) -> None:
        """Return once the broker has handled all that was sent before."""
        self.send(b"\xc0\x00")
        assert self.receive() == (PINGRESP << 4, b"")

    def closed(self) -> bool:
        """Whether the broker closes the connection without another packet."""
        try:
            self.receive()
        except (EOFError, ConnectionError, ssl.SSLError):
            return True
        return False

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)
