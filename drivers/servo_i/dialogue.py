"""The talk with one ventilator: stop, call, questions one by one, the stream, standby. Pure: time and answers in.

Times are those of a ventilator that answers slowly: the manual names none that a computer must keep to.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from drivers.servo_i.channels import Known
from drivers.servo_i.config import ServoIConfig
from drivers.servo_i.frame import HELLO_ANSWER, STOP, Answer, Error
from drivers.servo_i.script import RADC, Learnt, Question, Script, associate
from ledger.limits import MS_NS, S_NS

SETTLE_NS: Final = 300 * MS_NS
LONGEST_SETTLE_NS: Final = 3 * S_NS
ANSWER_NS: Final = 2 * S_NS
TRIES: Final = 3
STANDBY_NS: Final = 5 * S_NS
CURVES_SILENT_NS: Final = 3 * S_NS
BREATHS_SILENT_NS: Final = 90 * S_NS
HELD_NS: Final = 5 * S_NS


class Phase(enum.Enum):
    """How far the talk has come."""

    SETTLING = "settling"
    ASKING = "asking"
    OPENING = "opening"
    STREAMING = "streaming"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Due:
    """Frames to send now; ``lost``: the ventilator fell silent and is called anew."""

    frames: list[bytes]
    lost: bool = False


class Dialogue:
    """``learnt`` is what the ventilator said of itself; it is whole once ``phase`` is OPENING."""

    def __init__(self, config: ServoIConfig, known: Known) -> None:
        self._config = config
        self._known = known
        self._script: Script | None = None
        self._question: Question | None = None
        self._tries = self._unanswered = 0
        self._since_ns = self._heard_ns = 0
        self._in_doubt = False
        self.learnt = Learnt()
        self.phase = Phase.SETTLING

    @property
    def streams(self) -> bool:
        """Whether what comes now are blocks, not answers."""
        return self.phase in (Phase.OPENING, Phase.STREAMING, Phase.STANDBY)

    def call(self, now_ns: int) -> list[bytes]:
        """Begin anew: whatever it is sending, it is to stop."""
        self.learnt = Learnt()
        self._script, self._question, self._unanswered = None, None, 0
        self._since_ns = self._heard_ns = now_ns
        self.phase = Phase.SETTLING
        return [STOP]

    def heard(self, now_ns: int) -> None:
        """Bytes came."""
        self._heard_ns = now_ns

    def streaming(self, now_ns: int) -> None:
        """A block of the stream, or a part of one, came."""
        self._heard_ns = now_ns
        self._in_doubt = False
        if self.streams:
            self.phase = Phase.STREAMING

    def unreadable(self) -> None:
        """Bytes came that are no block of what was asked for."""
        self._in_doubt = True

    def greeted(self, now_ns: int) -> list[bytes]:
        """It answered a general call, now or late: it is in basic mode and has stopped whatever it was sending."""
        self.learnt, self._unanswered = Learnt(), 0
        self._script = associate(self._config, self._known, self.learnt)
        next(self._script)
        return self._next(Answer(HELLO_ANSWER), now_ns)

    def answered(self, answer: Answer, now_ns: int) -> list[bytes]:
        """An answer came; what to ask next. One that is none to the question does not count."""
        question = self._question
        if self.phase is not Phase.ASKING or self._script is None or question is None:
            return []
        if answer.error is None and not question.answers(answer.text):
            self._since_ns = now_ns  # it talks, and has not come to this question yet
            return []
        if answer.error is not None and (answer.error == Error.CHECK or question.answers(HELLO_ANSWER)):
            return self._again(now_ns)
        self._unanswered = 0
        return self._next(answer, now_ns)

    def garbled(self, now_ns: int) -> list[bytes]:
        """An answer came that could not be read."""
        return self._again(now_ns) if self.phase is Phase.ASKING else []

    def refused(self, now_ns: int) -> None:
        """The stream was refused, or ended: the ventilator is in standby."""
        self.phase = Phase.STANDBY
        self._since_ns = now_ns

    def _open(self, now_ns: int) -> list[bytes]:
        self.phase = Phase.OPENING
        self._in_doubt = False
        self._since_ns = self._heard_ns = now_ns
        return [RADC]

    def due(self, now_ns: int) -> Due:
        """What to say now."""
        if now_ns < self.deadline_ns():
            return Due([])
        if self.phase is Phase.SETTLING:
            self._script = associate(self._config, self._known, self.learnt)
            return Due(self._next(None, now_ns))
        if self.phase is Phase.ASKING:
            frames = self._again(now_ns)
            return Due(frames, lost=frames == [STOP])
        if self.phase is Phase.STANDBY:
            return Due(self.call(now_ns))  # settings and alarms may have changed meanwhile
        return Due(self.call(now_ns), lost=True)

    def deadline_ns(self) -> int:
        """When ``due`` is wanted."""
        if self.phase is Phase.SETTLING:
            return min(self._heard_ns + SETTLE_NS, self._since_ns + LONGEST_SETTLE_NS)
        if self.phase is Phase.ASKING:
            return self._since_ns + ANSWER_NS
        if self.phase is Phase.STANDBY:
            return self._since_ns + STANDBY_NS
        soon = self._in_doubt or bool(self.learnt.lists.get("C"))
        return self._heard_ns + (CURVES_SILENT_NS if soon else BREATHS_SILENT_NS)

    def _next(self, answer: Answer | None, now_ns: int) -> list[bytes]:
        script = self._script
        if script is None:
            return []
        try:
            self._question = next(script) if answer is None else script.send(answer)
        except StopIteration:
            if self.learnt.postponed is None:
                return self._open(now_ns)
            self.refused(now_ns)
            return []
        self.phase = Phase.ASKING
        self._tries, self._since_ns = 1, now_ns
        return [self._question.frame]

    def _again(self, now_ns: int) -> list[bytes]:
        question = self._question
        if question is None:
            return self.call(now_ns)
        if self._tries >= TRIES:
            self._unanswered += 1
            if self._unanswered >= TRIES or question.answers(HELLO_ANSWER):
                return self.call(now_ns)
            return self._next(Answer(b"", Error.INVALID), now_ns)  # a question that it does not know
        self._tries += 1
        self._since_ns = now_ns
        return [question.frame]
