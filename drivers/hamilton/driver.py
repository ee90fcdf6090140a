"""Hamilton ventilators: values of each breath, settings, alarms.

Source: two public programs for the polling protocol, one for the block protocol; the maker's documents are not public.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.byte_device import ByteDevice
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Heard, Now, Spec, Transport
from drivers.hamilton import block, poll
from drivers.hamilton.block import GROUPS, SEND_VALUES, VERSIONS, Block, Subscription, parse_block
from drivers.hamilton.clock import ClockParts
from drivers.hamilton.config import HamiltonConfig
from drivers.hamilton.frame import MOST_FRAME_BYTES, Deframer, Lost, block_body
from drivers.hamilton.poll import CLOCK, NAMES, SOFTWARE_VERSION, VENTILATOR_NUMBER, Poller, parse_answer, parse_value
from drivers.hamilton.values import Values
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import GapCause, Identity, Link, LinkId, LinkState

_POLL_FRAME: Final = re.compile(rb"\x02[\x1e-\x7f][ 0-9.\-]{5}\x03\r")
_MESSAGES_WITHOUT_NAME: Final = 3
_UNREAD_REMEMBERED: Final = 32
_CAUSES: Final[dict[str, GapCause]] = {"hamilton.frame": "framing", "hamilton.checksum": "checksum"}


@dataclass(slots=True)
class _Session:
    """What is known of one connection."""

    link: LinkId
    peer: str
    dialogue: Poller | Subscription
    deframer: Deframer = field(default_factory=Deframer)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(S_NS))
    clock_parts: ClockParts = field(default_factory=ClockParts)
    clock_at: Now | None = None
    messages: int = 0
    identity: Identity | None = None
    names: dict[int, str] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)


def recognise(data: bytes) -> Heard | None:
    """Frames of either protocol in these bytes."""
    blocks = 0
    for item in Deframer().feed(data):
        if isinstance(item, bytes):
            try:
                parse_block(block_body(item))
            except DeviceFault:
                continue
            blocks += 1
    if blocks:
        return Heard(blocks, "Hamilton ventilator, block protocol")
    answers = len(_POLL_FRAME.findall(data))
    options = (("protocol", "poll"),)
    return Heard(answers, "Hamilton ventilator, polling protocol", options) if answers else None


class Hamilton(ByteDevice):
    """Has the ventilator send (block), or asks for one parameter after another (poll)."""

    spec: ClassVar[Spec[HamiltonConfig]] = Spec(
        name="hamilton",
        devices=("Hamilton G5, S1, C-series (block protocol)", "Hamilton G5 and others (polling protocol)"),
        transports=(Transport.SERIAL, Transport.TCP),
        config=HamiltonConfig,
        serial_lines=("38400 8N1", "9600 7E2", "9600 8E2"),
        tx_allowed=(*block.TX_ALLOWED, poll.TX_ALLOWED),
        client_slots=1,
        silence_s=15.0,
        records=frozenset({"numeric", "setting", "event", "gap", "identity", "link", "clock"}),
        source="public programs for both protocols; the maker's documents are not public",
        longest_frame_bytes=MOST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(SEND_VALUES, poll.question(40)),
    )

    def __init__(self, config: HamiltonConfig) -> None:
        super().__init__()
        self._config = config
        self._session: _Session | None = None
        self._values = Values(config)
        self._silence.follow(self._values)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: begin to ask."""
        polls = self._config.protocol == "poll"
        dialogue = Poller(self._config, now.mono_ns) if polls else Subscription(now.mono_ns)
        self._session = _Session(link, peer, dialogue)
        self._proceed(self._session, now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        if isinstance(session.dialogue, Poller):
            data = data.translate(None, poll.FLOW_CONTROL)
        for item in session.deframer.feed(data):
            if isinstance(item, Lost):
                self._gaps.add("framing", now, item.lost_bytes)
            else:
                self._frame(session, item, now)
            self._proceed(session, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        return session.deframer.abandon() if session is not None else 0

    def woken(self, now: Now) -> None:
        """Ask what is due."""
        if self._session is not None:
            self._proceed(self._session, now)

    def due_ns(self) -> int | None:
        """When to ask again."""
        return self._session.dialogue.deadline_ns() if self._session is not None else None

    def _proceed(self, session: _Session, now: Now) -> None:
        for request in session.dialogue.due(now.mono_ns):
            self.send(session.link, request)

    # Receiving ------------------------------------------------------------------------------------------------

    def _frame(self, session: _Session, frame: bytes, now: Now) -> None:
        try:
            if isinstance(session.dialogue, Poller):
                self._answer(session, session.dialogue, frame, now)
            else:
                message = parse_block(block_body(frame))
                session.dialogue.heard(now.mono_ns)
                self._silence.heard(now)
                self._block(session, message, now)
        except DeviceFault as fault:
            self._gaps.add(_CAUSES.get(fault.id, "undecodable"), now, len(frame), fault.text)

    def _answer(self, session: _Session, poller: Poller, frame: bytes, now: Now) -> None:
        answer = parse_answer(frame, poller.asked)
        if not poller.believes(answer):
            raise DeviceFault("hamilton.answer", "an answer to another question")
        poller.answered(answer, now.mono_ns)
        self._silence.heard(now)
        if answer.number in NAMES:
            session.names[answer.number] = answer.text or ""
            if answer.number == SOFTWARE_VERSION:
                self._identified(session, _polled_identity(session.names, now), now)
        elif answer.number in CLOCK:
            self._clock(session, answer.number, answer.text or "", now)
        else:
            self.emit_all(self._values.polled(answer, now))

    def _block(self, session: _Session, message: Block, now: Now) -> None:
        session.messages += 1
        versions = ", ".join(record.text for record in message.records if record.group == VERSIONS and record.text)
        if versions or (session.identity is None and session.messages >= _MESSAGES_WITHOUT_NAME):
            self._identified(session, _identity(now, software=versions, protocol="block protocol"), now)
        for group in sorted(message.groups - GROUPS - session.unread):
            if len(session.unread) < _UNREAD_REMEMBERED:
                session.unread.add(group)
                self._gaps.add("undecodable", now, None, f"group {group:02X} is not decoded, only kept raw")
        known = tuple(record for record in message.records if record.group in GROUPS and record.group != VERSIONS)
        self.emit_all(self._values.told(Block(message.groups, known), now))

    def _identified(self, session: _Session, identity: Identity, now: Now) -> None:
        before = session.identity
        if before is not None and _who(before) == _who(identity):
            return
        session.identity = identity
        self.emit(identity)
        state: LinkState = "identified" if before is None else "changed"
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _clock(self, session: _Session, number: int, text: str, now: Now) -> None:
        device_s = session.clock_parts.take(number, parse_value(text), now)
        if device_s is None:
            return
        outcome = session.clock.observe(device_s * S_NS, now)
        if isinstance(outcome, ClockStep):
            moved = f"the device's clock moved by {outcome.step_ns / S_NS:+.0f} s"
            self._gaps.add("clock_jump", now, None, moved, since=session.clock_at)
        elif outcome is not None:
            self.emit(outcome)
        session.clock_at = now


def _identity(now: Now, *, serial: str = "", software: str = "", protocol: str) -> Identity:
    return Identity(
        at_ns=now.utc_ns, make="Hamilton Medical", model="ventilator", serial=serial, software=software,
        protocol=protocol,
    )  # fmt: skip


def _polled_identity(names: dict[int, str], now: Now) -> Identity:
    serial = names.get(VENTILATOR_NUMBER, "")
    if serial.endswith("9999"):
        serial = ""  # its number was never set
    return _identity(now, serial=serial, software=names.get(SOFTWARE_VERSION, ""), protocol="polling protocol")


def _who(identity: Identity) -> tuple[str, ...]:
    return identity.serial, identity.software, identity.protocol
