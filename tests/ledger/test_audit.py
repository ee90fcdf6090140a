"""The audit proves a whole store, and finds and names every flipped bit in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.audit import (
    AuditReport,
    Checked,
    Chunk,
    Finding,
    Options,
    Severity,
    audit_store,
    check_chunk,
    chunk_ahead,
    completed,
)
from ledger.block import decode_signed_header, sign_header
from ledger.certificate import Certificate
from ledger.evidence import equivocation_proof
from ledger.log import LogId
from ledger.notices import Start
from ledger.ops import CheckpointRow, DropBlocks, PrunePayloads, PutDerived, PutPromise, PutProof, ReplaceBlock
from ledger.promises import NO_PROMISE, PromiseState
from ledger.quorum import Level
from ledger.sealing import DataKey
from ledger.store import Store
from ledger.store.rows import Table, block_key, frame_row, lid_key, sized_key
from ledger.tree import Frontier, leaf_hash
from tests.ledger.audited import recording_cluster, write_store
from tests.ledger.cluster import Cluster

BOX = "or-2"


class Audited:
    """A store, what it audits to, and its rows to tamper with."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster = cluster
        self.store = write_store(cluster, BOX, path)
        self.lost_keys: set[bytes] = set()

    def key_for(self, key_id: bytes) -> DataKey | None:
        return None if key_id in self.lost_keys else self.cluster.boxes[BOX].keys.get(key_id)

    def audit(self, *, quick: bool = False, box: str | None = None) -> AuditReport:
        return audit_store(self.store, self.key_for, Options(box=box, every_signature=not quick))

    def log(self, box: str = "or-1") -> LogId:
        return next(log for log, _ in self.store.logs(box) if log.fenced)

    def lid(self, log: LogId) -> int:
        return [known for known, _ in self.store.logs()].index(log)

    def get(self, table: Any, key: bytes) -> bytes:
        with self.store._env.begin() as txn:
            value = txn.get(key, db=table)
        assert value is not None
        return bytes(value)

    def put(self, table: Any, key: bytes, value: bytes) -> None:
        with self.store._env.begin(write=True) as txn:
            txn.put(key, value, db=table)

    def delete(self, table: Any, key: bytes) -> None:
        with self.store._env.begin(write=True) as txn:
            assert txn.delete(key, db=table)

    def rewrite_header(self, log: LogId, seq: int, **changes: Any) -> None:
        """As its own box would have signed it: not this disk's fault."""
        block = self.store.block(log, seq)
        assert block is not None
        header = replace(decode_signed_header(block.signed_header), **changes)
        signed = sign_header(header, self.cluster.boxes[log.box].secrets.signing)
        self.store.commit([ReplaceBlock(log, seq, signed, block.payload)])

    def only_bad(self, *, quick: bool = False, box: str | None = None) -> Finding:
        bad = [each for each in self.audit(quick=quick, box=box).all_findings() if each.severity is Severity.BAD]
        assert len(bad) == 1, bad
        return bad[0]


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """Never changed by a test: only the stores made of it are."""
    made = recording_cluster(3)
    made.run(24)
    return made


@pytest.fixture
def audited(cluster: Cluster, tmp_path: Path) -> Iterator[Audited]:
    made = Audited(cluster, tmp_path / "store")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """For tests that put back what they change."""
    cluster = recording_cluster(3)
    cluster.run(14)
    made = Audited(cluster, tmp_path_factory.mktemp("audit") / "store")
    yield made
    made.store.close()


def flipped(value: bytes, bit: int) -> bytes:
    return value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :]


# ---- a good store ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_a_good_store_is_proved_whole(audited: Audited, quick: bool) -> None:
    report = audited.audit(quick=quick)
    assert report.is_good
    assert report.all_findings() == ()
    assert report.manifests == 1
    assert {log.log for log in report.logs} == {log for log, _ in audited.store.logs()}
    for log in report.logs:
        assert log.blocks == audited.store.length(log.log) > 0
        assert log.payloads == log.decoded == log.blocks
        assert log.signatures == (min(2, log.blocks) if quick else log.blocks)


def test_the_best_level_says_who_vouches_and_both_times(audited: Audited) -> None:
    logs = {log.log: log for log in audited.audit().logs}
    own, other = logs[audited.log("or-2")].vouched, logs[audited.log("or-1")].vouched
    assert own is not None
    assert other is not None
    assert (own.level, own.by, own.peers) == (Level.WITNESSED, ("or-1", "or-3"), 2)
    assert (other.level, other.by) == (Level.COPIED, ("or-2",))
    assert own.seen_s == own.claimed_ns // 10**9


def test_a_provisional_log_is_named_by_the_epoch_that_continues(audited: Audited) -> None:
    provisional = [log for log in audited.audit().logs if not log.log.fenced]
    assert provisional
    assert all(log.named_by is not None and log.named_by.fenced for log in provisional)


def test_progress_ends_at_everything(audited: Audited) -> None:
    told: list[tuple[int, int]] = []
    report = audit_store(
        audited.store, audited.key_for, Options(progress=lambda done, total: told.append((done, total)))
    )
    total = sum(log.blocks for log in report.logs)
    assert told == sorted(told)
    assert told[-1] == (total, total)


def test_only_one_box_when_asked(audited: Audited) -> None:
    assert {log.log.box for log in audited.audit(box="or-3").logs} == {"or-3"}


def test_pruned_payloads_and_missing_keys_are_told_and_no_fault(audited: Audited) -> None:
    log = audited.log()
    audited.store.commit([PrunePayloads(log, 2, 5)])
    other = audited.log("or-3")
    block = audited.store.block(other, 0)
    assert block is not None
    audited.lost_keys.add(decode_signed_header(block.signed_header).key_id)
    report = audited.audit()
    assert report.is_good
    by_log = {each.log: each for each in report.logs}
    assert (by_log[log].not_held, by_log[log].decoded) == (3, by_log[log].blocks - 3)
    assert (by_log[other].no_key, by_log[other].decoded) == (by_log[other].blocks, 0)
    assert by_log[other].payloads == by_log[other].blocks


def test_dropped_blocks_leave_the_rest_checked_and_are_told(audited: Audited) -> None:
    log = audited.log()
    audited.store.commit([DropBlocks(log, 0, 10)])
    report = next(each for each in audited.audit().logs if each.log == log)
    assert report.is_good
    assert (report.dropped, report.blocks) == (10, audited.store.length(log) - 10)
    assert "dropped" in report.findings[0].what


@pytest.mark.parametrize("ends", [(1,), (10,), (3, 4, 11), (16,)])
def test_roots_are_still_checked_after_a_drop(audited: Audited, ends: tuple[int, ...]) -> None:
    log = audited.log()
    for end in ends:
        audited.store.commit([DropBlocks(log, audited.store.first_held(log), end)])
    report = next(each for each in audited.audit().logs if each.log == log)
    assert report.is_good
    assert report.vouched is not None
    assert "cannot be computed" not in report.findings[0].what
    tip = audited.store.tip(log)
    assert tip is not None
    table, key = audited.store._tables[Table.TIP], lid_key(audited.lid(log))
    audited.put(table, key, frame_row(Table.TIP, key, flipped(tip, 8 * (len(tip) // 2))))
    assert not audited.audit().is_good


def test_first_blocks_that_a_disk_lost_do_not_pass_for_dropped_ones(audited: Audited) -> None:
    log = audited.log()
    for seq in range(3):
        audited.delete(audited.store._blocks[log.box], block_key(audited.lid(log), seq))
    bad = audited.only_bad()
    assert (bad.log, bad.seq, bad.party) == (log, 0, "disk")
    assert "nobody dropped them" in bad.what


def test_blocks_lost_after_a_drop_do_not_pass_for_dropped_ones(audited: Audited) -> None:
    log = audited.log()
    audited.store.commit([DropBlocks(log, 0, 5)])
    audited.delete(audited.store._blocks[log.box], block_key(audited.lid(log), 5))
    assert (audited.only_bad().seq, audited.only_bad().party) == (5, "disk")


def test_a_drop_over_a_lost_block_leaves_the_links_checked(audited: Audited) -> None:
    log = audited.log()
    audited.delete(audited.store._blocks[log.box], block_key(audited.lid(log), 2))
    audited.store.commit([DropBlocks(log, 0, 5)])
    report = next(each for each in audited.audit().logs if each.log == log)
    assert report.is_good
    assert "roots cannot be computed" in report.findings[0].what


# ---- every bit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_a_flipped_bit_in_every_byte_of_a_block_is_found_and_named(shared: Audited, quick: bool) -> None:
    log = shared.log()
    table, key = shared.store._blocks[log.box], block_key(shared.lid(log), 5)
    record = shared.get(table, key)
    for byte in range(0, len(record), 3 if quick else 1):
        shared.put(table, key, flipped(record, byte * 8 + byte % 8))
        bad = shared.only_bad(quick=quick, box=log.box)
        assert (bad.log, bad.seq, bad.party) == (log, 5, "disk"), (byte, bad)
    shared.put(table, key, record)
    assert shared.audit().is_good


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_of_any_block_is_found_and_named(shared: Audited, data: st.DataObject) -> None:
    log = data.draw(st.sampled_from([log for log, _ in shared.store.logs()]))
    seq = data.draw(st.integers(0, shared.store.length(log) - 1))
    table, key = shared.store._blocks[log.box], block_key(shared.lid(log), seq)
    record = shared.get(table, key)
    shared.put(table, key, flipped(record, data.draw(st.integers(0, 8 * len(record) - 1))))
    try:
        bad = shared.only_bad(quick=data.draw(st.booleans()))
        assert (bad.log, bad.seq, bad.party) == (log, seq, "disk")
    finally:
        shared.put(table, key, record)


def rows_of(audited: Audited) -> Iterator[tuple[Any, bytes]]:
    """Every row that is not a block."""
    for table in Table:
        handle = audited.store._tables[table]
        with audited.store._env.begin() as txn, txn.cursor(db=handle) as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        yield from ((handle, key) for key in keys if key != b"format")


def test_a_flipped_bit_in_every_row_beside_the_blocks_is_found(shared: Audited) -> None:
    count = 0
    for table, key in list(rows_of(shared)):
        row = shared.get(table, key)
        for byte in {0, 3, 4, 5, len(row) // 2, len(row) - 1}:
            shared.put(table, key, flipped(row, byte * 8 + count % 8))
            assert not shared.audit().is_good, (key, byte)
            count += 1
        shared.put(table, key, row)
    assert count > 60
    assert shared.audit().is_good


def test_every_byte_of_a_checkpoint_and_its_cosignatures_counts_even_under_a_fitting_checksum(shared: Audited) -> None:
    log = shared.log("or-2")
    size, data = shared.store.checkpoints(log)[-1]
    table, key = shared.store._tables[Table.CHECKPOINTS], sized_key(shared.lid(log), size)
    row = shared.get(table, key)
    for byte in range(len(data)):
        shared.put(table, key, frame_row(Table.CHECKPOINTS, key, row[4:5] + flipped(data, byte * 8 + byte % 8)))
        bad = shared.only_bad(box=log.box)
        assert (bad.log, bad.party) == (log, "disk"), (byte, bad)
    shared.put(table, key, row)
    assert shared.audit().is_good


def test_every_byte_of_a_tip_counts_even_under_a_fitting_checksum(shared: Audited) -> None:
    log = shared.log()
    tip = shared.store.tip(log)
    assert tip is not None
    table, key = shared.store._tables[Table.TIP], lid_key(shared.lid(log))
    row = shared.get(table, key)
    for byte in range(len(tip)):
        shared.put(table, key, frame_row(Table.TIP, key, flipped(tip, byte * 8 + byte % 8)))
        assert not shared.audit(box=log.box).is_good, byte
    shared.put(table, key, row)
    assert shared.audit().is_good


# ---- what disks lose -------------------------------------------------------------------------------------------


def test_one_bad_log_does_not_keep_the_others_from_being_checked(audited: Audited) -> None:
    for box in ("or-1", "or-3"):
        log = audited.log(box)
        table, key = audited.store._blocks[box], block_key(audited.lid(log), 7)
        audited.put(table, key, flipped(audited.get(table, key), 900))
    bad = [each for each in audited.audit().all_findings() if each.severity is Severity.BAD]
    assert [(each.log, each.seq) for each in bad] == [(audited.log("or-1"), 7), (audited.log("or-3"), 7)] or [
        (each.log, each.seq) for each in bad
    ] == [(audited.log("or-3"), 7), (audited.log("or-1"), 7)]
    good = {log.log.box for log in audited.audit().logs if log.is_good}
    assert "or-2" in good


def test_a_block_that_vanished_is_named(audited: Audited) -> None:
    log = audited.log()
    audited.delete(audited.store._blocks[log.box], block_key(audited.lid(log), 9))
    bad = audited.only_bad()
    assert (bad.log, bad.seq, bad.party) == (log, 9, "disk")


def test_a_log_cut_short_is_found_by_what_was_known_of_it(audited: Audited) -> None:
    log = audited.log()
    length, lid = audited.store.length(log), audited.lid(log)
    for seq in range(length - 8, length):
        audited.delete(audited.store._blocks[log.box], block_key(lid, seq))
    bad = audited.only_bad()
    assert (bad.log, bad.party) == (log, "disk")
    assert "it had" in bad.what


def test_a_log_that_lost_its_index_is_not_passed_over(audited: Audited) -> None:
    log = audited.log()
    table = audited.store._tables[Table.LOG_INDEX]
    audited.delete(table, log.box.encode() + b"\x00" + log.incarnation)
    assert any("index" in each.what for each in audited.audit().findings)


def test_a_block_moved_to_a_number_that_is_no_log_s_is_found(audited: Audited) -> None:
    log = audited.log()
    table, key = audited.store._blocks[log.box], block_key(audited.lid(log), 3)
    audited.put(table, block_key(99, 3), audited.get(table, key))
    assert any("99" in each.what for each in audited.audit().findings)


# ---- what boxes do wrong ---------------------------------------------------------------------------------------


def test_a_block_that_its_own_box_signed_wrongly_is_that_box_s_fault(audited: Audited) -> None:
    log = audited.log()
    audited.rewrite_header(log, audited.store.length(log) - 1, previous_leaf=bytes(32))
    bad = audited.only_bad()
    assert (bad.party, bad.subject, bad.seq) == ("peer", "or-1", audited.store.length(log) - 1)


def test_a_keyframe_that_is_none_is_found(audited: Audited) -> None:
    log = audited.log()
    last = audited.store.length(log) - 1
    audited.rewrite_header(log, last, keyframe_seq=last)
    bad = audited.only_bad()
    assert (bad.party, bad.subject, bad.seq) == ("peer", "or-1", last)
    assert "keyframe" in bad.what


def test_a_box_that_signed_a_whole_other_history_is_caught_by_its_checkpoint(audited: Audited) -> None:
    """All links and signatures fit; only what the peers cosigned does not."""
    log = audited.log()
    size = audited.store.checkpoints(log)[-1][0]
    audited.store.commit([PrunePayloads(log, 3, audited.store.length(log))])  # sealed under the old headers
    leaf = b""
    for seq in range(3, audited.store.length(log)):
        block = audited.store.block(log, seq)
        assert block is not None
        closed = decode_signed_header(block.signed_header).closed_ns + 1
        audited.rewrite_header(log, seq, closed_ns=closed, **({"previous_leaf": leaf} if leaf else {}))
        rewritten = audited.store.block(log, seq)
        assert rewritten is not None
        leaf = leaf_hash(rewritten.signed_header)
    audited.delete(audited.store._tables[Table.TIP], lid_key(audited.lid(log)))
    bad = audited.only_bad()
    assert (bad.party, bad.subject) == ("peer", "or-1")
    assert "another tree" in bad.what
    assert 3 <= (bad.seq or 0) < size


def test_a_start_without_its_promises_is_found(audited: Audited) -> None:
    log = audited.log()
    block = audited.store.block(log, 0)
    assert block is not None
    start = decode_signed_header(block.signed_header).notices[0]
    assert isinstance(start, Start)
    audited.rewrite_header(log, 0, notices=(replace(start, promises=()),))
    bad = audited.only_bad()
    assert (bad.party, bad.subject, bad.seq) == ("peer", "or-1", 0)
    assert "promises" in bad.what


def test_a_clock_that_went_back_without_a_word_is_a_remark(audited: Audited) -> None:
    log = audited.log()
    last = audited.store.length(log) - 1
    block = audited.store.block(log, last)
    assert block is not None
    closed_ns = decode_signed_header(block.signed_header).closed_ns
    audited.store.commit([PrunePayloads(log, last, last + 1)])  # sealed under the old header
    audited.rewrite_header(log, last, closed_ns=closed_ns - 10**9)
    report = audited.audit()
    assert report.is_good
    remarks = [each for each in report.all_findings() if "before block" in each.what]
    assert [(each.severity, each.log, each.seq) for each in remarks] == [(Severity.REMARK, log, last)]


def test_a_promise_nobody_asked_for_is_found(audited: Audited) -> None:
    stored = audited.store.promise("or-1")
    assert stored is not None
    promise = PromiseState.decode(stored)
    audited.store.commit([PutPromise("or-1", replace(promise, counter=promise.counter + 7).encode())])
    assert "promise about or-1" in audited.only_bad().what


def test_that_memory_was_lost_is_no_promise(audited: Audited) -> None:
    rows = {"or-1": replace(NO_PROMISE, void=True), "or-3": NO_PROMISE}
    audited.store.commit([PutPromise(box, state.encode()) for box, state in rows.items()])
    assert audited.audit().is_good


def test_a_cosignature_of_a_stranger_is_found(audited: Audited) -> None:
    log = audited.log("or-2")
    size, data = audited.store.checkpoints(log)[-1]
    certificate = Certificate.decode(data)
    (_, time_s, signature), other = certificate.cosignatures
    forged = replace(certificate, cosignatures=(("or-9", time_s, signature), other)).encode()
    tip = audited.store.tip(log)
    assert tip is not None
    audited.store.commit([PutDerived(log, tip, checkpoints=(CheckpointRow(size, forged),))])
    assert "or-9" in audited.only_bad().what


# ---- proofs of equivocation ------------------------------------------------------------------------------------


def test_a_proof_is_shown_with_who_signed_twice(audited: Audited) -> None:
    log = audited.log()
    block = audited.store.block(log, 4)
    assert block is not None
    second = sign_header(
        replace(decode_signed_header(block.signed_header), closed_ns=1), audited.cluster.boxes["or-1"].secrets.signing
    )
    audited.store.commit([PutProof(*equivocation_proof(log, block.signed_header, second, b""))])
    bad = audited.only_bad()
    assert (bad.party, bad.subject, bad.seq) == ("peer", "or-1", 4)
    assert "both carry its signature" in bad.what


def test_a_proof_by_a_second_root_is_checked_against_the_blocks(audited: Audited) -> None:
    from ledger.checkpoint import Checkpoint, sign_checkpoint

    log = audited.log()
    key = audited.cluster.boxes["or-1"].secrets.signing
    block = audited.store.block(log, 4)
    assert block is not None
    edge = Frontier()
    for header in audited.store.headers(log, 0, 5):
        edge.append(leaf_hash(header))
    origin = log.origin(audited.cluster.manifest.site)
    for root, proves in ((bytes(32), True), (edge.root(), False)):
        signed_root = root + sign_checkpoint(key, Checkpoint(origin, 5, root))
        name, proof = equivocation_proof(log, b"", block.signed_header, signed_root)
        audited.store.commit([PutProof(name, proof)])
        assert (audited.only_bad().party == "peer") is proves
        audited.delete(audited.store._tables[Table.PROOF], name)


def test_a_proof_that_proves_nothing_is_this_disk_s_fault(audited: Audited) -> None:
    log = audited.log()
    block = audited.store.block(log, 4)
    assert block is not None
    audited.store.commit([PutProof(*equivocation_proof(log, block.signed_header, block.signed_header, b""))])
    bad = audited.only_bad()
    assert bad.party == "disk"
    assert "does not prove" in bad.what


def test_a_store_without_manifests_proves_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "empty")
    report = audit_store(store, lambda _key_id: None, Options())
    store.close()
    assert not report.is_good
    assert "manifest" in report.findings[0].what


def test_a_record_s_lengths_are_checked(audited: Audited) -> None:
    log = audited.log()
    table, key = audited.store._blocks[log.box], block_key(audited.lid(log), 6)
    record = audited.get(table, key)
    header_bytes, payload_bytes = struct.unpack_from(">HI", record)
    for head in (struct.pack(">HI", header_bytes + 1, payload_bytes - 1), struct.pack(">HI", 0, payload_bytes), b""):
        audited.put(table, key, head + record[6:])
        bad = audited.only_bad()
        assert (bad.log, bad.seq, bad.party) == (log, 6, "disk")


# ---- checked ahead ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("damaged", [False, True])
def test_chunks_checked_ahead_give_the_same_report(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, quick: bool, damaged: bool
) -> None:
    monkeypatch.setattr("ledger.audit.log_audit.CHUNK_BLOCKS", 8)
    if damaged:
        audited.rewrite_header(audited.log(), 9, closed_ns=1)
    completions = []

    def ahead(chunk: Chunk) -> Checked:
        whole = chunk_ahead(
            chunk.log, chunk.first // 8, chunk.public, chunk.manifest_hash, every_signature=not quick
        )  # fmt: skip
        done = completed(check_chunk(audited.store, audited.key_for, whole), chunk, audited.store)
        completions.append(done is not None)
        return done or check_chunk(audited.store, audited.key_for, chunk)

    options = Options(every_signature=not quick)
    report = audit_store(audited.store, audited.key_for, options, lambda chunks: map(ahead, chunks))
    assert report == audited.audit(quick=quick)
    assert report.is_good is not damaged
    assert any(completions)
    assert not all(completions), "a log's last chunk was not whole then"
