"""Fast data: which waves the device offers, and the records in which their samples come (Realtime Extension).

A record is a sync byte ``D0 | streams 1 to 4``, up to 16 pairs of sync command and argument ``C0..CF``, then two bytes
``10dddddd`` for each stream that the record holds: the low six bits first. Which of streams 5 to 8 and 9 to 12 are in
it is told by sync commands C4 and C5, and only when it changes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from ledger.errors import DeviceFault

MAX_STREAMS: Final = 12
MAX_INTERVAL_US: Final = 60_000_000

_SYNC, _SYNC_COMMAND, _DATA_END = 0xD0, 0xC0, 0xC0
_END_OF_SEQUENCE: Final = 0xC0
_ENABLE: Final = (0xC1, 0xC2, 0xC3)
_STREAMS_5_TO_8, _STREAMS_9_TO_12, _CYCLE, _CORRUPT = 0xC4, 0xC5, 0xC6, 0xCF
_MAX_SYNC_COMMANDS: Final = 16
_CONFIG_BYTES: Final = 23


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One wave that the device offers: value = minimum + bin * (maximum - minimum) / max_bin."""

    code: str
    interval_us: int
    minimum: Decimal
    maximum: Decimal
    max_bin: int


@dataclass(frozen=True, slots=True)
class RealtimeRecord:
    """The samples of one moment: (stream counted from 0, bin) each. A bin of None was lost or is corrupt."""

    samples: tuple[tuple[int, int | None], ...]
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RealtimeFault:
    """Bytes that make no record."""

    lost_bytes: int


@dataclass(frozen=True, slots=True)
class Offer:
    """The waves that a device offers, and what is wrong with others: one of them costs no other."""

    streams: tuple[StreamConfig, ...]
    faults: tuple[str, ...] = ()


def parse_config(data: bytes) -> Offer:
    """The answer to command 53. Raises DeviceFault ``medibus.bad-response`` where it cannot be cut into waves."""
    if len(data) % _CONFIG_BYTES:
        raise DeviceFault("medibus.bad-response", f"a real-time configuration has {len(data)} B")
    streams: list[StreamConfig] = []
    faults: list[str] = []
    for at in range(0, len(data), _CONFIG_BYTES):
        try:
            streams.append(_stream(data[at : at + _CONFIG_BYTES]))
        except DeviceFault as fault:
            faults.append(fault.text)
    return Offer(tuple(streams), tuple(faults))


def _stream(segment: bytes) -> StreamConfig:
    text = segment.decode("ascii", "replace")
    code = text[:2].replace(" ", "0")
    try:
        int(code, 16)
        interval_us, max_bin = int(text[2:10]), int(text[20:], 16)
        minimum, maximum = _number(text[10:15]), _number(text[15:20])
    except (ValueError, InvalidOperation) as error:
        raise DeviceFault(
            "medibus.bad-response", f"a real-time configuration of wave {code!r} has no numbers"
        ) from error
    if not 0 < interval_us <= MAX_INTERVAL_US or not max_bin or maximum <= minimum:
        raise DeviceFault("medibus.bad-response", f"the real-time configuration of wave {code!r} makes no sense")
    return StreamConfig(code.upper(), interval_us, minimum, maximum, max_bin)


def _number(text: str) -> Decimal:
    value = Decimal(text.replace(" ", ""))
    if not value.is_finite():
        raise ValueError(text)
    return value


def enable_streams(count: int) -> bytes:
    """Let the first ``count`` streams flow; must be repeated, for it may be lost."""
    out = bytearray((_SYNC,))
    for group, code in enumerate(_ENABLE):
        streams = min(4, count - 4 * group)
        if streams > 0:
            out += bytes((code, _SYNC_COMMAND | (1 << streams) - 1))
    return bytes(out) + bytes((_END_OF_SEQUENCE, _SYNC_COMMAND))


@functools.lru_cache(maxsize=256)
def _streams_of(first: int, second: int, third: int) -> tuple[int, ...]:
    """The streams that these masks of four each let flow."""
    masks = first | second << 4 | third << 8
    return tuple(stream for stream in range(MAX_STREAMS) if masks >> stream & 1)


class RealtimeReader:
    """Finds records in the fast bytes. Bounded: one record."""

    __slots__ = ("_command", "_commands", "_corrupt", "_data", "_length", "_marks", "_masks", "_open", "_streams")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All that was agreed on is forgotten."""
        self._masks = [0, 0, 0]
        self._marks: list[str] = []
        self._begin(0)
        self._open = False

    def _begin(self, mask: int) -> None:
        self._masks[0] = mask
        self._streams = _streams_of(*self._masks)
        self._command: int | None = None
        self._commands = 0
        self._corrupt = False
        self._data = bytearray()
        self._length = 0
        self._open = True

    def feed(self, data: bytes) -> list[RealtimeRecord | RealtimeFault]:
        """Take fast bytes; return the records they complete and the faults between them."""
        found: list[RealtimeRecord | RealtimeFault] = []
        for byte in data:
            if byte < _DATA_END and self._open:
                self._length += 1
                self._sample(byte, found)
            elif byte & 0xF0 == _SYNC:
                self._cut_short(found)
                self._begin(byte & 0x0F)
                self._length = 1
            elif not self._open:
                found.append(RealtimeFault(1))
            elif byte & 0xF0 == _SYNC_COMMAND:
                self._length += 1
                self._sync_command(byte)
            else:  # E0 to FF mean nothing
                self._length += 1
                self._corrupt = True
        return found

    def _sync_command(self, byte: int) -> None:
        if self._data:
            self._corrupt = True
        elif self._command is None:
            self._commands += 1
            self._corrupt |= self._commands > _MAX_SYNC_COMMANDS
            self._command = byte
        else:
            command, self._command = self._command, None
            self._obey(command, byte & 0x0F)

    def _obey(self, command: int, argument: int) -> None:
        if command == _STREAMS_5_TO_8:
            self._masks[1] = argument
        elif command == _STREAMS_9_TO_12:
            self._masks[2] = argument
        elif command == _CYCLE and len(self._marks) < _MAX_SYNC_COMMANDS:
            self._marks.append("expiration" if argument & 1 else "inspiration")
        elif command == _CORRUPT:
            self._corrupt = True
        self._streams = _streams_of(*self._masks)

    def _sample(self, byte: int, found: list[RealtimeRecord | RealtimeFault]) -> None:
        if self._command is not None:
            self._corrupt = True
        self._data.append(byte & 0x3F)
        streams = self._streams
        if len(self._data) < 2 * len(streams):
            return
        if not streams:
            found.append(RealtimeFault(self._length))
        else:
            bins = [low | high << 6 for low, high in zip(self._data[::2], self._data[1::2], strict=True)]
            self._tell(streams, [None] * len(streams) if self._corrupt else bins, found)
        self._open = False

    def _cut_short(self, found: list[RealtimeRecord | RealtimeFault]) -> None:
        """A new record begins; if the one before has samples to come, they are lost."""
        if not self._open:
            return
        streams = self._streams
        if streams:
            found.append(RealtimeFault(self._length))
            self._tell(streams, [None] * len(streams), found)

    def _tell(
        self, streams: Sequence[int], bins: Sequence[int | None], found: list[RealtimeRecord | RealtimeFault]
    ) -> None:
        found.append(RealtimeRecord(tuple(zip(streams, bins, strict=True)), tuple(self._marks)))
        self._marks.clear()
