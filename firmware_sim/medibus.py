"""MEDIBUS as a device speaks it: frames, the bodies of its answers, real-time records (Dräger 90 28 258)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

ESC, SOH, CR, ETX = b"\x1b", b"\x01", b"\r", b"\x03"
DC1, DC3 = b"\x11", b"\x13"

SYNC, SYNC_COMMAND, DATA = 0xD0, 0xC0, 0x80
END_OF_SEQUENCE, STREAMS_1_4, STREAMS_5_8, STREAMS_9_12 = 0xC0, 0xC1, 0xC2, 0xC3
SENT_5_8, SENT_9_12, CYCLE = 0xC4, 0xC5, 0xC6

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAI", "JUN", "JUL", "AUG", "SEP", "OKT", "NOV", "DEZ")


def frame(start: bytes, code: int, body: bytes = b"") -> bytes:
    """A command (ESC) or response (SOH)."""
    content = start + bytes((code,)) + body
    return content + f"{sum(content) % 256:02X}".encode() + CR


@dataclass(frozen=True, slots=True)
class Message:
    """A whole frame of the computer."""

    is_command: bool
    code: int
    body: bytes


@dataclass(slots=True)
class HostReader:
    """Reads what a computer sends: frames and, among them, sync commands that let streams flow."""

    bad_frames: int = 0
    enabled: list[int] = field(default_factory=lambda: [0, 0, 0])
    _frame: bytearray = field(default_factory=bytearray)
    _sync: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[Message | None]:
        """Messages; None for a frame that is not right."""
        for byte in data:
            if byte >= DATA:
                self._on_fast(byte)
            elif byte in ESC + SOH:
                self._frame = bytearray((byte,))
            elif byte == CR[0]:
                yield self._close()
            elif self._frame and len(self._frame) < 300:
                self._frame.append(byte)

    def _close(self) -> Message | None:
        held, self._frame = bytes(self._frame), bytearray()
        if len(held) < 4 or frame(held[:1], held[1], held[2:-2])[:-1] != held:
            self.bad_frames += 1
            return None
        return Message(held[:1] == ESC, held[1], held[2:-2])

    def _on_fast(self, byte: int) -> None:
        if byte & 0xF0 == SYNC:
            self._sync = bytearray()
        elif self._sync is not None and byte & 0xF0 == SYNC_COMMAND:
            self._sync.append(byte)
            if len(self._sync) % 2 == 0:
                self._obey(self._sync[-2], self._sync[-1] & 0x0F)

    def _obey(self, command: int, argument: int) -> None:
        if command in (STREAMS_1_4, STREAMS_5_8, STREAMS_9_12):
            self.enabled[command - STREAMS_1_4] = argument
        elif command == END_OF_SEQUENCE:
            self._sync = None

    def enabled_streams(self) -> set[int]:
        """Streams, counted from 0, that the computer lets flow."""
        mask = self.enabled[0] | self.enabled[1] << 4 | self.enabled[2] << 8
        return {stream for stream in range(12) if mask >> stream & 1}


@dataclass(slots=True)
class RealtimeWriter:
    """Builds records; tells of streams 5 to 12 only when they change."""

    _told: list[int] = field(default_factory=lambda: [0, 0])

    def build(self, bins: dict[int, int], cycle: int | None = None) -> bytes:
        """One record of {stream from 0: bin}; ``cycle`` 0: inspiration begins, 1: expiration begins."""
        mask = sum(1 << stream for stream in bins)
        out = bytearray((SYNC | mask & 0x0F,))
        for group, command in enumerate((SENT_5_8, SENT_9_12)):
            nibble = mask >> 4 * (group + 1) & 0x0F
            if nibble != self._told[group]:
                self._told[group] = nibble
                out += bytes((command, SYNC_COMMAND | nibble))
        if cycle is not None:
            out += bytes((CYCLE, SYNC_COMMAND | cycle))
        for _, value in sorted(bins.items()):
            out += bytes((DATA | value & 0x3F, DATA | value >> 6 & 0x3F))
        return bytes(out)


@dataclass(frozen=True, slots=True)
class WaveOffer:
    """One wave of a real-time configuration."""

    code: str
    interval_us: int
    low: int
    high: int
    max_bin: int

    def config(self) -> bytes:
        """As in the answer to 53: a sign stands in the first place of its field."""
        return f"{self.code}{self.interval_us:8d}{_signed(self.low)}{_signed(self.high)}{self.max_bin:03X}".encode()

    def bin(self, value: float) -> int:
        """The bin of a value, at most the highest."""
        return min(self.max_bin, max(0, round((value - self.low) * self.max_bin / (self.high - self.low))))


def _signed(value: int) -> str:
    return f"{'-' if value < 0 else ' '}{abs(value):4d}"


def field_of(value: float, form: str) -> str:
    """A value in Dräger's notation: X a digit, _ a blank, * first: may be negative. Too large shows as all nines."""
    bare = form.lstrip("*")
    digits = bare.strip("_")
    decimals = len(digits.partition(".")[2])
    text = f"{value:{len(digits)}.{decimals}f}"
    if len(text) > len(digits):
        text = "9" * len(digits) if value > 0 else digits.replace("X", "-")
    return bare.replace(digits, text, 1).replace("_", " ")


def alarm_segment(code: str, priority: int, phrase: str) -> bytes:
    """Fifteen characters of an alarm status response."""
    return bytes((0x30 + priority,)) + code.encode() + phrase.ljust(12)[:12].encode()


def text_segment(code: str, text: str) -> bytes:
    """One text message."""
    return code.encode() + bytes((0x30 + len(text),)) + text.encode() + ETX
