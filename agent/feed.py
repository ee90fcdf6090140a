"""The feed shell: runs one driver over one transport and puts what comes of it into the intake.

The driver decides what the bytes mean; the shell does what a sans-IO driver cannot: it keeps the raw bytes, lets only
declared bytes out, holds acknowledgements until they are true, wakes the driver, records silence and loss, and when
the driver fails replaces it without harm to any other feed.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.feed_recorder import FeedRecorder
from agent.feed_status import FeedState, FeedStatus
from agent.held_sends import HeldSends
from agent.intake import Intake, RecordTooLarge
from agent.losses import Loss, LossCause
from agent.silence import SilenceWatch, Span, span
from agent.wake_timer import Schedule, WakeTimer
from drivers.contract import Close, Driver, Emit, Message, Now, Send
from drivers.transports.links import Clock, LinkTransport, PacedTransport
from ledger.errors import OrledgerError, OurFault
from ledger.limits import LIMITS, S_NS, Limits
from ledger.records import Gap, Identity, LinkId, Object, Record

_log = logging.getLogger(__name__)
NO_LINK = LinkId(0)
"""In records about the feed as a whole; transports number their links from 1."""
_SETTLE_ROUNDS = 16
_MOST_DEVICES = 64


@dataclass(slots=True)
class _OpenLink:
    peer: str
    known: bool = True
    """Whether the driver that runs now was told of it."""
    closing: bool = False
    blocked: bool = False
    unread_bytes: int = 0
    unread_since: Now | None = None


class Feed:
    """One feed: ``LinkEvents`` for its transport, ``IntakeListener`` for the intake. Lives on the loop."""

    def __init__(  # noqa: PLR0913 - what a feed is made of
        self,
        name: str,
        new_driver: Callable[[], Driver],
        transport: LinkTransport,
        intake: Intake,
        now: Clock,
        schedule: Schedule,
        *,
        keep_raw: bool = True,
        may_record_object: Callable[[bytes], bool] | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self.name = name
        self._new_driver = new_driver
        self._driver = new_driver()
        self._spec = self._driver.spec
        self._transport = transport
        self._read_waiting = transport.read_waiting if isinstance(transport, PacedTransport) else _nothing
        self._intake = intake
        self._now = now
        self._may_record_object = may_record_object
        self._recorder = FeedRecorder(name, intake, now, keep_raw=keep_raw and not self._spec.keeps_raw, limits=limits)
        self._counters = self._recorder.counters
        self._limits = limits
        self._links: dict[LinkId, _OpenLink] = {}
        self._held = HeldSends(limits)
        self._refusals: list[Send] = []
        self._silence = SilenceWatch(int(self._spec.silence_s * S_NS))
        self._refused_peers: set[tuple[str, str]] = set()
        self._down_since: Now | None = None
        self._driver_deadline_ns: int | None = None
        self._wake = WakeTimer(schedule, now, self._due)
        self._reading = True
        self._failed = False
        self._devices: dict[str, str] = {}
        self._last_record_ns: int | None = None
        self._case: Mapping[str, str] | None = None

    def start(self) -> None:
        """Begin to record. Call once, on the running loop."""
        self._intake.register(self.name, self)
        if self._transport.listens:
            self._silence.heard(self._now())
        self._transport.start(self)
        self._arm()

    async def stop(self) -> None:
        """Close the links and offer the last records; one more ``Intake.take`` collects them."""
        self._read_waiting()
        await self._transport.stop()
        at = self._now()
        self._end_down(at)
        for link in list(self._links):
            self.on_down(link, "the recorder stopped", at)
        self._record_silence(self._silence.rest(at), at)
        self.flush()
        self._intake.unregister(self.name)
        self._wake.stop()

    def status(self) -> FeedStatus:
        """For the page; reads the clock."""
        now = self._now()
        gaps, total_ns, causes = self._recorder.gaps.summary(now.utc_ns)
        running = self._silence.running(now)
        return FeedStatus(
            name=self.name,
            driver=self._spec.name,
            device=next(iter(self._devices.values()), ""),
            devices=len(self._devices),
            state=self._state(),
            last_record_ns=self._last_record_ns,
            gaps=gaps,
            gap_total_ns=total_ns + (running[1] - running[0] if running else 0),
            gap_causes=causes,
            counters=dict(self._counters),
            gaps_since_start=dict(self._recorder.gaps.by_cause),
        )

    @property
    def lost(self) -> Mapping[LossCause, int]:
        """Records lost since the start, by cause."""
        return self._recorder.lost

    @property
    def newest_loss_ns(self) -> Mapping[LossCause, int]:
        """When the last was lost (boot clock), by cause."""
        return self._recorder.newest_loss_ns

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """The room's case has this context now; None: none is open. A driver that replaces this one hears it, too."""
        self._case = facts
        self._ask(lambda: self._driver.case_changed(facts), self._now())

    # ---- from the transport

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        """A link came up: record it and tell the driver."""
        self._links[link] = _OpenLink(peer)
        self._refused_peers = {seen for seen in self._refused_peers if not f"{peer}:".startswith(f"{seen[0]}:")}
        self._end_down(at)
        self._recorder.link(link, "up", at, peer)
        if not self._silence.watching:
            self._silence.heard(at)
        self._ask(lambda: self._driver.link_up(link, peer, at), at)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        """Bytes came: keep them, then let the driver read them."""
        self._recorder.keep(link, "<", data, at)
        self._receive(link, data, len(data), at)
        self._regulate()

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        """A whole message came: let the driver read it."""
        self._counters["messages_in"] += 1
        self._receive(link, message, len(message.body), at)

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        """A link fell: record it and tell the driver."""
        opened = self._links.pop(link, None)
        if opened is None:
            return
        self._counters["unanswered"] += self._held.drop_link(link)
        if not self._links and not self._transport.listens:
            self._record_silence(self._silence.rest(at), at)
            self._down_since = self._down_since or at
        if opened.unread_since is not None:
            detail = "came while the link was being closed"
            self._recorder.gap("undecodable", span(opened.unread_since, at), at, detail, opened.unread_bytes)
        self._recorder.link(link, "down", at, opened.peer, reason)
        if opened.known:
            self._ask(lambda: self._driver.link_down(link, reason, at), at)

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        """No link came about. The same failure is recorded once, until that peer comes up."""
        self._counters["refused_links"] += 1
        if not self._links and not self._transport.listens:
            self._down_since = self._down_since or at
        if (peer, reason) in self._refused_peers or len(self._refused_peers) >= self._limits.refusals_remembered:
            return
        self._refused_peers.add((peer, reason))
        self._recorder.link(NO_LINK, "refused", at, peer, reason)

    # ---- from the intake

    def flush(self) -> None:
        """The tick is about to take: what waits is read, the raw bytes end, and losses are told if there is room."""
        self._read_waiting()
        self._recorder.flush()
        self._regulate()

    def durable(self, position: int) -> None:
        """Records up to here are fsynced: what acknowledges them may leave."""
        self._held.durable(position)
        self._recorder.durable(position)
        self._release()
        self._regulate()

    def refused(self, first: int, last: int, loss: Loss | None, reason: str) -> None:
        """Records were lost with their block: drop what acknowledges them and tell the driver."""
        self._recorder.refused(first, last, loss)
        self._refusals += self._held.refused(first, last)
        self._ask(_nothing, self._now(), reason=reason)
        self._release()

    # ---- the driver

    def _receive(self, link: LinkId, data: bytes | Message, size: int, at: Now) -> None:
        self._record_silence(self._silence.heard(at), at)
        opened = self._links.get(link)
        if opened is None:
            raise OurFault("feed.unknown-link", f"feed {self.name}: bytes on link {link}, which is not up")
        if opened.known:
            self._ask(lambda: self._driver.receive(link, data, at), at, size)
        else:
            opened.unread_since = opened.unread_since or at
            opened.unread_bytes += size

    def _ask(self, call: Callable[[], None], at: Now, size: int = 0, reason: str = "no room to record it") -> None:
        """Call the driver and do what it wants; ``size`` bytes are lost if it fails."""
        try:
            call()
            self._settle(at, reason)
            self._driver_deadline_ns = self._driver.deadline_ns()
        except Exception as fault:  # noqa: BLE001 - a driver's fault, whatever it is, stays with its feed
            self._replace_driver(fault, at, size)
        self._arm()

    def _settle(self, at: Now, reason: str) -> None:
        for _ in range(_SETTLE_ROUNDS):
            for action in self._driver.drain():
                self._perform(action, at)
            refusals, self._refusals = self._refusals, []
            if not refusals:
                return
            for send in refusals:
                if send.after is not None and send.link in self._links:
                    self._counters["refused_sends"] += 1
                    self._driver.refused(send.after, reason, at)
        raise OurFault("feed.never-settles", f"driver {self._spec.name} answers every refusal with another")

    def _replace_driver(self, fault: Exception, at: Now, size: int) -> None:
        where = traceback.extract_tb(fault.__traceback__)[-1]
        # the exception's own text could hold bytes of a patient
        kind = fault.id if isinstance(fault, OrledgerError) else type(fault).__name__
        detail = f"{self._spec.name} failed: {kind} at {Path(where.filename).name}:{where.lineno}"
        _log.error("feed %s: driver %s; it is replaced and its links are closed", self.name, detail)
        self._counters["driver_faults"] += 1
        self._counters["unanswered"] += len(self._held)
        self._failed = True
        self._recorder.gap("undecodable", (at.utc_ns, at.utc_ns), at, detail, size or None)
        self._held = HeldSends(self._limits)
        self._refusals.clear()
        self._driver = self._new_driver()
        self._driver.case_changed(self._case)
        self._driver_deadline_ns = None
        for link, opened in self._links.items():
            opened.known = False
            self._close(link, "the driver failed")

    def _perform(self, action: Emit | Send | Close, at: Now) -> None:
        if isinstance(action, Emit):
            self._record(action)
        elif isinstance(action, Close):
            self._close(action.link, action.reason)
        else:
            self._send(action, at)

    def _record(self, emit: Emit) -> None:
        record = emit.record
        try:
            position = self._recorder.record(record) if self._is_durable(record) else None
        except RecordTooLarge:
            self._recorder.lose(record, "oversize")
            position = None
        if position is None:
            self._held.lost(emit.ticket)
            return
        self._held.recorded(emit.ticket, position)
        if isinstance(record, Gap):
            return
        self._failed = False
        self._last_record_ns = record.at_ns
        if isinstance(record, Identity) and (record.sub in self._devices or len(self._devices) < _MOST_DEVICES):
            self._devices[record.sub] = f"{record.make} {record.model}".strip()

    def _is_durable(self, record: Record) -> bool:
        """An object must lie here before its record: what acknowledges the record acknowledges the object."""
        if type(record) is not Object or self._may_record_object is None or self._may_record_object(record.sha256):
            return True
        _log.error("feed %s: %s named an object that is not held here", self.name, self._spec.name)
        self._recorder.lose(record, "store_refused")
        return False

    # ---- sending

    def _send(self, send: Send, at: Now) -> None:
        opened = self._links.get(send.link)
        if opened is None or opened.closing:
            self._counters["unsent"] += 1
            return
        if not self._spec.may_send(send.data):
            self._block(send.link, opened, len(send.data), at)
            return
        outcome = self._held.hold(send, at.mono_ns)
        if outcome == "refused":
            self._refusals.append(send)
        elif outcome == "full":
            self._counters["unsent"] += 1
            self._close(send.link, "too many answers wait to be durable")
        else:
            self._release()
            if len(self._held):
                self._intake.waited_for()

    def _block(self, link: LinkId, opened: _OpenLink, size: int, at: Now) -> None:
        self._counters["tx_blocked"] += 1
        if opened.blocked:
            return
        opened.blocked = True
        reason = f"{self._spec.name} wanted to send {size} bytes that its declaration does not allow: not sent"
        _log.error("feed %s: driver %s", self.name, reason)
        self._recorder.link(link, "refused", at, opened.peer, reason)

    def _release(self) -> None:
        for send in self._held.ready():
            if self._transport.send(send.link, send.data):
                self._recorder.keep(send.link, ">", send.data, self._now())
            else:
                self._counters["unsent"] += 1

    def _close(self, link: LinkId, reason: str) -> None:
        opened = self._links.get(link)
        if opened is not None and not opened.closing:
            opened.closing = True
            self._counters["unanswered"] += self._held.drop_link(link)
            self._transport.close(link, reason)

    # ---- recording

    def _record_silence(self, silence: Span | None, at: Now) -> None:
        if silence is not None:
            self._recorder.gap("silence", silence, at, "no byte came")

    def _end_down(self, at: Now) -> None:
        if self._down_since is not None:
            self._recorder.gap("link_down", span(self._down_since, at), at, "no link to the device")
            self._down_since = None

    def _regulate(self) -> None:
        reading = not self._intake.crowded(self.name)
        if reading is not self._reading:
            self._reading = reading
            self._transport.set_reading(reading)

    # ---- time

    def _arm(self) -> None:
        self._wake.arm(self._driver_deadline_ns, self._held.deadline_ns(), self._silence.deadline_ns())

    def _due(self) -> None:
        self._read_waiting()  # nothing is silent or late whose bytes are here
        now = self._now()
        for link in self._held.overdue(now.mono_ns):
            self._counters["ack_timeouts"] += 1
            self._close(link, f"not durable within {self._limits.ack_timeout_ns / S_NS:g} s")
        self._record_silence(self._silence.check(now), now)
        if self._driver_deadline_ns is not None and self._driver_deadline_ns <= now.mono_ns:
            self._ask(lambda: self._driver.wake(now), now)
        self._arm()

    def _state(self) -> FeedState:
        if self._failed:
            return "error"
        if not self._transport.reachable:
            return "down"
        return "silent" if self._silence.silent else "ok"


def _nothing() -> None:
    """Only settle; or nothing waits."""
