"""Fresenius Orchestra bases with Agilia and other modules, or one pump: rate, volume, alarms, drug. Read only.

It opens a session, reads variables and the drug's name, has changes told, and acknowledges. It has no command that
sets, starts, stops, silences or resets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Literal

import msgspec

from drivers.byte_device import ByteDevice
from drivers.contract import Heard, Now, Sendable, Spec, Transport
from drivers.fresenius.frame import (
    ACK,
    DC4,
    ENQ,
    LONGEST_FRAME_BYTES,
    NAK,
    Control,
    Deframer,
    Fault,
    Reply,
    encode,
)
from drivers.fresenius.module import CONNECT, READ_DRUG, READ_MODULES, READ_TYPE, SPONTANEOUS, VARIABLES, Module
from drivers.fresenius.values import MODULES, NOT_OPEN, NOT_SO_MANY, REFUSALS, modules_of, parse_variables
from ledger.errors import DeviceFault
from ledger.limits import MS_NS, S_NS
from ledger.records import Identity, Link, LinkId, Record, Setting

ALIVE: Final = bytes((DC4,))
RECEIVED: Final = bytes((ACK,))
WRONG_CHECK: Final = bytes((NAK,)) + b"2"
_BASE: Final = "0"
_ALIVE_APART_NS: Final = 10 * MS_NS
_ANSWER_NS: Final = 1 * S_NS
_SLOWLY_NS: Final = 5 * S_NS
_RARELY_NS: Final = 30 * S_NS
_MOST_MISSED: Final = 3
_STATUSES: Final = frozenset("CIEM")
_ARE_VARIABLES: Final = re.compile(r"[a-z][0-9A-F]{4,8}|[a-z][0-9A-F]{0,8}(;[a-z][0-9A-F]{0,8})+")
_PLACES: Final = frozenset("12345678")

_QUESTIONS: Final = (
    (CONNECT, "open the session"),
    (READ_MODULES, "which modules does the base have"),
    (READ_TYPE, "read the type of the device"),
    (READ_DRUG, "read the drug's name"),
    *((f"LE;{letters}", "read variables") for letters in VARIABLES),
    *((f"DE;{letters}", "tell changes of these variables") for letters in SPONTANEOUS),
    ("E", "a change that was told has come"),
    ("M", "an adjustment that was told has come"),
)


def _sendable(text: str, meaning: str) -> Sendable:
    frames = b"|".join(re.escape(encode(module, text)) for module in ("", *"0123456789"))
    return Sendable(re.compile(frames, re.DOTALL), meaning)


class FreseniusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``fresenius`` feed.

    ``connection``: "base" for an Orchestra base with its modules, "pump" for one pump by itself. ``poll_s``: seconds
    from one reading of a module to the next, 0.5 to 60. Raises ValueError naming the option.
    """

    connection: Literal["base", "pump"] = "base"
    poll_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.poll_s <= 60:
            raise ValueError("poll_s: from 0.5 to 60 seconds")


@dataclass(slots=True)
class _Asked:
    module: Module
    kind: str
    until_ns: int


@dataclass(slots=True)
class _Session:
    link: LinkId
    peer: str
    deframer: Deframer = field(default_factory=Deframer)
    asked: _Asked | None = None
    alive_ns: int | None = None
    missed: int = 0
    heard_at: Now | None = None
    identified: bool = False


def recognise(data: bytes) -> Heard | None:
    """Messages with a right check and a status of the protocol in these bytes."""
    found = [item for item in Deframer().feed(data) if isinstance(item, Reply) and item.status in _STATUSES]
    return Heard(len(found), "Fresenius Orchestra or Agilia") if found else None


class Fresenius(ByteDevice):
    """Asks in turn, one question at a time; what modules showed outlives a connection."""

    spec: ClassVar[Spec[FreseniusConfig]] = Spec(
        name="fresenius",
        devices=("Fresenius Orchestra Base Primea, Base Intensive with modules", "Fresenius Agilia (Mx Link protocol)"),
        transports=(Transport.SERIAL, Transport.TCP),
        config=FreseniusConfig,
        serial_lines=("19200 7E1",),
        tx_allowed=(
            *(_sendable(text, meaning) for text, meaning in _QUESTIONS),
            Sendable(re.compile(re.escape(ALIVE), re.DOTALL), "the line is alive (DC4)"),
            Sendable(re.compile(re.escape(RECEIVED), re.DOTALL), "received (ACK)"),
            Sendable(re.compile(re.escape(WRONG_CHECK), re.DOTALL), "received with a wrong check (NAK 2)"),
        ),
        client_slots=1,
        silence_s=5.0,
        records=frozenset({"numeric", "setting", "event", "gap", "identity", "link"}),
        source="the protocol as infupy speaks it with Orchestra bases and Agilia pumps",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(encode(_BASE, CONNECT), encode("", CONNECT)),
    )

    def __init__(self, config: FreseniusConfig) -> None:
        super().__init__()
        self._poll_ns = round(config.poll_s * S_NS)
        self._session: _Session | None = None
        self._silence.follow(self)
        self._silence.longest_ns = max(self._silence.longest_ns, 2 * self._poll_ns + _ANSWER_NS)
        self._is_base = config.connection == "base"
        self._first = Module(_BASE if self._is_base else "", "", {})
        self._modules = {self._first.number: self._first}
        self._known = dict(self._modules)  # those of earlier connections too

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: open the session."""
        self._session = _Session(link, peer)
        for module in self._known.values():
            module.begin(now)
            module.identity = None
        self._modules = {self._first.number: self._first}
        self._ask(self._session, now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        for item in session.deframer.feed(data):
            if isinstance(item, Reply):
                self._reply(session, item, now)
            elif isinstance(item, Control):
                self._control(session, item, now)
            else:
                self._fault(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        return session.deframer.abandon() if session is not None else 0

    def woken(self, now: Now) -> None:
        """Ask what is due; give up waiting for an answer that does not come."""
        session = self._session
        if session is None:
            return
        if session.asked is not None and session.asked.until_ns <= now.mono_ns:
            asked, session.asked = session.asked, None
            self._unanswered(session, asked, now)
        self._ask(session, now)

    def due_ns(self) -> int | None:
        """When an answer is overdue or a question is due."""
        if self._session is None:
            return None
        asked = self._session.asked
        return asked.until_ns if asked is not None else self._next_due()[0]

    # Asking ---------------------------------------------------------------------------------------------------

    def _next_due(self) -> tuple[int, Module, str]:
        due = ((at, module, kind) for module in self._modules.values() for kind, at in module.due_ns.items())
        return min(due, key=lambda item: item[0])

    def _ask(self, session: _Session, now: Now) -> None:
        if session.asked is not None:
            return
        due_ns, module, kind = self._next_due()
        if due_ns <= now.mono_ns:
            session.asked = _Asked(module, kind, now.mono_ns + _ANSWER_NS)
            module.due_ns[kind] = now.mono_ns + self._pace_ns(kind)
            self.send(session.link, encode(module.number, module.question(kind)))

    def _pace_ns(self, kind: str) -> int:
        if kind == "LE":
            return self._poll_ns
        return _RARELY_NS if kind in (READ_TYPE, "DE") else _SLOWLY_NS

    def _unanswered(self, session: _Session, asked: _Asked, now: Now) -> None:
        module = asked.module
        module.missed += 1
        session.missed += 1
        silent = self._first if session.missed >= _MOST_MISSED else module
        if silent.connected and (session.missed >= _MOST_MISSED or module.missed >= _MOST_MISSED):
            self._gaps.add("device_gap", now, None, f"{_called(silent)} does not answer", since=session.heard_at)
            self._lose(silent, now)
        elif asked.kind != CONNECT and module.connected:
            module.due_ns[asked.kind] = now.mono_ns + _ANSWER_NS

    def silent(self, now: Now) -> Iterator[Record]:
        """Nothing was told for long, or the link fell for long: nothing that the modules showed holds."""
        for module in self._known.values():
            yield from module.silent(now)

    def tell_again(self) -> None:
        """Another case has begun."""
        for module in self._known.values():
            module.tell_again()

    def _lose(self, module: Module, now: Now) -> None:
        """The session with it is over: nothing it showed holds; it is to be opened anew."""
        lost = self._modules.values() if module is self._first else (module,)
        for gone in list(lost):
            self.emit_all(gone.silent(now))
            gone.due_ns = {CONNECT: now.mono_ns + _ANSWER_NS}
        if module is self._first and self._is_base:
            self._modules = {_BASE: module}

    # What comes -----------------------------------------------------------------------------------------------

    def _control(self, session: _Session, control: Control, now: Now) -> None:
        if control.byte == ENQ:
            if session.alive_ns is None or now.mono_ns - session.alive_ns >= _ALIVE_APART_NS:
                session.alive_ns = now.mono_ns
                self.send(session.link, ALIVE)
        elif control.byte == NAK and session.asked is not None:
            asked, session.asked = session.asked, None
            self._gaps.add("undecodable", now, None, "a question was not understood (NAK)")
            asked.module.due_ns[asked.kind] = now.mono_ns + _ANSWER_NS

    def _fault(self, session: _Session, fault: Fault, now: Now) -> None:
        self._gaps.add(fault.cause, now, fault.lost_bytes, "no whole message", since=session.heard_at)
        if fault.is_frame:
            self.send(session.link, WRONG_CHECK)

    def _reply(self, session: _Session, reply: Reply, now: Now) -> None:
        self.send(session.link, RECEIVED)
        try:
            self._read(session, reply, now)
        except DeviceFault as fault:
            self._gaps.add("undecodable", now, reply.wire_bytes, fault.text)
        self._silence.heard(now)
        session.heard_at = now
        self._ask(session, now)

    def _read(self, session: _Session, reply: Reply, now: Now) -> None:
        if reply.status in ("E", "M"):
            self.send(session.link, encode(reply.module, reply.status))
            if reply.status == "E":
                self.emit_all(self._module(reply, now).tell(parse_variables(reply.text), now))
        elif reply.status in ("C", "I"):
            self._answer(session, reply, now)
        else:
            raise DeviceFault("fresenius.status", f"a message of class {reply.status} is not known")

    def _number(self, reply: Reply) -> str:
        """Whose reply it is; a base, or a pump alone, may leave its number out or call itself 0."""
        return self._first.number if reply.module in ("", _BASE) else reply.module

    def _module(self, reply: Reply, now: Now) -> Module:
        """The module that speaks; one that is heard before it was found is taken in."""
        number = self._number(reply)
        if number not in self._modules:
            if not self._is_base or number not in _PLACES:
                raise DeviceFault("fresenius.module", "a module told values that cannot be there")
            self._take_in(number, now)
        return self._modules[number]

    def _take_in(self, number: str, now: Now) -> None:
        module = self._known.setdefault(number, Module(number, f"module-{number}", {}))
        module.begin(now)
        self._modules[number] = module

    def _answer(self, session: _Session, reply: Reply, now: Now) -> None:
        asked = session.asked
        fits = asked is not None and asked.module.number == self._number(reply)
        if reply.status == "C" and _ARE_VARIABLES.fullmatch(reply.text):
            if asked is None or not fits or not _may_answer(asked.kind, reply.text):
                # Too late, or for another computer: true all the same.
                self.emit_all(self._module(reply, now).tell(parse_variables(reply.text), now))
                return
        elif asked is None or not fits or (reply.status == "C" and asked.module.told_already(asked.kind, reply.text)):
            raise DeviceFault("fresenius.unasked", "an answer to what was not asked")
        session.asked = None
        asked.module.missed = session.missed = 0
        if reply.status == "I":
            self._refused(session, asked, reply.text, now)
        elif asked.kind == CONNECT:
            self._connected(session, asked.module, now)
        elif asked.kind == READ_MODULES:
            self._seat(modules_of(parse_variables(reply.text)), now)
        elif asked.kind == READ_TYPE:
            self._identify(asked.module, reply.text.removeprefix("b"), now)
        elif asked.kind == READ_DRUG:
            asked.module.drug = reply.text
            self._drug(asked.module, reply.text, now)
        elif asked.kind == "LE":
            self.emit_all(asked.module.tell(parse_variables(reply.text), now))

    def _refused(self, session: _Session, asked: _Asked, code: str, now: Now) -> None:
        module = asked.module
        if code in NOT_OPEN and asked.kind != CONNECT:
            self._lose(self._first if code == "0D" else module, now)
        elif code not in NOT_OPEN and asked.kind == CONNECT:
            self._connected(session, module, now)  # it may be open already; if not, its questions will be refused
        elif code in NOT_SO_MANY and asked.kind == "LE" and module.fewer + 1 < len(VARIABLES):
            module.fewer += 1
            module.due_ns["LE"] = now.mono_ns
        elif code in NOT_SO_MANY and asked.kind == "DE" and module.spontaneous_fewer + 1 < len(SPONTANEOUS):
            module.spontaneous_fewer += 1
            module.due_ns["DE"] = now.mono_ns
        elif asked.kind not in (CONNECT, "LE", READ_MODULES):
            module.due_ns[asked.kind] = now.mono_ns + _RARELY_NS
        else:
            why = REFUSALS.get(code, f"refusal {code[:8]}")
            self._gaps.add("device_gap", now, None, f"{_called(module)} refuses {asked.kind}: {why}")

    def _connected(self, session: _Session, module: Module, now: Now) -> None:
        module.connected = True
        kinds = (READ_MODULES,) if module.number == _BASE else (READ_TYPE, READ_DRUG, "LE", "DE")
        module.due_ns = dict.fromkeys(kinds, now.mono_ns)
        if not session.identified:
            session.identified = True
            self.emit(Link(at_ns=now.utc_ns, link=session.link, state="identified", peer=session.peer))
        if module.number == _BASE:
            self._identify(module, "Orchestra base", now)

    def _seat(self, numbers: list[str], now: Now) -> None:
        """These modules are in the base and no others."""
        for number in [number for number in self._known if number not in (_BASE, *numbers)]:
            self.emit_all(self._known.pop(number).gone(now))
            self._modules.pop(number, None)
        for number in numbers:
            if number not in self._modules:
                self._take_in(number, now)

    def _identify(self, module: Module, model: str, now: Now) -> None:
        position = f"module {module.number}" if module.number not in ("", _BASE) else ""
        identity = Identity(sub=module.sub, at_ns=now.utc_ns, make="Fresenius Kabi", model=model.strip(),
                            protocol="Mx Link", position=position)  # fmt: skip
        known = module.identity
        if known is None or replace(known, at_ns=now.utc_ns) != identity:
            module.identity = identity
            self.emit(identity)

    def _drug(self, module: Module, name: str, now: Now) -> None:
        self.emit_all(module.set(Setting(sub=module.sub, at_ns=now.utc_ns, code="MDC_DRUG_NAME_LABEL",
                                         value=name.strip() or None, unit="", device_code=READ_DRUG)))  # fmt: skip


def _may_answer(kind: str, variables: str) -> bool:
    """Whether what looks like variables may answer such a question; modules and types are told as variable b alone."""
    return kind == "LE" or (kind in (READ_MODULES, READ_TYPE) and variables[0] == MODULES and ";" not in variables)


def _called(module: Module) -> str:
    if module.number == _BASE:
        return "the base"
    return f"module {module.number}" if module.number else "the pump"
