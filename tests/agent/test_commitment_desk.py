"""The desk of storage commitments in a group of boxes: told when the group holds it, whatever restarts or is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.clock import read_now
from agent.commitment_desk import CommitmentDesk
from agent.instances import Instances
from drivers.dicom.commitment import PROCESSING_FAILURE, Asked, Reference, Refusal, Report
from ledger.errors import StoreFault
from ledger.limits import MS_NS, S_NS
from ledger.local_secret import LocalSecret
from ledger.notices import Alert
from ledger.ops import PutPending
from ledger.quorum import Level
from ledger.records import Object
from ledger.store.rows import Table
from tests.agent.object_group import QUICK, ObjectBox, ObjectGroup

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
SECRET = LocalSecret(bytes(32))
LIMITS = replace(
    QUICK, commitment_look_ns=5 * MS_NS, commitment_retry_min_ns=5 * MS_NS, commitment_retry_max_ns=10 * MS_NS,
    commitment_patience_ns=0, commitment_report_ns=50 * MS_NS,
)  # fmt: skip


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


@dataclass
class Asker:
    """``Reporter``: what reached who asked; ``deaf`` says why nothing does."""

    deaf: str = ""
    told: list[Report] = field(default_factory=list)
    attempts: int = 0

    async def report(self, report: Report, attempt: int) -> str:
        self.attempts += 1
        await asyncio.sleep(0)
        if not self.deaf:
            self.told.append(report)
        return self.deaf


class Desk:
    """Box or-1 of a group with its desk and a feed's asker."""

    def __init__(self, group: ObjectGroup, asker: Asker) -> None:
        self.group = group
        self.asker = asker
        self.open()

    def open(self) -> None:
        own = self.own.box
        instances = Instances(own.store, own.keyring, self.own.keeper.vouching, SECRET, own.own)
        own.recorder.labels_of = instances.labels
        self.desk = CommitmentDesk(
            own.store, SECRET, own.member, own.pump, own.recorder,
            instances=instances, alerts=own.alerts, now=read_now, limits=LIMITS,
        )  # fmt: skip
        self.desk.attach("imaging", self.asker)
        self.desk.start()

    @property
    def own(self) -> ObjectBox:
        return self.group.boxes["or-1"]

    async def restart(self) -> None:
        await self.desk.stop()
        await self.group.restart("or-1")
        self.open()

    async def store(self, *instances: str, sop_class: str = CT) -> None:
        """Durable here, as after the success of a C-STORE."""
        for instance in instances:
            known = self.own.accept(instance.encode() * 100)
            meta = {"sop_class": sop_class, "sop_instance": instance}
            self.own.box.tick(
                Object(
                    at_ns=1,
                    sha256=known.sha256,
                    size=known.plain_bytes,
                    media_type="application/dicom",
                    name="CT",
                    meta=meta,
                )
            )
        await self.own.box.pump.drain()

    async def ask(
        self, uid: str, *instances: str, decide_s: float = 60.0, report_s: float = 60.0
    ) -> Refusal | None:  # fmt: skip
        at_ns = read_now().utc_ns
        request = Asked(
            "imaging", "CT1", uid, tuple(Reference(CT, each) for each in instances), at_ns,
            at_ns + int(decide_s * S_NS), int(report_s * S_NS),
        )  # fmt: skip
        refusal = await self.desk.ask(request)
        self.desk.begin(request.key)
        return refusal

    async def looked(self) -> None:
        """Everything was looked at anew, more than once."""
        for _ in range(4):
            await self.group.pumped.tick(1)
            await self.desk.look()

    @property
    def open_count(self) -> int:
        counts = self.desk.counts()
        return counts.undecided + counts.unreported


def desked(scenario: Callable[[Desk], Coroutine[Any, Any, None]], path: Path, boxes: int = 3) -> None:
    async def with_group() -> None:
        async with ObjectGroup(boxes, path) as group:
            desk = Desk(group, Asker())
            try:
                await scenario(desk)
            finally:
                await desk.desk.stop()

    run(with_group)


def committed(report: Report) -> set[str]:
    return {each.sop_instance for each in report.committed}


def failed(report: Report) -> dict[str, int]:
    return {each.sop_instance: reason for each, reason in report.failed}


def test_it_is_told_when_the_group_holds_it_and_not_before(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.group.pumped.cut |= {"or-2", "or-3"}
        await desk.store("1.2.1", "1.2.2")
        assert await desk.ask("2.25.1", "1.2.1", "1.2.2") is None
        await desk.looked()
        assert desk.asker.told == []
        desk.group.pumped.cut.discard("or-2")  # one of two is not enough
        await desk.group.until(lambda: "or-2" in desk.own.box.member.writer.vouching.cosigned, "or-2 cosigns")
        await desk.looked()
        assert desk.asker.told == []
        assert desk.desk.counts().undecided == 1
        desk.group.pumped.cut.clear()
        await desk.group.until(lambda: desk.open_count == 0, "told")
        (report,) = desk.asker.told
        assert (report.event_type, committed(report)) == (1, {"1.2.1", "1.2.2"})
        await desk.group.until(lambda: desk.own.box.store.pending() == {}, "nothing is kept any more")

    desked(scenario, tmp_path)


def test_a_cosigned_block_is_not_enough_while_its_object_is_on_its_way(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        for peer in ("or-2", "or-3"):
            await desk.group.boxes[peer].keeper.stop()  # blocks are taken, objects are not
        await desk.store("1.2.1")
        size = desk.own.box.member.writer.chain.size
        assert await desk.ask("2.25.1", "1.2.1") is None
        vouching = desk.own.box.member.writer.vouching
        await desk.group.until(lambda: sorted(vouching.cosigned.values())[:1] > [size], "cosigned")
        await desk.looked()
        assert desk.asker.told == []

    desked(scenario, tmp_path)


def test_restarts_lose_nothing_and_what_an_epoch_ended_with_is_told_too(tmp_path: Path) -> None:
    """Recorded and asked for with the peers away; the log it stands in is never cosigned to its end."""

    async def scenario(desk: Desk) -> None:
        desk.group.pumped.cut |= {"or-2", "or-3"}
        await desk.store("1.2.1")
        assert await desk.ask("2.25.1", "1.2.1") is None
        log = desk.own.box.member.writer.chain.log
        for _ in range(2):
            await desk.restart()
            await desk.looked()
        assert desk.asker.told == []
        assert desk.desk.counts().undecided == 1
        assert desk.own.box.member.writer.chain.log != log
        desk.group.pumped.cut.clear()
        for name, box in desk.group.boxes.items():
            for peer in desk.group.boxes:
                if peer != name:
                    box.box.pump.peer_up(peer)
        await desk.group.until(lambda: desk.open_count == 0, "told")
        assert [committed(report) for report in desk.asker.told] == [{"1.2.1"}]

    desked(scenario, tmp_path)


def test_a_report_that_is_not_taken_survives_a_restart_unchanged_and_comes_once(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asker.deaf = "CT1 does not answer"
        assert await desk.ask("2.25.1", "1.2.1") is None
        await desk.group.until(lambda: desk.asker.attempts > 2, "tried again and again")
        late = [each.warning for each in desk.own.box.alerts.active() if each.warning.id == "dicom.report-late"]
        assert [each.subject for each in late] == ["CT1"]
        assert "does not answer" in late[0].text
        await desk.store("1.2.1")  # too late: what was decided stays decided
        await desk.restart()
        await desk.looked()
        assert desk.desk.counts().unreported == 1
        desk.asker.deaf = ""
        await desk.group.until(lambda: desk.open_count == 0, "told")
        await desk.looked()
        assert [failed(report) for report in desk.asker.told] == [{"1.2.1": 0x0112}]
        assert not [each for each in desk.own.box.alerts.active() if each.warning.id == "dicom.report-late"]

    desked(scenario, tmp_path)


def test_who_never_comes_to_an_end_holds_up_nobody_for_ever(tmp_path: Path) -> None:
    class Stuck(Asker):
        async def report(self, report: Report, attempt: int) -> str:
            self.attempts += 1
            await asyncio.Event().wait()
            return ""

    async def scenario(desk: Desk) -> None:
        stuck = Stuck()
        desk.desk.attach("imaging", stuck)
        for number in range(LIMITS.commitment_reports + 1):
            assert await desk.ask(f"2.25.{number}", "1.2.1") is None
        await desk.group.until(lambda: stuck.attempts > LIMITS.commitment_reports, "others have their turn")

    desked(scenario, tmp_path)


def test_what_nobody_takes_in_time_ends_in_an_alert_a_notice_and_an_event(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asker.deaf = "CT1 does not answer"
        recorder = Kept()
        desk.desk._recorder = recorder  # type: ignore[assignment]
        assert await desk.ask("2.25.1", "1.2.1", report_s=0.05) is None
        await desk.group.until(lambda: desk.open_count == 0, "given up")
        alerts = {each.warning.id: each.warning for each in desk.own.box.alerts.active()}
        assert alerts["dicom.report-lost"].severity == "critical"
        assert "1.2.1" not in alerts["dicom.report-lost"].text
        assert recorder.notices == [Alert("dicom.report-lost", "imaging", True)]
        assert ["given up" in each.text for each in recorder.events] == [True]
        await desk.group.until(lambda: desk.own.box.store.pending() == {}, "nothing is kept any more")
        assert desk.desk.counts().given_up == 1

    desked(scenario, tmp_path)


@dataclass
class Kept:
    """``Recorder`` as the desk uses it."""

    notices: list[object] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def notice(self, notice: object) -> None:
        self.notices.append(notice)

    def own_record(self, record: object) -> None:
        self.events.append(record)


def test_each_content_under_a_uid_counts_and_another_class_is_a_conflict(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store("1.2.1", "1.2.3")
        await desk.store("1.2.2", sop_class=MR)
        store, vouching, size = (
            desk.own.box.store,
            desk.own.box.member.writer.vouching,
            desk.own.box.member.writer.chain.size,
        )
        await desk.group.until(
            lambda: (
                vouching.size_at(Level.WITNESSED) >= size
                and all(len(store.object_holdings(each)) == 2 for each in objects(desk))
            ),
            "the group holds them",
        )
        desk.group.pumped.cut |= {"or-2", "or-3"}
        await desk.store("1.2.3")  # again, with another object
        assert await desk.ask("2.25.1", "1.2.1", "1.2.2", "1.2.3", decide_s=0.3) is None
        await desk.group.until(lambda: desk.open_count == 0, "told")
        (report,) = desk.asker.told
        assert committed(report) == {"1.2.1"}
        assert failed(report) == {"1.2.2": 0x0119, "1.2.3": PROCESSING_FAILURE}

    desked(scenario, tmp_path)


def objects(desk: Desk) -> list[bytes]:
    return [row.stored.sha256 for row in desk.own.box.store.objects()]


def test_an_erased_instance_is_not_committed(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store("1.2.1")
        await desk.group.until(lambda: len(desk.own.box.store.object_holdings(objects(desk)[0])) == 2, "held")
        for key_id in desk.own.box.keyring.key_ids():
            desk.own.box.keyring.entomb(key_id)
        assert await desk.ask("2.25.1", "1.2.1") is None
        await desk.group.until(lambda: bool(desk.asker.told), "told")
        assert failed(desk.asker.told[0]) == {"1.2.1": 0x0112}

    desked(scenario, tmp_path)


def test_no_identifier_stands_on_the_disk(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asker.deaf = "away"
        await desk.store("2.25.123456789123456789")
        assert await desk.ask("2.25.987654321987654321", "2.25.123456789123456789") is None
        await desk.group.until(lambda: desk.asker.attempts > 0, "decided")
        store = desk.own.box.store
        assert (len(store._rows(Table.OBJECT_LABELS)), len(store.pending())) == (1, 1)

    desked(scenario, tmp_path)
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 3
    assert not [data for data in written if b"123456789123456789" in data or b"987654321987654321" in data]


def test_objects_that_came_before_there_were_labels_get_theirs(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.own.box.recorder.labels_of = lambda _records: []
        await desk.store("1.2.1")
        assert not desk.own.box.store.has_label(objects(desk)[0])
        await desk.desk.stop()
        table = desk.own.box.store._tables[Table.SELF]
        with desk.own.box.store._env.begin(write=True) as txn:
            txn.delete(b"self/objects-labelled", db=table)
        desk.open()
        await desk.group.until(lambda: desk.own.box.store.has_label(objects(desk)[0]), "labelled")
        assert await desk.ask("2.25.1", "1.2.1") is None
        await desk.group.until(lambda: bool(desk.asker.told), "told")
        assert committed(desk.asker.told[0]) == {"1.2.1"}

    desked(scenario, tmp_path)


def test_a_request_that_cannot_be_read_back_is_told_and_stops_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asker.deaf = "away"
        assert await desk.ask("2.25.1", "1.2.1") is None
        desk.own.box.member.out.persist(PutPending(b"k" * 32, LocalSecret(b"x" * 32).seal(b"of another box")))
        await desk.own.box.pump.make_durable()
        await desk.restart()
        assert "dicom.commitments-unreadable" in {each.warning.id for each in desk.own.box.alerts.active()}
        assert desk.open_count == 1

    desked(scenario, tmp_path)


def test_a_box_without_peers_promises_nothing(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store("1.2.1")
        refused = await desk.ask("2.25.1", "1.2.1")
        assert refused is not None
        assert refused.status == PROCESSING_FAILURE
        assert desk.open_count == 0

    desked(scenario, tmp_path, boxes=1)


def test_what_the_disk_does_not_take_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_ops: object) -> None:
        raise StoreFault("store.io", "the disk is gone")

    async def scenario(desk: Desk) -> None:
        await desk.store("1.2.1")
        monkeypatch.setattr(desk.own.box.store, "commit", full)
        with pytest.raises(StoreFault, match="the disk is gone"):
            await desk.ask("2.25.1", "1.2.1")
        assert desk.open_count == 0
        assert desk.asker.told == []

    desked(scenario, tmp_path)
