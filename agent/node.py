"""One box, running: feeds to blocks to disk to peers. Wires the parts together; each part has a room of its own.

The first record does not wait for the network: store, member, feeds and tick come first, then control, broker and mesh.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.alerts import Alerts
from agent.box_files import BoxFolder, BoxIdentity, load_box, open_keyring
from agent.case_config import case_rules
from agent.case_desk import CaseDesk
from agent.catching_up import CatchingUp
from agent.clock import read_now, read_quality
from agent.commands import handlers
from agent.commitment_desk import CommitmentDesk
from agent.config import Configuration
from agent.control import ControlServer
from agent.disk import (
    RingKeys,
    StoreDisk,
    announced_cases,
    last_state,
    load_manifest,
    load_replicas,
    own_past,
    resumed_case,
)
from agent.drill import Drills
from agent.failover import Failover
from agent.feed import Feed
from agent.feed_build import build_feed
from agent.feed_config import feed_setups
from agent.garbage import Garbage
from agent.housekeeping import Housekeeping
from agent.instances import Instances
from agent.intake import Intake
from agent.live_key import Live, LiveKey
from agent.mender import Mender
from agent.network import Network
from agent.object_intake import ObjectIntake
from agent.object_keeper import ObjectKeeper
from agent.page import Page
from agent.pump import Pump
from agent.recorder import Closed, Recorder
from agent.relay import Relay
from agent.restorer import Restorer
from agent.sd_notify import Notifier
from agent.self_check import SelfCheck
from agent.statistics import Statistics
from agent.ticker import Ticker
from agent.wake_timer import loop_schedule
from drivers import registry
from ledger.cases import Cases
from ledger.errors import ConfigurationFault, OrledgerError
from ledger.instant import Now
from ledger.lacking import lacking
from ledger.limits import LIMITS, S_NS
from ledger.local_secret import LocalSecret
from ledger.manifest import Manifest
from ledger.member import Member
from ledger.notices import Notice
from ledger.objects import ObjectFolder
from ledger.quota import QUOTA
from ledger.records import CaseChange, Record
from ledger.store import Store

_LOG = logging.getLogger(__name__)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Node:
    """One agent process. ``run`` returns the exit code after a clean stop."""

    def __init__(self, configuration: Configuration) -> None:
        """Opens the store and takes over what it holds. Raises ConfigurationFault, StoreFault, NotPermitted."""
        self.configuration = configuration
        box = configuration.box
        self._setups = feed_setups(configuration, registry.get)
        folder = BoxFolder(Path(box.data_dir))
        self.identity: BoxIdentity = load_box(folder)
        self.store = Store.open(folder.ledger)
        self.keyring = open_keyring(folder, self.identity)
        manifest = load_manifest(self.store, box.id)
        if manifest is None:
            raise ConfigurationFault("box.unenrolled", f"{folder.path} holds no manifest", "run: orledger init")
        if manifest.site != box.site:
            raise ConfigurationFault(
                "config.other-site",
                f"the configuration says {box.site}, the manifest {manifest.site}",
                "correct $.box.site",
            )
        self.alerts = Alerts()
        self.statistics = Statistics()
        self.intake = Intake()
        disk = StoreDisk(self.store)
        self.member = Member(
            box.id, self.identity.secrets, manifest, _boot_id(), disk, RingKeys(self.keyring), secrets.token_bytes
        )
        replicas = load_replicas(self.store)
        state = last_state(self.store, self.keyring, replicas, box.id)
        self.recorder = Recorder(self.member, state, read_quality)
        self.desk = self._case_desk(resumed_case(self.store, replicas, box.id, state))
        past = own_past(self.store, box.id, replicas)
        self.member.start(
            past,
            replicas,
            self.store.promises(),
            self.keyring.settled_ids(),
            self.store.manifests(),
            self.store.self_value(QUOTA),
            self.store.proofs().values(),
        )
        self._followed = self.member.manifests.newest
        self.pump = Pump(
            self.member, self.store, self.keyring, self.intake, self.alerts, self.statistics, read_now, self._failed
        )
        self.ticker = Ticker(
            self.member, self.recorder, self.desk, self.intake, self.pump, self.alerts, self.statistics, self._failed
        )
        self.restorer = Restorer(self.member, self.keyring, self.pump, read_now)
        self.relay = Relay(self.member, self.pump)
        self.mender = Mender(self.member, self.store, self.pump, self.restorer.lock)
        self.housekeeping = Housekeeping(
            self.store, self.keyring, self.member, self.pump, self.alerts, configuration.store, read_now, read_quality
        )
        self.objects, self.object_keeper, self.commitments = self._open_objects(folder)
        self.network = Network(self)
        self.failover = Failover(self)
        self.drills = Drills(self)
        self.feeds: list[Feed] = []
        self.catching_up = CatchingUp(lambda: lacking(self.member))
        self._self_check = SelfCheck(self.alerts, read_quality, self.feeds)
        self.recording = False
        self.started_ns = read_now().mono_ns
        self._notifier = Notifier()
        self.page = Page(self)
        self._control = ControlServer(box.control_socket, handlers(self))
        self._stop: asyncio.Event | None = None
        self._garbage = Garbage()

    def _open_objects(self, folder: BoxFolder) -> tuple[ObjectIntake, ObjectKeeper, CommitmentDesk]:
        """What is too large for a block: its way in, who keeps it, and who promises others that it is kept."""
        self._key_of_now = LiveKey(self._live_key)
        self.recorder.apart = self._key_of_now.apart
        objects = ObjectIntake(
            ObjectFolder.open(folder.objects), self._key_of_now, self.housekeeping.reserve_bytes // 2
        )
        keeper = ObjectKeeper(
            self.store, self.keyring, self.member, self.pump, self.intake, objects, self.alerts, read_now
        )
        self.recorder.objects_named = keeper.named
        self.housekeeping.on_pruned = keeper.pruned
        secret = LocalSecret(self.identity.ring_key)
        instances = Instances(self.store, self.keyring, keeper.vouching, secret, self.configuration.box.id)
        self.recorder.labels_of = instances.labels
        desk = CommitmentDesk(
            self.store, secret, self.member, self.pump, self.recorder,
            instances=instances, alerts=self.alerts, now=read_now,
        )  # fmt: skip
        return objects, keeper, desk

    def _case_desk(self, resumed: CaseChange | None) -> CaseDesk:
        """With the case that was open when the process before this one ended."""
        self.member.writer.resume_case(None if resumed is None else resumed.case_id)
        cases = Cases(case_rules(self.configuration.case), secrets.token_bytes, resumed)
        for case_id, facts in announced_cases(self.store, self.keyring, self.configuration.box.id):
            cases.recall(case_id, facts)
        desk = CaseDesk(cases, self.recorder, self.intake, self.alerts)
        desk.on_case = self._tell_feeds
        return desk

    def _tell_feeds(self, facts: Mapping[str, str] | None) -> None:
        """Drivers that route by patient hear whose case is open."""
        for feed in self.feeds:
            feed.case_changed(facts)

    # ---- life --------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Record until ``stop``; returns 0. Raises the fault that ended it otherwise, after a clean end."""
        self._stop = asyncio.Event()
        self._key_of_now.begin()
        self.pump.on_durable = self._block_durable
        try:
            may_begin = self.housekeeping.may_begin()
            if not may_begin:
                await self._wait_for_room(self._stop)
            if not self._stop.is_set():
                await self._record(self._stop, control_runs=not may_begin)
        except OrledgerError as error:
            self._failed(error)
        finally:
            self._notifier.stopping()
            await self._close_down()
        if self.ticker.fault is not None:
            raise self.ticker.fault
        return 0

    async def _wait_for_room(self, stop: asyncio.Event) -> None:
        """Stay while the disk is full, so that it can be said: a process that ends at every attempt is not heard."""
        await self._control.start()
        self.page.start()
        self._notifier.ready("NOT RECORDING: the disk is full")
        while not stop.is_set() and not self.housekeeping.may_begin():
            self._notifier.watchdog()
            await asyncio.sleep(LIMITS.housekeeping_every_ns / S_NS)

    async def _record(self, stop: asyncio.Event, *, control_runs: bool) -> None:
        loop = asyncio.get_running_loop()
        for setup in self._setups:
            feed = build_feed(
                setup, self.intake, read_now, loop_schedule(loop), objects=self.objects,
                commitments=self.commitments.for_feed(setup.name),
            )  # fmt: skip
            self.feeds.append(feed)
            feed.start()
        self._tell_feeds(None if self.desk.cases.current is None else self.desk.cases.current.facts)
        self.recording = True
        self.ticker.start(stop, self._between_ticks)
        try:
            if not control_runs:
                await self._control.start()
            await self.network.start()
            self.housekeeping.start()
            self.object_keeper.start()
            self.commitments.start()
            self.drills.start()
            self.page.start()
            self._garbage.settle(self.now())
            self._notifier.ready(f"recording as {self.configuration.box.id}")
            await stop.wait()
        finally:
            await self.ticker.stop()

    @property
    def manifest(self) -> Manifest:
        """The site's manifest in force here; the last that listed this box, should it have been removed."""
        return self.member.manifest

    def _follow_manifest(self) -> None:
        """A newer manifest may have come, from a peer or an operator: whatever lists peers follows it."""
        before, newest = self._followed, self.member.manifests.newest
        if newest is not before:
            self._followed = newest
            _LOG.warning("manifest %d of %s is in force", newest.version, newest.site)
            self.failover.follow()
            self.drills.follow()
            self.network.follow(before)

    def _live_key(self) -> Live | None:
        chain = self.member.writer.chain
        return (chain.log, chain.data_key) if self.recording and self.ticker.fault is None else None

    def now(self) -> Now:
        """This moment."""
        return read_now()

    def record(self, notice: Notice) -> int:
        """Put this on the chain now; the seq of the block that holds it. Raises the fault that ended the recording."""
        return self.ticker.close_now(lambda: self.recorder.notice(notice))

    def record_own(self, record: Record) -> int:
        """As ``record``, for a record in the ledger's own name."""
        return self.ticker.close_now(lambda: self.recorder.own_record(record))

    def write(self, blocks: Iterable[Closed]) -> int:
        """Close these blocks now; the seq of the last one. Raises the fault that ended the recording."""
        return self.ticker.write(blocks)

    def stop(self) -> None:
        """Ask for a clean stop."""
        if self._stop is not None:
            self._stop.set()

    async def _close_down(self) -> None:
        await self.drills.stop()
        await self.failover.stop()
        for feed in self.feeds:
            await feed.stop()
        self._key_of_now.end()
        await self.housekeeping.stop()
        await self.commitments.stop()
        await self.object_keeper.stop()
        if self.ticker.fault is None and self.recording:
            self.ticker.tick(time.perf_counter_ns())
            await self.pump.drain()
        await self.page.stop()
        await self._control.stop()
        await self.network.stop()
        self.pump.close()
        self.store.close()
        self._garbage.release()

    def _failed(self, error: OrledgerError) -> None:
        """Nothing more may be signed: say why and end; the service manager starts a new log."""
        _LOG.critical("stopping: %s", error)
        self.ticker.fault = error
        self.stop()

    def _between_ticks(self) -> None:
        """Fences, gossip, catch-up, failover and Python's own chores: when no block of this tick is on its way."""
        now = read_now()
        self.member.step(now)
        self.pump.pump()
        self._follow_manifest()
        self.failover.step(now)
        self._self_check.step(now)
        self.catching_up.step(now)
        self._garbage.collect(now)

    def _block_durable(self) -> None:
        if self.statistics.first_record_ns is None:
            self.statistics.first_record_ns = read_now().mono_ns - self.started_ns
        if self.ticker.block_durable():
            self._notifier.watchdog()


def _boot_id() -> bytes:
    try:
        return bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return os.urandom(16)
