"""Whether the bytes heard on a line are answers of a Servo-i."""

from __future__ import annotations

from typing import Final

from drivers.contract import Heard
from drivers.servo_i.frame import Overlong, TextSplitter, parse_answer
from ledger.errors import DeviceFault

_SHORTEST: Final = 3


def recognise(data: bytes) -> Heard | None:
    """Answers with a right check in these bytes."""
    heard, model = 0, ""
    for message in TextSplitter().feed(data):
        if isinstance(message, Overlong) or len(message) < _SHORTEST:
            continue
        try:
            answer = parse_answer(message)
        except DeviceFault:
            continue
        heard += 1
        if answer.text.startswith(b"Servo-"):
            model = answer.text[:-1].decode("ascii", "replace")
    return Heard(heard, f"Maquet {model or 'Servo'}") if heard else None
