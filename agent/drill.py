"""Restore drills: every peer's latest state is restored into nowhere, verified, and the result put on this box's chain.

The rules are ``ledger.drills``'. A drill takes what a restore takes: a few hundred milliseconds and as many blocks as
lie behind the newest keyframe.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.restorer import RestoreReport
from ledger.drills import DRILLS, DrillBook, Drilled
from ledger.errors import OrledgerError, OurFault, PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.notices import Drill
from ledger.ops import PutSelf
from ledger.outbox import Warn

if TYPE_CHECKING:
    from agent.node import Node

_LOG = logging.getLogger(__name__)
_FAILED, _OVERDUE = "drill.failed", "drill.overdue"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """One drill: the restore that verified, or why it did not; how long it took, and the block that says so."""

    box: str
    report: RestoreReport | None
    fault: OrledgerError | None
    elapsed_ms: float
    recorded_in: int


class Drills:
    """The drills of one box. ``drill`` on demand; ``start`` and ``stop`` the schedule; all on the loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._period_ns = node.configuration.restore.drill_hours * 3_600 * S_NS
        self._task: asyncio.Task[None] | None = None
        saved = node.store.self_value(DRILLS)
        try:
            self._book = DrillBook(saved)
        except PeerFault as fault:
            _LOG.error("what is known of earlier restore drills cannot be read: %s", fault)
            self._book = DrillBook()

    @property
    def peers(self) -> list[str]:
        """The boxes that are drilled by themselves."""
        return [peer.id for peer in self._node.manifest.peers_of(self._node.member.own_id)]

    def rows(self) -> Sequence[Drilled]:
        """What is known of every box's drills."""
        return self._book.rows()

    async def drill(self, box: str) -> DrillResult:
        """Restore ``box`` into nowhere, record the result, durably. Raises OperatorFault for a box that is none."""
        node, began = self._node, time.perf_counter_ns()
        node.restorer.require_box(box)
        report: RestoreReport | None = None
        fault: OrledgerError | None = None
        try:
            report = await node.restorer.restore(box)
        except OrledgerError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - a drill is there to find what would fail; the schedule goes on
            _LOG.exception("the restore drill of %s", box)
            fault = OurFault("drill.crashed", f"the restore failed: {error!r}", "report this")
        took_ns = time.perf_counter_ns() - began
        now = node.now()
        self._book.note(box, now.utc_ns, took_ns, None if fault is None else f"{fault.text} [{fault.id}]")
        self._save()
        recorded_in = node.record(Drill(box, verified=fault is None))
        self._show(box, fault)
        self._watch()
        return DrillResult(box, report, fault, took_ns / 1e6, recorded_in)

    def start(self) -> None:
        """Begin the schedule, unless it is off or there are no peers."""
        for row in self._book.rows():
            if row.failed:
                self._alert(_FAILED, row.box, f"the last restore drill of {row.box} failed: {row.result}")
        self.follow()

    def follow(self) -> None:
        """Drill the peers of the manifest in force: at the start, and when another comes into force."""
        utc_ns = self._node.now().utc_ns
        before = {row.box for row in self._book.rows()}
        if self._book.keep(self.peers, utc_ns):
            self._save()
        for gone in before - set(self.peers):
            for alert_id in (_FAILED, _OVERDUE):
                self._node.alerts.clear(alert_id, gone, utc_ns)
        if self._period_ns and self.peers and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the schedule."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            self._watch()
            for box in self._book.due(self._node.now().utc_ns, self._period_ns):
                await self.drill(box)
            await asyncio.sleep(LIMITS.drill_look_ns / S_NS)

    def _save(self) -> None:
        self._node.member.out.persist(PutSelf(DRILLS, self._book.encode()))
        self._node.pump.pump()

    def _show(self, box: str, fault: OrledgerError | None) -> None:
        if fault is None:
            self._node.alerts.clear(_FAILED, box, self._node.now().utc_ns)
        else:
            self._alert(_FAILED, box, f"a restore drill of {box} failed: {fault.text}")

    def _watch(self) -> None:
        now_ns = self._node.now().utc_ns
        overdue = {row.box for row in self._book.overdue(now_ns, self._period_ns)} if self._period_ns else set()
        for row in self._book.rows():
            if row.box in overdue:
                self._alert(_OVERDUE, row.box, f"no restore drill of {row.box} succeeded for more than two periods")
            else:
                self._node.alerts.clear(_OVERDUE, row.box, now_ns)

    def _alert(self, alert_id: str, box: str, text: str) -> None:
        warning = Warn(alert_id, "warning", "peer", box, text, f"orledger drill {box}")
        self._node.alerts.take(warning, self._node.now().utc_ns)
