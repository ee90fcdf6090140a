from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from agent.object_intake import ObjectIntake
from ledger.block import decode_signed_header
from ledger.errors import DeviceFault, StoreFault
from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.notices import StoredObject, StoredObjects
from ledger.objects import ObjectFolder, SealedObject, open_content, prove
from ledger.ops import ObjectState, PrunePayloads
from ledger.records import Object
from ledger.sealing import DataKey
from ledger.store import Store
from tests.agent.pumped import PumpedGroup

KEY = DataKey(bytes(32))
LOG = LogId("or-1", 1, b"i" * 16, True)
SECRET = b"a plain word that must never be on a disk "


class Clock:
    def __init__(self) -> None:
        self.mono_ns = 1_000

    def __call__(self) -> int:
        return self.mono_ns


def intake_of(
    path: Path, keep_free_bytes: int = 0, limits: Limits = LIMITS, clock: Clock | None = None
) -> ObjectIntake:
    folder = ObjectFolder.open(path / "objects", limits)
    return ObjectIntake(folder, lambda: (LOG, KEY), keep_free_bytes, limits, clock or Clock())


def accept(intake: ObjectIntake, content: bytes) -> SealedObject:
    with intake.begin(expected_bytes=len(content)) as writer:
        for at in range(0, len(content), 50_000):
            writer.write(content[at : at + 50_000])
        return writer.finish()


def record_of(known: SealedObject) -> Object:
    return Object(at_ns=1, sha256=known.sha256, size=known.plain_bytes, media_type="application/dicom", name="CT")


def files(intake: ObjectIntake) -> list[str]:
    return sorted(path.name for path in intake.folder.path.iterdir())


def test_what_is_taken_in_lies_sealed_under_its_name_and_opens_again(tmp_path: Path) -> None:
    intake = intake_of(tmp_path)
    content = SECRET * 5_000
    known = accept(intake, content)
    assert files(intake) == [known.sha256.hex()]
    with intake.folder.source(known.sha256) as source:
        assert b"".join(open_content(source, KEY)) == content
        assert prove(source, known.sha256, KEY).plain_bytes == len(content)
    assert SECRET not in intake.folder.file_of(known.sha256).read_bytes()
    assert (intake.accepted, intake.accepted_bytes, intake.refused) == (1, len(content), 0)


def test_plaintext_is_in_no_file_at_any_moment(tmp_path: Path) -> None:
    intake = intake_of(tmp_path)
    with intake.begin() as writer:
        for _ in range(40):
            writer.write(SECRET * 100)
            assert all(SECRET not in path.read_bytes() for path in intake.folder.path.iterdir())
        writer.finish()


def test_an_object_left_unfinished_leaves_nothing(tmp_path: Path) -> None:
    intake = intake_of(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _fail_while_writing(intake)
    assert files(intake) == []
    with intake.begin() as writer:
        writer.write(b"x")
    assert files(intake) == []
    with pytest.raises(StoreFault, match="no longer"):
        writer.write(b"x")
    assert intake.refused == 2


def _fail_while_writing(intake: ObjectIntake) -> None:
    with intake.begin() as writer:
        writer.write(SECRET * 9_000)
        raise ZeroDivisionError


def test_a_full_disk_is_told_before_and_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = intake_of(tmp_path, keep_free_bytes=1_000_000, limits=Limits(object_room_look_bytes=200_000))
    free = 1_300_000
    monkeypatch.setattr(intake.folder, "room", lambda: (free, 10_000_000))
    with pytest.raises(StoreFault) as told:
        intake.begin(expected_bytes=400_000)
    assert told.value.id == "objects.full"
    writer = intake.begin()
    writer.write(bytes(100_000))
    free = 900_000
    with pytest.raises(StoreFault) as told:
        writer.write(bytes(500_000))
    assert told.value.id == "objects.full"
    assert files(intake) == []
    free = 1_300_000
    assert accept(intake, b"x").plain_bytes == 1


def test_what_is_too_large_is_given_up(tmp_path: Path) -> None:
    intake = intake_of(tmp_path, limits=Limits(object_bytes=100_000))
    writer = intake.begin()
    with pytest.raises(DeviceFault) as told:
        writer.write(bytes(100_001))
    assert told.value.id == "objects.too-large"
    assert files(intake) == []


def test_no_more_are_taken_in_than_a_block_can_name_or_threads_may_write(tmp_path: Path) -> None:
    intake = intake_of(tmp_path, limits=Limits(object_notice_entries=3, object_writers=2))
    writers = [intake.begin(), intake.begin()]
    with pytest.raises(StoreFault, match="2 objects are being written"):
        intake.begin()
    names = [writer.finish() for writer in writers] + [accept(intake, b"third")]
    with pytest.raises(StoreFault) as told:
        intake.begin()
    assert told.value.id == "objects.busy"
    intake.named([names[0].sha256])
    accept(intake, b"fourth")


def test_a_box_that_does_not_record_takes_nothing(tmp_path: Path) -> None:
    intake = ObjectIntake(ObjectFolder.open(tmp_path / "objects"), lambda: None, 0)
    with pytest.raises(StoreFault) as told:
        intake.begin()
    assert told.value.id == "objects.not-recording"


def test_what_is_never_recorded_is_deleted_but_not_what_waits_for_a_block(tmp_path: Path) -> None:
    clock = Clock()
    intake = intake_of(tmp_path, clock=clock)
    first, second, third = (accept(intake, text) for text in (b"1", b"2", b"3"))
    intake.discard(third.sha256)
    intake.discard(third.sha256)
    assert not intake.may_be_recorded(third.sha256)
    assert intake.expire(()) == 0
    clock.mono_ns += LIMITS.object_unrecorded_ns
    assert intake.has_late
    assert intake.expire({second.sha256}) == 1
    assert files(intake) == [second.sha256.hex()]
    assert intake.may_be_recorded(second.sha256)
    assert not intake.may_be_recorded(first.sha256)


def test_many_threads_take_in_side_by_side(tmp_path: Path) -> None:
    intake = intake_of(tmp_path)
    contents = [os.urandom(30_000 + number) for number in range(12)]
    known: dict[int, SealedObject] = {}

    def run(number: int) -> None:
        known[number] = accept(intake, contents[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, content in enumerate(contents):
        with intake.folder.source(known[number].sha256) as source:
            assert b"".join(open_content(source, KEY)) == content
    assert len(intake.unfinished()) == 12


def test_the_block_that_names_an_object_says_so_in_clear_and_the_store_knows_it_is_held(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(2, tmp_path) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            await group.tick(3)
            chain = own.member.writer.chain
            folder = ObjectFolder.open(tmp_path / "or-1" / "objects")
            intake = ObjectIntake(folder, lambda: (chain.log, chain.data_key), 0)
            own.recorder.objects_named = intake.named
            known = accept(intake, SECRET * 3_000)
            stored = StoredObject(known.sha256, known.sealed_bytes, known.index_hash)
            seq = own.member.writer.chain.size
            own.tick(record_of(known))
            assert not intake.unfinished()
            await group.settle()
            log = own.member.writer.chain.log
            rows = list(own.store.objects(log))
            assert [(row.log, row.seq, row.stored, row.state) for row in rows] == [(log, seq, stored, ObjectState.HELD)]
            assert own.store.objects_wanted() == []
            block = own.store.block(log, seq)
            assert block is not None
            assert decode_signed_header(block.signed_header).notices == (StoredObjects((stored,)),)
            assert [(row.stored, row.state) for row in peer.store.objects_wanted()] == [(stored, ObjectState.WANTED)]
            assert peer.store.objects_named(known.sha256)[0].log == log
            own.pump.when_idle([PrunePayloads(log, 0, seq + 1)])
            await group.settle()
            assert [row.state for row in own.store.objects()] == [ObjectState.GONE]
            assert own.store.object_totals().gone == (1, known.sealed_bytes)

    asyncio.run(scenario())


def test_a_store_of_before_objects_is_opened_and_given_their_tables(tmp_path: Path) -> None:
    import lmdb

    Store.open(tmp_path).close()
    environment = lmdb.open(str(tmp_path), max_dbs=300)
    with environment.begin(write=True) as txn:
        for name in (b"obj", b"objn", b"objw", b"objv"):
            txn.drop(environment.open_db(name, txn=txn))
    environment.close()
    reader = Store.open(tmp_path, readonly=True)
    assert list(reader.objects()) == reader.objects_wanted() == reader.objects_named(bytes(32)) == []
    assert reader.object_holdings(bytes(32)) == {}
    reader.usage()
    reader.close()
    Store.open(tmp_path).close()
    store = Store.open(tmp_path)
    assert store.objects_wanted() == []
    store.close()


def test_hashes_are_of_the_file_as_anybody_can_compute(tmp_path: Path) -> None:
    intake = intake_of(tmp_path)
    known = accept(intake, os.urandom(200_000))
    assert hashlib.sha256(intake.folder.file_of(known.sha256).read_bytes()).digest() == known.sha256
