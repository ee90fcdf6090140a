"""Packets of the BIS monitors' binary protocol: finding them in a stream, and the few that are ever sent.

On the wire, all little endian: BA AB, packet number, length of what follows the directive, directive (2 bytes each),
for a data packet its message, sum of all bytes after BA AB. A message: routing id, message id (4 bytes each), message
number, length (2 bytes each), data.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from drivers.checksums import sum16
from drivers.contract import Sendable
from ledger.errors import DeviceFault

_START: Final = b"\xba\xab"
_HEADER: Final = struct.Struct("<HHH")
_MESSAGE_HEADER: Final = struct.Struct("<IIHH")
_HEAD_BYTES: Final = len(_START) + _HEADER.size
_CHECK_BYTES: Final = 2
_DATA, _ACK, _NAK = 1, 2, 3
_MOST_DATA_BYTES: Final = 1_040
"""The history packet, 1,020 bytes and its headers, is the longest there is."""
_MOST_REPLY_BYTES: Final = 16
LONGEST_FRAME_BYTES: Final = _HEAD_BYTES + _MOST_DATA_BYTES + _CHECK_BYTES
_MOST_LOST_BYTES: Final = 1_024


class Ask(IntEnum):
    """Message ids of what a computer may say."""

    SEND_EEG = 111
    STOP_EEG = 112
    SEND_PROCESSED = 115
    SEND_REVISION = 1004


class Told(IntEnum):
    """Message ids of what a monitor says."""

    EEG = 50
    PROCESSED = 52
    PROCESSED_AND_SPECTRA = 53
    IMPEDANCE_TEXT = 1100
    ERROR_TEXT = 1101
    REVISION = 1102
    EVENT_TEXT = 1115
    PROCESSED_EXTRA = 1120
    PROCESSED_EXTRA_AND_SPECTRA = 1121


@dataclass(frozen=True, slots=True)
class Message:
    """One data packet with a right sum; ``number`` counts the messages of its id."""

    id: int
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The monitor took a packet of ours, or did not."""

    accepted: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that belong to no packet (``framing``), or the start of one whose sum is wrong (``checksum``)."""

    cause: Literal["checksum", "framing"]
    lost_bytes: int


Item = Message | Reply | Fault


class Deframer:
    """Takes bytes, gives packets. Bounded: keeps less than the longest packet."""

    __slots__ = ("_buffer", "_checksums", "_lost_bytes")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost_bytes = 0
        self._checksums = 0

    def feed(self, data: bytes) -> list[Item]:
        """Take bytes; return the packets they complete and what was lost before them, in order."""
        self._buffer += data
        buffer, at, found = bytes(self._buffer), 0, list[Item]()
        while True:
            start = buffer.find(_START, at)
            if start < 0:
                start = len(buffer) - (1 if buffer[at:].endswith(_START[:1]) else 0)
            found += self._lose(start - at)
            at = start
            if len(buffer) - at < _HEAD_BYTES:
                break
            size = _size(buffer, at)
            if size is None:
                found += self._lose(len(_START))
                at += len(_START)
            elif len(buffer) - at < size:
                break
            elif sum16(buffer[at + 2 : at + size - 2]) != int.from_bytes(buffer[at + size - 2 : at + size], "little"):
                # Only its start is given up: what follows may be whole, and this one's length be the damage.
                self._checksums += 1
                found += self._lose(len(_START))
                at += len(_START)
            else:
                found += self._told()
                found.append(_packet(buffer[at : at + size]))
                at += size
        del self._buffer[:at]
        return found

    def abandon(self) -> Fault | None:
        """The stream ended: what belongs to no packet."""
        self._lost_bytes += len(self._buffer)
        self._buffer.clear()
        told = self._told()
        return told[0] if told else None

    def _lose(self, lost_bytes: int) -> list[Fault]:
        self._lost_bytes += lost_bytes
        return self._told() if self._lost_bytes >= _MOST_LOST_BYTES else []

    def _told(self) -> list[Fault]:
        lost_bytes, checksums = self._lost_bytes, self._checksums
        self._lost_bytes = self._checksums = 0
        return [Fault("checksum" if checksums else "framing", lost_bytes)] if lost_bytes else []


def _size(buffer: bytes, at: int) -> int | None:
    """How long the packet at ``at`` says it is; None if no packet can be so."""
    _, data_bytes, directive = _HEADER.unpack_from(buffer, at + len(_START))
    whole = _HEAD_BYTES + data_bytes + _CHECK_BYTES
    if directive == _DATA:
        return whole if _MESSAGE_HEADER.size <= data_bytes <= _MOST_DATA_BYTES else None
    return whole if directive in (_ACK, _NAK) and data_bytes <= _MOST_REPLY_BYTES else None


def _packet(packet: bytes) -> Message | Reply:
    _, _, directive = _HEADER.unpack_from(packet, len(_START))
    if directive != _DATA:
        return Reply(directive == _ACK)
    _, message_id, number, data_bytes = _MESSAGE_HEADER.unpack_from(packet, _HEAD_BYTES)
    data = packet[_HEAD_BYTES + _MESSAGE_HEADER.size : -_CHECK_BYTES]
    return Message(message_id, number, data[:data_bytes])


def _request(routing: int, ask: Ask, data: bytes = b"") -> bytes:
    message = _MESSAGE_HEADER.pack(routing, ask, 0, len(data)) + data
    summed = _HEADER.pack(0, len(message), _DATA) + message
    return _START + summed + sum16(summed).to_bytes(2, "little")


def check_size(message: Message, *sizes: int) -> None:
    """Raise DeviceFault ``bis.size`` if the message has none of these sizes."""
    if len(message.data) not in sizes:
        raise DeviceFault("bis.size", f"message {message.id} has {len(message.data)} bytes of data")


SEND_PROCESSED: Final = _request(4, Ask.SEND_PROCESSED, b"\x00")
SEND_PROCESSED_AND_SPECTRA: Final = _request(4, Ask.SEND_PROCESSED, b"\x01")
SEND_EEG: Final = _request(4, Ask.SEND_EEG, (128).to_bytes(2, "little"))
STOP_EEG: Final = _request(4, Ask.STOP_EEG)
SEND_REVISION: Final = _request(6, Ask.SEND_REVISION)

TX_ALLOWED: Final = tuple(
    Sendable(re.compile(b"".join(b"\\x%02x" % byte for byte in data)), meaning)
    for data, meaning in (
        (SEND_REVISION, "which monitor are you"),
        (SEND_PROCESSED, "send the processed values every second"),
        (SEND_PROCESSED_AND_SPECTRA, "send the processed values and the power spectra every second"),
        (SEND_EEG, "send the EEG, 128 samples a second"),
        (STOP_EEG, "send no EEG any more"),
    )
)
