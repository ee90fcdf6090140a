"""What a Servo-i sends by itself after RADC: blocks of curves, and blocks of breath, setting and alarm values.

A block of curves holds phases (81), absolute values (80, two bytes, high first) and differences to the last value of
the same curve (one signed byte); curves take turns. Other blocks begin with their letter and hold two bytes a value.
Each ends with 7F and the exclusive or of all its bytes; whether that covers the 7F is told in two ways, so both are
taken for right. E0 at a block's beginning is an error; its number follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drivers.servo_i.frame import EOT, MISSING, XOFF, XON
from ledger.records import GapCause

PHASE, ABSOLUTE, END, ERROR = 0x81, 0x80, 0x7F, 0xE0
PHASES: Final = {0x10: "inspiration", 0x20: "pause", 0x30: "expiration"}
MAX_VALUES: Final = 75
MAX_BLOCK_BYTES: Final = 16_384
_VALUE_KINDS: Final = b"BSAT"
_TEXT: Final = b"E*"
_MAX_TEXT_BYTES: Final = 16
_IGNORED: Final = (XON, XOFF, EOT)
_SMALLEST: Final = 0x82
_LOST_AT_ONCE: Final = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """The next raw value of a curve, by its place in the list; MISSING if there is none."""

    curve: int
    raw: int


@dataclass(frozen=True, slots=True)
class BreathPhase:
    """A phase of the breath begins."""

    name: str


@dataclass(frozen=True, slots=True)
class CurvesChecked:
    """A block of curves has ended and its check was right."""


@dataclass(frozen=True, slots=True)
class Values:
    """A checked block of raw values; ``kind`` is its letter."""

    kind: str
    raws: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text answer between two blocks, without its EOT."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StreamError:
    """The ventilator ended the stream with this error number."""

    error: int


@dataclass(frozen=True, slots=True)
class StreamFault:
    """Bytes that could not be read; ``in_curves``: samples may be missing or wrong since the block began."""

    cause: GapCause
    lost_bytes: int
    in_curves: bool


Item = Sample | BreathPhase | CurvesChecked | Values | Text | StreamError | StreamFault


class StreamReader:
    """Reads the stream of a ventilator that was asked for ``curves`` curves. Bounded: keeps one block of values.

    ``joined`` in its middle: with several curves nothing tells whose turn it is before the first block has ended.
    """

    __slots__ = (
        "_block_bytes", "_check", "_curves", "_expected", "_found", "_high", "_in_curves", "_kind", "_last", "_lost",
        "_muted", "_raws", "_state", "_text", "_turn",
    )  # fmt: skip

    def __init__(self, curves: int, *, joined: bool = False) -> None:
        self._curves = curves
        self._state: Callable[[int], None] = self._at_start
        self._found: list[Item] = []
        self._last: list[int | None] = [None] * curves
        self._muted = joined and curves > 1
        self._raws: list[int] = []
        self._text = bytearray()
        self._kind = ""
        self._in_curves = False
        self._check = self._expected = self._high = self._turn = self._lost = self._block_bytes = 0

    def feed(self, data: bytes) -> list[Item]:
        """What these bytes complete, in order."""
        for byte in data:
            self._check ^= byte
            self._block_bytes += 1
            self._state(byte)
        found, self._found = self._found, []
        return found

    def abandon(self) -> int:
        """The stream ended: how many bytes belong to no block, or to a block of values that was begun."""
        begun = 0 if self._state == self._at_start or self._in_curves else self._block_bytes
        return self._lost + begun

    # Between blocks -------------------------------------------------------------------------------------------

    def _at_start(self, byte: int) -> None:
        if byte in _IGNORED:
            return
        self._check, self._block_bytes = byte, 1
        self._in_curves = byte in (PHASE, ABSOLUTE) and self._curves > 0
        if self._in_curves:
            self._turn = 0
            self._curve(byte)
        elif byte in _VALUE_KINDS:
            self._kind, self._raws = chr(byte), []
            self._state = self._value
        elif byte == ERROR:
            self._state = self._error
        elif byte in _TEXT:
            self._text[:] = (byte,)
            self._state = self._in_text
        else:
            self._fault("framing")
            return
        self._found_again()

    def _ended(self, byte: int) -> None:
        self._state = self._at_start
        if byte not in (self._expected, self._expected ^ END):
            self._found.append(StreamFault("checksum", self._block_bytes, self._in_curves))
        elif self._in_curves and not self._muted:
            self._found.append(CurvesChecked())
        elif self._kind:
            self._found.append(Values(self._kind, tuple(self._raws)))
        self._muted = False
        self._kind = ""
        self._in_curves = False

    def _end(self) -> None:
        self._expected = self._check
        self._state = self._ended

    # Curves ---------------------------------------------------------------------------------------------------

    def _curve(self, byte: int) -> None:
        if byte == ABSOLUTE:
            self._state = self._curve_high
        elif byte == PHASE:
            self._state = self._phase
        elif byte == END:
            self._end()
        else:
            last = self._last[self._turn]
            if last is None:
                self._unknown()
                return
            self._sample(last + (byte - 256 if byte >= _SMALLEST else byte))

    def _unknown(self) -> None:
        """A difference to nothing."""
        if self._muted:
            self._turn = (self._turn + 1) % self._curves
        else:
            self._fault("framing")

    def _phase(self, byte: int) -> None:
        name = PHASES.get(byte)
        if name is None:
            self._fault("framing")
            return
        self._state = self._curve
        if not self._muted:
            self._found.append(BreathPhase(name))

    def _curve_high(self, byte: int) -> None:
        self._high = byte
        self._state = self._curve_low

    def _curve_low(self, byte: int) -> None:
        self._state = self._curve
        self._sample(self._high << 8 | byte)

    def _sample(self, raw: int) -> None:
        if not 0 <= raw <= MISSING:
            self._fault("framing")
            return
        if not self._muted:
            self._last[self._turn] = raw
            self._found.append(Sample(self._turn, raw))
        self._turn = (self._turn + 1) % self._curves

    # Values ---------------------------------------------------------------------------------------------------

    def _value(self, byte: int) -> None:
        if byte == END:
            self._end()
        elif byte > END or len(self._raws) >= MAX_VALUES:
            self._fault("framing")
        else:
            self._high = byte
            self._state = self._value_low

    def _value_low(self, byte: int) -> None:
        self._raws.append(self._high << 8 | byte)
        self._state = self._value

    # Errors and text ------------------------------------------------------------------------------------------

    def _error(self, byte: int) -> None:
        if not 9 <= byte <= 20:
            self._fault("framing")
            return
        self._found.append(StreamError(byte))
        self._state = self._after_error

    def _after_error(self, byte: int) -> None:
        self._state = self._at_start
        if byte == END:
            self._end()
        else:
            self._at_start(byte)

    def _in_text(self, byte: int) -> None:
        if byte == EOT:
            self._state = self._at_start
            self._found.append(Text(bytes(self._text)))
        elif len(self._text) >= _MAX_TEXT_BYTES or not 0x20 <= byte < END:
            self._fault("framing")
        else:
            self._text.append(byte)

    # Losing and finding again ---------------------------------------------------------------------------------

    def _fault(self, cause: GapCause) -> None:
        """What was begun makes no sense: look for the next end of a block."""
        if self._lost == 0:
            self._found.append(StreamFault(cause, 0, self._in_curves))
        self._lost += self._block_bytes
        self._block_bytes = 0
        self._in_curves, self._kind = False, ""
        self._state = self._lost_in

    def _lost_in(self, byte: int) -> None:
        self._lost += 1
        if byte == END:
            self._state = self._lost_check
        self._tell_lost(_LOST_AT_ONCE)

    def _lost_check(self, byte: int) -> None:
        self._lost += 1
        self._state = self._at_start

    def _found_again(self) -> None:
        self._tell_lost(1)

    def _tell_lost(self, least: int) -> None:
        if self._lost >= least:
            self._found.append(StreamFault("framing", self._lost, False))
            self._lost = 0
