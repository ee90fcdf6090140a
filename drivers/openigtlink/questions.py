"""All that the driver may ever say: start or stop a stream of data, ask for the status or the known message types."""

from __future__ import annotations

import re
import struct
from typing import Final

from drivers.contract import Sendable
from drivers.openigtlink.config import COORDINATES_BYTES, OpenIgtLinkConfig
from drivers.openigtlink.frame import encode, padded

_STREAMS: Final = ("TRANS", "POSITION", "QTRANS", "SENSOR")
_TRACKED: Final = ("TDATA", "QTDATA")
_TRACKED_BODY_BYTES: Final = 4 + COORDINATES_BYTES


def start(stream: str, config: OpenIgtLinkConfig) -> bytes:
    """Send the data of this stream."""
    body = b""
    if stream in _TRACKED:
        body = struct.pack(">I", config.interval_ms) + padded(config.coordinate_system, COORDINATES_BYTES)
    return encode(f"STT_{stream}", config.device, body)


def stop(stream: str, config: OpenIgtLinkConfig) -> bytes:
    """End this stream."""
    return encode(f"STP_{stream}", config.device)


def ask_status(config: OpenIgtLinkConfig) -> bytes:
    """How is it."""
    return encode("GET_STATUS", config.device)


def ask_capability(config: OpenIgtLinkConfig) -> bytes:
    """Which message types are known."""
    return encode("GET_CAPABIL", config.device)


def _sendable(type_name: str, meaning: str, body: bytes = b"", size: int = 0) -> Sendable:
    head = rb"\x00\x01" + re.escape(padded(type_name, 12)) + rb"[ -~]{0,20}\x00{0,20}(?<=.{34})\x00{8}"
    crc = rb".{8}" if size else rb"\x00{8}"
    whole = rb"(?=.{%d}\Z)" % (58 + size) + head + re.escape(size.to_bytes(8, "big")) + crc + body
    return Sendable(re.compile(whole, re.DOTALL), meaning)


def _sendables() -> tuple[Sendable, ...]:
    tracked = rb".{4}[ -~]{0,32}\x00{0,32}"
    return (
        *(_sendable(f"STT_{stream}", f"send {stream} messages") for stream in _STREAMS),
        *(_sendable(f"STT_{stream}", f"send {stream} messages", tracked, _TRACKED_BODY_BYTES) for stream in _TRACKED),
        *(_sendable(f"STP_{stream}", f"send no more {stream} messages") for stream in (*_STREAMS, *_TRACKED)),
        _sendable("GET_STATUS", "ask for the device's status"),
        _sendable("GET_CAPABIL", "ask which message types the device knows"),
    )


SENDABLES: Final = _sendables()
