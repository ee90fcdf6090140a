"""Who speaks when on a MEDIBUS line. Times are monotonic nanoseconds.

One command at a time, and none before the one before is answered or 10 s have passed; 3 s without a slow character
and all is forgotten and begins anew with ICC; the other side must hear something every 2 s. Waves are asked for after
identification: what is offered (53), which of them (54), and then "let them flow", which is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drivers.medibus.frame import Flow, command
from drivers.medibus.realtime import enable_streams
from drivers.medibus.request import CORRUPT_ANSWER, Code, answer, configure_realtime
from ledger.limits import MS_NS, S_NS

SILENCE_NS: Final = 3 * S_NS
RESPONSE_NS: Final = 10 * S_NS
IDLE_NS: Final = 2 * S_NS
SETTLE_NS: Final = 200 * MS_NS
ENABLE_EVERY_NS: Final = 5 * S_NS
WAVE_SILENCE_NS: Final = 2 * S_NS
WAVE_RETRY_NS: Final = 10 * S_NS
GARBLED_RETRY_NS: Final = 1 * S_NS
TRIES: Final = 3
_MAX_HELD: Final = 64
_VITAL: Final = {Code.INITIALISE, Code.IDENTIFY, Code.NOP}


@dataclass(slots=True)
class _Asked:
    frame: bytes
    code: int
    at_ns: int
    tries: int = 1


@dataclass(slots=True)
class _WaveSetUp:
    """``ask`` for the offer, ``configure`` what was chosen, ``flowing`` when the device has confirmed it."""

    step: str = "off"
    codes: tuple[str, ...] = ()
    enable_due_ns: int = 0
    heard_ns: int = 0
    patience_ns: int = WAVE_SILENCE_NS


@dataclass(frozen=True, slots=True)
class Due:
    """Frames to send now; ``lost``: the device was silent and is called anew; ``waves_silent``: waves stopped."""

    frames: list[bytes]
    lost: bool = False
    waves_silent: bool = False


class Dialogue:
    """One connection. Call ``due`` after everything else that may have changed something, and at ``deadline_ns``.

    ``given_up``: questions that the device does not answer though it answers others; the caller takes them out.
    """

    __slots__ = (
        "_asked",
        "_called_ns",
        "_due",
        "_heard_ns",
        "_held",
        "_idle_ns",
        "_multiplier",
        "_periods_ns",
        "_running",
        "_settled_ns",
        "_suspended_ns",
        "_unanswered",
        "_want_waves",
        "_waves",
        "given_up",
    )  # fmt: skip

    def __init__(self, periods_s: Mapping[Code, float], *, want_waves: bool, multiplier: int) -> None:
        self._periods_ns: dict[int, int] = {code: int(seconds * S_NS) for code, seconds in periods_s.items()}
        self._want_waves = want_waves
        self._multiplier = multiplier
        self._held: list[bytes] = []
        self._suspended_ns: int | None = None
        self._heard_ns = 0
        self._unanswered: set[int] = set()
        self.given_up: list[int] = []
        self._call(0)

    @property
    def running(self) -> bool:
        """Whether the device has identified itself since it was called last."""
        return self._running

    def start(self, mono_ns: int) -> list[bytes]:
        """The port is open."""
        self._heard_ns = mono_ns
        return self._call(mono_ns)

    def _call(self, mono_ns: int) -> list[bytes]:
        """ICC: both sides forget all that was agreed on."""
        self._called_ns = self._idle_ns = mono_ns
        self._running = False
        self._due: dict[int, int] = {}
        self._waves = _WaveSetUp()
        self._suspended_ns = None
        self._held.clear()
        frame = command(Code.INITIALISE)
        self._asked: _Asked | None = _Asked(frame, Code.INITIALISE, mono_ns)
        self._settled_ns = mono_ns
        return [frame]

    # What the device says -------------------------------------------------------------------------------------

    def heard(self, mono_ns: int) -> None:
        """A slow character came; fast data does not count."""
        self._heard_ns = mono_ns

    def heard_fast(self, mono_ns: int) -> None:
        """A record of waves came."""
        self._waves.heard_ns = mono_ns
        self._waves.patience_ns = WAVE_SILENCE_NS

    def also_ask(self, code: Code, period_s: float) -> None:
        """One more question, from the next identification on."""
        self._periods_ns[code] = int(period_s * S_NS)

    def flow(self, flow: Flow, mono_ns: int) -> list[bytes]:
        """Suspend, resume or abort what we send."""
        if flow is Flow.SUSPEND:
            self._suspended_ns = mono_ns
            return []
        held, self._held = self._held, []
        self._suspended_ns = None
        return held if flow is Flow.RESUME else []

    def command(self, code: int, mono_ns: int) -> list[bytes]:
        """The device asks or orders something: what to answer, and what it means for us."""
        frames = [answer(code)]
        if code == Code.INITIALISE:
            self._due, self._waves, self._running = {}, _WaveSetUp(), False
            self._suspended_ns = None
            self._held.clear()
            frames += self._ask(Code.IDENTIFY, command(Code.IDENTIFY), mono_ns)
        elif code == Code.IDENTIFY:
            self._settled_ns = mono_ns + SETTLE_NS
        elif code == Code.STOP:
            self._call(mono_ns)  # says nothing for 3 s: then the device is called again
            frames = [answer(code)]
        elif code == Code.TIME_CHANGED and Code.DATE_TIME in self._due:
            self._due[Code.DATE_TIME] = mono_ns
        elif code == Code.REALTIME_CHANGED and self._running and self._want_waves:
            self._waves = _WaveSetUp("ask")
        return self._gate(frames)

    def answered(self, code: int, mono_ns: int) -> list[bytes]:
        """A response came."""
        if self._asked is not None and self._asked.code == code:
            self._asked = None
        if code == Code.INITIALISE and not self._running and self._asked is None:
            return self._gate(self._ask(Code.IDENTIFY, command(Code.IDENTIFY), mono_ns))
        if code == Code.IDENTIFY and not self._running:
            self._running = True
            self._settled_ns = max(self._settled_ns, mono_ns + SETTLE_NS)
            self._due = dict.fromkeys(self._periods_ns, mono_ns)
            self._waves = _WaveSetUp("ask" if self._want_waves else "off")
        if code == Code.CONFIGURE_REALTIME and self._waves.step == "configure":
            self._waves.step = "flowing"
            self._waves.enable_due_ns = self._waves.heard_ns = mono_ns
        return []

    def answer_corrupt(self) -> list[bytes]:
        """What to answer to a command that could not be read."""
        return self._gate([CORRUPT_ANSWER])

    def garbled(self, mono_ns: int) -> None:
        """A response came that could not be read. A value is asked for again in its turn, all else after a second."""
        if self._asked is None:
            return
        if self._asked.code in self._periods_ns or self._asked.code == Code.NOP:
            self._asked = None
        else:
            self._asked.tries = max(0, self._asked.tries - 1)
            self._asked.at_ns = min(self._asked.at_ns, mono_ns - RESPONSE_NS + GARBLED_RETRY_NS)

    def misunderstood(self, mono_ns: int) -> list[bytes]:
        """The device could not read our command: say it again; after three times it does not know it."""
        asked = self._asked
        if asked is not None and asked.tries >= TRIES and asked.code not in _VITAL:
            self._give_up(asked.code)
            return []
        return self._gate(self._again(mono_ns))

    def _give_up(self, code: int) -> None:
        """Ask this no more until the device is called anew."""
        self._asked = None
        self._due.pop(code, None)
        if code in (Code.REALTIME_CONFIG, Code.CONFIGURE_REALTIME):
            self._waves = _WaveSetUp()
        self.given_up.append(code)

    def offered(self, codes: Sequence[str]) -> None:
        """The waves chosen of those that the device offers; none: there is nothing to wait for."""
        if self._waves.step == "ask":
            self._waves.step, self._waves.codes = ("configure" if codes else "off"), tuple(codes)

    # What is due ----------------------------------------------------------------------------------------------

    def due(self, mono_ns: int) -> Due:
        """What to say now."""
        if mono_ns >= self._silence_ns():
            lost = self._running
            return Due(self._call(mono_ns), lost)
        if self._asked is not None and mono_ns - self._asked.at_ns >= RESPONSE_NS:
            running = self._running
            frames = self._again(mono_ns)
            return Due(self._gate(frames), lost=running and not self._running)
        frames = []
        if self._running and mono_ns >= self._settled_ns:
            if self._asked is None:
                frames += self._next_question(mono_ns)
            if self._waves.step == "flowing" and mono_ns >= self._waves.enable_due_ns:
                self._waves.enable_due_ns = mono_ns + ENABLE_EVERY_NS
                frames.append(enable_streams(len(self._waves.codes)))
        silent = self._waves.step == "flowing" and mono_ns - self._waves.heard_ns >= self._waves.patience_ns
        if silent:
            self._waves.patience_ns = WAVE_RETRY_NS
            self._waves.step = "ask"
            if self._asked is None:
                frames += self._next_question(mono_ns)
        return Due(self._gate(frames), waves_silent=silent)

    def deadline_ns(self) -> int:
        """When ``due`` is wanted next."""
        times = [self._silence_ns()]
        if self._asked is not None:
            times.append(self._asked.at_ns + RESPONSE_NS)
        if self._running:
            if self._asked is None:
                questions = [*self._due.values(), self._idle_ns + IDLE_NS]
                sets_up_waves = self._waves.step in ("ask", "configure")
                times.append(self._settled_ns if sets_up_waves else max(self._settled_ns, min(questions)))
            if self._waves.step == "flowing":
                times.append(max(self._settled_ns, self._waves.enable_due_ns))
                times.append(self._waves.heard_ns + self._waves.patience_ns)
        return min(times)

    def _silence_ns(self) -> int:
        silent_ns = max(self._heard_ns, self._called_ns) + SILENCE_NS
        return silent_ns if self._suspended_ns is None else min(silent_ns, self._suspended_ns + SILENCE_NS)

    def _next_question(self, mono_ns: int) -> list[bytes]:
        if self._waves.step == "ask":
            return self._ask(Code.REALTIME_CONFIG, command(Code.REALTIME_CONFIG), mono_ns)
        if self._waves.step == "configure":
            frame = configure_realtime(self._waves.codes, self._multiplier)
            return self._ask(Code.CONFIGURE_REALTIME, frame, mono_ns)
        # The longest overdue first: on a slow line the frequent ones must not starve the others.
        code = min(self._due, key=lambda code: self._due[code], default=None)
        if code is not None and self._due[code] <= mono_ns:
            self._due[code] = mono_ns + self._periods_ns[code]
            return self._ask(code, command(code), mono_ns)
        if mono_ns - self._idle_ns >= IDLE_NS:
            return self._ask(Code.NOP, command(Code.NOP), mono_ns)
        return []

    def _ask(self, code: int, frame: bytes, mono_ns: int) -> list[bytes]:
        self._asked = _Asked(frame, code, mono_ns)
        self._idle_ns = mono_ns
        return [frame]

    def _again(self, mono_ns: int) -> list[bytes]:
        asked = self._asked
        if asked is None:
            return []
        if asked.tries >= TRIES:
            if asked.code in self._unanswered and asked.code not in _VITAL:
                # Calling anew did not help: it is this question. The others must not suffer for it.
                self._give_up(asked.code)
                self._periods_ns.pop(asked.code, None)
                return []
            self._unanswered.add(asked.code)
            return self._call(mono_ns)
        asked.at_ns = self._idle_ns = mono_ns
        asked.tries += 1
        return [asked.frame]

    def _gate(self, frames: list[bytes]) -> list[bytes]:
        if self._suspended_ns is None:
            return frames
        self._held = [*self._held, *frames][-_MAX_HELD:]
        return []
