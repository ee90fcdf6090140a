"""MEDIBUS framing: commands, responses, flow control, and the fast data that may lie between any two of their bytes.

Command ``ESC code argument CK CR``, response ``SOH echo data CK CR``; CK is the 8-bit sum from ESC or SOH on, as two
hex digits. Bytes from 80 on are fast data and belong to no frame. A command may be embedded anywhere inside a response.
DC1 suspends and DC3 resumes: the opposite of XON and XOFF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from drivers.checksums import sum8

ESC: Final = 0x1B
SOH: Final = 0x01
CR: Final = 0x0D
MAX_RESPONSE_BYTES: Final = 4096
"""The specification says 3845. Larger costs nothing; unbounded would."""
MAX_COMMAND_BYTES: Final = 512
"""The specification says 256."""

_SHORTEST: Final = 4  # ESC or SOH, code, CK, CK
_RUNS: Final = re.compile(rb"[\x80-\xff]+|[\x01\x0d\x11\x13\x18\x1b]|[^\x01\x0d\x11\x13\x18\x1b\x80-\xff]+")
_CHECK: Final = re.compile(rb"[0-9A-Fa-f]{2}")


class Flow(IntEnum):
    """What the other side wants of our sending."""

    SUSPEND = 0x11
    RESUME = 0x13
    ABORT = 0x18


@dataclass(frozen=True, slots=True)
class Command:
    """A question or order of the other side, with a right checksum."""

    code: int
    argument: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the other side, with a right checksum; ``code`` echoes the command."""

    code: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Fast:
    """Bytes of real-time data, as they came between others."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no frame. ``was``: a command must be answered as corrupt; a response comes no second time."""

    cause: Literal["checksum", "framing", "oversize"]
    lost_bytes: int
    was: Literal["command", "response", "unknown"] = "unknown"


Item = Command | Response | Fast | Flow | Fault


def checksum(content: bytes) -> bytes:
    """Two hex digits of the 8-bit sum."""
    return b"%02X" % sum8(content)


def command(code: int, argument: bytes = b"") -> bytes:
    """Frame a command."""
    content = bytes((ESC, code)) + argument
    return content + checksum(content) + b"\r"


def response(code: int, data: bytes = b"") -> bytes:
    """Frame a response; without data an echo."""
    content = bytes((SOH, code)) + data
    return content + checksum(content) + b"\r"


class Deframer:
    """Takes a byte stream apart. One response may lie in another, a command in either.

    A response that is interrupted by another is taken up again after it; if yet another begins at that place, the first
    was cut off.
    """

    __slots__ = ("_command", "_interrupted", "_response", "_resumed", "_stray")

    def __init__(self) -> None:
        self._interrupted: bytearray | None = None
        self._response: bytearray | None = None
        self._resumed = False
        self._command: bytearray | None = None
        self._stray = 0

    def feed(self, data: bytes) -> list[Item]:
        """Take bytes; return what they complete, in order."""
        found: list[Item] = []
        for match in _RUNS.finditer(data):
            run = match.group()
            first = run[0]
            if first >= 0x80:
                found.append(Fast(run))
            elif first in (Flow.SUSPEND, Flow.RESUME, Flow.ABORT):
                found.append(Flow(first))
            elif first == ESC:
                self._begin_command(found)
            elif first == SOH:
                self._begin_response(found)
            elif first == CR:
                self._end(found)
            else:
                self._hold(run, found)
        return found

    def abandon(self) -> Fault | None:
        """The stream ended: what was begun will never be whole."""
        held = (self._interrupted, self._response, self._command)
        lost = sum(len(frame or b"") for frame in held) + self._stray
        self._interrupted = self._response = self._command = None
        self._stray = 0
        return Fault("framing", lost) if lost else None

    def _hold(self, run: bytes, found: list[Item]) -> None:
        if self._command is not None:
            self._command += run
            if len(self._command) > MAX_COMMAND_BYTES:
                found.append(Fault("oversize", len(self._command), "command"))
                self._command = None
        elif self._response is not None:
            self._response += run
            self._resumed = False
            if len(self._response) > MAX_RESPONSE_BYTES:
                found.append(Fault("oversize", len(self._response), "response"))
                self._resume()
        else:
            self._stray += len(run) - run.count(b"\n")  # some devices end lines with CR LF

    def _begin_command(self, found: list[Item]) -> None:
        if self._command is not None:
            found.append(Fault("framing", len(self._command), "command"))
        elif self._response is None:
            self._tell_stray(found)
        self._command = bytearray((ESC,))

    def _begin_response(self, found: list[Item]) -> None:
        if self._command is not None:
            found.append(Fault("framing", len(self._command), "command"))
            self._command = None
        if self._response is None:
            self._tell_stray(found)
        elif self._resumed or self._interrupted is not None:
            found.append(Fault("framing", len(self._response), "response"))
        else:
            self._interrupted = self._response
        self._response = bytearray((SOH,))
        self._resumed = False

    def _resume(self) -> None:
        self._response, self._interrupted = self._interrupted, None
        self._resumed = self._response is not None

    def _tell_stray(self, found: list[Item], *, ended: bool = False) -> None:
        if self._stray:
            # A whole line without a beginning is most likely a response that lost its SOH.
            whole = ended and self._stray >= _SHORTEST - 1
            found.append(Fault("framing", self._stray, "response" if whole else "unknown"))
            self._stray = 0

    def _end(self, found: list[Item]) -> None:
        if self._command is not None:
            frame, self._command = bytes(self._command), None
            fault = _fault(frame)
            found.append(fault or Command(frame[1], frame[2:-2]))
        elif self._response is not None:
            frame = bytes(self._response)
            self._resume()
            fault = _fault(frame)
            found.append(fault or Response(frame[1], frame[2:-2]))
        else:
            self._tell_stray(found, ended=True)


def _fault(frame: bytes) -> Fault | None:
    was: Literal["command", "response"] = "command" if frame[0] == ESC else "response"
    if len(frame) < _SHORTEST or not _CHECK.fullmatch(frame[-2:]):
        return Fault("framing", len(frame) + 1, was)
    if int(frame[-2:], 16) != sum8(frame[:-2]):
        return Fault("checksum", len(frame) + 1, was)
    return None
