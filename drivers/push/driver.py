"""Push intake: reads lines, answers each that is refused, and acknowledges what is durable.

One connection is one client, whose name is that of its certificate or topic; it becomes the records' logical device. A
line that is refused is answered with field and line, counted and recorded as a gap, and stops nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import msgspec

from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Heard, Message, Now, Outbox, Sendable, Spec, Ticket, Transport
from drivers.gaps import GapCollector
from drivers.line_splitter import LineFault, LineSplitter
from drivers.push import schema
from drivers.push.client import Client, Clients
from drivers.push.config import PushConfig
from drivers.push.reading import Refused, device_time, parse, record_of, seq_of
from ledger.errors import OurFault
from ledger.limits import LIMITS, MS_NS, S_NS
from ledger.records import GapCause, Identity, Link, LinkId, LinkState

_CLOCK_RESOLUTION_NS: Final = 1 * MS_NS
_MOST_ACKS: Final = LIMITS.held_sends
_MOST_NAME_CHARACTERS: Final = 64
_FIELD: Final = re.compile(r"\$\.([a-z_]+)")
_encode: Final = msgspec.json.Encoder().encode
_Data = schema.Numeric | schema.Setting | schema.Wave | schema.Event


@dataclass(slots=True)
class _Session:
    """One connection."""

    link: LinkId
    peer: str
    name: str
    budget: float
    budget_at_ns: int
    splitter: LineSplitter = field(default_factory=lambda: LineSplitter(schema.LONGEST_LINE_BYTES, b"\n"))
    gaps: GapCollector = field(default_factory=GapCollector)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(_CLOCK_RESOLUTION_NS))
    client: Client | None = None
    heard_at: Now | None = None
    line: int = 0
    closed: bool = False
    acks: dict[Ticket, int] = field(default_factory=dict)
    """Which line each acknowledgment is of, the newest of them."""


def recognise(data: bytes) -> Heard | None:
    """Whole lines of a client in these bytes."""
    heard, device = 0, ""
    for line in data.split(b"\n"):
        try:
            said = parse(line)
        except Refused:
            continue
        heard += 1
        device = f"{said.make} {said.model}" if isinstance(said, schema.Hello) else device
    return Heard(heard, device) if heard else None


def _sendable(kind: str, meaning: str) -> Sendable:
    return Sendable(re.compile(rb'\{"type":"%s"[^\n]{0,4096}\}\n' % kind.encode()), meaning)


class Push(Outbox):
    """See the module. What is known of a client outlives its connection, so that it may send again what it must."""

    spec: ClassVar[Spec[PushConfig]] = Spec(
        name="push",
        devices=("anything that can be programmed: research robots, consoles, scripts (JSON lines, version 1)",),
        transports=(Transport.TLS, Transport.MQTT),
        config=PushConfig,
        tx_allowed=(
            _sendable("welcome", "you are known; the last line of yours that I took"),
            _sendable("ack", "all up to this line is on disk"),
            _sendable("error", "this line was refused: field and reason"),
            _sendable("pong", "I hear you"),
        ),
        silence_s=0.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="docs/drivers/push.md, docs/push-v1.schema.json",
        longest_frame_bytes=schema.LONGEST_LINE_BYTES + 1,
        recognise=recognise,
        json_schema=schema.json_schema,
    )

    def __init__(self, config: PushConfig) -> None:
        super().__init__()
        self._lines_per_s = config.most_lines_per_s
        self._sessions: dict[LinkId, _Session] = {}
        self._clients = Clients()

    # What the shell calls -------------------------------------------------------------------------------------

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """A client is there; ``peer`` begins with its name, of its certificate or topic, up to an ``@``."""
        name = peer.partition("@")[0][:_MOST_NAME_CHARACTERS]
        self._sessions[link] = _Session(link, peer, name, self._lines_per_s, now.mono_ns)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        """Bytes of a client. Raises OurFault for a Message: the transport of this driver makes none."""
        if isinstance(data, Message):
            raise OurFault("push.message", "the driver was handed a framed message")
        session = self._sessions.get(link)
        if session is None:
            return
        for item in session.splitter.feed(data):
            size = item.lost_bytes if isinstance(item, LineFault) else len(item)
            session.line += 1
            if session.closed or not self._may(session, now):
                self._too_fast(session, size, now)
            elif isinstance(item, LineFault):
                text = f"longer than {schema.LONGEST_LINE_BYTES} bytes"
                self._refuse(session, size, None, Refused("", text), now, "oversize")
            else:
                self._take(session, item, now)
            session.heard_at = now

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """The client is gone."""
        session = self._sessions.pop(link, None)
        if session is None:
            return
        begun = session.splitter.abandon()
        if begun:
            session.gaps.add("framing", now, begun, "a line was cut by the end of the connection")
        self._tell_gaps(session, now, everything=True)

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: with its next line a client's settings, alarms and modes are told again, for they hold."""
        self._clients.tell_again()

    def wake(self, now: Now) -> None:
        """Tell the gaps that are due."""
        for session in self._sessions.values():
            self._tell_gaps(session, now)

    def deadline_ns(self) -> int | None:
        """When ``wake`` is wanted."""
        due = (session.gaps.deadline_ns() for session in self._sessions.values())
        return min((time for time in due if time is not None), default=None)

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        """What an acknowledgment stood for will not be durable: the client must send it again."""
        for session in self._sessions.values():
            seq = session.acks.pop(ticket, None)
            if seq is not None:
                if session.client is not None:
                    session.client.lost(seq)
                self._say(session, schema.Error(line=session.line, field="", text=reason[:240], seq=seq, again=True))
                return

    # Lines ----------------------------------------------------------------------------------------------------

    def _may(self, session: _Session, now: Now) -> bool:
        """Whether one more line is within the bound on lines a second."""
        passed_ns, session.budget_at_ns = now.mono_ns - session.budget_at_ns, now.mono_ns
        session.budget = min(self._lines_per_s, session.budget + passed_ns * self._lines_per_s / S_NS)
        if session.budget < 1:
            return False
        session.budget -= 1
        return True

    def _take(self, session: _Session, line: bytes, now: Now) -> None:
        try:
            said = parse(line)
            if isinstance(said, schema.Hello):
                self._greet(session, said, now)
            elif isinstance(said, schema.Ping):
                self._say(session, schema.Pong())
            else:
                self._take_data(session, said, now)
        except Refused as fault:
            self._refuse(session, len(line), seq_of(line), fault, now)

    def _greet(self, session: _Session, hello: schema.Hello, now: Now) -> None:
        before = session.client
        session.client = self._clients.of(session.name, hello.session)
        identity = Identity(
            sub=session.name,
            at_ns=now.utc_ns,
            make=hello.make,
            model=hello.model,
            serial=hello.serial,
            software=hello.software,
            protocol=f"orledger push {hello.version}",
        )
        self.emit(identity)
        state: LinkState = "identified" if before is None else "changed"
        self.emit(Link(sub=session.name, at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))
        self._say(session, schema.Welcome(seq=session.client.last))

    def _take_data(self, session: _Session, said: _Data, now: Now) -> None:
        client = session.client
        if client is None:
            raise Refused("$.type", 'say "hello" first, then this again', again=True)
        ticket = client.taken.get(said.seq)
        if ticket is not None:
            self._acknowledge(session, said.seq, ticket)
            return
        record = record_of(said, session.name, now.utc_ns)
        missing = client.missing_samples(said) if isinstance(said, schema.Wave) else 0
        if missing:
            session.gaps.add("device_gap", now, None, "samples are missing", lost_items=missing)
        self._count(session, client, said.seq, now)
        for held in client.standing.again(record, now):
            self.emit(held)
        client.standing.note(record)
        ticket = self.emit(record)
        client.recorded(said.seq, ticket)
        self._acknowledge(session, said.seq, ticket)
        self._follow_clock(session, said, now)

    def _count(self, session: _Session, client: Client, seq: int, now: Now) -> None:
        never_came = client.heard(seq)
        if never_came:
            session.gaps.add(
                "sequence", now, None, "line numbers jumped", since=session.heard_at, lost_items=never_came
            )

    def _follow_clock(self, session: _Session, said: _Data, now: Now) -> None:
        time = None if isinstance(said, schema.Wave) else device_time(said.time)
        outcome = None if time is None else session.clock.observe(time.value_ns, now)
        if isinstance(outcome, ClockStep):
            moved = f"the client's clock moved by {outcome.step_ns / S_NS:+.0f} s"
            session.gaps.add("clock_jump", now, None, moved, since=session.heard_at)
        elif outcome is not None:
            self.emit(replace(outcome, sub=session.name))

    # Answers --------------------------------------------------------------------------------------------------

    def _acknowledge(self, session: _Session, seq: int, ticket: Ticket) -> None:
        session.acks[ticket] = seq
        if len(session.acks) > _MOST_ACKS:
            del session.acks[next(iter(session.acks))]
        self._say(session, schema.Ack(seq=seq), ticket)

    def _too_fast(self, session: _Session, size: int, now: Now) -> None:
        """The client is cut off: connected anew it learns from where on to send again."""
        text = f"more than {self._lines_per_s} lines a second"
        session.gaps.add("overflow", now, size, text)
        if not session.closed:
            session.closed = True
            self._say(session, schema.Error(line=session.line, field="", text=text, again=True))
            self.close(session.link, text)

    def _refuse(
        self,
        session: _Session,
        size: int,
        seq: int | None,
        fault: Refused,
        now: Now,
        cause: GapCause = "undecodable",
    ) -> None:
        if seq is not None and session.client is not None:
            self._count(session, session.client, seq, now)
        # a gap holds no payload, and what a client calls a field may be anything
        match = _FIELD.match(fault.field)
        told = match[0] if match is not None and match[1] in schema.FIELDS else ""
        session.gaps.add(cause, now, size, f"a line was refused {told}".strip())
        answer = schema.Error(
            line=session.line, field=fault.field[:100], text=fault.text[:240], seq=seq, again=fault.again
        )
        self._say(session, answer)

    def _say(self, session: _Session, answer: schema.Answer, after: Ticket | None = None) -> None:
        self.send(session.link, _encode(answer) + b"\n", after)

    def _tell_gaps(self, session: _Session, now: Now, *, everything: bool = False) -> None:
        for gap in session.gaps.take(now, everything=everything):
            self.emit(replace(gap, sub=session.name))
