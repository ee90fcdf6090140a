"""The driver ``hl7``: MLLP bytes in; raw messages, numerics, waves, alarms and acknowledgments out.

A message is acknowledged only after the block that holds its records is durable; while beds are routed, nothing of
another bed's message is kept, which is why this driver emits the Raw records itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from drivers import mllp
from drivers.contract import Message as Delivered
from drivers.contract import Now, Outbox, Sendable, Spec, Ticket, Transport
from drivers.hl7v2 import ack, batch, charset, context, duplicates, er7, pcd01, pcd04, pump_messages, routing, structure
from drivers.hl7v2.ack import NO_HEADER, Header, Outcome, Problem, Sender
from drivers.hl7v2.duplicates import Duplicates, Seen, Verdict
from drivers.hl7v2.pcd01 import Decoding, LinkMemory
from drivers.hl7v2.routing import Hl7Config
from ledger.cases import HERE, LEFT, PATIENT_IDS, PLACE, is_same
from ledger.errors import DeviceFault
from ledger.limits import LIMITS, S_NS
from ledger.records import Event, Gap, GapCause, LinkId, PatientContext, Quality, Raw, Record

_STRAY_CAUSES: dict[mllp.StrayCause, tuple[GapCause, str]] = {
    "junk": ("framing", "bytes outside an MLLP frame"),
    "restart": ("framing", "a message began before the one before it ended"),
    "cut": ("framing", "the connection ended inside a message"),
    "oversize": ("oversize", "a message longer than this recorder takes"),
}


_PATIENTS = 256
_TRIGGER_CHARS = 16
_STRAYS_A_SECOND = 16
"""Gap records of one connection; what comes faster is added to the next one, so that no sender floods the recorder."""


@dataclass(slots=True)
class _Connection:
    deframer: mllp.Deframer
    since_ns: int
    told_second_ns: int = 0
    told_strays: int = 0
    untold_bytes: int = 0
    untold_items: int = 0
    memory: LinkMemory = field(default_factory=LinkMemory)
    told: set[str] = field(default_factory=set)
    patients: dict[str, str] = field(default_factory=dict)
    """Whom each logical device was connected to when it last said so."""


@dataclass(frozen=True, slots=True)
class _Received:
    """One message with what is needed to answer it."""

    link: LinkId
    header: Header
    codec: str


@dataclass(frozen=True, slots=True)
class _Routed:
    """A message that is kept: its patients, and what it tells of a case, each with the logical device that records it;
    and how many of these contexts name no patient.
    """

    groups: list[tuple[str, structure.Patient]]
    told: list[tuple[str, dict[str, str]]]
    nameless: int = 0


@dataclass(frozen=True, slots=True)
class _Promise:
    """An answer that waits for ``first`` to ``last`` to be durable."""

    first: Ticket
    last: Ticket
    received: _Received
    key: duplicates.Key


class Hl7v2(Outbox):
    """HL7 v2 over MLLP, as a receiver: IHE PCD-01 device observation consumer, PCD-04 alert consumer; ADT, SIU, orders,
    laboratory results.
    """

    __slots__ = ("_answers", "_case", "_config", "_duplicates", "_links", "_promises", "_sender")

    spec: ClassVar[Spec[Hl7Config]] = Spec(
        name="hl7",
        devices=(
            "Any HL7 v2 gateway or device: IHE PCD-01 (ORU^R01), PCD-04 (ORU^R40), PCD-10 (ORU^R42), PCD-03 (RGV^O15)",
            "Hospital information systems: ADT, SIU, ORM, OMG, OMI, laboratory ORU",
        ),
        transports=(Transport.MLLP,),
        config=Hl7Config,
        tx_allowed=(Sendable(ack.ANSWER, "one acknowledgment of a message received (HL7 ACK: MSH, MSA, ERR)"),),
        silence_s=0.0,
        keeps_raw=True,
        records=frozenset({"numeric", "setting", "wave", "event", "identity", "raw", "gap", "patientcontext"}),
        source="HL7 v2.9 chapters 2, 2A, 3, 4, 4A, 7 and 10; MLLP release 1; IHE PCD Technical Framework vol. 2",
        longest_frame_bytes=LIMITS.hl7_message_bytes + mllp.FRAMING_BYTES,
    )

    def __init__(self, config: Hl7Config) -> None:
        super().__init__()
        self._config = config
        self._sender = Sender(config.application, config.facility)
        self._links: dict[LinkId, _Connection] = {}
        self._duplicates = Duplicates()
        self._promises: deque[_Promise] = deque(maxlen=LIMITS.held_sends)
        self._answers = 0
        self._case: dict[str, str] | None = None

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Whose messages are recorded wherever they place him; devices are to say anew whom they are connected to."""
        self._case = None if facts is None else dict(facts)
        for connection in self._links.values():
            connection.patients.clear()

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """A sender connected."""
        self._links[link] = _Connection(mllp.Deframer(), now.utc_ns)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """The connection ended: a message under way is lost, and was never acknowledged."""
        connection = self._links.pop(link, None)
        if connection is None:
            return
        for item in connection.deframer.end():
            if isinstance(item, mllp.Stray):
                self._stray(link, connection, item, now)
        if connection.untold_items:
            self._tell_strays(connection, "framing", "bytes that are no messages, until the connection ended", now)
        self._promises = deque((p for p in self._promises if p.received.link != link), maxlen=LIMITS.held_sends)

    def receive(self, link: LinkId, data: bytes | Delivered, now: Now) -> None:
        """Bytes of the stream, cut anywhere, or one message already taken out of its frame."""
        connection = self._links.get(link)
        if connection is None:
            self.close(link, "bytes on a connection that is not up")
            return
        if isinstance(data, Delivered):
            self._messages(link, connection, data.body, now)
            return
        for item in connection.deframer.feed(data):
            if isinstance(item, mllp.Stray):
                self._stray(link, connection, item, now)
            else:
                self._messages(link, connection, item, now)
                if not connection.untold_items:
                    connection.since_ns = now.utc_ns
        if connection.deframer.runaway:
            self.close(link, "a message without end")

    def refused(self, ticket: Ticket, reason: str, now: Now) -> None:
        """Records will not become durable: answer AE or CE to each message that stands on them."""
        kept: deque[_Promise] = deque(maxlen=LIMITS.held_sends)
        for promise in self._promises:
            if promise.first <= ticket <= promise.last:
                self._duplicates.forget(promise.key)
                if promise.received.link in self._links:
                    self._answer(promise.received, Outcome.ERROR, ack.NOT_STORED, None, now)
            else:
                kept.append(promise)
        self._promises = kept

    def _stray(self, link: LinkId, connection: _Connection, stray: mllp.Stray, now: Now) -> None:
        cause, detail = _STRAY_CAUSES[stray.cause]
        connection.untold_bytes += stray.lost_bytes
        connection.untold_items += 1
        if now.mono_ns - connection.told_second_ns >= S_NS:
            connection.told_second_ns, connection.told_strays = now.mono_ns, 0
        if connection.told_strays < _STRAYS_A_SECOND:
            connection.told_strays += 1
            self._tell_strays(connection, cause, detail, now)
        if stray.cause == "oversize" and link in self._links:
            self._answer(_received(link, stray.head), Outcome.REJECT, ack.OVERSIZE, None, now)

    def _tell_strays(self, connection: _Connection, cause: GapCause, detail: str, now: Now) -> None:
        several = connection.untold_items if connection.untold_items > 1 else None
        self.emit(
            Gap(
                at_ns=now.utc_ns,
                cause=cause,
                since_ns=connection.since_ns,
                until_ns=now.utc_ns,
                lost_bytes=connection.untold_bytes,
                lost_items=several,
                detail=detail,
            )
        )
        connection.untold_bytes = connection.untold_items = 0
        connection.since_ns = now.utc_ns

    def _messages(self, link: LinkId, connection: _Connection, body: bytes, now: Now) -> None:
        for part in batch.split(body):
            self._message(link, connection, part, now)

    def _message(self, link: LinkId, connection: _Connection, part: batch.Part, now: Now) -> None:
        body = part.message
        decoded = charset.decode(body)
        try:
            message = er7.parse(decoded.text)
            received = _Received(link, ack.header_of(message), decoded.codec)
        except DeviceFault as fault:
            self._unreadable(link, part, fault, now)
            return
        routed = self._route(message, received.header, connection)
        if routed is None:
            self._other_bed(received, connection, now)
            return
        key = duplicates.key_of(received.header)
        seen, verdict = self._duplicates.look(key, body)
        if verdict is not None:
            self._promises.append(_Promise(verdict.last, verdict.last, received, key))
            self._answer(received, verdict.outcome, verdict.problem, verdict.last, now)
            return
        if seen is Seen.REUSED_ID:
            self._advise(connection, "MDCX_HL7_CONTROL_ID_REUSED", "the sender reuses MSH-10 for other content", now)
        sub = routed.groups[0][0]
        before = [self._tell(facts, received.header, at, now) for at, facts in routed.told]
        first = [*before, self._keep(link, part.kept, sub, now)][0]
        unread = message.strays + routed.nameless
        unread += sum(self._decode(group, at, message, received.header, connection, now) for at, group in routed.groups)
        problem = self._not_decoded(unread, decoded.faithful, sub, now)
        problem = ack.NO_PATIENT if routed.nameless else problem
        refuse = problem is not None and unread > 0 and self._config.undecodable == "reject"
        outcome = Outcome.ERROR if refuse else Outcome.ACCEPT
        verdict = Verdict(Ticket(self._ticket), outcome, problem if refuse else None)
        self._duplicates.remember(key, body, verdict)
        self._promises.append(_Promise(first, verdict.last, received, key))
        self._answer(received, outcome, verdict.problem, verdict.last, now)

    def _sub(self, group: structure.Patient, marks: er7.Delimiters) -> str | None:
        return routing.sub_for(routing.location_of(group.location_raw, marks), self._config)

    def _route(self, message: er7.Message, header: Header, connection: _Connection) -> _Routed | None:
        """Where a message belongs and whom it is about; None where nothing of it may be kept."""
        if context.is_context(header) or context.is_laboratory(message):
            return self._route_patients(message, header)
        patients = structure.patients(message)
        groups = [(self._sub(patient, message.delimiters), patient) for patient in patients]
        kept = [(sub, patient) for sub, patient in groups if sub is not None]
        if len(kept) < len(groups):
            return None
        location = routing.location_of(patients[0].location_raw, message.delimiters)
        is_here = len(kept) == 1 and routing.bed_for(location, self._config) is not None
        if header.message_code == "ORU" and is_here:
            sub = kept[0][0]
            return _Routed(kept, [(sub, facts) for facts in self._connected_to(message, header, sub, connection)])
        return _Routed(kept, [])

    def _route_patients(self, message: er7.Message, header: Header) -> _Routed | None:
        """A message about stays, orders or specimens: of each of its patients who is here, or leaves."""
        judged = [(self._about(part, header), part) for part in context.parts(message)]
        groups: list[tuple[str, structure.Patient]] = []
        told: list[tuple[str, dict[str, str]]] = []
        for (sub, contexts), part in judged:
            if sub is not None:
                orders = [order for each in structure.patients(part) for order in each.orders]
                groups.append((sub, structure.Patient(orders=orders)))
                told += [(sub, facts) for facts in contexts]
        told.sort(key=lambda each: each[1].get(PLACE) != LEFT)  # who leaves makes room for who comes
        nameless = sum(not facts.get(PATIENT_IDS) for _, facts in told)
        return _Routed(groups, told, nameless) if groups else None

    def _about(self, message: er7.Message, header: Header) -> tuple[str | None, list[dict[str, str]]]:
        """The logical device for a message about a stay, an order or a specimen, and whom it is about; None where it is
        about another room, and not about the patient of the open case.
        """
        config, marks = self._config, message.delimiters
        here, before = [[routing.location_of(raw, marks) for raw in raws] for raws in context.places(message, header)]
        for place, locations in ((HERE, here), (LEFT, before)):
            for location in locations:
                bed = routing.bed_for(location, config)
                if bed is not None:
                    return bed.feed, list(context.contexts(message, header, place))
        told = list(context.contexts(message, header, ""))
        if config.follow_patient and self._case is not None and any(is_same(self._case, each) for each in told):
            return "", told
        return routing.sub_for(here[0], config), []

    def _connected_to(
        self, message: er7.Message, header: Header, sub: str, connection: _Connection
    ) -> list[dict[str, str]]:
        """Whom a device says it is connected to, when that is new on this connection."""
        facts = context.device_context(message, header)
        ids = facts.get(PATIENT_IDS, "")
        if not ids or connection.patients.get(sub) == ids or len(connection.patients) > _PATIENTS:
            return []
        connection.patients[sub] = ids
        return [facts]

    def _tell(self, facts: dict[str, str], header: Header, sub: str, now: Now) -> Ticket:
        quality = Quality.TEST if header.processing in {"T", "D"} else Quality.GOOD
        trigger = f"{header.message_code}^{header.trigger}"[:_TRIGGER_CHARS]
        return self.emit(PatientContext(sub=sub, at_ns=now.utc_ns, trigger=trigger, facts=facts, quality=quality))

    def _decode(
        self,
        group: structure.Patient,
        sub: str,
        message: er7.Message,
        header: Header,
        connection: _Connection,
        now: Now,
    ) -> int:
        """Emit one patient's records; returns how many OBX could not be read."""
        if context.is_context(header):
            return 0  # their OBX are height, weight and the like, said again and again: the raw message has them
        into = Decoding(header, sub, now.utc_ns, connection.memory)
        if header.message_code == "RGV":
            pump_messages.decode_order(message, into)
        for order in group.orders:
            alert = header.trigger == "R40" or order.is_alert(header.delimiters)
            (pcd04 if alert else pcd01).decode(order, into)
            if not alert:
                pcd04.decode_screen(order, into)
            if header.trigger == "R42":
                pump_messages.decode_events(order, into)
        for record in into.records:
            self.emit(record)
        return into.unread

    def _keep(self, link: LinkId, body: bytes, sub: str, now: Now) -> Ticket:
        """Keep a message as it passed, in its frame; returns the first ticket. The frame's closing CR may be ours."""
        framed = mllp.framed_again(body)
        most = LIMITS.raw_record_bytes
        tickets = [self.emit(self._raw(link, framed[at : at + most], sub, now)) for at in range(0, len(framed), most)]
        return tickets[0]

    @staticmethod
    def _raw(link: LinkId, data: bytes, sub: str, now: Now) -> Record:
        return Raw(sub=sub, at_ns=now.utc_ns, link=link, direction="<", data=data, pieces=((0, len(data)),))

    def _not_decoded(self, unread: int, faithful: bool, sub: str, now: Now) -> Problem | None:
        if unread:
            self._undecodable(f"{unread} observations or lines not understood", unread, sub, now)
            return ack.NOT_DECODED
        if not faithful:
            self._undecodable("letters are not in the character set that MSH-18 names", None, sub, now)
        return None

    def _undecodable(self, detail: str, items: int | None, sub: str, now: Now) -> Ticket:
        moment = now.utc_ns
        return self.emit(
            Gap(
                sub=sub,
                at_ns=moment,
                cause="undecodable",
                since_ns=moment,
                until_ns=moment,
                lost_items=items,
                detail=detail,
            )
        )

    def _unreadable(self, link: LinkId, part: batch.Part, fault: DeviceFault, now: Now) -> None:
        """No HL7 header: nobody knows whose it is. It is kept only where no bed is turned away."""
        received = _received(link, part.message[: mllp.HEAD_BYTES])
        key = duplicates.key_of(received.header)
        routed = bool(self._config.beds) and self._config.other_beds != "keep"
        accept = self._config.undecodable == "accept" and not routed
        first = None if routed else self._keep(link, part.kept, "", now)
        last = self._undecodable(fault.text, 1, "", now)
        self._promises.append(_Promise(first or last, last, received, key))
        if accept:
            self._answer(received, Outcome.ACCEPT, None, last, now)
        else:
            self._answer(received, Outcome.REJECT, ack.UNREADABLE, last, now)

    def _other_bed(self, received: _Received, connection: _Connection, now: Now) -> None:
        ignored = self._config.other_beds == "ignore"
        done = "ignored" if ignored else "rejected"
        self._advise(connection, "MDCX_HL7_OTHER_BED", f"messages of other beds come here and are {done}", now)
        if ignored:
            self._answer(received, Outcome.ACCEPT, None, None, now)
        else:
            self._answer(received, Outcome.REJECT, ack.OTHER_BED, None, now)

    def _advise(self, connection: _Connection, code: str, text: str, now: Now) -> None:
        """Say once per connection what somebody should look into."""
        if code in connection.told:
            return
        connection.told.add(code)
        self.emit(
            Event(at_ns=now.utc_ns, kind="advisory", alarm_id=code, phase="once", priority="none", code=code, text=text)
        )

    def _answer(
        self, received: _Received, outcome: Outcome, problem: Problem | None, after: Ticket | None, now: Now
    ) -> None:
        for code in ack.codes(received.header, outcome):
            self._answers += 1
            data = ack.answer(
                received.header,
                code,
                sender=self._sender,
                control_id=f"{now.utc_ns // 1_000_000:x}{self._answers % (1 << 24):06x}",
                codec=received.codec,
                utc_ns=now.utc_ns,
                problem=problem,
            )
            self.send(received.link, data, after)


def _received(link: LinkId, head: bytes) -> _Received:
    """What can be told of a message by its beginning: its header if that is whole, else nothing."""
    line = head.split(b"\r", 1)[0]
    decoded = charset.decode(line)
    try:
        if len(line) < len(head):
            return _Received(link, ack.header_of(er7.parse(decoded.text)), decoded.codec)
    except DeviceFault:
        pass  # no header either: the answer goes without a control id
    return _Received(link, NO_HEADER, "ascii")
