"""MQTT 3.1.1 packets as both ends of a mesh connection use them: QoS 0, nothing retained, every packet capped.

By hand, since each block and each word on it passes here: what a client library does for a packet that comes alone,
with caches cold, was a twentieth of the way from a closed block to its witnesses. Numbers in brackets: the standard's.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.dataclass import dataclass
from ledger.limits import LIMITS

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 8, 9, 12, 13, 14
_CLEAN_SESSION = 2
_LEVEL = 4  # 3.1.1
_SUBSCRIBE_FLAGS = 2
_PACKET_ID = b"\0\1"


class MalformedPacket(Exception):
    """Bytes that are no MQTT packet, or one beyond its cap."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One MQTT packet as it came: first byte, and all that follows the remaining length (2.2)."""

    first: int
    body: bytes

    @property
    def packet_type(self) -> int:
        return self.first >> 4

    def encode(self) -> bytes:
        """The packet's bytes for the wire."""
        head, length = bytearray((self.first,)), len(self.body)
        while length > 0x7F:
            head.append(length & 0x7F | 0x80)
            length >>= 7
        head.append(length)
        return bytes(head) + self.body


def take_frame(buffer: bytearray) -> Frame | None:
    """Take the first whole packet out of what came. Raises MalformedPacket."""
    length, at = 0, 1
    for shift in (0, 7, 14, 21):
        if at >= len(buffer):
            return None
        byte = buffer[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    else:  # at most four bytes (2.2.3)
        raise MalformedPacket("malformed remaining length")
    packet_type = buffer[0] >> 4
    if length > _cap(packet_type):
        raise MalformedPacket(f"packet of type {packet_type} with {length} bytes")
    if len(buffer) < at + length:
        return None
    frame = Frame(buffer[0], bytes(buffer[at : at + length]))
    del buffer[: at + length]
    return frame


def _cap(packet_type: int) -> int:
    if packet_type == PUBLISH:
        return LIMITS.message_bytes + LIMITS.mqtt_topic_bytes + 2
    return LIMITS.mqtt_connect_bytes if packet_type == CONNECT else LIMITS.mqtt_control_bytes


def publish(topic: str, data: bytes) -> bytes:
    """A PUBLISH at QoS 0 (3.3)."""
    return Frame(PUBLISH << 4, _text(topic) + data).encode()


def published(frame: Frame) -> tuple[str, bytes]:
    """Topic and payload of a PUBLISH at QoS 0, not retained. Raises MalformedPacket."""
    if frame.first != PUBLISH << 4:
        raise MalformedPacket(f"only QoS 0 without retain is served, not flags {frame.first & 0x0F:#x}")
    end = 2 + int.from_bytes(frame.body[:2], "big")
    if not 2 < end <= min(LIMITS.mqtt_topic_bytes + 2, len(frame.body)):
        raise MalformedPacket("malformed topic")
    try:
        topic = frame.body[2:end].decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("topic is not UTF-8") from error
    return topic, frame.body[end:]


def connect(client_id: str, keepalive_s: int) -> bytes:
    """A CONNECT that leaves nothing behind when it ends (3.1)."""
    head = _text("MQTT") + bytes((_LEVEL, _CLEAN_SESSION)) + keepalive_s.to_bytes(2, "big")
    return Frame(CONNECT << 4, head + _text(client_id)).encode()


def subscribe(topic_filters: Sequence[str]) -> bytes:
    """The one SUBSCRIBE of a connection, all at QoS 0 (3.8)."""
    filters = b"".join(_text(each) + b"\0" for each in topic_filters)
    return Frame(SUBSCRIBE << 4 | _SUBSCRIBE_FLAGS, _PACKET_ID + filters).encode()


def grants(suback: Frame, count: int) -> bool:
    """Whether a SUBACK grants all ``count`` subscriptions of that one SUBSCRIBE (3.9)."""
    return suback.body == _PACKET_ID + bytes(count)


PING = Frame(PINGREQ << 4, b"").encode()
GOODBYE = Frame(DISCONNECT << 4, b"").encode()


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data
