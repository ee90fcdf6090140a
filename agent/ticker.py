"""When blocks are closed: at each tick, before one when a sender waits, at once for what this box itself has to say.

Nothing is signed once a fault has ended the recording.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from agent.alerts import Alerts
from agent.case_desk import CaseDesk
from agent.clock import StallDetector, read_now, read_pair, tick_phase_ns
from agent.early_close import EarlyClose
from agent.intake import Intake
from agent.pump import Pump
from agent.recorder import Closed, Recorder
from agent.statistics import Statistics
from ledger.errors import OrledgerError, OurFault
from ledger.limits import LIMITS, S_NS
from ledger.member import Member
from ledger.outbox import Warn

_LOG = logging.getLogger(__name__)
_CHORES_EVERY_TICKS = 2
"""Waking up costs more than most of the chores: they come five times a second."""
_DISK_SLOW = Warn(
    "disk.slow", "critical", "disk", "ledger", "the disk does not keep up; records wait in memory",
    "check the disk's health: smartctl -a",
)  # fmt: skip


class Ticker:
    """One box's. ``fault``: what ended the recording, set by whoever hears of it; ``on_fault`` is told of a tick's."""

    def __init__(
        self, member: Member, recorder: Recorder, desk: CaseDesk, intake: Intake, pump: Pump, alerts: Alerts,
        statistics: Statistics, on_fault: Callable[[OrledgerError], None],
    ) -> None:  # fmt: skip
        self.fault: OrledgerError | None = None
        self._member = member
        self._recorder = recorder
        self._desk = desk
        self._intake = intake
        self._pump = pump
        self._alerts = alerts
        self._statistics = statistics
        self._on_fault = on_fault
        self._stop: asyncio.Event | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._ticked = False
        self._early = EarlyClose()
        self._early_timer: asyncio.TimerHandle | None = None
        self._stalls = StallDetector()
        intake.on_waited_for = self._close_early

    def start(self, stop: asyncio.Event, between_ticks: Callable[[], None]) -> None:
        """Tick from now on; no block closes early once ``stop`` is set. ``between_ticks``: chores' turn."""
        self._stop = stop
        self._ticking = asyncio.get_running_loop().create_task(self._tick_forever(between_ticks))
        self._ticking.add_done_callback(self._ticking_ended)

    async def stop(self) -> None:
        """Tick no more."""
        if self._early_timer is not None:
            self._early_timer.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    # ---- at the tick -------------------------------------------------------------------------------------------

    async def _tick_forever(self, between_ticks: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        tick_s, boxes = LIMITS.tick_ns / S_NS, [box.id for box in self._member.manifest.boxes]
        phase_s = tick_phase_ns(boxes, self._member.own_id) / S_NS
        pause_s = tick_s / len(boxes) / 2  # before the next box ticks
        ticks = 0

        def next_due() -> float:
            return loop.time() + tick_s - (time.time() - phase_s) % tick_s

        due = next_due()
        self._early.first_tick(read_now().mono_ns + int((due - loop.time()) * S_NS))
        while True:
            await asyncio.sleep(due - loop.time())
            began = time.perf_counter_ns()
            self._statistics.tick_late.add(int((loop.time() - due) * S_NS))
            self.tick(began)
            self._early.ticked(read_now().mono_ns + int((due + tick_s - loop.time()) * S_NS))
            self._pump.tick_due(int((due + tick_s) * S_NS))
            ticks += 1
            if ticks % _CHORES_EVERY_TICKS == 0:
                await asyncio.sleep(due + pause_s - loop.time())
                between_ticks()
            due += tick_s
            if due < loop.time():
                due = next_due()

    def tick(self, began_ns: int) -> None:
        """Close a block, if there is anything to record; all else can wait until it has left."""
        if self.fault is not None:
            return
        now = read_pair()
        stalled = self._stalls.observe(now)
        if stalled is not None:
            _LOG.warning("stood still for %.1f s", (stalled.until_ns - stalled.since_ns) / S_NS)
            self._recorder.own_record(stalled)
        if self._pump.overloaded():
            self._alerts.take(_DISK_SLOW, now.utc_ns)
        else:
            self._alerts.clear(_DISK_SLOW.id, _DISK_SLOW.subject, now.utc_ns)
            for closed in self._desk.tick(now):
                self._closed(closed)
        self._ticked = True
        self._statistics.tick_work.add(time.perf_counter_ns() - began_ns)

    def _ticking_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._tick_failed(fault)

    def _tick_failed(self, fault: BaseException) -> None:
        _LOG.critical("the tick failed", exc_info=fault)
        known = fault if isinstance(fault, OrledgerError) else None
        self._on_fault(known or OurFault("node.tick", f"the tick failed: {fault!r}", "report this"))

    def _closed(self, closed: Closed) -> None:
        self._pump.closed(closed)
        self._early.closed(closed.closed.mono_ns)

    # ---- before the tick, when a sender waits ------------------------------------------------------------------

    def _close_early(self, for_object: bool) -> None:
        """A sender waits: close a block as soon as that makes sense, if the tick is not as good.

        While the disk has a block to write, the senders of objects that come meanwhile share the next one.
        """
        if for_object and self._pump.has_undurable:
            self._early.is_put_off = True
            return
        now_ns = read_now().mono_ns
        due_ns = self._early.wanted(now_ns, for_object=for_object)
        if due_ns is not None and self._stop is not None:
            # A timer, though it may be due: what waits in other senders' sockets has its turn before.
            self._early_timer = asyncio.get_running_loop().call_later((due_ns - now_ns) / S_NS, self.tick_early)

    def tick_early(self) -> None:
        """The moment for an early block has come."""
        if self._stop is None or self._stop.is_set():  # the last block closes when the feeds have ended
            return
        try:
            self.tick(time.perf_counter_ns())
        except Exception as fault:  # noqa: BLE001 - as at the tick itself: nothing may be signed after it
            self._tick_failed(fault)

    def block_durable(self) -> bool:
        """A block is durable; True for the first one since a tick."""
        self._recorder.settle()  # not when it is closed: the commit's thread would wait for the interpreter meanwhile
        ticked, self._ticked = self._ticked, False
        if self._early.is_put_off:
            self._early.is_put_off = False
            self._intake.waited_for()
        return ticked

    # ---- at once -----------------------------------------------------------------------------------------------

    def close_now(self, add: Callable[[], None]) -> int:
        """Close a block with what ``add`` gives the recorder; its seq. Raises the fault that ended the recording."""
        if self.fault is not None:
            raise self.fault
        add()
        closed = self._recorder.tick(read_pair(), self._intake.nothing())
        if closed is None:
            raise OurFault("node.no-block", "what was to be recorded closed no block")
        self._closed(closed)
        return closed.block.seq

    def write(self, blocks: Iterable[Closed]) -> int:
        """Close these blocks now; the seq of the last one. Raises the fault that ended the recording."""
        if self.fault is not None:
            raise self.fault
        seq = 0
        for closed in blocks:
            self._closed(closed)
            seq = closed.block.seq
        return seq
