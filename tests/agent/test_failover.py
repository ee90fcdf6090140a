from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest

from agent import config, failover, restorer
from agent.clock import read_now
from agent.emission import Emission
from agent.failover import Failover
from agent.node import Node
from agent.restorer import RestoreReport
from ledger.block import decode_signed_header
from ledger.errors import OrledgerError
from ledger.instant import Now
from ledger.limits import LIMITS, MS_NS, S_NS, Limits
from ledger.notices import Notice, RestorePerformed
from ledger.records import Numeric
from tests.agent.pumped import PumpedBox, PumpedGroup


class Watching:
    """A pumped box with a failover, and a clock that can be moved on."""

    def __init__(self, box: PumpedBox, standby_for: str, folder: Path, console: str = "") -> None:
        self.box = box
        self.ahead_ns = 0
        (folder / "run").mkdir()
        self.configuration = config.parse(
            f"""
[box]
site = "lab"
id = "{box.own}"
room = "x"
data_dir = "{folder}"
runtime_dir = "{folder}/run"
[replication]
listen = "127.0.0.1:1"
[restore]
standby_for = ["{standby_for}"]
{console}
""".encode()
        )
        node = SimpleNamespace(
            now=self.now, manifest=box.member.manifest, member=box.member, alerts=box.alerts, restorer=box.restorer,
            configuration=self.configuration, record=self.record, pump=box.pump,
        )  # fmt: skip
        self.failover = Failover(cast("Node", node))
        self.state_file = Path(self.configuration.box.runtime_dir) / f"{standby_for}.state.json"

    def lose(self, group: PumpedGroup, box: str) -> None:
        """``box`` dies, and nobody ever heard it."""
        group.boxes[box].dead = True
        self.ahead_ns = LIMITS.silence_ns
        for each in group.boxes.values():
            each.member.gossip.heard_mono_ns.pop(box, None)

    def now(self) -> Now:
        now = read_now()
        return Now(now.mono_ns + self.ahead_ns, now.utc_ns)

    def record(self, notice: Notice) -> int:
        self.box.recorder.notice(notice)
        self.box.tick()
        return self.box.member.writer.chain.size - 1

    def alert_ids(self) -> set[tuple[str, str]]:
        return {(alert.warning.id, alert.warning.subject) for alert in self.box.alerts.active()}

    async def step(self) -> None:
        self.failover.step(self.now())
        await self.failover.stop()

    def hear_all_but(self, group: PumpedGroup, lost: str) -> None:
        """So much later that ``lost`` is silent; the others are heard, however busy this machine is."""
        self.ahead_ns = LIMITS.silence_ns
        for box in group.boxes.values():
            heard = box.member.gossip.heard_mono_ns
            heard.pop(lost, None)
            heard.update(dict.fromkeys(set(group.boxes) - {lost, box.own}, read_now().mono_ns + 3_600 * S_NS))


def heart_rate() -> Numeric:
    return Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="72", unit="/min")


def test_a_silent_box_is_restored_by_its_standby_recorded_and_later_withdrawn(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            await watching.step()
            assert not watching.state_file.exists()
            group.boxes["or-2"].dead = True
            watching.hear_all_but(group, "or-2")
            await watching.step()
            assert "NOT LIVE" in watching.state_file.read_text()
            assert {("peer.silent", "or-2"), ("standby.emitting", "or-2")} <= watching.alert_ids()
            await group.settle()
            chain = watching.box.member.writer.chain
            block = watching.box.store.block(chain.log, chain.size - 1)
            assert block is not None
            assert any(isinstance(n, RestorePerformed) for n in decode_signed_header(block.signed_header).notices)
            watching.ahead_ns += 12 * 3_600 * S_NS  # so long after, its case is over by rule
            await watching.step()
            assert "NOT LIVE" not in watching.state_file.read_text()
            assert ("standby.emitting", "or-2") not in watching.alert_ids()
            watching.ahead_ns = 0
            group.boxes["or-2"].dead = False
            async with asyncio.timeout(60):
                while watching.alert_ids():  # what it missed comes first
                    await group.tick(1, heart_rate())
                    await watching.step()
            assert "NOT LIVE" not in watching.state_file.read_text()

    asyncio.run(scenario())


def test_a_box_that_another_peer_still_hears_is_not_spoken_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            watching.ahead_ns = LIMITS.silence_ns + 100 * MS_NS  # only or-1 believes that time has passed
            hears = group.boxes["or-3"].member.gossip.heard_mono_ns
            hears["or-2"] = read_now().mono_ns + 60 * S_NS  # however busy this machine is
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(watching.box.restorer, "restore", broken)
                await watching.step()
            assert ("standby.failed", "or-2") in watching.alert_ids()
            watching.ahead_ns += LIMITS.standby_retry_min_ns
            await watching.step()
            assert ("standby.failed", "or-2") not in watching.alert_ids(), "it can be restored"
            assert not watching.state_file.exists()
            assert ("standby.emitting", "or-2") not in watching.alert_ids()
            assert ("peer.silent", "or-2") in watching.alert_ids()

    asyncio.run(scenario())


def test_a_restore_that_fails_whatever_the_reason_is_told_of_and_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            group.boxes["or-2"].dead = True
            watching.hear_all_but(group, "or-2")
            restore = watching.box.restorer.restore
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(watching.box.restorer, "restore", broken)
                await watching.step()
            assert ("standby.failed", "or-2") in watching.alert_ids()
            assert watching.box.restorer.restore == restore
            watching.ahead_ns += LIMITS.standby_retry_min_ns
            await watching.step()
            assert "NOT LIVE" in watching.state_file.read_text()
            assert ("standby.failed", "or-2") not in watching.alert_ids()

    asyncio.run(scenario())


def test_a_console_that_fails_by_a_bug_of_ours_is_told_of_and_gets_the_state_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            watching.lose(group, "or-2")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(watching.failover._emission, "_to_file", bug)
                await watching.step()
            assert {("standby.undelivered", "or-2"), ("standby.emitting", "or-2")} <= watching.alert_ids()
            watching.ahead_ns += LIMITS.console_pause_max_ns
            await watching.step()
            assert "NOT LIVE" in watching.state_file.read_text()
            assert ("standby.undelivered", "or-2") not in watching.alert_ids()

    asyncio.run(scenario())


def test_a_box_that_is_heard_again_while_its_state_is_handed_over_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            watching.lose(group, "or-2")
            hand_over = watching.failover._emission.hand_over

            async def late(report: RestoreReport, now: Now, recorded_in: int, **more: bool) -> list[OrledgerError]:
                await watching.failover._withdraw("or-2")
                return await hand_over(report, now, recorded_in, **more)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(watching.failover._emission, "hand_over", late)
                await watching.step()
            assert "NOT LIVE" not in watching.state_file.read_text()
            assert ("standby.emitting", "or-2") not in watching.alert_ids()

    asyncio.run(scenario())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked is waited for, however busy this machine is: for tests in which everybody asked answers."""
    limits = Limits(restore_answer_ns=60 * S_NS, restore_total_ns=120 * S_NS)
    monkeypatch.setattr(restorer, "LIMITS", limits)
    monkeypatch.setattr(failover, "LIMITS", limits)


@pytest.mark.usefixtures("patient")
def test_a_standby_cut_off_from_everybody_says_so_of_itself_and_not_that_each_box_is_beyond_restoring(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with PumpedGroup(4, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-2", tmp_path)
            await group.tick(10, heart_rate())
            group.cut |= {"or-2", "or-3", "or-4"}
            watching.ahead_ns = LIMITS.silence_ns
            for _ in range(3):
                await watching.step()
                watching.ahead_ns += LIMITS.standby_retry_max_ns
            assert ("standby.cut-off", "or-1") in watching.alert_ids()
            assert ("standby.failed", "or-2") not in watching.alert_ids()
            assert not watching.state_file.exists()
            watching.box.member.gossip.heard_mono_ns["or-3"] = watching.now().mono_ns + 60 * S_NS
            group.cut -= {"or-3", "or-4"}
            for name in ("or-3", "or-4"):
                group.boxes[name].member.gossip.heard_mono_ns.pop("or-2", None)
            step = asyncio.create_task(watching.step())
            async with asyncio.timeout(60):
                while not step.done():
                    await group.settle()
            assert ("standby.cut-off", "or-1") not in watching.alert_ids()
            assert "NOT LIVE" in watching.state_file.read_text()

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_of_two_standbys_the_first_in_the_manifest_acts_and_the_other_while_nobody_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with PumpedGroup(4, tmp_path) as group:
            on_topic: list[bool] = []
            to_topic = 'console_out = ["file", "mqtt"]\nmqtt = { host = "127.0.0.1", port = 1 }'
            watching = Watching(group.boxes["or-4"], "or-1", tmp_path, to_topic)
            monkeypatch.setattr(Emission, "_to_mqtt", lambda _self, _box, text: on_topic.append(bool(text)))
            await group.tick(10, heart_rate())
            gossip = watching.box.member.gossip
            group.cut.add("or-1")
            for name in ("or-2", "or-3", "or-4"):
                group.boxes[name].member.gossip.heard_mono_ns.pop("or-1", None)
            watching.ahead_ns = LIMITS.silence_ns

            def hears(who: str, whom: str) -> None:
                clock = watching.now() if who == "or-4" else read_now()
                group.boxes[who].member.gossip.heard_mono_ns[whom] = clock.mono_ns + 60 * S_NS

            hears("or-4", "or-2")
            hears("or-4", "or-3")
            gossip.duties.take("or-2", ["or-1"], gossip.heard_mono_ns["or-2"])
            await watching.step()
            assert ("standby.reserve", "or-1") in watching.alert_ids()
            assert not watching.state_file.exists(), "or-2 is there"
            gossip.heard_mono_ns.pop("or-2")
            hears("or-3", "or-2")
            await watching.step()
            assert not watching.state_file.exists(), "or-3 still hears or-2"
            group.boxes["or-3"].member.gossip.heard_mono_ns.pop("or-2")
            watching.ahead_ns += LIMITS.standby_retry_max_ns
            hears("or-4", "or-3")
            await watching.step()
            assert "NOT LIVE" in watching.state_file.read_text()
            hears("or-4", "or-2")
            gossip.duties.take("or-2", ["or-1"], gossip.heard_mono_ns["or-2"])
            await watching.step()
            assert "NOT LIVE" not in watching.state_file.read_text(), "or-2 is back, and speaks for or-1"
            assert gossip.duties.own == ("or-1",)
            assert on_topic == [True], "what is on the topic both have is or-2's now, and may be all there is"
            hears("or-4", "or-1")
            await watching.step()
            assert on_topic == [True, False], "but nobody leaves it there once or-1 is heard"

    asyncio.run(scenario())


def bug(*_given: object) -> NoReturn:
    raise KeyError("a bug")


async def broken(_box: str) -> NoReturn:
    raise KeyError("a bug")


def test_without_a_standby_duty_there_is_the_alert_and_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-3", tmp_path)
            await group.tick(10, heart_rate())
            group.boxes["or-2"].dead = True
            watching.hear_all_but(group, "or-2")
            await watching.step()
            assert watching.alert_ids() == {("peer.silent", "or-2")}

    asyncio.run(scenario())


def test_blocks_that_nobody_vouches_for_are_told_of_and_recording_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            watching = Watching(group.boxes["or-1"], "or-3", tmp_path)
            await group.tick(10, heart_rate())
            await watching.step()
            assert ("log.unvouched", "or-1") not in watching.alert_ids()
            group.boxes["or-2"].dead = True
            await group.tick(2, heart_rate())
            watching.ahead_ns = LIMITS.unvouched_ns
            await watching.step()
            assert ("log.unvouched", "or-1") in watching.alert_ids()
            watching.ahead_ns = 0
            group.boxes["or-2"].dead = False
            async with asyncio.timeout(60):
                while ("log.unvouched", "or-1") in watching.alert_ids():
                    await group.tick(1, heart_rate())
                    await watching.step()

    asyncio.run(scenario())
