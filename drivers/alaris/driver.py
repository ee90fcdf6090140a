"""Alaris (BD) Asena GH and CC syringe pumps: rate, volume, pressure, alarms, syringe. It only asks.

All that it may send are questions without an argument; every command that controls a pump has one, or is another word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from drivers.alaris.frame import LONGEST_LINE_BYTES, Reply, encode, parse_line, split_line
from drivers.alaris.values import (
    alarm_flag,
    alarms,
    infusion_settings,
    measured,
    other_answer,
    serial_of,
    slow_settings,
)
from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Sendable, Spec, Transport
from drivers.line_device import LineDevice, LineSession
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Identity, LinkId, Numeric, Setting

QUESTIONS: Final = {
    "INST_SERIALNO": "ask for the serial number",
    "COMMS_PROTOCOL": "ask for the protocol's revision",
    "INF": "ask for the state of the infusion",
    "ALARM": "ask for the alarms",
    "SYRINGE_STATUS": "ask for the syringe",
    "INF_VTBI": "ask for the volume to be infused",
    "INF_RATE_MAX_SYRINGE": "ask for the highest rate of the syringe",
}
_WIRE: Final = {word: encode(word) for word in QUESTIONS}
_ANSWER_NS: Final = S_NS // 2
_SLOWLY_NS: Final = 10 * S_NS
_MOST_MISSED: Final = 3
_MOST_ALARMS_AT_ONCE: Final = 16
_MOST_SETTINGS: Final = 64


class AlarisAsenaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an ``alaris-asena`` feed.

    ``poll_s``: seconds from one question after the infusion to the next, 0.5 to 60. Raises ValueError naming
    the option.
    """

    poll_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.poll_s <= 60:
            raise ValueError("poll_s: from 0.5 to 60 seconds")


@dataclass(slots=True)
class _Polling:
    """When each question is due, which one waits for its answer, and how often INF was not answered."""

    due_ns: dict[str, int]
    asked: str = ""
    until_ns: int = 0
    missed: int = 0


def recognise(data: bytes) -> Heard | None:
    """Whole lines with a right check value in these bytes."""
    heard, serial = 0, ""
    for line in data.split(b"\r"):
        try:
            reply = parse_line(split_line(line)[1])
        except DeviceFault:
            continue
        heard += 1
        serial = reply.fields[0].strip() if reply.word in ("INF", "INST_SERIALNO") and reply.fields else serial
    return Heard(heard, f"Alaris Asena {serial}".strip()) if heard else None


class AlarisAsena(LineDevice):
    """Asks in turn, one question at a time; what was shown last and the alarms outlive a connection."""

    spec: ClassVar[Spec[AlarisAsenaConfig]] = Spec(
        name="alaris-asena",
        devices=("Alaris / BD Asena GH, CC; Alaris GH, CC",),
        transports=(Transport.SERIAL, Transport.TCP),
        config=AlarisAsenaConfig,
        serial_lines=("38400 8N1",),
        tx_allowed=tuple(
            Sendable(re.compile(re.escape(_WIRE[word]), re.DOTALL), QUESTIONS[word]) for word in QUESTIONS
        ),
        client_slots=1,
        silence_s=5.0,
        records=frozenset({"numeric", "setting", "event", "gap", "identity", "link"}),
        source="frames of the Asena communications protocol as mdpnp (OpenICE) and infupy exchange them with pumps",
        longest_frame_bytes=LONGEST_LINE_BYTES,
        recognise=recognise,
        probe_requests=(_WIRE["INST_SERIALNO"],),
    )

    def __init__(self, config: AlarisAsenaConfig) -> None:
        super().__init__(LONGEST_LINE_BYTES, b"\r")
        self._poll_ns = round(config.poll_s * S_NS)
        self._polling: _Polling | None = None
        self._shown = ShownValues()
        self._settings: dict[str, Setting] = {}
        self._flag = Conditions()
        self._alarms = Conditions()
        self._silence.follow(self._shown, self._flag, self._alarms)
        self._silence.longest_ns = max(self._silence.longest_ns, _MOST_MISSED * (self._poll_ns + _ANSWER_NS))
        self._serial = self._protocol = ""

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask who is there, then how the infusion stands."""
        super().opened(link, peer, now)
        self._settings.clear()
        self._serial = self._protocol = ""
        self._polling = _Polling(dict.fromkeys(QUESTIONS, now.mono_ns))
        self._ask(now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        self._polling = None
        return super().closed(now)

    def woken(self, now: Now) -> None:
        """Ask what is due; give up waiting for an answer that does not come."""
        polling = self._polling
        if polling is None:
            return
        if polling.asked and polling.until_ns <= now.mono_ns:
            self._unanswered(polling, now)
        self._ask(now)

    def due_ns(self) -> int | None:
        """When an answer is overdue or a question is due."""
        polling = self._polling
        if polling is None:
            return None
        return polling.until_ns if polling.asked else min(polling.due_ns.values())

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: settings are told again, too."""
        super().case_changed(facts)
        self._settings.clear()
        if self._polling is not None:  # what is asked rarely is asked now
            self._polling.due_ns = dict.fromkeys(self._polling.due_ns, 0)

    # Asking ---------------------------------------------------------------------------------------------------

    def _ask(self, now: Now) -> None:
        polling, session = self._polling, self._session
        if polling is None or session is None or polling.asked:
            return
        word = min(polling.due_ns, key=lambda word: polling.due_ns[word])
        if polling.due_ns[word] <= now.mono_ns:
            polling.asked, polling.until_ns = word, now.mono_ns + _ANSWER_NS
            self.send(session.link, _WIRE[word])

    def _answered(self, word: str, now: Now) -> None:
        polling = self._polling
        if polling is None:
            return
        if word in polling.due_ns:
            polling.due_ns[word] = now.mono_ns + (self._poll_ns if word in ("INF", "ALARM") else _SLOWLY_NS)
        if word == "INF":
            polling.missed = 0
        if polling.asked == word:
            polling.asked = ""

    def _unanswered(self, polling: _Polling, now: Now) -> None:
        word, polling.asked = polling.asked, ""
        polling.due_ns[word] = now.mono_ns + (self._poll_ns if word == "INF" else _SLOWLY_NS)
        if word != "INF":
            return
        polling.missed += 1
        if polling.missed == _MOST_MISSED:
            session = self._session
            since = session.heard_at if session is not None else None
            self._gaps.add("device_gap", now, None, "the pump does not answer", since=since)
            self._settings.clear()
            self.fell_silent(now)
            for other in ("INST_SERIALNO", "COMMS_PROTOCOL"):
                polling.due_ns[other] = now.mono_ns + self._poll_ns

    # Answers --------------------------------------------------------------------------------------------------

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is none of the pump's."""
        junk_bytes, line = split_line(line)
        if junk_bytes:
            self.lost("framing", junk_bytes, "bytes before a line", now)
        try:
            reply = parse_line(line)
        except DeviceFault as fault:
            if fault.id != "alaris.crc":
                raise
            self.lost("checksum", len(line), fault.text, now)
            return
        self._answered(reply.word, now)
        try:
            self._take_reply(session, reply, now)
        finally:
            self._ask(now)

    def _take_reply(self, session: LineSession, reply: Reply, now: Now) -> None:
        if reply.word == "INF":
            self._infusion(session, reply, now)
        elif reply.word == "ALARM":
            self._tell_conditions(self._alarms, alarms(reply), now)
        elif reply.word == "INST_SERIALNO" and reply.fields:
            self._serial = reply.fields[0].strip()
        elif reply.word == "COMMS_PROTOCOL" and reply.fields:
            self._protocol = reply.fields[0].strip()
        elif reply.word in ("SYRINGE_STATUS", "INF_VTBI", "INF_RATE_MAX_SYRINGE"):
            self._tell_settings(list(slow_settings(reply, now)))
        else:
            other = other_answer(reply, now)
            if len(self._settings) >= _MOST_SETTINGS and other.code not in self._settings:
                raise DeviceFault("alaris.word", f"more kinds of answers than the protocol has: {reply.word}")
            self._tell_settings([other])

    def _infusion(self, session: LineSession, reply: Reply, now: Now) -> None:
        numerics: list[Numeric] = list(measured(reply, now))
        settings = list(infusion_settings(reply, now))
        self.identified(session, Identity(at_ns=now.utc_ns, make="Alaris", model="Asena", protocol=self._protocol,
                                          serial=serial_of(reply) or self._serial))  # fmt: skip
        for numeric in numerics:
            for record in self._shown.show(numeric.code, numeric):
                self.emit(record)
        self._tell_settings(settings)
        self._tell_conditions(self._flag, alarm_flag(reply), now)

    def _tell_settings(self, settings: list[Setting]) -> None:
        for setting in settings:
            before = self._settings.get(setting.code)
            if before is None or (before.value, before.unit) != (setting.value, setting.unit):
                self._settings[setting.code] = setting
                self.emit(setting)

    def _tell_conditions(self, conditions: Conditions, active: Iterable[Condition], now: Now) -> None:
        for event in conditions.update(list(active)[:_MOST_ALARMS_AT_ONCE], now):
            self.emit(event)
