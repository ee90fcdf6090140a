"""BIS monitors: index, signal quality, EMG, suppression, spectral edge, impedances, and the EEG itself.

Source: Aspect Medical, serial port technical specification (binary protocol), as published with public software.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.bis.config import BisConfig
from drivers.bis.eeg import EegTrack
from drivers.bis.frame import (
    LONGEST_FRAME_BYTES,
    SEND_EEG,
    SEND_PROCESSED,
    SEND_PROCESSED_AND_SPECTRA,
    SEND_REVISION,
    STOP_EEG,
    TX_ALLOWED,
    Deframer,
    Fault,
    Item,
    Message,
    Reply,
    Told,
)
from drivers.bis.messages import Revision, parse_eeg, parse_processed, parse_revision, parse_text
from drivers.bis.values import Values
from drivers.byte_device import ByteDevice
from drivers.contract import Heard, Now, Spec, Transport
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, EventKind, Identity, Link, LinkId, LinkState

_MAKE: Final = "Aspect Medical"
_PROTOCOL: Final = "legacy binary"
_ASK_AGAIN_NS: Final = 3 * S_NS
_AFTER_REFUSAL_NS: Final = 1 * S_NS
_SECONDS_WITHOUT_NAME: Final = 3
_UNREAD_REMEMBERED: Final = 32
_PROCESSED: Final = frozenset({Told.PROCESSED, Told.PROCESSED_AND_SPECTRA, Told.PROCESSED_EXTRA,
                               Told.PROCESSED_EXTRA_AND_SPECTRA})  # fmt: skip
_TEXTS: Final[dict[int, tuple[EventKind, str]]] = {
    Told.ERROR_TEXT: ("technical_alarm", "error"),
    Told.IMPEDANCE_TEXT: ("advisory", "impedance"),
    Told.EVENT_TEXT: ("marker", "event"),
}


@dataclass(slots=True)
class _Session:
    """What is known of one connection. ``…_due_ns``: when to ask (again) for what does not come."""

    link: LinkId
    peer: str
    processed_due_ns: int
    eeg_due_ns: int | None = None
    deframer: Deframer = field(default_factory=Deframer)
    eeg: EegTrack = field(default_factory=EegTrack)
    seconds: int = 0
    identity: Identity | None = None
    unread: set[int] = field(default_factory=set)


def recognise(data: bytes) -> Heard | None:
    """Packets of the protocol in these bytes, and which monitor sent them if it told."""
    packets, device = 0, "BIS monitor, legacy binary"
    for item in Deframer().feed(data):
        if isinstance(item, Fault):
            continue
        packets += 1
        if isinstance(item, Message) and item.id == Told.REVISION:
            try:
                device = f"BIS monitor {parse_revision(item).serial}".strip()
            except DeviceFault:
                continue
    return Heard(packets, device) if packets else None


class Bis(ByteDevice):
    """Asks once for processed variables and EEG, which then come by themselves; asks again when they stop.

    Packets are not acknowledged: the protocol does not need it, and nothing is ever sent twice.
    """

    spec: ClassVar[Spec[BisConfig]] = Spec(
        name="bis",
        devices=("Aspect Medical BIS A-2000", "Covidien, Medtronic BIS VISTA, BIS VIEW"),
        transports=(Transport.SERIAL, Transport.TCP),
        config=BisConfig,
        serial_lines=("57600 8N1",),
        tx_allowed=TX_ALLOWED,
        client_slots=1,
        silence_s=3.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link"}),
        source="Aspect Medical, BIS serial port technical specification (binary), as published with public software",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(SEND_REVISION, SEND_PROCESSED),
    )

    def __init__(self, config: BisConfig) -> None:
        super().__init__()
        self._config = config
        self._session: _Session | None = None
        self._values = Values()
        self._silence.follow(self._values)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask for what is wanted."""
        self._session = _Session(link, peer, now.mono_ns)
        if not self._config.eeg:
            self.send(link, STOP_EEG)
        self._ask(self._session, now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        for item in session.deframer.feed(data):
            self._take(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        fault = session.deframer.abandon() if session is not None else None
        return fault.lost_bytes if fault is not None else 0

    def woken(self, now: Now) -> None:
        """Ask again for what does not come."""
        if self._session is not None:
            self._ask(self._session, now)

    def due_ns(self) -> int | None:
        """When to ask again."""
        session = self._session
        if session is None:
            return None
        due = (session.processed_due_ns, session.eeg_due_ns)
        return min((at_ns for at_ns in due if at_ns is not None), default=None)

    # Sending --------------------------------------------------------------------------------------------------

    def _ask(self, session: _Session, now: Now) -> None:
        if session.processed_due_ns <= now.mono_ns:
            self.send(session.link, SEND_REVISION)  # each time: it may be another monitor by now
            self.send(session.link, SEND_PROCESSED_AND_SPECTRA if self._config.spectra else SEND_PROCESSED)
            session.processed_due_ns = now.mono_ns + _ASK_AGAIN_NS
        if session.eeg_due_ns is not None and session.eeg_due_ns <= now.mono_ns:
            self.send(session.link, SEND_EEG)
            session.eeg_due_ns = now.mono_ns + _ASK_AGAIN_NS

    # Receiving ------------------------------------------------------------------------------------------------

    def _take(self, session: _Session, item: Item, now: Now) -> None:
        if isinstance(item, Fault):
            self._gaps.add(item.cause, now, item.lost_bytes)
        elif isinstance(item, Reply):
            self._reply(session, item, now)
        else:
            try:
                self._read(session, item, now)
            except DeviceFault as fault:
                self._gaps.add("undecodable", now, len(item.data), fault.text)

    @staticmethod
    def _reply(session: _Session, reply: Reply, now: Now) -> None:
        """The monitor refused a packet of ours; it does not say reliably which, so all that is missing is due soon."""
        if not reply.accepted:
            soon_ns = now.mono_ns + _AFTER_REFUSAL_NS
            session.processed_due_ns = min(session.processed_due_ns, soon_ns)
            if session.eeg_due_ns is not None:
                session.eeg_due_ns = min(session.eeg_due_ns, soon_ns)

    def _read(self, session: _Session, message: Message, now: Now) -> None:
        if message.id == Told.EEG:
            self._eeg(session, message, now)
        elif message.id in _PROCESSED:
            self._processed(session, message, now)
        elif message.id == Told.REVISION:
            self._revision(session, parse_revision(message), now)
        elif message.id in _TEXTS:
            self._text(message, now)
        elif message.id not in session.unread and len(session.unread) < _UNREAD_REMEMBERED:
            session.unread.add(message.id)
            self._gaps.add("undecodable", now, None, f"message {message.id} is not decoded, only kept raw")

    def _processed(self, session: _Session, message: Message, now: Now) -> None:
        told = parse_processed(message)
        session.processed_due_ns = now.mono_ns + _ASK_AGAIN_NS
        session.seconds += 1
        if session.identity is None and session.seconds >= _SECONDS_WITHOUT_NAME:
            nameless = Identity(at_ns=now.utc_ns, make=_MAKE, model="BIS monitor", protocol=_PROTOCOL)
            self._identified(session, nameless, now)
        session.eeg.processed(told)
        self._silence.heard(now)
        self.emit_all(self._values.take(told, now))
        if self._config.eeg and session.eeg_due_ns is None:
            session.eeg_due_ns = now.mono_ns  # only now, because EEG has a scale only once the gain is known
            self._ask(session, now)

    def _eeg(self, session: _Session, message: Message, now: Now) -> None:
        piece = parse_eeg(message)
        if session.eeg_due_ns is not None:
            session.eeg_due_ns = now.mono_ns + _ASK_AGAIN_NS
        self.emit_all(session.eeg.take(message.number, piece, now))

    def _revision(self, session: _Session, told: Revision, now: Now) -> None:
        self._identified(
            session,
            Identity(at_ns=now.utc_ns, make=_MAKE, model="BIS VISTA" if told.is_vista else "BIS monitor",
                     serial=told.serial, software=told.system, protocol=f"{_PROTOCOL}, revision {told.protocol}"),
            now,
        )  # fmt: skip

    def _identified(self, session: _Session, identity: Identity, now: Now) -> None:
        before = session.identity
        if before is not None and _who(before) == _who(identity):
            return
        session.identity = identity
        self.emit(identity)
        state: LinkState = "identified" if before is None else "changed"
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _text(self, message: Message, now: Now) -> None:
        kind, name = _TEXTS[message.id]
        self.emit(
            Event(at_ns=now.utc_ns, kind=kind, alarm_id=name, phase="once", priority="unknown",
                  code=f"MDCX_ASPECT_{message.id}", text=parse_text(message), device_code=str(message.id))
        )  # fmt: skip


def _who(identity: Identity) -> tuple[str, ...]:
    return identity.model, identity.serial, identity.software, identity.protocol
