from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.clock import read_now
from agent.config import StoreSection
from agent.disk import load_replicas, own_past
from agent.housekeeping import Housekeeping
from ledger.block import ClockQuality, ClockState
from ledger.errors import NoPeer, StoreFault
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.log_retention import expired_name
from ledger.ops import PrunePayloads
from ledger.quorum import Level
from ledger.records import Numeric
from ledger.retention import DAY_NS
from ledger.store import StoredBlock, StoreUsage
from tests.agent.pumped import PumpedBox, PumpedGroup

GIB = 1 << 30
ROOMY = StoreUsage(GIB, GIB, 100 * GIB, 200 * GIB)
RIGHT = ClockQuality(ClockState.SYNCHRONISED, 1)
UNSET = ClockQuality(ClockState.UNSYNCHRONISED, 1)
RATE = Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="72", unit="/min")


@dataclass
class World:
    """What a box's housekeeping believes of time, clock and disk."""

    later_ns: int = 0
    quality: ClockQuality = RIGHT
    usage: StoreUsage = ROOMY

    def now(self) -> Now:
        now = read_now()
        return Now(now.mono_ns + self.later_ns, now.utc_ns + self.later_ns)

    def keep(self, box: PumpedBox, days: int = 30, log_days: int | None = None) -> Housekeeping:
        keeper = Housekeeping(
            box.store,
            box.keyring,
            box.member,
            box.pump,
            box.alerts,
            StoreSection(4, days, log_days),
            self.now,
            lambda: self.quality,
        )
        keeper.usage = lambda: self.usage
        return keeper


def held(box: PumpedBox) -> int:
    """Payloads in the box's store."""
    return sum(bool(block.payload) for log, _ in box.store.logs() for block in all_blocks(box, log))


def all_blocks(box: PumpedBox, log: LogId) -> list[StoredBlock]:
    return list(box.store.blocks(log, 0, box.store.length(log)))


def alerts(box: PumpedBox) -> dict[str, str]:
    return {alert.warning.id: alert.warning.severity for alert in box.alerts.active() if alert.warning.party != "peer"}


async def look(keeper: Housekeeping, box: PumpedBox, times: int = 1) -> None:
    for _ in range(times):
        await keeper.look()
        await box.pump.drain()


def with_group(folder: Path, scenario: Callable[[PumpedGroup], object], ticks: int = 15) -> None:
    async def run() -> None:
        async with PumpedGroup(3, folder) as group:
            await group.tick(ticks, RATE)
            result = scenario(group)
            assert asyncio.iscoroutine(result)
            await result

    asyncio.run(run())


def test_payloads_past_retention_go_and_headers_stay(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World()
        keeper = world.keep(box)
        headers = {log: list(box.store.headers(log, 0, box.store.length(log))) for log, _ in box.store.logs()}
        before = held(box)
        await look(keeper, box, 10)
        assert held(box) == before
        world.later_ns = 31 * DAY_NS
        await look(keeper, box, 10)
        assert held(box) == 0
        assert {log: list(box.store.headers(log, 0, len(headers[log]))) for log in headers} == headers
        assert alerts(box) == {}
        assert box.failures == []

    with_group(tmp_path, scenario)


def test_a_short_disk_takes_old_payloads_early_and_spares_the_last_day(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World(usage=replace(ROOMY, disk_free_bytes=29 * GIB), quality=UNSET)
        keeper = world.keep(box)
        before = held(box)
        await look(keeper, box, 10)
        assert held(box) == before
        world.later_ns = 2 * DAY_NS
        await look(keeper, box, 10)
        assert held(box) == 0

    with_group(tmp_path, scenario)


def test_an_open_case_stays_whatever_the_disk_says(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World(usage=replace(ROOMY, disk_free_bytes=GIB))
        chain = box.member.writer.chain
        before = chain.size
        chain.case_id = bytes(range(16))
        await group.tick(3, RATE)
        keeper = world.keep(box)
        world.later_ns = 31 * DAY_NS
        await look(keeper, box, 10)
        payloads = [bool(block.payload) for block in all_blocks(box, chain.log)]
        assert payloads == [False] * before + [True] * 3
        peer = group.boxes["or-2"]
        await look(world.keep(peer), peer, 10)
        assert [bool(block.payload) for block in all_blocks(peer, chain.log)] == payloads

    with_group(tmp_path, scenario)


def test_alerts_say_what_the_disk_lacks_and_clear(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World()
        keeper = world.keep(box)
        expected = [
            (100.0, {}),
            (3.5, {"disk.reserve": "warning"}),
            (1.9, {"disk.reserve": "warning", "disk.replicas-paused": "warning"}),
            (2.5, {"disk.reserve": "warning", "disk.replicas-paused": "warning"}),
            (3.5, {"disk.reserve": "warning"}),
            (4.5, {}),
        ]
        for free_gib, shown in expected:
            world.usage = StoreUsage(GIB, GIB, int(free_gib * GIB), 20 * GIB)
            await look(keeper, box)
            assert alerts(box) == shown, free_gib
        world.usage = StoreUsage(GIB, 6 * GIB, 2 << 20, 20 * GIB)  # freed inside the file, which does not shrink
        await look(keeper, box)
        assert alerts(box) == {}
        world.usage = replace(world.usage, disk_free_bytes=0)  # a key could not be written
        await look(keeper, box)
        assert alerts(box) == {"disk.full": "critical"}

    with_group(tmp_path, scenario)


def test_a_file_that_cannot_grow_is_critical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World()
        monkeypatch.setattr(box.store, "prepare", lambda: False)
        await group.tick(40, RATE)  # room is made once in some commits, and the next ones come after it
        await look(world.keep(box), box)
        assert alerts(box) == {"disk.full": "critical", "disk.replicas-paused": "warning"}
        assert box.pump.replicas_paused

    with_group(tmp_path, scenario)


def test_a_disk_that_cannot_be_asked_is_an_alert_not_an_end(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World()
        keeper = world.keep(box)

        def fails() -> StoreUsage:
            raise StoreFault("store.io", "usage: input/output error", "check the disk")

        keeper.usage = fails
        await look(keeper, box)
        assert alerts(box) == {"disk.unreadable": "warning"}
        keeper.usage = lambda: ROOMY
        await look(keeper, box)
        assert alerts(box) == {}

    with_group(tmp_path, scenario)


def test_a_clock_that_is_not_right_keeps_payloads_and_says_so(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World(later_ns=40 * DAY_NS, quality=UNSET)
        before = held(box)
        await look(world.keep(box), box, 5)
        assert held(box) == before
        assert alerts(box) == {"retention.clock": "warning"}

    with_group(tmp_path, scenario)


@pytest.mark.parametrize(
    ("usage", "enough"),
    [
        (StoreUsage(GIB, GIB, LIMITS.store_start_bytes, 20 * GIB), True),
        (StoreUsage(GIB, GIB, LIMITS.store_start_bytes - 1, 20 * GIB), False),
        (StoreUsage(GIB, 2 * GIB, LIMITS.disk_start_bytes, 20 * GIB), True),
        (StoreUsage(GIB, 2 * GIB, LIMITS.disk_start_bytes - 1, 20 * GIB), False),
    ],
)
def test_a_log_begins_only_where_there_is_room(tmp_path: Path, usage: StoreUsage, enough: bool) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, world = group.boxes["or-1"], World(usage=usage)
        keeper = world.keep(box)
        assert keeper.may_begin() is enough
        assert alerts(box) == ({} if enough else {"disk.full": "critical"})
        world.usage = ROOMY
        assert keeper.may_begin()
        assert alerts(box) == {}

    with_group(tmp_path, scenario, ticks=1)


def test_a_paused_box_takes_no_blocks_of_others_records_on_and_catches_up(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        box, other = group.boxes["or-1"], group.boxes["or-2"]
        theirs = other.member.writer.chain.log
        taken = box.store.length(theirs)
        box.pump.replicas_paused = True
        await group.tick(20, RATE)
        assert box.store.length(theirs) == taken
        own = box.member.writer
        assert box.store.length(own.chain.log) == own.chain.size == own.vouching.size_at(Level.WITNESSED)
        assert other.member.writer.vouching.size_at(Level.WITNESSED) == taken
        report = await box.restorer.restore("or-3")  # what is fetched for a restore still comes
        assert report.restored.candidate.believed_size >= taken
        box.pump.replicas_paused = False
        async with asyncio.timeout(60):
            while other.member.writer.vouching.size_at(Level.WITNESSED) < other.member.writer.chain.size:
                await group.tick(1)
                await asyncio.sleep(0.05)
        assert box.statistics.peer_faults == {}

    with_group(tmp_path, scenario)


def test_a_restore_takes_from_whoever_still_holds_and_says_when_nobody_does(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        lost, box, other = (group.boxes[name] for name in ("or-2", "or-1", "or-3"))
        lost.dead = True
        log = lost.member.writer.chain.log
        box.store.commit([PrunePayloads(log, 0, box.store.length(log))])
        report = await box.restorer.restore("or-2")
        assert [str(value.value) for _, value in report.restored.state.values()] == ["72"]
        other.store.commit([PrunePayloads(log, 0, other.store.length(log))])
        with pytest.raises(NoPeer, match=r"were pruned at every peer .*headers are held") as caught:
            await box.restorer.restore("or-2")
        assert caught.value.id == "restore.pruned"

    with_group(tmp_path, scenario)


def test_whole_logs_go_at_their_own_retention_and_their_keys_with_them(tmp_path: Path) -> None:
    async def scenario(group: PumpedGroup) -> None:
        await asyncio.sleep(LIMITS.heads_every_ns / S_NS)  # tips are written once a second
        await group.tick(1)
        box, world = group.boxes["or-1"], World(quality=RIGHT)
        keeper = world.keep(box, days=30, log_days=90)
        live = {box.member.writer.chain.log, *(replica.log for replica in box.member.witness.held.live())}
        closed = {
            log: box.store.length(log) for log, _ in box.store.logs() if log not in live and box.store.length(log)
        }
        assert closed
        incarnations = {log.incarnation for log in closed}
        world.later_ns = 31 * DAY_NS
        await look(keeper, box, 12)
        assert held(box) == 0
        assert {log: box.store.first_held(log) for log in closed} == dict.fromkeys(closed, 0)

        later = world.keep(box, days=30, log_days=90)  # a survey is made once a minute
        world.later_ns = 91 * DAY_NS
        await look(later, box, 12)
        assert all(box.store.self_value(expired_name(log)) is not None for log in closed)
        assert {log: box.store.first_held(log) for log in closed} == {log: size - 1 for log, size in closed.items()}
        entries = [entry for name in group.boxes for entry in box.keyring.entries_of(name)]
        assert entries
        assert not {entry.incarnation for entry in entries} & incarnations
        assert alerts(box) == {}
        assert box.failures == []
        held_logs = box.member.witness.held
        assert {log for log, replica in held_logs.replicas.items() if replica.expired} == closed.keys()
        assert {each.head.log for each in held_logs.reports() if each.expired} == closed.keys()

        reloaded = load_replicas(box.store)
        past = own_past(box.store, "or-1", reloaded)
        assert {head.log for head in past.heads} <= {box.member.writer.chain.log}

    with_group(tmp_path, scenario)
