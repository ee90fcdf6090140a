"""Several messages in one MLLP frame: a batch (FHS, BHS … BTS, FTS), or messages that a gateway put one after another.

Source: HL7 v2.9 chapter 2, section 2.10.3 (batch protocol). The segments around messages tell nothing of a patient:
they are kept with the message beside them, and each message is answered by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_MESSAGES: Final = 1_000
"""In one frame. More is taken for one message that cannot be read."""

_LINES: Final = re.compile(rb"[^\r\n]*[\r\n]*")
_MESSAGE: Final = re.compile(rb"[\xef\xbb\xbf ]*MSH[!-/:-@\[-`{-~]")
_OPENING: Final = re.compile(rb"[\xef\xbb\xbf ]*[FB]HS[!-/:-@\[-`{-~]")
_CLOSING: Final = re.compile(rb" *[FB]TS(?:[!-/:-@\[-`{-~]|[\r\n]|\Z)")
_SIGNS: Final = (b"FHS", b"BHS", b"\rFTS", b"\rBTS", b"\nFTS", b"\nBTS", b"\rMSH", b"\nMSH")


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a frame. ``kept``: with the batch segments around it; all parts' together are the frame's body."""

    kept: bytes
    message: bytes


def split(body: bytes) -> list[Part]:
    """The messages of a frame; one that is all of it where there is no batch, or one beyond measure."""
    whole = [Part(body, body)]
    if not any(sign in body for sign in _SIGNS):
        return whole
    parts: list[Part] = []
    around, message = bytearray(), bytearray()
    for line in _LINES.findall(body):
        opens, begins = _OPENING.match(line), _MESSAGE.match(line)
        if (opens or begins) and message:
            parts.append(Part(bytes(around), bytes(message)))
            around, message = bytearray(), bytearray()
            if len(parts) == MAX_MESSAGES:
                return whole
        around += line
        if not opens and not (_CLOSING.match(line) and message):
            message += line
    if not _MESSAGE.match(message.lstrip(b"\r\n")):
        return whole
    return [*parts, Part(bytes(around), bytes(message))]
