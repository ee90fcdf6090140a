"""Maquet Servo-i and Servo-s ventilators on their Computer Interface Emulator (CIE).

Source: Maquet, SERVO-i / SERVO-s Computer Interface Emulator Reference Manual, protocol 005.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.byte_device import ByteDevice
from drivers.conditions import Condition, Conditions
from drivers.contract import Now, Spec, Transport
from drivers.servo_i.channels import Channel, Known, channel_of
from drivers.servo_i.config import ServoIConfig
from drivers.servo_i.dialogue import HELD_NS, Dialogue, Phase
from drivers.servo_i.frame import HELLO, HELLO_ANSWER, Error, Overlong, TextSplitter, command, meaning_of, parse_answer
from drivers.servo_i.recognise import recognise
from drivers.servo_i.script import NOT_NOW, TX_ALLOWED, Learnt
from drivers.servo_i.stream import (
    MAX_BLOCK_BYTES,
    BreathPhase,
    CurvesChecked,
    Item,
    Sample,
    StreamError,
    StreamFault,
    StreamReader,
    Text,
    Values,
)
from drivers.servo_i.told import Told
from drivers.servo_i.waves import Curves
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, GapCause, Identity, Link, LinkId, LinkState, Quality

_MAX_TOLD: Final = 32
_MAX_WAITING: Final = 4
_GREETING: Final = HELLO_ANSWER + b"\x04"
_ANSWERS: Final = re.compile(rb"[^\x04\x11\x13]+[\x04\x11\x13]?|[\x04\x11\x13]")
"""Up to what ends or holds an answer."""


@dataclass(slots=True)
class _Session:
    """What is known of one connection."""

    link: LinkId
    peer: str
    dialogue: Dialogue | None
    text: TextSplitter = field(default_factory=TextSplitter)
    reader: StreamReader = field(default_factory=lambda: StreamReader(0))
    curves: Curves = field(default_factory=Curves)
    lists: dict[str, list[Channel]] = field(default_factory=dict)
    identity: Identity | None = None
    told: set[str] = field(default_factory=set)
    waiting: list[bytes] = field(default_factory=list)
    held_ns: int | None = None
    tail: bytes = b""
    heard_at: Now | None = None
    block_at: Now | None = None
    lost_at: Now | None = None


class ServoI(ByteDevice):
    """Asks a ventilator for its channels and records its stream; what was shown last outlives a connection."""

    spec: ClassVar[Spec[ServoIConfig]] = Spec(
        name="servo-i",
        devices=("Maquet (Getinge) Servo-i", "Maquet (Getinge) Servo-s"),
        transports=(Transport.SERIAL, Transport.TCP),
        config=ServoIConfig,
        serial_lines=("9600 8E1",),
        tx_allowed=TX_ALLOWED,
        passive_ok=True,
        client_slots=1,
        silence_s=10.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link"}),
        source="Maquet, SERVO-i / SERVO-s Computer Interface Emulator Reference Manual, protocol 005",
        longest_frame_bytes=MAX_BLOCK_BYTES,
        recognise=recognise,
        probe_requests=(HELLO, command(b"RCTY")),
    )

    def __init__(self, config: ServoIConfig) -> None:
        super().__init__()
        self._config = config
        self._session: _Session | None = None
        self._known = Known()
        self._told = Told()
        self._standby = Conditions()
        self._silence.follow(self._told, self._standby)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: call the ventilator, unless we only listen."""
        config = self._config
        if config.listen_only:
            session = self._session = _Session(link, peer, None)
            session.lists = {
                letter: [channel_of(number) for number in channels]
                for letter, channels in zip(
                    "CBSA", (config.curves, config.breath, config.settings, config.alarms), strict=True
                )
            }
            session.reader = StreamReader(len(config.curves), joined=True)
            session.curves.configure(session.lists["C"], config.sample_ms)
            return
        session = self._session = _Session(link, peer, Dialogue(config, self._known))
        self._say(session, session.dialogue.call(now.mono_ns) if session.dialogue else [], now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        before = session.tail if session.dialogue is not None else b""
        heard, read = before + data, len(before)
        while session.dialogue is not None:
            greeted = heard.find(_GREETING, max(0, read - len(_GREETING) + 1)) + len(_GREETING)
            if greeted < len(_GREETING):
                break
            self._received(session, heard[read : greeted - 1], now)
            self._greeted(session, session.dialogue, now)
            read = greeted
        session.tail = heard[-len(_GREETING) :]
        self._received(session, heard[read:], now)
        self._proceed(session, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        if session is None:
            return 0
        self.emit_all(session.curves.settle(Quality.UNCHECKED))
        return session.text.abandon() + session.reader.abandon()

    def woken(self, now: Now) -> None:
        """Say what is due."""
        if self._session is not None:
            self._proceed(self._session, now)

    def due_ns(self) -> int | None:
        """When something is to be said."""
        session = self._session
        if session is None or session.dialogue is None:
            return None
        return session.dialogue.deadline_ns() if session.held_ns is None else session.held_ns + HELD_NS

    # Sending --------------------------------------------------------------------------------------------------

    def _say(self, session: _Session, frames: Iterable[bytes], now: Now) -> None:
        for frame in frames:
            if session.held_ns is not None:
                session.waiting = [*session.waiting, frame][-_MAX_WAITING:]
            else:
                self.send(session.link, frame)

    def _proceed(self, session: _Session, now: Now) -> None:
        dialogue = session.dialogue
        if dialogue is None:
            return
        if session.held_ns is not None:
            if now.mono_ns < session.held_ns + HELD_NS:
                return
            self._release(session)
        due = dialogue.due(now.mono_ns)
        if due.lost:
            self._lost(session, now, "the ventilator gave no answer; called anew")
        self._say(session, due.frames, now)
        if due.frames:
            if due.frames == [HELLO]:
                session.text.abandon()  # what is left of a stream that was stopped
            self._turned(session, now)

    def _release(self, session: _Session) -> None:
        """XON, or the ventilator forgot to send it."""
        session.held_ns, session.text.held = None, False
        waiting, session.waiting = session.waiting, []
        for frame in waiting:
            self.send(session.link, frame)

    def _turned(self, session: _Session, now: Now) -> None:
        """Said something: if that was to open the stream, what comes next is the stream."""
        dialogue = session.dialogue
        if dialogue is None:
            return
        if dialogue.phase is Phase.STANDBY and dialogue.learnt.postponed is not None:
            self._identified(session, dialogue.learnt, now)
            self._ended(session, dialogue.learnt.postponed, now)
        if dialogue.phase is not Phase.OPENING:
            return
        if session.lists is not dialogue.learnt.lists:
            session.lists = dialogue.learnt.lists
            session.curves.configure(session.lists["C"], dialogue.learnt.sample_ms)
            self._learnt(session, dialogue.learnt, now)
        session.reader = StreamReader(len(session.lists["C"]))

    # Receiving ------------------------------------------------------------------------------------------------

    def _greeted(self, session: _Session, dialogue: Dialogue, now: Now) -> None:
        session.text.abandon()
        self.emit_all(session.curves.settle(Quality.UNCHECKED))
        self._say(session, dialogue.greeted(now.mono_ns), now)

    def _received(self, session: _Session, data: bytes, now: Now) -> None:
        """Answers and blocks are read by different rules, and the end of an answer may begin the stream."""
        dialogue = session.dialogue
        for part in _ANSWERS.findall(data) if dialogue is not None and not dialogue.streams else (data,):
            if dialogue is None or dialogue.streams:
                for item in session.reader.feed(part):
                    self._item(session, item, now)
                continue
            dialogue.heard(now.mono_ns)
            for message in session.text.feed(part):
                self._message(session, message, now)
            if session.text.held and session.held_ns is None:
                session.held_ns = now.mono_ns
            elif not session.text.held and session.held_ns is not None:
                self._release(session)

    def _message(self, session: _Session, message: bytes | Overlong, now: Now) -> None:
        dialogue = session.dialogue
        if dialogue is None:
            return
        if dialogue.phase is Phase.SETTLING or not message:
            return
        if isinstance(message, Overlong):
            self._gaps.add("oversize", now, message.lost_bytes, "an answer without end")
            return
        try:
            answer = parse_answer(message)
        except DeviceFault as fault:
            self._gaps.add("checksum", now, len(message) + 1, fault.text)
            self._say(session, dialogue.garbled(now.mono_ns), now)
            return
        session.heard_at = now
        self._say(session, dialogue.answered(answer, now.mono_ns), now)
        self._turned(session, now)

    def _item(self, session: _Session, item: Item, now: Now) -> None:
        if isinstance(item, Sample):
            self._flows(session, now)
            session.block_at = session.block_at or now
            self.emit_all(session.curves.take(item.curve, item.raw, now))
        elif isinstance(item, BreathPhase):
            session.curves.mark(item.name)
        elif isinstance(item, CurvesChecked):
            session.block_at = None
            self.emit_all(session.curves.settle())
        elif isinstance(item, Values):
            self._flows(session, now)
            self._values(session, item, now)
        elif isinstance(item, Text):
            self._text(session, item.data, now)
        elif isinstance(item, StreamError):
            self._ended(session, item.error, now)
        else:
            self._fault(session, item, now)

    def _fault(self, session: _Session, fault: StreamFault, now: Now) -> None:
        detail = "the curves since then are questionable" if fault.in_curves else ""
        self.emit_all(session.curves.settle(Quality.QUESTIONABLE))
        self._gaps.add(fault.cause, now, fault.lost_bytes, detail, since=session.block_at if fault.in_curves else None)
        session.block_at = None
        session.curves.fault()
        if session.dialogue is not None:
            session.dialogue.unreadable()

    def _flows(self, session: _Session, now: Now) -> None:
        session.heard_at = now
        if session.dialogue is not None:
            session.dialogue.streaming(now.mono_ns)
        if session.lost_at is not None:
            self._gap("silence", session.lost_at, now, "the ventilator sends again")
            session.lost_at = None
        self.emit_all(self._standby.update((), now))
        self.emit_all(self._told.again(now))

    def _text(self, session: _Session, data: bytes, now: Now) -> None:
        try:
            answer = parse_answer(data)
        except DeviceFault as fault:
            self._gaps.add("checksum", now, len(data) + 1, fault.text)
            return
        if answer.error is not None:
            self._ended(session, answer.error, now)

    def _ended(self, session: _Session, error: int, now: Now) -> None:
        """The stream was refused or ended; in standby that is no fault."""
        self.emit_all(session.curves.settle(Quality.UNCHECKED))
        dialogue = session.dialogue
        if dialogue is None:
            return
        if error in NOT_NOW:
            session.heard_at = now
            self._silence.heard(now)
            dialogue.refused(now.mono_ns)
            text = "standby: the ventilator sends no values" if error == Error.STANDBY else "the stream is refused now"
            standby = Condition("standby", "mode", "none", "MDCX_MAQUET_STANDBY", "", text, meaning_of(error)[:4])
            self.emit_all(self._standby.update((standby,), now))
            self.emit_all(self._told.withdraw(now))
            return
        cause: GapCause = "overflow" if error == Error.BUFFER else "device_gap"
        self._gaps.add(cause, now, None, f"the ventilator ended its stream: {meaning_of(error)}")
        dialogue.refused(now.mono_ns)

    # What is recorded -----------------------------------------------------------------------------------------

    def _identified(self, session: _Session, learnt: Learnt, now: Now) -> None:
        protocol = "CIE" if learnt.protocol is None else f"CIE {learnt.protocol:03d}"
        identity = Identity(at_ns=now.utc_ns, make="Maquet", model=learnt.model, serial=learnt.serial,
                            software=learnt.software, protocol=protocol)  # fmt: skip
        before, session.identity = session.identity, identity
        if before is None or _who(before) != _who(identity):
            self.emit(identity)
            state: LinkState = "identified" if before is None else "changed"
            self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _learnt(self, session: _Session, learnt: Learnt, now: Now) -> None:
        self._identified(session, learnt, now)
        if learnt.internal_fault:
            self._tell_once(session, "device_gap", "the ventilator cannot read its own data now", now)
        for refused in learnt.refused:
            self._tell_once(session, "device_gap", f"the ventilator refused: {refused}", now)
        for letter, raws in learnt.now.items():
            self._silence.heard(now)
            self.emit_all(self._told.read(letter, session.lists[letter], raws, now, of_text=True))

    def _values(self, session: _Session, values: Values, now: Now) -> None:
        channels = session.lists.get(values.kind, [])
        if len(channels) != len(values.raws):
            if session.dialogue is not None:
                session.dialogue.unreadable()
            detail = f"a block {values.kind} of {len(values.raws)} values, asked for {len(channels)}"
            self._gaps.add("undecodable", now, 2 * len(values.raws) + 3, detail)
            return
        self._silence.heard(now)
        self.emit_all(self._told.read(values.kind, channels, values.raws, now, of_text=False))

    # What is missing ------------------------------------------------------------------------------------------

    def _lost(self, session: _Session, now: Now, detail: str) -> None:
        self.emit_all(session.curves.settle(Quality.UNCHECKED))
        self.fell_silent(now)
        if session.heard_at is not None and session.lost_at is None:
            session.lost_at = session.heard_at
            if now.mono_ns - session.heard_at.mono_ns < round(self.spec.silence_s * S_NS):
                self._gap("silence", session.heard_at, now, detail)

    def _tell_once(self, session: _Session, cause: GapCause, detail: str, now: Now) -> None:
        if detail in session.told or len(session.told) >= _MAX_TOLD:
            return
        session.told.add(detail)
        self._gap(cause, now, now, detail)

    def _gap(self, cause: GapCause, since: Now, now: Now, detail: str) -> None:
        self.emit(Gap(at_ns=now.utc_ns, cause=cause, since_ns=since.utc_ns, until_ns=now.utc_ns, detail=detail))


def _who(identity: Identity) -> tuple[str, ...]:
    return (identity.make, identity.model, identity.serial, identity.software, identity.protocol)
