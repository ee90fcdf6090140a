"""Peers that fall silent: the alert on every box, and the restore by itself on the standby.

The rules are ``ledger.standby``'s. A standby restores the state of a silent box, puts the restore on its own chain, and
hands the values to the console marked as restored; it takes them back when the box is heard again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.emission import Emission
from agent.restorer import RestoreReport
from ledger.errors import OrledgerError, OurFault
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.outbox import Warn
from ledger.standby import Hearing, Phase, Standby, Step

if TYPE_CHECKING:
    from agent.node import Node

_LOG = logging.getLogger(__name__)
_HOUR_NS = 3_600 * S_NS
_CANNOT = "standby.failed"
_CUT_OFF = "standby.cut-off"
_RESERVE = "standby.reserve"
_TRIES_BEFORE_THE_RESERVE = 3


@dataclass(slots=True)
class _Delivery:
    """A state that was handed out: since when, and when it is handed again to a console that did not take it."""

    report: RestoreReport
    recorded_in: int
    since_ns: int
    due_ns: int | None = None
    tries: int = 0
    is_over: bool = False


class Failover:
    """Watches every peer; acts for those this box stands by for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known_since_ns: dict[str, int] = {}
        self._standbys: dict[str, Standby] = {}
        self._emission = Emission(node.configuration)
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: dict[str, _Delivery] = {}
        self._failures: Counter[str] = Counter()
        self._left: set[str] = set()
        """Boxes that another speaks for again: on a topic that both have, what is handed out is its to withdraw."""
        self.follow()

    def follow(self) -> None:
        """Watch the peers of the manifest in force: at the start, and when another comes into force."""
        node, now = self._node, self._node.now()
        manifest, own = node.manifest, node.member.own_id
        peers = [peer.id for peer in manifest.peers_of(own)]
        for gone in self._known_since_ns.keys() - set(peers):
            node.alerts.clear("peer.silent", gone, now.utc_ns)
            node.alerts.clear(_CANNOT, gone, now.utc_ns)
            node.alerts.clear(_RESERVE, gone, now.utc_ns)
            standby = self._standbys.pop(gone, None)
            if standby is not None and (standby.phase is Phase.EMITTING or gone in self._left):
                self._left.discard(gone)
                self._start(self._withdraw(gone))
        self._known_since_ns = {peer: self._known_since_ns.get(peer, now.mono_ns) for peer in peers}
        for box in node.configuration.restore.standby_for:
            if box in self._standbys:
                self._standbys[box].quorum = manifest.quorum_of(box)
            elif box in self._known_since_ns:
                self._standbys[box] = Standby(box, manifest.quorum_of(box), now.mono_ns)

    def step(self, now: Now) -> None:
        """A few times a second: who is silent, and what follows."""
        heard, alerts = self._node.member.gossip.heard_mono_ns, self._node.alerts
        for peer, since_ns in self._known_since_ns.items():
            self._watch(peer, max(since_ns, heard.get(peer, since_ns)), now)
        self._watch_vouching(now)
        self._watch_own_network(now)
        for standby in self._standbys.values():
            self._judge_order(standby, now)
            match standby.step(heard.get(standby.box), now.mono_ns):
                case Step.ASK_AND_RESTORE:
                    self._start(self._restore(standby))
                case Step.END_EMISSION if standby.phase is Phase.HEARD:
                    _LOG.warning("the restored values of %s are withdrawn: it is heard again", standby.box)
                    self._start(self._withdraw(standby.box))
                case Step.END_EMISSION:
                    _LOG.warning("the restored values of %s are left to another box that speaks for it", standby.box)
                    self._left.add(standby.box)
                    self._start(self._withdraw(standby.box))
            if standby.phase is Phase.HEARD:
                if standby.box in self._left:
                    self._left.discard(standby.box)
                    self._start(self._withdraw(standby.box))
                alerts.clear(_CANNOT, standby.box, now.utc_ns)
                self._failures.pop(standby.box, None)
        if self._node.configuration.restore.standby_for:
            able = (box for box in self._standbys if self._failures[box] < _TRIES_BEFORE_THE_RESERVE)
            self._node.member.gossip.duties.own = tuple(able)
        for delivery in self._deliveries.values():
            self._follow_up(delivery, now)

    def _watch_own_network(self, now: Now) -> None:
        """Nobody at all is heard: it is this box that is cut off, and not each of the others that is dead."""
        heard, alerts, own = self._node.member.gossip.heard_mono_ns, self._node.alerts, self._node.member.own_id
        is_cut_off = len(self._known_since_ns) > 1 and all(
            now.mono_ns - max(since_ns, heard.get(peer, since_ns)) >= LIMITS.silence_ns
            for peer, since_ns in self._known_since_ns.items()
        )
        for standby in self._standbys.values():
            standby.is_cut_off = is_cut_off
        if not is_cut_off or not self._standbys:
            alerts.clear(_CUT_OFF, own, now.utc_ns)
            return
        text = f"{own} hears no other box: it may be cut off itself, and restores none that needs another's word on it"
        next_step = f"check the network of {own} itself: its cable, its switch, then orledger status on another box"
        alerts.take(Warn(_CUT_OFF, "critical", "operator", own, text, next_step), now.utc_ns)

    def _judge_order(self, standby: Standby, now: Now) -> None:
        """Of several that stand by for one the first in the manifest acts; this one while it hears none before it."""
        node, heard = self._node, self._node.member.gossip.heard_mono_ns
        before = self._before(standby.box)
        standby.defers = any(now.mono_ns - heard[each] < LIMITS.silence_ns for each in before if each in heard)
        if not before:
            node.alerts.clear(_RESERVE, standby.box, now.utc_ns)
            return
        text = f"{before[0]} stands by for {standby.box}; {node.member.own_id} does while {before[0]} cannot"
        next_step = f"if one standby is meant, name {standby.box} in [restore] standby_for of one box alone"
        node.alerts.take(Warn(_RESERVE, "info", "operator", standby.box, text, next_step), now.utc_ns)

    def _before(self, box: str) -> list[str]:
        gossip, order = self._node.member.gossip, [each.id for each in self._node.manifest.boxes]
        before = gossip.duties.before(self._node.member.own_id, box, order, gossip.heard_mono_ns)
        return [each for each in before if each != box]

    async def _others_hear(self, boxes: Sequence[str]) -> bool:
        """True when somebody who answers hears one of these: it is we who do not."""
        for box in boxes:
            answers = await self._node.restorer.heads(box)
            given = [answer for sender, answer in answers.items() if sender != self._node.member.own_id]
            if any(Hearing(answer.silent_ms).hears for answer in given):
                return True
        return False

    def _follow_up(self, delivery: _Delivery, now: Now) -> None:
        """A console that did not take the state gets it again; values so old that their case is over are withdrawn."""
        close_after_ns = self._node.configuration.case.close_after_h * _HOUR_NS
        if close_after_ns and not delivery.is_over and now.mono_ns - delivery.since_ns >= close_after_ns:
            delivery.is_over, delivery.due_ns = True, None
            _LOG.warning("the case of %s is over by rule: its restored values are withdrawn", delivery.report.box)
            self._start(self._take_back(delivery.report.box))
        elif delivery.due_ns is not None and now.mono_ns >= delivery.due_ns:
            delivery.due_ns = None
            self._start(self._again(delivery))

    def _watch(self, peer: str, heard_ns: int, now: Now) -> None:
        alerts = self._node.alerts
        if now.mono_ns - heard_ns >= LIMITS.silence_ns:
            text = f"{peer} is silent: it vouches for nothing, and its own room may not be recorded"
            alerts.take(
                Warn("peer.silent", "warning", "peer", peer, text, f"check power and network of {peer}"), now.utc_ns
            )
        else:
            alerts.clear("peer.silent", peer, now.utc_ns)

    def _watch_vouching(self, now: Now) -> None:
        node, own = self._node, self._node.member.own_id
        unvouched_ns = node.pump.unvouched_ns(now)
        if unvouched_ns < LIMITS.unvouched_ns:
            node.alerts.clear("log.unvouched", own, now.utc_ns)
            return
        quorum = node.member.writer.quorum
        text = (
            f"what {own} records has not been vouched for by {quorum.witnessed} of {quorum.peers} peers for some time"
        )
        node.alerts.take(
            Warn("log.unvouched", "warning", "peer", own, text, "check the peers and the network; recording goes on"),
            now.utc_ns,
        )

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restore(self, standby: Standby) -> None:
        node = self._node
        try:
            report = await node.restorer.restore(standby.box)
            reserves = await self._others_hear(self._before(standby.box))
        except OrledgerError as error:
            self._failed(standby, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the box is restored once it can be
            _LOG.exception("standing by for %s", standby.box)
            self._failed(standby, OurFault("standby.failed", f"the restore failed: {error!r}", "report this"))
            return
        now = node.now()
        node.alerts.clear(_CANNOT, standby.box, now.utc_ns)
        self._failures.pop(standby.box, None)
        others = {box: Hearing(silent_ms) for box, silent_ms in report.silent_ms.items() if box != node.member.own_id}
        heard_ns = node.member.gossip.heard_mono_ns.get(standby.box)
        if reserves or not standby.may_emit(others, heard_ns, now.mono_ns):
            standby.failed(now.mono_ns)
            _LOG.info("%s is silent here, but others hear it or its standby: nothing is handed out", standby.box)
            return
        standby.emitted(now.mono_ns)
        self._left.discard(standby.box)
        await self._hand_over(report)

    def _failed(self, standby: Standby, error: OrledgerError) -> None:
        """It is tried again and again; a person is told."""
        now = self._node.now()
        standby.failed(now.mono_ns)
        if standby.is_cut_off and not isinstance(error, OurFault):
            _LOG.info("%s cannot be restored while this box hears nobody: %s", standby.box, error)
            return  # said of this box, once, by standby.cut-off
        self._failures[standby.box] += 1
        text = f"{standby.box} is silent and its state cannot be restored: {error.text}"
        warning = Warn(_CANNOT, "critical", error.party, standby.box, text, error.next_step or f"check {standby.box}")
        self._node.alerts.take(warning, now.utc_ns)

    async def _hand_over(self, report: RestoreReport) -> None:
        node = self._node
        seq = node.record(report.notice())
        delivery = self._deliveries[report.box] = _Delivery(report, seq, node.now().mono_ns)
        faults = await self._emission.hand_over(report, node.now(), seq)
        if await self._is_over(delivery):
            return
        text = f"{report.box} fell silent; its last state, block {report.restored.head.seq:,}, went to the console"
        next_step = f"check {report.box}; the values are not live"
        node.alerts.take(Warn("standby.emitting", "critical", "peer", report.box, text, next_step), node.now().utc_ns)
        self._tell(delivery, faults)

    async def _again(self, delivery: _Delivery) -> None:
        """Once more to whoever did not take it, until he does: a console that refused may have been starting."""
        if self._deliveries.get(delivery.report.box) is delivery and not delivery.is_over:
            faults = await self._emission.hand_over(delivery.report, self._node.now(), delivery.recorded_in, again=True)
            if not await self._is_over(delivery):
                self._tell(delivery, faults)

    async def _is_over(self, delivery: _Delivery) -> bool:
        """True when it was withdrawn while it was handed over: what came to a console after that goes too."""
        current = self._deliveries.get(delivery.report.box)
        if current is delivery and not delivery.is_over:
            return False
        if current is None or current is delivery:
            await self._take_back(delivery.report.box)
        return True

    def _tell(self, delivery: _Delivery, faults: Sequence[OrledgerError]) -> None:
        node, box = self._node, delivery.report.box
        if not faults:
            node.alerts.clear("standby.undelivered", box, node.now().utc_ns)
            return
        delivery.tries += 1
        if delivery.tries < LIMITS.console_tries:
            pause_ns = min(LIMITS.console_pause_min_ns << min(delivery.tries, 16), LIMITS.console_pause_max_ns)
            delivery.due_ns = node.now().mono_ns + pause_ns
        for fault in faults:
            _LOG.error("handing over the state of %s: %s", box, fault)
            node.alerts.take(
                Warn("standby.undelivered", "critical", fault.party, box, fault.text, fault.next_step),
                node.now().utc_ns,
            )

    async def _withdraw(self, box: str) -> None:
        self._deliveries.pop(box, None)
        await self._take_back(box)

    async def _take_back(self, box: str) -> None:
        node = self._node
        for alert in ("standby.emitting", "standby.undelivered"):
            node.alerts.clear(alert, box, node.now().utc_ns)
        for fault in await self._emission.withdraw(box, node.now(), here_alone=box in self._left):
            _LOG.error("withdrawing the state of %s: %s", box, fault)

    async def stop(self) -> None:
        """Let what has begun end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LIMITS.restore_total_ns / 1e9)
