"""Philips IntelliVue monitors on their Data Export interface (MIB/RS232, LAN).

Source: Philips, IntelliVue Data Export Interface Programming Guide (4535 642 59271, 4535 645 88011).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.byte_device import ByteDevice
from drivers.contract import Now, Spec, Transport
from drivers.intellivue import requests
from drivers.intellivue.config import IntelliVueConfig
from drivers.intellivue.frame import LONGEST_FRAME_BYTES, Deframer, Fault, encode
from drivers.intellivue.names import OBJECTS, SCADA, code_name, text_id_of
from drivers.intellivue.objects import Attribute
from drivers.intellivue.probe import recognise
from drivers.intellivue.requests import Ask
from drivers.intellivue.results import Lasting, Results
from drivers.intellivue.rose import Command, Operation, parse, parse_event, parse_get_result
from drivers.intellivue.rose import Message as Remote
from drivers.intellivue.schedule import AFTER_ABORT_NS, RETRY_NS, Due, Say, Schedule
from drivers.intellivue.session import (
    ABORT,
    ENUM,
    NU_1SEC,
    RELEASE_RESPONSE,
    RTSA,
    Kind,
    association_request,
    is_whole,
    kind_of,
    parse_accept,
)
from drivers.intellivue.values import entries
from ledger.errors import DeviceFault
from ledger.records import Link, LinkId, LinkState, Setting

_ADDRESS: Final = re.compile(r"[^/]*:\d+")
_INVOKE_IDS: Final = 1 << 16
_ANSWERS_AWAITED: Final = 64
_TEXT_ID_BYTES: Final = 4
_SPARED: Final = (Ask.NUMERICS_ONCE, Ask.WAVES_ONCE, Ask.KEEP_ALIVE)
"""What need not be answered: labels and scales come with the extended polls too, and any message keeps alive."""
_EXTENSIONS: Final = ((NU_1SEC, "numerics every second"), (RTSA, "waves"), (ENUM, "enumerations"))


@dataclass(slots=True)
class _Session:
    """What is known of one connection. ``framed``: the RS-232 line; ``settled``: that is known, not guessed."""

    link: LinkId
    peer: str
    framed: bool
    settled: bool
    schedule: Schedule
    results: Results
    deframer: Deframer = field(default_factory=Deframer)
    asked: dict[int, Due] = field(default_factory=dict)
    without: frozenset[Due] = frozenset()
    refusals: set[Due] = field(default_factory=set)
    exported: tuple[int, ...] | None = None
    is_identified: bool = False
    is_refused: bool = False
    profile: str = ""
    is_profile_told: bool = False


class IntelliVue(ByteDevice):
    """Associates with one monitor, polls all it has and records what comes, asked for by this driver or not."""

    spec: ClassVar[Spec[IntelliVueConfig]] = Spec(
        name="intellivue",
        devices=("Philips IntelliVue MP2 to MP90, MX400 to MX850, X2, X3", "Philips Avalon FM (not tried)"),
        transports=(Transport.SERIAL, Transport.UDP),
        config=IntelliVueConfig,
        serial_lines=("115200 8N1",),
        tx_allowed=requests.TX_ALLOWED,
        passive_ok=True,
        client_slots=1,
        silence_s=10.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="Philips IntelliVue Data Export Interface Programming Guide 4535 642 59271 and 4535 645 88011",
        longest_frame_bytes=LONGEST_FRAME_BYTES,
        recognise=recognise,
        probe_requests=(requests.PROBE,),
    )

    def __init__(self, config: IntelliVueConfig) -> None:
        super().__init__()
        self._config = config
        self._wave_list = tuple(text_id for name in config.wave_list if (text_id := text_id_of(name)) is not None)
        self._lasting = Lasting(config.demographics == "all")
        self._silence.follow(self._lasting.numerics, self._lasting.alarms)
        self._session: _Session | None = None
        self._invoke_id = 0

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask for an association."""
        interface = self._config.interface
        framed = interface == "rs232" or (interface == "auto" and not _ADDRESS.fullmatch(peer))
        results = Results(self._lasting, self._gaps)
        session = _Session(link, peer, framed, interface != "auto", Schedule(self._wanted()), results)
        self._session = session
        session.schedule.begin(now.mono_ns)
        self._say(session, now)

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line, or one datagram."""
        session = self._session
        if session is None:
            return
        if not session.settled:
            session.settled = True
            session.framed = session.framed and not is_whole(data)
        if not session.framed:
            self._take(session, data, now)
            return
        for item in session.deframer.feed(data):
            if isinstance(item, Fault):
                self._gaps.add(item.cause, now, item.lost_bytes)
            else:
                self._take(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        fault = session.deframer.abandon() if session is not None else None
        return fault.lost_bytes if fault is not None else 0

    def woken(self, now: Now) -> None:
        """Say what it is time for."""
        if self._session is not None:
            self._say(self._session, now)

    def due_ns(self) -> int | None:
        """When something is to be said."""
        return self._session.schedule.deadline_ns() if self._session is not None else None

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: what is told only when it changes is asked for, and told again."""
        super().case_changed(facts)
        session = self._session
        if session is not None:
            session.results.tell_again()
            session.exported = None
            session.is_profile_told = False
            session.schedule.ask_again(session.without)

    # What we say ----------------------------------------------------------------------------------------------

    def _wanted(self) -> frozenset[Due]:
        config = self._config
        wanted: set[Due] = {Ask.MDS, Ask.NUMERICS_ONCE, Ask.NUMERICS, Ask.ALERTS}
        if config.waves:
            wanted |= {Ask.WAVES_ONCE, Ask.WAVES, Say.GET_WAVES}
        if self._wave_list:
            wanted.add(Say.SET_WAVES)
        if config.enumerations:
            wanted.add(Ask.ENUMERATIONS)
        if config.demographics != "none":
            wanted.add(Ask.PATIENT)
        return frozenset(wanted)

    def _say(self, session: _Session, now: Now) -> None:
        for item in session.schedule.due(now.mono_ns):
            if item is Say.ASSOCIATE:
                mtu = requests.RS232_MTU if session.framed else requests.LAN_MTU
                self._transmit(session, association_request(mtu))
            elif item is Say.ABORT:
                self._transmit(session, ABORT)
            else:
                self._ask(session, item)

    def _ask(self, session: _Session, item: Due) -> None:
        self._invoke_id = (self._invoke_id + 1) % _INVOKE_IDS
        session.asked[self._invoke_id] = item
        if len(session.asked) > _ANSWERS_AWAITED:
            del session.asked[next(iter(session.asked))]
        if item is Say.SET_WAVES:
            message = requests.set_wave_list(self._wave_list, self._invoke_id)
        elif isinstance(item, Ask):
            message = requests.poll(item, self._invoke_id)
        else:
            message = requests.get_wave_list(self._invoke_id)
        self._transmit(session, message)

    def _transmit(self, session: _Session, message: bytes) -> None:
        self.send(session.link, encode(message) if session.framed else message)

    # What the monitor says ------------------------------------------------------------------------------------

    def _take(self, session: _Session, message: bytes, now: Now) -> None:
        kind = kind_of(message)
        session.schedule.heard(now.mono_ns)
        if kind is Kind.DATA:
            try:
                self._data(session, parse(message), now)
            except DeviceFault as fault:
                self._gaps.add("undecodable", now, len(message), fault.text)
        elif kind is Kind.ACCEPT:
            self._accepted(session, message, now)
        elif kind is Kind.REFUSE:
            self._refused(session, now)
        elif kind in (Kind.ABORT, Kind.RELEASE_REQUEST, Kind.RELEASE_RESPONSE):
            self._ended(session, kind, now)
        elif kind is not Kind.REQUEST:
            self._gaps.add("undecodable", now, len(message), "a message of no kind that the protocol has")

    def _accepted(self, session: _Session, message: bytes, now: Now) -> None:
        profile = parse_accept(message)
        session.is_refused = False
        without: set[Due] = set()
        if not profile.extensions & RTSA:
            without |= {Ask.WAVES, Ask.WAVES_ONCE, Say.SET_WAVES, Say.GET_WAVES}
        if not profile.extensions & ENUM:
            without.add(Ask.ENUMERATIONS)
        session.without = frozenset(without)
        granted = [name for bit, name in _EXTENSIONS if profile.extensions & bit]
        session.profile = f"{profile.extensions:08X}: {', '.join(granted) or 'single polls only'}"
        self._tell_profile(session, now)
        if Ask.WAVES in without & self._wanted():
            self._gaps.add("device_gap", now, None, "the monitor does not grant waves here")
        session.schedule.accepted(profile, now.mono_ns)

    def _tell_profile(self, session: _Session, now: Now) -> None:
        """What the monitor grants for as long as this association lasts; nothing of one that was not heard to begin."""
        session.is_profile_told = True
        if session.profile:
            self.emit(Setting(at_ns=now.utc_ns, code="MDCX_PHILIPS_poll_profile", value=session.profile, unit="",
                              device_code="poll profile extensions"))  # fmt: skip

    def _refused(self, session: _Session, now: Now) -> None:
        session.schedule.begin(now.mono_ns, RETRY_NS)
        if not session.is_refused:
            session.is_refused = True
            reason = "the monitor refuses an association: another client has it, or its data export is not set up"
            self._told_link(session, "refused", reason, now)

    def _ended(self, session: _Session, kind: Kind, now: Now) -> None:
        if kind is Kind.RELEASE_REQUEST:
            self._transmit(session, RELEASE_RESPONSE)
        session.schedule.begin(now.mono_ns, AFTER_ABORT_NS)
        self._gaps.add("link_down", now, None, "the monitor ended the association; it is asked for anew")

    def _data(self, session: _Session, remote: Remote, now: Now) -> None:
        if remote.operation == Operation.INVOKE:
            self._event(session, remote, now)
        elif remote.operation == Operation.ERROR:
            self._error(session, remote, now)
        elif remote.code == Command.CONFIRMED_ACTION:
            reply, records = session.results.take(remote, now)
            if reply is not None:
                self._silence.heard(now)
                if not session.is_profile_told:
                    self._tell_profile(session, now)
            for record in records:
                self.emit(record)
            if reply is not None:
                session.schedule.heard(now.mono_ns, reply.object_class)
        elif remote.code in (Command.GET, Command.CONFIRMED_SET):
            self._exported(session, remote, now)

    def _event(self, session: _Session, remote: Remote, now: Now) -> None:
        if remote.code not in (Command.EVENT, Command.CONFIRMED_EVENT):
            return  # what a client asks of the monitor, heard on a shared line
        event = parse_event(remote.body)
        if event is None:
            return
        if remote.code == Command.CONFIRMED_EVENT:
            self._transmit(session, requests.mds_create_result(remote.invoke_id, event))
        for record in session.results.create(event, now):
            self.emit(record)
        session.schedule.created(session.without, now.mono_ns)
        if not session.is_identified:
            session.is_identified = True
            self._told_link(session, "identified", "", now)

    def _error(self, session: _Session, remote: Remote, now: Now) -> None:
        item = session.asked.get(remote.invoke_id)
        if item is None or item in _SPARED:
            return
        if item not in session.refusals:
            session.refusals.add(item)
            what = item.name.lower().replace("_", " ")
            self._gaps.add("device_gap", now, None, f"the monitor answers error {remote.code} when asked: {what}")
        if isinstance(item, Ask):
            session.schedule.refused(item, now.mono_ns)

    def _exported(self, session: _Session, remote: Remote, now: Now) -> None:
        """Which waves the monitor exports here; entries that it cannot serve it leaves out without a word."""
        value = dict(parse_get_result(remote.body)).get(Attribute.WAVE_PRIORITY)
        if value is None:
            return
        offsets = entries(value, _TEXT_ID_BYTES, "a wave priority list")
        text_ids = tuple(int.from_bytes(value[at : at + _TEXT_ID_BYTES], "big") for at in offsets)
        if text_ids == session.exported:
            return
        session.exported = text_ids
        attribute = int(Attribute.WAVE_PRIORITY)
        self.emit(
            Setting(
                at_ns=now.utc_ns,
                code=code_name(OBJECTS, attribute),
                value=" ".join(_wave_name(text_id) for text_id in text_ids),
                unit="",
                device_code=f"{OBJECTS:04X}{attribute:04X} waves exported",
            )
        )
        missing = [_wave_name(text_id) for text_id in self._wave_list if text_id not in text_ids]
        if missing:
            self._gaps.add("device_gap", now, None, f"not exported though in wave_list: {', '.join(missing)}")

    def _told_link(self, session: _Session, state: LinkState, reason: str, now: Now) -> None:
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer, reason=reason))


def _wave_name(text_id: int) -> str:
    partition, code = text_id >> 16, text_id & 0xFFFF
    return code_name(partition, code) if partition == SCADA else f"MDCX_PHILIPS_{text_id:08X}"
