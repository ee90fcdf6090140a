"""OpenIGTLink: listens to a robot, tracker or navigation system, or asks it to send; it never tells it what to do.

One connection carries any number of streams, each named by its messages' type and device name. Several devices may be
connected at once where the box listens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar, Final

from drivers.clock_offset import ClockOffset, ClockStep
from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Message, Now, Outbox, Spec, Transport
from drivers.gaps import GapCollector
from drivers.openigtlink import questions
from drivers.openigtlink.config import OpenIgtLinkConfig
from drivers.openigtlink.content import (
    VECTORS,
    bad,
    children,
    parse_capability,
    parse_points,
    parse_status,
    parse_string,
)
from drivers.openigtlink.frame import LONGEST_FRAME_BYTES, Bulk, Deframer, Fault, Frame
from drivers.openigtlink.pace import MessageIds
from drivers.openigtlink.status import number_of, trouble_of, words_of
from drivers.openigtlink.stream import Stream, device_time
from drivers.openigtlink.vectors import POINT
from drivers.openigtlink.words import Words
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault, OurFault
from ledger.limits import KIB, MS_NS, S_NS
from ledger.records import Identity, Link, LinkId, Numeric, Quality

_FLUSH_NS: Final = 100 * MS_NS
_ASK_AGAIN_NS: Final = 3 * S_NS
_MOST_STREAMS: Final = 256
_MOST_SHOWN: Final = 2_048
_LOOK_FOR_SILENCE_NS: Final = 5 * S_NS
_SILENT_CONNECTION_NS: Final = 60 * S_NS
_MOST_HEX_BYTES: Final = 4 * KIB
_CLOCK_RESOLUTION_NS: Final = 1 * MS_NS
_PLAIN_TYPE: Final = re.compile(r"[A-Z0-9_]+")


@dataclass(slots=True)
class _Session:
    """One connection."""

    link: LinkId
    peer: str
    deframer: Deframer = field(default_factory=Deframer)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(_CLOCK_RESOLUTION_NS))
    clock_of: str | None = None
    ids: MessageIds = field(default_factory=MessageIds)
    ids_jumped_at: Now | None = None
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    shown: ShownValues = field(default_factory=ShownValues)
    words: Words = field(default_factory=Words)
    troubles: dict[str, Condition] = field(default_factory=dict)
    conditions: Conditions = field(default_factory=Conditions)
    heard_at: Now | None = None
    identified: bool = False
    flush_due_ns: int | None = None
    status_due_ns: int | None = None
    start_due_ns: int | None = None
    silence_due_ns: int | None = None


def recognise(data: bytes) -> Heard | None:
    """Whole messages in these bytes."""
    frames = [item for item in Deframer().feed(data) if isinstance(item, Frame)]
    return Heard(len(frames), f"OpenIGTLink {frames[0].device}".strip()) if frames else None


class OpenIgtLink(Outbox):
    """See the module. What is known of a device ends with its connection, or once that is silent."""

    spec: ClassVar[Spec[OpenIgtLinkConfig]] = Spec(
        name="openigtlink",
        devices=("surgical robots, trackers and navigation systems with OpenIGTLink 1 to 3 (3D Slicer, PLUS, …)",),
        transports=(Transport.TCP,),
        config=OpenIgtLinkConfig,
        tx_allowed=questions.SENDABLES,
        passive_ok=True,
        records=frozenset({"numeric", "wave", "event", "gap", "identity", "link", "clock"}),
        source="OpenIGTLink protocol 3 (openigtlink.org, Documents/Protocol), header of the C++ library",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: OpenIgtLinkConfig) -> None:
        super().__init__()
        self._config = config
        self._sessions: dict[LinkId, _Session] = {}
        self._gaps = GapCollector()

    # What the shell calls -------------------------------------------------------------------------------------

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """A connection is there: ask what the configuration wants to be asked."""
        session = self._sessions[link] = _Session(link, peer)
        if self._config.ask_capability:
            self.send(link, questions.ask_capability(self._config))
        for stream in self._config.start:
            self.send(link, questions.start(stream, self._config))
        if self._config.start:
            session.start_due_ns = now.mono_ns + _ASK_AGAIN_NS
        if self._config.ask_status_s:
            self._ask_status(session, now)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        """Bytes of a connection. Raises OurFault for a Message: no transport of this driver makes one."""
        if isinstance(data, Message):
            raise OurFault("openigtlink.message", "the driver was handed a framed message")
        session = self._sessions.get(link)
        if session is None:
            return
        for item in session.deframer.feed(data):
            self._flush_if_due(session, now)
            if isinstance(item, Fault):
                self._gaps.add(item.cause, now, item.lost_bytes, item.detail)
            elif isinstance(item, Bulk):
                self._heard(session, item.device, item.told_ns, 0, now)
                self._passed_over(session, item, now)
            else:
                self._heard(session, item.device, item.told_ns, item.version, now)
                self._take(session, item, now)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """The connection is gone."""
        session = self._sessions.pop(link, None)
        if session is None:
            return
        self._withdraw(session, now)
        begun = session.deframer.abandon()
        if begun is not None:
            self._gaps.add(begun.cause, now, begun.lost_bytes, begun.detail)
        self._tell_gaps(now, everything=True)

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: states and texts are told as they come though they did not change, and are asked for."""
        for session in self._sessions.values():
            session.words.tell_again()
            session.conditions.tell_again()
            if session.status_due_ns is not None:
                session.status_due_ns = 0

    def wake(self, now: Now) -> None:
        """Make waves of what waits, tell gaps, ask again."""
        for session in list(self._sessions.values()):
            self._flush_if_due(session, now)
            self._withdraw_if_due(session, now)
            if session.status_due_ns is not None and session.status_due_ns <= now.mono_ns:
                self._ask_status(session, now)
            if session.start_due_ns is not None and session.start_due_ns <= now.mono_ns:
                self._start_again(session, now)
        self._tell_gaps(now)

    def deadline_ns(self) -> int | None:
        """When ``wake`` is wanted."""
        first_ns = self._gaps.deadline_ns()
        for session in self._sessions.values():  # asked for with every message
            for due_ns in (session.flush_due_ns, session.status_due_ns, session.start_due_ns, session.silence_due_ns):
                if due_ns is not None and (first_ns is None or due_ns < first_ns):
                    first_ns = due_ns
        return first_ns

    # Asking ---------------------------------------------------------------------------------------------------

    def _ask_status(self, session: _Session, now: Now) -> None:
        every_ns = self._config.ask_status_s * S_NS
        since_ns = now.mono_ns - (session.heard_at.mono_ns if session.heard_at is not None else now.mono_ns)
        session.status_due_ns = now.mono_ns + every_ns
        if since_ns >= 3 * every_ns:
            self.close(session.link, f"no message for {since_ns / S_NS:.0f} s")
            return
        self.send(session.link, questions.ask_status(self._config))

    def _start_again(self, session: _Session, now: Now) -> None:
        """A stream that was asked for and does not come is asked for anew, as the protocol wants: stop, then start."""
        session.start_due_ns = now.mono_ns + _ASK_AGAIN_NS
        if session.heard_at is not None and now.mono_ns - session.heard_at.mono_ns < _ASK_AGAIN_NS:
            return
        for stream in self._config.start:
            self.send(session.link, questions.stop(stream, self._config))
            self.send(session.link, questions.start(stream, self._config))

    # Reading --------------------------------------------------------------------------------------------------

    def _heard(self, session: _Session, device: str, told_ns: int | None, version: int, now: Now) -> None:
        """Who speaks, and what its clock says."""
        if not session.identified:
            session.identified = True
            model = self._config.model or "OpenIGTLink device"
            protocol = f"OpenIGTLink, header version {version}" if version else "OpenIGTLink"
            self.emit(Identity(at_ns=now.utc_ns, make=self._config.make, model=model, protocol=protocol))
            self.emit(Link(at_ns=now.utc_ns, link=session.link, state="identified", peer=session.peer))
        if told_ns is not None and session.clock_of in (None, device):
            session.clock_of = device
            outcome = session.clock.observe(told_ns, now)
            if isinstance(outcome, ClockStep):
                moved = f"the device's clock moved by {outcome.step_ns / S_NS:+.0f} s"
                self._gaps.add("clock_jump", now, None, moved, since=session.heard_at)
                for stream in session.streams.values():
                    stream.pace.restart()
            elif outcome is not None:
                self.emit(outcome)
        session.heard_at = now
        for record in session.words.again(now):
            self.emit(record)
        due_ns = now.mono_ns + _LOOK_FOR_SILENCE_NS
        if session.silence_due_ns is None or session.silence_due_ns > due_ns:
            if session.silence_due_ns is None:  # it speaks for the first time, or again
                for event in session.conditions.update(session.troubles.values(), now):
                    self.emit(event)
            session.silence_due_ns = due_ns

    def _take(self, session: _Session, frame: Frame, now: Now) -> None:
        missing: int | None = None
        if frame.message_id is not None:
            jumped = session.ids.missing(frame.message_id)
            if session.ids.counted:
                missing = jumped
            if jumped:
                session.ids_jumped_at = now
                self._gaps.add("sequence", now, None, "message ids jumped", since=session.heard_at, lost_items=jumped)
        self._read_around(session, frame, now)
        try:
            self._read(session, frame, missing, now)
        except DeviceFault as fault:
            self._gaps.add("undecodable", now, len(frame.content), fault.text)

    def _read(self, session: _Session, frame: Frame, missing: int | None, now: Now) -> None:
        if frame.type in VECTORS:
            self._read_vectors(session, frame, missing, now)
        elif frame.type == "BIND":
            for child in children(frame):
                if child.type == "BIND":
                    raise bad("BIND", "holds another")
                self._read(session, child, missing, now)
        elif frame.type in _READERS and frame.content:
            _READERS[frame.type](self, session, frame, now)
        elif frame.type.startswith("RTS_") and len(frame.content) == 1:
            self._read_reply(session, frame, now)
        else:
            self._read_other(session, frame, now)

    def _read_vectors(self, session: _Session, frame: Frame, missing: int | None, now: Now) -> None:
        vectors = VECTORS[frame.type](frame.content) if frame.content else []
        key = (frame.type, frame.device)
        stream = session.streams.get(key)
        if stream is None:
            if len(session.streams) >= _MOST_STREAMS:
                self._gaps.add("overflow", now, len(frame.content), f"more than {_MOST_STREAMS} streams")
                return
            stream = session.streams[key] = Stream(*key, session.shown)
        if len(session.shown) + len(vectors) > _MOST_SHOWN:
            self._gaps.add("overflow", now, len(frame.content), f"more than {_MOST_SHOWN} vectors")
            return
        alone = missing is None or len(session.streams) == 1
        jumped_at = session.ids_jumped_at
        explained = jumped_at is not None and now.mono_ns - jumped_at.mono_ns <= S_NS
        stream.lost(frame, missing if alone else 0, now, self._gaps, explained=explained)
        for record in stream.take(vectors, frame, _valid(frame), now):
            self.emit(record)
        if stream.pending and session.flush_due_ns is None:
            session.flush_due_ns = now.mono_ns + _FLUSH_NS

    def _read_status(self, session: _Session, frame: Frame, now: Now) -> None:
        status = parse_status(frame.content)
        told = words_of(status)
        self._say(session, frame, "STATUS", number_of(status), f"{status.code} {told}", now)
        session.troubles.pop(frame.device, None)
        trouble = trouble_of(status, frame.device)
        if trouble is not None and len(session.troubles) < _MOST_STREAMS:
            session.troubles[frame.device] = trouble
        for event in session.conditions.update(session.troubles.values(), now, device_time(frame.told_ns)):
            self.emit(event)

    def _read_string(self, session: _Session, frame: Frame, now: Now) -> None:
        self._say(session, frame, "STRING", "STRING", parse_string(frame.content), now, always=True)

    def _read_capability(self, session: _Session, frame: Frame, now: Now) -> None:
        self._say(session, frame, "CAPABILITY", "CAPABILITY", parse_capability(frame.content), now)

    def _read_points(self, session: _Session, frame: Frame, now: Now) -> None:
        points = parse_points(frame.content)
        if len(session.shown) + len(points) > _MOST_SHOWN:
            self._gaps.add("overflow", now, len(frame.content), f"more than {_MOST_SHOWN} points")
            return
        begin = f"POINT {frame.device} "
        slots = {begin + point.name for point in points}
        for record in session.shown.withdraw(now.utc_ns, lambda slot: slot.startswith(begin) and slot not in slots):
            self.emit(record)
        for point in points:
            numeric = Numeric(
                at_ns=now.utc_ns,
                device_time=device_time(frame.told_ns),
                quality=Quality.GOOD if POINT.whole(point.raw) else Quality.INVALID,
                code=POINT.code,
                value=POINT.text(point.raw),
                unit=POINT.unit,
                device_code=point.about,
                channel=f"{frame.device}/{point.name}",
            )
            for record in session.shown.show(begin + point.name, numeric):
                self.emit(record)

    def _read_reply(self, session: _Session, frame: Frame, now: Now) -> None:
        word = "accepted" if frame.content == b"\0" else f"refused ({frame.content[0]})"
        self._say(session, frame, _code_part(frame.type), frame.type, word, now)

    def _read_other(self, session: _Session, frame: Frame, now: Now) -> None:
        told = frame.content.hex() if len(frame.content) <= _MOST_HEX_BYTES else _digest(frame.content)
        self._say(session, frame, _code_part(frame.type), frame.type, told, now, always=True)

    def _passed_over(self, session: _Session, bulk: Bulk, now: Now) -> None:
        frame = Frame(1, bulk.type, bulk.device, bulk.told_ns, b"")
        self._say(session, frame, _code_part(bulk.type), bulk.type, f"{bulk.size} bytes", now, always=True)

    def _read_around(self, session: _Session, frame: Frame, now: Now) -> None:
        """Metadata, and what an extended header holds beyond the known."""
        for key, value in frame.metadata:
            self._say(session, frame, "METADATA", key, value, now)
        if frame.extension:
            self._say(session, frame, "EXTENDED_HEADER", "extended header", frame.extension.hex(), now)

    def _say(
        self, session: _Session, frame: Frame, code: str, device_code: str, text: str, now: Now, *, always: bool = False
    ) -> None:
        for record in session.words.say(frame, code, device_code, text, now, always=always):
            self.emit(record)

    # Silence --------------------------------------------------------------------------------------------------

    def _withdraw_if_due(self, session: _Session, now: Now) -> None:
        """Streams that stopped; and everything, once the whole connection is silent."""
        if session.silence_due_ns is None or session.silence_due_ns > now.mono_ns or session.heard_at is None:
            return
        lasting_ns = [session.heard_at.mono_ns + _SILENT_CONNECTION_NS]
        for stream in session.streams.values():
            at_ns = stream.silent_at_ns()
            if at_ns is not None and at_ns <= now.mono_ns:
                for record in stream.silent(now):
                    self.emit(record)
            elif at_ns is not None:
                lasting_ns.append(at_ns)
        if max(lasting_ns) <= now.mono_ns:
            self._withdraw(session, now)
        else:
            session.silence_due_ns = min(at_ns for at_ns in lasting_ns if at_ns > now.mono_ns)

    def _withdraw(self, session: _Session, now: Now) -> None:
        """The connection is silent or gone: nothing of it stands, but what another connection shows of the same."""
        session.silence_due_ns = None
        self._flush(session)
        others = [other for other in self._sessions.values() if other is not session]
        withdrawn = session.shown.withdraw(now.utc_ns, lambda slot: not any(slot in each.shown for each in others))
        words = session.words.silent(now, lambda key: any(key in each.words for each in others))
        alarms = session.conditions.silent(now)
        marked = (event for event in alarms if not any(event.source in each.troubles for each in others))
        for record in (*withdrawn, *words, *marked):
            self.emit(record)

    # Records that wait ----------------------------------------------------------------------------------------

    def _flush_if_due(self, session: _Session, now: Now) -> None:
        if session.flush_due_ns is not None and session.flush_due_ns <= now.mono_ns:
            self._flush(session)

    def _flush(self, session: _Session) -> None:
        session.flush_due_ns = None
        for stream in session.streams.values():
            for record in stream.flush():
                self.emit(record)

    def _tell_gaps(self, now: Now, *, everything: bool = False) -> None:
        for gap in self._gaps.take(now, everything=everything):
            self.emit(gap)


def _valid(frame: Frame) -> bool:
    """PLUS says in metadata when a tool is out of view; its matrix then means nothing."""
    if not frame.metadata:
        return True
    told = dict(frame.metadata)
    return (
        told.get("TransformValid", "true").lower() not in ("false", "0") and told.get("TransformStatus", "OK") == "OK"
    )


def _code_part(type_name: str) -> str:
    return type_name if _PLAIN_TYPE.fullmatch(type_name) else "OTHER"


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, SHA-256 {sha256(content).hexdigest()}"


_Reader = Callable[[OpenIgtLink, _Session, Frame, Now], None]
_READERS: Final[dict[str, _Reader]] = {
    "STATUS": OpenIgtLink._read_status,  # noqa: SLF001 - the table of this class
    "STRING": OpenIgtLink._read_string,  # noqa: SLF001
    "CAPABILITY": OpenIgtLink._read_capability,  # noqa: SLF001
    "POINT": OpenIgtLink._read_points,  # noqa: SLF001
}
