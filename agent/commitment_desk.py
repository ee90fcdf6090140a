"""Keeps what was asked to be committed until its asker knows what became of it, across restarts.

The rules are ``drivers.dicom.commitment``'s. Here are the disk, the clock, and who carries reports. A request is
durable before it is answered, what was decided is durable before it is reported, and only an acknowledgment ends it
well (docs/drivers/dicom.md).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agent.alerts import Alerts
from agent.instances import Instances
from agent.pump import Pump
from agent.recorder import Recorder
from drivers.dicom.commitment import (
    PROCESSING_FAILURE,
    Asked,
    CommitmentBook,
    Key,
    Reference,
    Refusal,
    Transaction,
)
from drivers.transports.commitment_service import Reporter
from ledger.errors import OrledgerError, PeerFault
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS, Limits
from ledger.local_secret import LocalSecret
from ledger.member import Member
from ledger.notices import Alert
from ledger.ops import PutPending, PutSelf
from ledger.outbox import Warn
from ledger.quorum import Level
from ledger.records import Event
from ledger.store import Store

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_LABELLED = "objects-labelled"
_LABELS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class CommitmentCounts:
    """``undecided`` wait for the group, ``unreported`` for their asker; ``oldest_ns``: when the oldest was asked for
    (UTC), None without any. The rest counts since the start.
    """

    undecided: int
    unreported: int
    oldest_ns: int | None
    acknowledged: int
    given_up: int


class CommitmentDesk:
    """``start`` once the network is there. Belongs to the loop."""

    def __init__(  # noqa: PLR0913 - what it needs of a node
        self, store: Store, secret: LocalSecret, member: Member, pump: Pump, recorder: Recorder, *,
        instances: Instances, alerts: Alerts, now: Callable[[], Now], limits: Limits = LIMITS,
    ) -> None:  # fmt: skip
        self._store = store
        self._secret = secret
        self._member = member
        self._pump = pump
        self._recorder = recorder
        self._instances = instances
        self._alerts = alerts
        self._now = now
        self._limits = limits
        self._book = CommitmentBook(limits)
        self._reporters: dict[str, Reporter] = {}
        self._why_not: dict[Key, str] = {}
        self._wanted = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "commitments")
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._acknowledged = self._given_up = 0
        self._take_up()

    def _take_up(self) -> None:
        """What was promised before. What cannot be read must not keep the room from being recorded."""
        try:
            for key, sealed in self._store.pending().items():
                try:
                    self._book.take_up(Transaction.decode(self._secret.open(sealed)))
                except (OrledgerError, PeerFault) as fault:
                    self._show(_UNREADABLE, key.hex()[:8], fault.text, fault.next_step)
        except OrledgerError as fault:
            self._show(_UNREADABLE, "ledger", fault.text, fault.next_step)

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._spawn(self._label_all())
        self._spawn(self._run())

    async def stop(self) -> None:
        """End; what is open is taken up at the next start."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # it may never have begun

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        """A fault here must not end the recording, nor be silent."""
        try:
            await work
        except Exception as fault:  # noqa: BLE001 - whatever it is, the room goes on being recorded
            text = fault.text if isinstance(fault, OrledgerError) else f"storage commitment failed: {fault!r}"
            _LOG.error("%s", text, exc_info=fault)
            self._show(_BROKEN, "dicom", text, "report this, then restart")

    @property
    def utc_ns(self) -> int:
        """This moment."""
        return self._now().utc_ns

    def for_feed(self, feed: str) -> FeedCommitments:
        """What the listener of one feed calls."""
        return FeedCommitments(self, feed)

    def counts(self) -> CommitmentCounts:
        """For the status."""
        known = self._book.open.values()
        undecided = sum(1 for each in known if not each.decided_ns)
        oldest_ns = min((each.asked.at_ns for each in known), default=None)
        return CommitmentCounts(undecided, len(known) - undecided, oldest_ns, self._acknowledged, self._given_up)

    # ---- requests ----------------------------------------------------------------------------------------------

    def attach(self, feed: str, reporter: Reporter) -> None:
        """By whom the reports of a feed leave."""
        self._reporters[feed] = reporter
        self._wanted.set()

    async def ask(self, asked: Asked) -> Refusal | None:
        """None once the request is durable. Raises OrledgerError when it cannot be."""
        if not self._member.manifest.quorum_of(self._member.own_id).witnessed:
            return Refusal(PROCESSING_FAILURE, "this box has no peers: nothing is ever witnessed")
        taken = self._book.ask(asked)
        if isinstance(taken, Refusal):
            return taken
        self._keep(taken)
        try:
            await self._pump.make_durable()
        except OrledgerError:
            self._book.withdraw(asked.key)
            raise
        return None

    def begin(self, key: Key) -> None:
        """Its answer has left."""
        self._book.begin(key)
        self._wanted.set()

    def withdraw(self, key: Key) -> None:
        """It was refused after all."""
        if self._book.withdraw(key):
            self._forget(key)

    def can_be_reached(self, feed: str, asker: str) -> None:
        """What waits for this asker need not wait longer."""
        self._book.can_be_reached(feed, asker)
        self._wanted.set()

    def _keep(self, transaction: Transaction) -> None:
        sealed = self._secret.seal(transaction.encode())
        self._member.out.persist(PutPending(self._row_of(transaction.asked.key), sealed))

    def _forget(self, key: Key) -> None:
        self._why_not.pop(key, None)
        self._member.out.persist(PutPending(self._row_of(key), None))
        self._pump.pump()

    def _row_of(self, key: Key) -> bytes:
        return self._secret.label("commitment", "\x00".join(key))

    # ---- once a second, and when something happened -------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            await self.look()
            try:
                async with asyncio.timeout(self._limits.commitment_look_ns / S_NS):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """What became of the instances, and whom to tell."""
        await self._judge()
        decided = self._book.decide(self._now())
        for transaction in decided:
            self._keep(transaction)
        if decided:
            await self._pump.make_durable()
        now = self._now()
        room = max(0, self._limits.commitment_reports - self._under_way)
        for transaction in itertools.islice(self._book.due(now), room):
            self._book.reporting(transaction.asked.key)
            self._under_way += 1
            self._spawn(self._report(transaction))
        for transaction in self._book.give_up(now):
            self._give_up(transaction, now)
        self._tell_of_late(now)

    async def _judge(self) -> None:
        asked = self._book.to_look_up(self._limits.commitment_instances_looked_up)
        if not asked:
            return
        writer, manifest = self._member.writer, self._member.manifest
        references = [reference for _, _, reference in asked]
        live, size = writer.chain.log, writer.vouching.size_at(Level.WITNESSED)
        standings = await self._on_thread(lambda: self._instances.standings(references, manifest, live, size))
        for (key, at, _), standing in zip(asked, standings, strict=True):
            self._book.judge(key, at, standing)

    async def _report(self, transaction: Transaction) -> None:
        key, reporter = transaction.asked.key, self._reporters.get(transaction.asked.feed)
        why_not = f"no DICOM feed {transaction.asked.feed!r} is configured any more"
        try:
            if reporter is not None:
                async with asyncio.timeout(self._limits.commitment_report_ns / S_NS):
                    why_not = await reporter.report(transaction.report, transaction.attempts)
        except TimeoutError:
            why_not = f"{transaction.asked.asker} took too long"
        except Exception as fault:
            why_not = f"{type(fault).__name__}"
            raise
        finally:
            self._under_way -= 1
            if why_not:
                self._why_not[key] = why_not
                self._book.not_delivered(key, self._now())
        if not why_not:
            self._acknowledged += 1
            self._book.acknowledged(key)
            self._forget(key)
            self._wanted.set()

    def _give_up(self, transaction: Transaction, now: Now) -> None:
        """Nobody was told: a person must."""
        asked, why = transaction.asked, self._why_not.get(transaction.asked.key, "")
        self._given_up += 1
        text = f"{asked.asker} was never told what became of {len(asked.references)} instances: {why}"
        self._show(_LOST, asked.asker, text, f"correct report_to of {asked.asker}; it may ask for commitment again")
        self._recorder.notice(Alert(_LOST.id, asked.feed, True))
        self._recorder.own_record(
            Event(
                at_ns=now.utc_ns, kind="marker", alarm_id=f"storage commitment {asked.uid}", phase="once",
                priority="none", code="MDCX_DICOM_STORAGE_COMMITMENT", source=asked.asker,
                text=f"storage commitment given up: {text}",
            )
        )  # fmt: skip
        self._forget(asked.key)

    def _tell_of_late(self, now: Now) -> None:
        """Of each asker that cannot be told for a while."""
        late: dict[str, str] = {}
        for key, transaction in self._book.open.items():
            since_ns = now.utc_ns - transaction.decided_ns
            if transaction.decided_ns and transaction.attempts and since_ns >= self._limits.commitment_patience_ns:
                late[key[1]] = self._why_not.get(key, "")
        for alert in self._alerts.active():
            if alert.warning.id == _LATE.id and alert.warning.subject not in late:
                self._alerts.clear(_LATE.id, alert.warning.subject, now.utc_ns)
        for asker, why in late.items():
            self._show(_LATE, asker, f"{asker} cannot be told what became of its instances: {why}",
                       f"look at {asker}, and at report_to in its [[feed.dicom.peers]]")  # fmt: skip

    # ---- objects from before -------------------------------------------------------------------------------------

    async def _label_all(self) -> None:
        """Once for each store: objects that were recorded without labels get theirs."""
        if self._store.self_value(_LABELLED) is not None:
            return
        labels = self._instances.unlabelled()
        while some := await self._on_thread(lambda: list(itertools.islice(labels, _LABELS_AT_ONCE))):
            for each in some:
                self._member.out.persist(each)
            await self._pump.make_durable()
        self._member.out.persist(PutSelf(_LABELLED, b"1"))
        self._pump.pump()

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _show(self, alert: Warn, subject: str, text: str, next_step: str) -> None:
        self._alerts.take(replace(alert, subject=subject, text=text, next_step=next_step), self._now().utc_ns)


@dataclass(frozen=True, slots=True)
class FeedCommitments:
    """``drivers.transports.commitment_service.CommitmentService`` of one feed."""

    desk: CommitmentDesk
    feed: str

    def attach(self, reporter: Reporter) -> None:
        """See the protocol."""
        self.desk.attach(self.feed, reporter)

    async def ask(
        self, asker: str, uid: str, references: tuple[Reference, ...], decide_within_ns: int, report_within_ns: int
    ) -> Refusal | None:  # fmt: skip
        """See the protocol."""
        at_ns = self.desk.utc_ns
        return await self.desk.ask(
            Asked(self.feed, asker, uid, references, at_ns, at_ns + decide_within_ns, report_within_ns)
        )

    def begin(self, asker: str, uid: str) -> None:
        """See the protocol."""
        self.desk.begin((self.feed, asker, uid))

    def withdraw(self, asker: str, uid: str) -> None:
        """See the protocol."""
        self.desk.withdraw((self.feed, asker, uid))

    def can_be_reached(self, asker: str) -> None:
        """See the protocol."""
        self.desk.can_be_reached(self.feed, asker)


_LATE = Warn("dicom.report-late", "warning", "device", "", "", "")
_LOST = Warn("dicom.report-lost", "critical", "device", "", "", "")
_UNREADABLE = Warn("dicom.commitments-unreadable", "critical", "disk", "", "", "")
_BROKEN = Warn("dicom.commitments", "critical", "us", "", "", "")
