"""Messages of the Servo-i Computer Interface Emulator (CIE): text that ends with EOT, behind its check.

Source: Maquet, SERVO-i / SERVO-s Computer Interface Emulator Reference Manual, protocol 005. The check is the exclusive
or of all characters before it, as two hexadecimal digits. Only the general call ``HO`` and its answer have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from drivers.checksums import xor8
from ledger.errors import DeviceFault

EOT: Final = 0x04
XON, XOFF = 0x11, 0x13
STOP: Final = b"\x1b\x04"
HELLO: Final = b"HO\x04"
HELLO_ANSWER: Final = b"900PCI"
MISSING: Final = 0x7EFF
MAX_TEXT_BYTES: Final = 1_024

_PARTS: Final = re.compile(rb"[^\x04\x11\x13]+|[\x04\x11\x13]")
_ERROR: Final = re.compile(rb"([A-Z]?ER(\d\d))([0-9A-F]{2})?")
"""A refusal may begin with the letter of the channels it is about, such as ``BER20``; that one always has its check."""

_MEANINGS: Final = {
    9: "internal error", 10: "command not valid now", 11: "syntax error", 12: "out of range", 13: "no data",
    14: "trend buffer overflow", 15: "channel not defined", 16: "not configured", 17: "standby", 18: "wrong check",
    19: "buffer full", 20: "not valid",
}  # fmt: skip


class Error:
    """The error numbers that the dialogue goes by."""

    INVALID, SYNTAX, RANGE, NO_DATA, UNDEFINED = 10, 11, 12, 13, 15
    NOT_CONFIGURED, STANDBY, CHECK, BUFFER = 16, 17, 18, 19


def meaning_of(error: int) -> str:
    """What an error number stands for, with the number: ``ER17 (standby)``."""
    return f"ER{error:02d} ({_MEANINGS.get(error, 'not documented')})"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without its check: its text, or an error number."""

    text: bytes
    error: int | None = None


@dataclass(frozen=True, slots=True)
class Overlong:
    """Bytes that never came to an end."""

    lost_bytes: int


def command(text: bytes) -> bytes:
    """An extended command with its check."""
    return b"%b%02X%c" % (text, xor8(text), EOT)


def parse_answer(message: bytes) -> Answer:
    """A message without its EOT. Raises DeviceFault ``servo-i.check``."""
    if message == HELLO_ANSWER:
        return Answer(message)
    error = _ERROR.fullmatch(message)
    if error is not None and (error[3] == b"%02X" % xor8(error[1]) or message == error[1][-4:]):
        return Answer(error[1], int(error[2]))
    text, check = message[:-2], message[-2:]
    if not text or check != b"%02X" % xor8(text):
        raise DeviceFault("servo-i.check", "an answer whose check is wrong")
    return Answer(text)


class TextSplitter:
    """Cuts text at EOT. XON and XOFF are no part of it; the last one is remembered. Bounded."""

    __slots__ = ("_begun", "held")

    def __init__(self) -> None:
        self._begun = bytearray()
        self.held = False

    def feed(self, data: bytes) -> Iterator[bytes | Overlong]:
        """Whole messages without EOT."""
        for part in _PARTS.findall(data):
            if part[0] == EOT:
                message = bytes(self._begun)
                self._begun.clear()
                yield message
            elif part[0] in (XON, XOFF):
                self.held = part[0] == XOFF
            else:
                yield from self._grow(part)

    def _grow(self, text: bytes) -> Iterator[Overlong]:
        while len(self._begun) + len(text) >= MAX_TEXT_BYTES:
            rest = MAX_TEXT_BYTES - len(self._begun)
            self._begun += text[:rest]
            text = text[rest:]
            yield Overlong(self.abandon())
        self._begun += text

    def abandon(self) -> int:
        """Forget what was begun; how many bytes it was."""
        begun = len(self._begun)
        self._begun.clear()
        return begun
