"""From a message that brings an object to its acknowledgment: what is not durable here is never acknowledged."""

from __future__ import annotations

from pathlib import Path

from agent.feed import Feed
from agent.intake import Batch, Intake
from drivers.contract import Message, Now
from drivers.transports.object_sink import ObjectSink
from ledger.limits import LIMITS
from ledger.records import Gap, LinkId, Object
from tests.agent.feed_fakes import Codes, FakeTime, FakeTransport
from tests.agent.test_object_intake import accept, intake_of, record_of

LINK = LinkId(1)


class Images(Codes):
    """Each message's object is recorded, and acknowledged with ``a`` once durable."""

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert isinstance(data, Message)
        assert data.object is not None
        ticket = self.emit(data.object)
        self.send(link, b"a", after=ticket)
        self.waiting[ticket] = (link, b"a")


class Rig:
    def __init__(self, path: Path) -> None:
        self.time, self.transport, self.intake = FakeTime(), FakeTransport(), Intake()
        self.objects = intake_of(path)
        sink: ObjectSink = self.objects
        assert sink is self.objects
        self.feed = Feed(
            "pacs", Images, self.transport, self.intake, self.time.now, self.time.schedule,
            may_record_object=self.objects.may_be_recorded,
        )  # fmt: skip
        self.feed.start()
        self.transport.reachable = True
        self.feed.on_up(LINK, "10.0.0.7:104", self.time.now())

    def bring(self, record: Object) -> None:
        self.feed.on_message(LINK, Message("C-STORE", {}, b"", record), self.time.now())


def named(rig: Rig, batch: Batch) -> list[bytes]:
    """What the block says of the objects that its records name."""
    names = [record.sha256 for record in batch.groups["pacs"] if isinstance(record, Object)]
    return [each.sha256 for each in rig.objects.named(names)]


def test_an_object_is_acknowledged_when_its_block_is_durable(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    known = accept(rig.objects, b"image")
    rig.bring(record_of(known))
    assert rig.intake.objects_waiting() == {known.sha256}
    batch = rig.intake.take()
    assert named(rig, batch) == [known.sha256]
    assert rig.transport.sent == []
    rig.intake.durable(batch.last_position)
    assert rig.transport.sent == [(LINK, b"a")]
    assert rig.objects.folder.length(known.sha256) == known.sealed_bytes


def test_an_object_that_is_not_here_is_refused_and_leaves_a_gap(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    known = accept(rig.objects, b"image")
    rig.objects.discard(known.sha256)
    rig.bring(record_of(known))
    assert rig.transport.sent == [(LINK, b"Ea")]
    batch = rig.intake.take()
    records = batch.groups["pacs"]
    assert [record.cause for record in records if isinstance(record, Gap)] == ["store_refused"]
    assert not any(isinstance(record, Object) for record in records)


def test_a_second_record_of_the_same_object_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    known = accept(rig.objects, b"image")
    rig.bring(record_of(known))
    named(rig, rig.intake.take())
    rig.bring(record_of(known))
    assert rig.transport.sent == []
    rig.intake.durable(2)
    assert rig.transport.sent == [(LINK, b"a"), (LINK, b"Ea")]


def test_an_object_whose_record_waits_long_for_a_block_is_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    known = accept(rig.objects, b"image")
    rig.bring(record_of(known))
    rig.objects._mono_ns.mono_ns += 2 * LIMITS.object_unrecorded_ns  # type: ignore[attr-defined]
    assert rig.objects.expire(rig.intake.objects_waiting()) == 0
    assert named(rig, rig.intake.take())
