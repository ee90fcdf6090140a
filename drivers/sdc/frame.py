r"""What passes on a link of the ``sdc`` transport: one line that says what follows, then that many bytes.

    OPENED 127\n{"device":"https://10.20.1.7:6464/8c26…","epr":"urn:uuid:8c26…","notify":"https://10.20.3.13:50123/…"}
    ANSWER 200 3015\n<s12:Envelope …      the device's answer to the request before, with its HTTP status
    NOTIFY 1410\n<s12:Envelope …          what the device sent to ``notify``
    POST https://10.20.1.7:6464/8c26…/Get 512\n<s12:Envelope …     a request, the driver's; one is open at a time

The bodies are the bytes of the HTTP messages, TLS and content coding undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ledger.errors import DeviceFault
from ledger.limits import LIMITS

Kind = Literal["OPENED", "ANSWER", "NOTIFY", "POST"]
LONGEST_HEAD_BYTES: Final = 2_048
_HEAD: Final = re.compile(rb"(OPENED|NOTIFY) (\d{1,8})|(ANSWER) (\d{3}) (\d{1,8})|(POST) (\S{1,1900}) (\d{1,8})")

_KINDS: Final[dict[bytes, Kind]] = {b"OPENED": "OPENED", b"ANSWER": "ANSWER", b"NOTIFY": "NOTIFY", b"POST": "POST"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``status``: of an answer, HTTP's. ``url``: of a request."""

    kind: Kind
    body: bytes
    status: int = 0
    url: str = ""


def encode(frame: Frame) -> bytes:
    """Its bytes."""
    words: list[str] = [frame.kind]
    if frame.kind == "ANSWER":
        words.append(f"{frame.status:03d}")
    elif frame.kind == "POST":
        words.append(frame.url)
    return " ".join((*words, str(len(frame.body)))).encode() + b"\n" + frame.body


def read_request(data: bytes) -> tuple[str, bytes]:
    """URL and body of a whole POST frame, for the transport that sends it. Raises DeviceFault ``sdc.bad-frame``."""
    frames = list(Deframer().feed(data))
    if len(frames) != 1 or frames[0].kind != "POST":
        raise _bad("what is to be sent is no request")
    return frames[0].url, frames[0].body


class Deframer:
    """Bytes in any pieces to frames. Holds at most one frame, ``sdc_message_bytes``."""

    __slots__ = ("_buffer", "_head", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[Kind, int, str] | None = None
        self._wanted = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole. Raises DeviceFault ``sdc.bad-frame``; then there is no going on."""
        self._buffer += data
        while True:
            if self._head is None and not self._read_head():
                return
            if self._head is None or len(self._buffer) < self._wanted:
                return
            kind, status, url = self._head
            body = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._head = None
            yield Frame(kind, body, status, url)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\n", 0, LONGEST_HEAD_BYTES)
        if end < 0:
            if len(self._buffer) >= LONGEST_HEAD_BYTES:
                raise _bad("no line says what follows")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        match = _HEAD.fullmatch(line)
        if match is None:
            raise _bad("the line that says what follows cannot be read")
        kind: Kind = _KINDS[match[1] or match[3] or match[6]]
        self._wanted = int(match[2] or match[5] or match[8])
        if self._wanted > LIMITS.sdc_message_bytes:
            raise _bad(f"a message of {self._wanted} bytes is too long")
        self._head = (kind, int(match[4] or 0), (match[7] or b"").decode("utf-8", "replace"))
        return True


def _bad(why: str) -> DeviceFault:
    return DeviceFault("sdc.bad-frame", why)
