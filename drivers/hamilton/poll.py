"""The polling protocol: one question, one answer. STX number ETX CR asks; the answer is its number and five characters.

An answer bears no checksum. Some (ventilator number, software versions) begin with a letter of the model instead of
the number, and may have four characters behind it, so that only the question tells what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.contract import Sendable
from drivers.hamilton.config import HamiltonConfig
from drivers.hamilton.frame import CR, ETX, STX
from drivers.hamilton.parameters import POLLED, number_or_text
from ledger.errors import DeviceFault
from ledger.limits import S_NS

VENTILATOR_NUMBER, LANGUAGE_VERSION, SOFTWARE_VERSION = 86, 124, 125
SECOND, MINUTE, HOUR, DAY, MONTH, YEAR = 80, 81, 82, 83, 84, 85
CLOCK: Final = (YEAR, MONTH, DAY, HOUR, MINUTE, SECOND)
NAMES: Final = (VENTILATOR_NUMBER, LANGUAGE_VERSION, SOFTWARE_VERSION)

FLOW_CONTROL: Final = b"\x11\x13"
"""XON and XOFF, which may come between answers and are part of none."""

_REFUSED: Final = b"RERROR"
_MODEL_LETTERS: Final = b"ABCRV"
_WORDS: Final = re.compile(r"[A-Za-z0-9 .,:/<>%+*-]*")
"""What a value may be made of, if only for a ratio or a word; anything else is damage, which no checksum tells."""
_NO_VALUE: Final = re.compile(r"9{4,5}\.?|999\.9|99\.99")
_PAUSE_NS: Final = 36_000_000
_ANSWER_NS: Final = 500_000_000
_REFUSED_AGAIN_NS: Final = 300 * S_NS
_NAMES_S: Final = 600
_MOST_STRANGE: Final = 10


def question(number: int) -> bytes:
    """Ask for one parameter."""
    return STX + bytes((number,)) + ETX + CR


_NUMBERS: Final = (*POLLED, *CLOCK, *NAMES)
TX_ALLOWED: Final = Sendable(
    re.compile(b"\x02[" + b"".join(b"\\x%02x" % number for number in sorted(_NUMBERS)) + b"]\x03\r", re.DOTALL),
    "what is the value of this parameter (polling protocol)",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The text that a parameter has; ``text`` None: the ventilator does not know the number."""

    number: int
    text: str | None


def parse_answer(frame: bytes, asked: int | None) -> Answer:
    """An answer; ``asked`` is the question that waits for one, if any. Raises DeviceFault ``hamilton.answer``.

    One to another question tells by its number what it is; whether to believe it, ``Poller.believes`` tells.
    """
    body = frame[1:-2]
    if frame[-2:-1] != ETX or not body.isascii() or any(byte < 0x20 for byte in body[1:]):
        raise DeviceFault("hamilton.answer", "an answer of another form")
    if asked is not None and body == _REFUSED:
        return Answer(asked, None)
    if asked is not None and _is_unnumbered(body, asked):
        return Answer(asked, body.decode("ascii").strip())
    if len(body) != 6 or body[0] not in _NUMBERS:
        raise DeviceFault("hamilton.answer", "an answer of another form")
    text = body[1:].decode("ascii").strip()
    if _WORDS.fullmatch(text) is None:
        raise DeviceFault("hamilton.answer", "a value of signs that none is made of")
    if body[0] != asked and not isinstance(parse_value(text), Decimal | None):
        raise DeviceFault("hamilton.answer", "an answer to another question")
    return Answer(body[0], text)


def _is_unnumbered(body: bytes, asked: int) -> bool:
    """Whether it answers a question of ``NAMES`` by a letter of the model, not by the number of the question."""
    if asked == VENTILATOR_NUMBER:
        return len(body) in (5, 6)
    return asked in NAMES and len(body) in (5, 6) and body[0] in _MODEL_LETTERS


def parse_value(text: str) -> Decimal | str | None:
    """A number, None where the ventilator has none (all nines, or nothing), or else the text."""
    return None if _NO_VALUE.fullmatch(text) else number_or_text(text)


class Poller:
    """Whom to ask what next: the most overdue question, one at a time, never faster than the ventilator bears."""

    def __init__(self, config: HamiltonConfig, now_ns: int) -> None:
        periods_s = {"measured": config.numerics_s, "alarm": config.alarms_s, "setting": config.settings_s}
        self._period_ns = {number: periods_s[parameter.kind] * S_NS for number, parameter in POLLED.items()}
        self._period_ns |= dict.fromkeys(CLOCK, config.clock_s * S_NS)
        self._period_ns |= dict.fromkeys(NAMES, _NAMES_S * S_NS)
        # Names first, then what matters most; of the same age they are asked in this order.
        order = (*NAMES, *sorted(POLLED, key=lambda number: self._period_ns[number]), *CLOCK)
        self._due_ns = dict.fromkeys(order, now_ns)
        self._asked: int | None = None
        self._asked_ns = now_ns - _PAUSE_NS
        self._strange = 0

    def due(self, now_ns: int) -> list[bytes]:
        """The question that is due by now, if any."""
        if self._asked is not None:
            if now_ns < self._asked_ns + _ANSWER_NS:
                return []
            self._again(self._asked, now_ns, self._period_ns[self._asked])  # it did not answer
        if now_ns < self._asked_ns + _PAUSE_NS:
            return []
        number = min(self._due_ns, key=self._due_ns.__getitem__)
        if self._due_ns[number] > now_ns:
            return []
        self._asked, self._asked_ns = number, now_ns
        return [question(number)]

    def deadline_ns(self) -> int:
        """When ``due`` is wanted again."""
        if self._asked is not None:
            return self._asked_ns + _ANSWER_NS
        return max(self._asked_ns + _PAUSE_NS, min(self._due_ns.values()))

    @property
    def asked(self) -> int | None:
        """The question that waits for its answer."""
        return self._asked

    def believes(self, answer: Answer) -> bool:
        """Whether this is an answer and not a damaged one, for there is no checksum.

        It is if it fits the question, or if most answers of late did not: then another computer asks on this line.
        """
        if answer.number == self._asked:
            self._strange = max(0, self._strange - 1)
            return True
        self._strange = min(_MOST_STRANGE, self._strange + 1)
        return self._strange > _MOST_STRANGE // 2

    def answered(self, answer: Answer, now_ns: int) -> None:
        """An answer has come."""
        if answer.number not in self._due_ns:
            return
        period_ns = self._period_ns[answer.number] if answer.text is not None else _REFUSED_AGAIN_NS
        self._again(answer.number, now_ns, period_ns)

    def _again(self, number: int, now_ns: int, period_ns: int) -> None:
        if number == self._asked:
            self._asked = None
        self._due_ns[number] = now_ns + period_ns
