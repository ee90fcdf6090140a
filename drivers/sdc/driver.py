"""ISO/IEEE 11073 SDC devices: a consumer that subscribes to reports, reads the MDIB and records; it operates nothing.

The transport finds the device, keeps a connection to it and hands over SOAP messages (``frame``). Here is what they
mean: who the device is, which reports to ask for, whether it is still there, and what was missed.

Source: IEEE 11073-10207:2017, -20701:2018, -20702:2016; DPWS 1.1; WS-Eventing (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

import msgspec

from drivers.contract import Message, Now, Outbox, Spec, Transport
from drivers.gaps import GapCollector
from drivers.sdc import soap
from drivers.sdc.config import SdcConfig
from drivers.sdc.frame import LONGEST_HEAD_BYTES, Frame
from drivers.sdc.mdib import STATE_REPORTS, Mdib, Outcome, VersionGroup, version_group
from drivers.sdc.metadata import read_metadata
from drivers.sdc.session import Asked, Opened, Session, Subscription
from drivers.sdc.versions import Versions
from drivers.sdc.xml import Element
from drivers.urls import is_url
from ledger.errors import DeviceFault, OurFault
from ledger.limits import LIMITS, S_NS
from ledger.records import Event, Gap, GapCause, Link, LinkId

_SLOW_ANSWER_NS: Final = 10 * S_NS
"""For the answers that a device has to compute: its MDIB, its metadata."""
_HTTP_OK: Final = range(200, 300)
_BEGAN_ANEW: Final = "the device's MDIB began anew (another sequence or instance); it is read again"


class Sdc(Outbox):
    """Reads one SDC service provider. What it shows outlives a connection, so that what ended meanwhile is told."""

    spec: ClassVar[Spec[SdcConfig]] = Spec(
        name="sdc",
        devices=("devices with ISO/IEEE 11073 SDC: monitors, ventilators, anaesthesia workstations, pumps, endoscopy",),
        transports=(Transport.SDC,),
        config=SdcConfig,
        tx_allowed=soap.TX_ALLOWED,
        silence_s=5.0,
        records=frozenset({"numeric", "setting", "wave", "event", "gap", "identity", "link", "clock"}),
        source="IEEE 11073-10207:2017, 11073-20701:2018, 11073-20702:2016; OASIS DPWS 1.1",
        longest_frame_bytes=LIMITS.sdc_message_bytes + LONGEST_HEAD_BYTES,
    )

    def __init__(self, config: SdcConfig) -> None:
        super().__init__()
        self._config = config
        self._heartbeat_ns = int(config.heartbeat_s * S_NS)
        self._mdib = Mdib(config)
        self._gaps = GapCollector()
        self._session: Session | None = None

    # What the shell calls -------------------------------------------------------------------------------------

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """The device answers at its address; the transport will say where."""
        self._session = Session(link, peer, now, now)
        self._mdib.link_up()

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        """Frames of the link. Raises OurFault for a Message: the transport frames in bytes, so that they are kept."""
        if isinstance(data, Message):
            raise OurFault("sdc.message", "the sdc driver was handed a framed message")
        session = self._session
        if session is None or session.link != link or session.closing:
            return
        try:
            for frame in session.deframer.feed(data):
                if not self._take(session, frame, now):
                    return
        except DeviceFault as fault:  # of the framing alone: there is no going on
            self._gaps.add("framing", now, len(data), fault.text)
            self._close(session, fault.text, now)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """The connection is gone, and what was shown with it; alarms are known on, until they are told again."""
        session = self._session
        if session is None or session.link != link:
            return
        if len(session.deframer):
            self._gaps.add("framing", now, len(session.deframer), "cut by the end of the connection")
        for gap in self._gaps.take(now, everything=True):
            self.emit(gap)
        self._lost(now)
        self._session = None

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: devices report changes alone, so all is read anew and told again."""
        self._mdib.tell_again()
        if self._session is not None and self._session.group is not None:
            self._session.reread_due_ns = 0

    def wake(self, now: Now) -> None:
        """Tell gaps, ask whether the device is there, renew, read anew."""
        for gap in self._gaps.take(now):
            self.emit(gap)
        session = self._session
        if session is None or session.closing:
            return
        if session.asked is not None and session.answer_due_ns <= now.mono_ns:
            self._close(
                session, f"no answer to {session.asked.what} within {session.asked.patience_ns / S_NS:g} s", now
            )
            return
        self._watch_versions(session, now)
        self._watch_waves(session, now)
        if session.reread_due_ns is not None and session.reread_due_ns <= now.mono_ns:
            self._read_mdib(session, now)
        self._renew(session, now)
        self._next(session, now)

    def deadline_ns(self) -> int | None:
        """When ``wake`` is wanted."""
        gap_ns = self._gaps.deadline_ns()
        session_ns = self._session.deadline_ns(self._heartbeat_ns) if self._session is not None else None
        if gap_ns is None or session_ns is None:
            return session_ns if gap_ns is None else gap_ns
        return min(gap_ns, session_ns)

    # Requests and their answers -------------------------------------------------------------------------------

    def _take(self, session: Session, frame: Frame, now: Now) -> bool:
        """One frame; False if the link is being closed."""
        session.heard = now
        try:
            if frame.kind == "OPENED":
                self._opened(session, frame, now)
            elif frame.kind == "ANSWER":
                self._answered(session, frame, now)
            elif frame.kind == "NOTIFY" and session.opened is not None:
                self._notified(session, soap.read(frame.body), len(frame.body), now)
        except DeviceFault as fault:
            self._gaps.add("undecodable", now, len(frame.body), fault.text)
        self._next(session, now)
        return not session.closing

    def _opened(self, session: Session, frame: Frame, now: Now) -> None:
        try:
            opened = msgspec.json.decode(frame.body, type=Opened)
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise DeviceFault("sdc.bad-frame", "what the transport said of the link cannot be read") from fault
        if session.opened is not None or not (is_url(opened.device) and is_url(opened.notify)):
            raise DeviceFault("sdc.bad-frame", "the link was opened twice, or at no address")
        session.opened = opened
        session.requests = soap.Requests(f"{opened.notify}/{now.utc_ns // 1_000}")  # a capture has microseconds
        data = session.requests.get_metadata(opened.device, opened.epr[:256])
        self._ask(session, "Get", data, self._told_metadata, None, _SLOW_ANSWER_NS)

    def _ask(
        self,
        session: Session,
        what: str,
        data: bytes,
        then: Callable[[Session, Element | None, Now], None],
        refused: Callable[[Session, str, Now], None] | None,
        patience_ns: int,
    ) -> None:
        def fail(text: str, now: Now) -> None:
            if refused is not None:
                refused(session, text, now)
            else:
                self._close(session, f"the device refused {what}: {text}", now)

        asked = Asked(what, data, lambda body, now: then(session, body, now), fail, patience_ns)
        session.waiting.append(asked)

    def _next(self, session: Session, now: Now) -> None:
        if session.asked is not None or not session.waiting or session.closing:
            return
        asked = session.asked = session.waiting.popleft()
        session.answer_due_ns = now.mono_ns + asked.patience_ns
        self.send(session.link, asked.data)

    def _answered(self, session: Session, frame: Frame, now: Now) -> None:
        asked, session.asked = session.asked, None
        if asked is None:
            raise DeviceFault("sdc.bad-frame", "an answer to nothing that was asked")
        try:
            envelope = soap.read(frame.body)
        except DeviceFault as fault:
            if frame.status in _HTTP_OK and frame.body:
                self._gaps.add("undecodable", now, len(frame.body), fault.text)
            envelope = soap.Envelope("", None)
        text = soap.fault_text(envelope)
        if text or frame.status not in _HTTP_OK:
            asked.refused(" ".join(filter(None, (f"HTTP {frame.status}", text))), now)
            return
        try:
            asked.then(envelope.body, now)
        except DeviceFault as fault:
            self._gaps.add("undecodable", now, len(frame.body), fault.text)
            self._close(session, f"the device's answer to {asked.what} cannot be used: {fault.text}", now)

    def _close(self, session: Session, reason: str, now: Now) -> None:
        if not session.closing:
            session.closing = True
            session.waiting.clear()
            session.let_go()
            self._lost(now)
            self.close(session.link, reason)

    def _lost(self, now: Now) -> None:
        """The device does not answer, reports no more, or is not connected: nothing it showed stands as if live."""
        for record in self._mdib.silent(now):
            self.emit(record)

    # From the first answer to the first value -----------------------------------------------------------------

    def _told_metadata(self, session: Session, body: Element | None, now: Now) -> None:
        metadata = session.metadata = read_metadata(body)
        wanted = session.opened.epr if session.opened is not None else ""
        if wanted and metadata.epr and wanted != metadata.epr:
            self._close(
                session, "another device answers at this address: its EPR is not the one that was configured", now
            )
            return
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state="identified", peer=metadata.epr or session.peer))
        for service in metadata.services:
            if service.port_types:
                self._subscribe(session, service.at, service.port_types)
        self._read_mdib(session, now)

    def _subscribe(self, session: Session, at: soap.Endpoint, port_types: tuple[str, ...]) -> None:
        if session.opened is None:
            return
        data = session.requests.subscribe(at, session.opened.notify, port_types, self._config.subscription_s)
        names = ", ".join(port_types)

        def granted(session: Session, body: Element | None, now: Now) -> None:
            manager = soap.endpoint_of(body.first("SubscriptionManager") if body is not None else None)
            if manager is None:
                raise DeviceFault("sdc.bad-soap", "a subscription has no manager")
            subscription = Subscription(manager, 0)
            subscription.granted(body, self._config.subscription_s, now)
            session.subscriptions.append(subscription)

        def refused(_: Session, text: str, now: Now) -> None:
            detail = f"the device refused to send the reports of {names}: {text}"
            self._tell("device_gap", now, now, detail)

        self._ask(session, f"Subscribe ({names})", data, granted, refused, self._patience_ns)

    @property
    def _patience_ns(self) -> int:
        return int(self._config.answer_s * S_NS)

    def _renew(self, session: Session, now: Now) -> None:
        """Renew what is due; when nothing was heard, the first of all, to see whether the device is there."""
        if session.asked is not None or session.waiting:
            return
        quiet = now.mono_ns - session.heard.mono_ns >= self._heartbeat_ns
        for place, subscription in enumerate(session.subscriptions):
            if subscription.renew_ns <= now.mono_ns or (quiet and place == 0):
                self._renew_one(session, subscription)

    def _renew_one(self, session: Session, subscription: Subscription) -> None:
        def renewed(_: Session, body: Element | None, now: Now) -> None:
            subscription.granted(body, self._config.subscription_s, now)

        data = session.requests.renew(subscription.manager, self._config.subscription_s)
        self._ask(session, "Renew", data, renewed, None, self._patience_ns)

    # The MDIB -------------------------------------------------------------------------------------------------

    def _read_mdib(self, session: Session, now: Now) -> None:
        session.reread_due_ns = None
        if session.metadata is None or session.reading:
            return
        session.reading = True
        session.read_at_ns, session.last_before_read = now.mono_ns, session.reported
        data = session.requests.get_mdib(session.metadata.get_service)
        self._ask(session, "GetMdib", data, self._told_mdib, None, _SLOW_ANSWER_NS)

    def _told_mdib(self, session: Session, body: Element | None, now: Now) -> None:
        mdib = body.first("Mdib") if body is not None else None
        if mdib is None or body is None or session.metadata is None:
            raise DeviceFault("sdc.bad-mdib", "the answer holds no MDIB")
        if not session.subscriptions:
            self._close(session, "the device granted no subscription", now)
            return
        group, before = version_group(mdib if "SequenceId" in mdib.attributes else body), session.group
        if before is not None and not before.continues(group):
            if not session.told_anew:
                self._tell("sequence", session.last_before_read or session.reported, now, _BEGAN_ANEW)
            self._mdib.renumbered()
            session.versions = Versions()
        session.group = group
        session.reading = session.stale = session.told_anew = False
        self._record(session, self._mdib.describe(mdib, session.metadata.info, now), 0, now)
        # what was told on the way to this version, then what this version has besides, then what came after it
        held = session.let_go()
        late = [report for report in held if not _is_part_of(report[0], group)]
        for report, size, at in held:
            if _is_part_of(report, group):
                self._record(session, self._mdib.report(report, at), size, at)
        self._record(session, self._mdib.states(mdib, now, everything=before is None), 0, now)
        session.versions.read(group.version)
        for report, size, at in late:
            self._report(session, report, size, at)

    def _reread(self, session: Session, now: Now) -> None:
        session.plan_reread(now)
        if session.reread_due_ns is not None and session.reread_due_ns <= now.mono_ns:
            self._read_mdib(session, now)

    def _distrust(self, session: Session, now: Now) -> None:
        """What is known of the MDIB no longer holds: reports wait until it is read again."""
        session.stale = True
        session.waves_heard = None
        self._reread(session, now)

    # Reports --------------------------------------------------------------------------------------------------

    def _notified(self, session: Session, envelope: soap.Envelope, size: int, now: Now) -> None:
        body = envelope.body
        if body is None:
            raise DeviceFault("sdc.bad-report", "a report is empty")
        if body.tag == "SubscriptionEnd":
            status = body.text_of("Status").rpartition("/")[2][:64]
            self._close(session, f"the device ended the subscription: {status or 'no reason given'}", now)
            return
        self._report(session, body, size, now)

    def _report(self, session: Session, body: Element, size: int, now: Now) -> None:
        group, of = version_group(body), session.group
        since, session.reported = session.reported, now
        if not session.stale and of is not None:
            if not of.continues(group):
                self._tell("sequence", since, now, _BEGAN_ANEW)
                session.told_anew = True
                self._distrust(session, now)
            elif body.tag == "DescriptionModificationReport":
                session.versions.saw(group.version, since, now)
                self._description_changed(session, now)
                return
            else:
                session.versions.saw(group.version, since, now)
                self._record(session, self._mdib.report(body, now), size, now)
                return
        lost = session.hold(body, size, now)
        if lost:
            self._gaps.add("overflow", now, lost, "too many reports came before the MDIB that they change")

    def _description_changed(self, session: Session, now: Now) -> None:
        text = "the device changed the description of what it measures; it is read again"
        self.emit(
            Event(
                at_ns=now.utc_ns,
                kind="mode",
                alarm_id="description",
                phase="once",
                priority="none",
                code="MDCX_SDC_DESCRIPTION",
                text=text,
            )
        )
        self._distrust(session, now)

    def _record(self, session: Session, outcome: Outcome, size: int, now: Now) -> None:
        for record in outcome.records:
            self.emit(record)
        for fault in outcome.faults:
            self._gaps.add("undecodable", now, size, fault)
        if outcome.clock_step_ns:
            moved = f"the device's clock moved by {outcome.clock_step_ns / S_NS:+.0f} s"
            self._gaps.add("clock_jump", now, None, moved)
        if outcome.unknown:
            self._gaps.add(
                "undecodable", now, size, "a report is of something that the description lacks; it is read again"
            )
            self._reread(session, now)
        if outcome.waves:
            session.waves_heard = now

    # What is missing ------------------------------------------------------------------------------------------

    def _watch_versions(self, session: Session, now: Now) -> None:
        missed = session.versions.overdue(now) if not session.stale else None
        if missed is not None:
            detail = "changes of the device's MDIB were never told; it is read again"
            self._tell("sequence", missed.since, missed.until, detail, now=now, lost_items=missed.count)
            self._reread(session, now)

    def _watch_waves(self, session: Session, now: Now) -> None:
        silent_since = session.waves_silent_since(now)
        if silent_since is not None:
            self._tell("silence", silent_since, now, "no waves come, though the device is there")

    def _tell(
        self,
        cause: GapCause,
        since: Now,
        until: Now,
        detail: str,
        *,
        now: Now | None = None,
        lost_items: int | None = None,
    ) -> None:
        self.emit(
            Gap(
                at_ns=(now or until).utc_ns,
                cause=cause,
                since_ns=since.utc_ns,
                until_ns=until.utc_ns,
                lost_items=lost_items,
                detail=detail,
            )
        )


def _is_part_of(report: Element, group: VersionGroup) -> bool:
    """Whether an MDIB of this version has the changes of a report of the same MDIB already."""
    told = version_group(report)
    return group.continues(told) and told.version <= group.version and report.tag in STATE_REPORTS
