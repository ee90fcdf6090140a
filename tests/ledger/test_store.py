from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.errors import StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.ops import (
    AppendBlock,
    AppendRun,
    CheckpointRow,
    DropBlocks,
    FillPayload,
    KeyframeRow,
    Op,
    OpenLog,
    PrunePayloads,
    PutCase,
    PutDerived,
    PutManifest,
    PutPromise,
    PutProof,
    PutSelf,
    PutTomb,
    ReplaceBlock,
)
from ledger.store import Store

LOG = LogId("or-1", 3, bytes(16), fenced=True)
OTHER = LogId("or-1", 4, b"\x01" * 16, fenced=False)
FOREIGN = LogId("or-2", 9, b"\x02" * 16, fenced=True)


def header(log: LogId, seq: int) -> bytes:
    return hashlib.sha512(f"{log}{seq}".encode()).digest() * 5


def payload(log: LogId, seq: int) -> bytes:
    return hashlib.sha512(f"payload of {log}{seq}".encode()).digest() * 70


def appends(log: LogId, first: int, end: int) -> list[Op]:
    return [AppendBlock(log, seq, header(log, seq), payload(log, seq)) for seq in range(first, end)]


def run_of(log: LogId, first: int, end: int) -> AppendRun:
    return AppendRun(log, first, [(header(log, seq), payload(log, seq)) for seq in range(first, end)], frozenset())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path)
    opened.commit([OpenLog(LOG, b"meta")])
    yield opened
    opened.close()


def test_an_empty_store_answers_with_nothing(path: Path) -> None:
    store = Store.open(path)
    assert store.logs() == []
    assert store.length(LOG) == 0
    assert store.block(LOG, 0) is None
    assert store.last(LOG) is None
    assert list(store.blocks(LOG, 0, 10)) == []
    assert store.tip(LOG) is None
    assert store.newest_checkpoint(LOG) is None
    assert store.keyframe_at_or_before(LOG, 5) is None
    assert store.promise("or-2") is None
    assert store.self_value("counter") is None
    store.close()


def test_blocks_come_back_after_reopening(store: Store, path: Path) -> None:
    report = store.commit(appends(LOG, 0, 5))
    assert report.blocks == 5
    assert report.bytes > 5 * (len(header(LOG, 0)) + len(payload(LOG, 0)))
    store.close()
    again = Store.open(path)
    assert again.length(LOG) == 5
    assert again.logs() == [(LOG, b"meta")]
    assert [tuple(block) for block in again.blocks(LOG, 1, 99)] == [
        (seq, header(LOG, seq), payload(LOG, seq)) for seq in range(1, 5)
    ]
    assert list(again.headers(LOG, 0, 3)) == [header(LOG, seq) for seq in range(3)]
    assert again.last(LOG) == again.block(LOG, 4)
    again.close()


def test_logs_of_one_box_do_not_mix(store: Store) -> None:
    store.commit([OpenLog(OTHER, b""), OpenLog(FOREIGN, b"f")])
    # The older log goes on growing after the newer one has blocks: appended in its middle of the table.
    for seq in range(40):
        store.commit([*appends(OTHER, seq, seq + 1), *appends(LOG, seq, seq + 1), *appends(FOREIGN, seq, seq + 1)])
    for log in (LOG, OTHER, FOREIGN):
        assert list(store.headers(log, 0, 99)) == [header(log, seq) for seq in range(40)]
    assert store.logs("or-1") == [(LOG, b"meta"), (OTHER, b"")]
    assert store.logs("or-2") == [(FOREIGN, b"f")]


def test_the_same_bytes_again_change_nothing(store: Store) -> None:
    store.commit(appends(LOG, 0, 3))
    report = store.commit([*appends(LOG, 1, 2), AppendBlock(LOG, 2, header(LOG, 2), b"")])
    assert report.blocks == 0
    assert store.last(LOG) == (2, header(LOG, 2), payload(LOG, 2))


def test_a_run_of_blocks_may_begin_with_some_that_are_held(store: Store) -> None:
    store.commit([run_of(LOG, 0, 3)])
    report = store.commit([run_of(LOG, 1, 6)])
    assert report.blocks == 3
    store.commit(
        [OpenLog(OTHER, b""), run_of(OTHER, 0, 2), run_of(LOG, 6, 9), *appends(LOG, 9, 10), run_of(OTHER, 2, 4)]
    )
    for log, end in ((LOG, 10), (OTHER, 4)):
        assert list(store.blocks(log, 0, 99)) == [(seq, header(log, seq), payload(log, seq)) for seq in range(end)]


def test_a_log_that_shares_only_its_incarnation_is_not_held(store: Store) -> None:
    """A peer may tell of such a log; looking for it is no fault of the store."""
    store.commit(appends(LOG, 0, 3))
    for other in (replace(LOG, counter=LOG.counter + 1), replace(LOG, fenced=not LOG.fenced)):
        assert store.length(other) == 0
        assert store.block(other, 0) is None
        assert store.tip(other) is None
    assert store.length(LOG) == 3


@pytest.mark.parametrize(
    ("op", "id_"),
    [
        (AppendBlock(LOG, 4, header(LOG, 4), b""), "store.out-of-order"),
        (AppendBlock(LOG, -1, header(LOG, 4), b""), "store.out-of-order"),
        (AppendBlock(LOG, 2, header(LOG, 4), payload(LOG, 2)), "store.out-of-order"),
        (AppendBlock(LOG, 2, header(LOG, 2), payload(LOG, 1)), "store.out-of-order"),
        (AppendBlock(FOREIGN, 0, header(LOG, 0), b""), "store.unknown-log"),
        (run_of(LOG, 4, 6), "store.out-of-order"),
        (run_of(FOREIGN, 0, 2), "store.unknown-log"),
        (AppendRun(LOG, 3, [(b"h", b""), (b"", b"")], frozenset()), "store.oversize"),
        (AppendRun(LOG, 2, [(header(LOG, 4), b""), (header(LOG, 3), b"")], frozenset()), "store.out-of-order"),
        (AppendBlock(LOG, 3, b"", b""), "store.oversize"),
        (AppendBlock(LOG, 3, bytes(65_536), b""), "store.oversize"),
        (AppendBlock(LOG, 3, b"h", bytes(2 * LIMITS.payload_plain_bytes + 1)), "store.oversize"),
        (FillPayload(LOG, 3, b"x"), "store.out-of-order"),
        (ReplaceBlock(LOG, 3, b"x", b"y"), "store.out-of-order"),
        (FillPayload(LOG, 2, b"x"), "store.out-of-order"),
        (OpenLog(LogId("or-1", 4, bytes(16), fenced=True), b""), "store.log-conflict"),
        (DropBlocks(LOG, 1, 2), "store.out-of-order"),
    ],
)
def test_a_refused_operation_stores_nothing_and_ends_the_store(store: Store, path: Path, op: Op, id_: str) -> None:
    store.commit(appends(LOG, 0, 3))
    with pytest.raises(StoreFault) as fault:
        store.commit([PutSelf("counter", b"9"), op])
    assert fault.value.id == id_
    with pytest.raises(StoreFault) as fault:
        store.commit([PutSelf("counter", b"10")])
    assert fault.value.id == "store.stopped"
    assert store.length(LOG) == 3
    assert store.self_value("counter") is None
    store.close()
    again = Store.open(path)
    again.commit(appends(LOG, 3, 4))
    assert again.length(LOG) == 4
    again.close()


def test_a_damaged_block_is_replaced_and_its_neighbours_stay(store: Store) -> None:
    store.commit(appends(LOG, 0, 3))
    store.commit([ReplaceBlock(LOG, 1, b"damaged", b"")])
    store.commit([ReplaceBlock(LOG, 1, header(LOG, 1), payload(LOG, 1))])
    expected = [(seq, header(LOG, seq), payload(LOG, seq)) for seq in range(3)]
    assert list(store.blocks(LOG, 0, 9)) == expected


def test_payloads_are_filled_and_pruned(store: Store) -> None:
    store.commit([AppendBlock(LOG, 0, header(LOG, 0), b""), *appends(LOG, 1, 4)])
    store.commit([FillPayload(LOG, 0, payload(LOG, 0))])
    assert store.block(LOG, 0) == (0, header(LOG, 0), payload(LOG, 0))
    store.commit([PrunePayloads(LOG, 1, 3)])
    assert [bool(block.payload) for block in store.blocks(LOG, 0, 4)] == [True, False, False, True]
    assert list(store.headers(LOG, 0, 4)) == [header(LOG, seq) for seq in range(4)]
    store.commit(appends(LOG, 1, 2))
    assert store.block(LOG, 1) == (1, header(LOG, 1), payload(LOG, 1))


def test_pruned_space_is_used_again(store: Store) -> None:
    store.commit(appends(LOG, 0, 300))
    before = store.usage()
    store.commit([PrunePayloads(LOG, 0, 300)])
    assert store.usage().live_bytes < before.live_bytes / 4
    for first in range(300, 500, 20):
        store.commit(appends(LOG, first, first + 20))
    assert store.usage().file_bytes < 1.5 * before.file_bytes


def test_dropping_keeps_the_last_block_and_its_proof(store: Store) -> None:
    store.commit(appends(LOG, 0, 600))
    rows = tuple(CheckpointRow(size, b"cp%d" % size, keep=True) for size in (1, 300, 600))
    frames = tuple(KeyframeRow(seq, bytes(32)) for seq in (0, 599))
    store.commit([PutDerived(LOG, b"tip", ((0, b"a" * 32), (1, b"b" * 32)), rows, frames)])
    store.commit([DropBlocks(LOG, 0, 400)])
    assert store.first_held(LOG) == 400
    assert store.length(LOG) == 600
    assert store.subtree(LOG, 0) is None
    assert store.subtree(LOG, 1) == b"b" * 32
    with pytest.raises(StoreFault, match="block 0 is not held"):
        list(store.headers(LOG, 0, 10))
    store.commit([DropBlocks(LOG, 400, 600)])
    assert (store.first_held(LOG), store.length(LOG)) == (599, 600)
    assert store.checkpoints(LOG) == [(600, b"cp600")]
    assert store.keyframe_at_or_before(LOG, 599) == (599, bytes(32))
    store.commit(appends(LOG, 600, 601))
    assert store.length(LOG) == 601


def test_checkpoints_are_thinned(store: Store) -> None:
    for size in range(1, 1500, 7):
        keep = size == 71
        store.commit([PutDerived(LOG, b"", checkpoints=(CheckpointRow(size, b"%d" % size, keep),))])
    assert [size for size, _ in store.checkpoints(LOG)] == [1, 71, 603, 1205, 1499]
    assert store.newest_checkpoint(LOG) == (1499, b"1499")
    # More cosignatures for a kept one replace it and do not unmark it; a late older one is not worth keeping.
    late = (CheckpointRow(71, b"more"), CheckpointRow(80, b"late"))
    store.commit([PutDerived(LOG, b"", checkpoints=late)])
    assert [size for size, _ in store.checkpoints(LOG)] == [1, 71, 603, 1205, 1499]
    assert store.checkpoint(LOG, 71) == b"more"
    assert store.checkpoint(LOG, 80) is None


def test_keyframes_are_thinned(store: Store) -> None:
    for seq in range(0, 1000, 50):
        store.commit([PutDerived(LOG, b"", keyframes=(KeyframeRow(seq, b"%032d" % seq, keep=seq == 100),))])
    assert store.keyframe_at_or_before(LOG, 5000) == (950, b"%032d" % 950)
    assert store.keyframe_at_or_before(LOG, 949) == (900, b"%032d" % 900)
    assert store.keyframe_at_or_before(LOG, 399) == (100, b"%032d" % 100)
    assert store.keyframe_at_or_before(LOG, 99) is None


def test_facts_come_back(store: Store) -> None:
    store.commit(
        [
            PutPromise("or-2", b"one"), PutPromise("or-2", b"two"), PutPromise("or-3", b"three"),
            PutSelf("counter", b"7"), PutManifest(10, b"m10"), PutManifest(9, b"m9"), PutDerived(LOG, b"the tip"),
            PutCase(b"c" * 16, LOG, b"0-9"), PutTomb(b"k" * 32, b"order"), PutProof(b"h" * 32, b"evidence"),
        ]
    )  # fmt: skip
    assert store.promises() == {"or-2": b"two", "or-3": b"three"}
    assert store.promise("or-2") == b"two"
    assert store.self_value("counter") == b"7"
    assert store.manifests() == [(9, b"m9"), (10, b"m10")]
    assert store.cases() == [(b"c" * 16, LOG, b"0-9")]
    assert store.tombs() == {b"k" * 32: b"order"}
    assert store.proofs() == {b"h" * 32: b"evidence"}
    assert store.tip(LOG) == b"the tip"


def test_an_iterator_holds_no_transaction_between_its_items(store: Store) -> None:
    store.commit(appends(LOG, 0, LIMITS.store_read_records + 10))
    blocks, headers = store.blocks(LOG, 0, 1 << 20), store.headers(LOG, 0, 1 << 20)
    next(blocks)
    next(headers)
    readers = store._env.readers().splitlines()[1:]
    assert all(line.split()[2] == "-" for line in readers), readers
    # So what is committed meanwhile is seen further on.
    store.commit(appends(LOG, LIMITS.store_read_records + 10, LIMITS.store_read_records + 12))
    assert 1 + sum(1 for _ in headers) == LIMITS.store_read_records + 12


def test_reading_while_another_thread_commits(store: Store) -> None:
    def write() -> None:
        for seq in range(60):
            box = LogId(f"box-{seq % 7}", 1, bytes([seq]) * 16, fenced=True)
            store.commit([*appends(LOG, seq, seq + 1), OpenLog(box, b""), *appends(box, 0, 1)])
            store.prepare()

    seen = 0
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            length = store.length(LOG)
            assert length >= seen
            assert list(store.headers(LOG, 0, length)) == [header(LOG, seq) for seq in range(length)]
            assert {store.length(log) for log, _ in store.logs() if log.box != "or-1"} <= {1}
            seen = length
        writing.result()
    assert store.length(LOG) == 60


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_another_process_reads_while_this_one_writes(store: Store, path: Path) -> None:
    store.commit(appends(LOG, 0, 2))
    reader = (
        "import sys; from pathlib import Path; from ledger.store import Store\n"
        "store = Store.open(Path(sys.argv[1]), readonly=True)\n"
        "for line in sys.stdin: print(store.length(store.logs()[0][0]), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reader, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for length in (2, 3, 4):
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{length}\n"
            store.commit(appends(LOG, length, length + 1))
        process.stdin.close()


def test_a_second_writer_is_refused(store: Store, path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ledger.store import Store; from ledger.errors import StoreFault\n"
        "try: Store.open(Path(sys.argv[1]))\n"
        "except StoreFault as fault: print(fault.id)\n"
    )
    assert run(code, str(path)).stdout == "store.locked\n"
    store.close()
    assert run(code, str(path)).stdout == ""


def test_a_reader_may_not_write_and_needs_a_store(path: Path) -> None:
    with pytest.raises(StoreFault) as fault:
        Store.open(path, readonly=True)
    assert fault.value.id == "store.absent"
    Store.open(path).close()
    reader = Store.open(path, readonly=True)
    with pytest.raises(StoreFault) as fault:
        reader.commit([PutSelf("a", b"b")])
    assert fault.value.id == "store.readonly"
    reader.close()


def test_a_full_store_says_so_and_keeps_what_it_holds(path: Path) -> None:
    store = Store.open(path, map_bytes=1 << 20)
    store.commit([OpenLog(LOG, b"")])
    stored, fault = 0, None
    while fault is None and stored < 1000:
        try:
            store.commit(appends(LOG, stored, stored + 10))
            stored += 10
        except StoreFault as error:
            fault = error
    assert fault is not None
    assert fault.id == "store.full"
    assert stored > 50
    assert store.length(LOG) == stored
    store.close()
    roomier = Store.open(path)
    roomier.commit(appends(LOG, stored, stored + 500))
    assert list(roomier.headers(LOG, 0, 2000)) == [header(LOG, seq) for seq in range(stored + 500)]
    roomier.close()


def test_where_address_space_is_scarce_a_smaller_map_is_taken(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from ledger.ops import PutSelf; from ledger.store import Store\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "store = Store.open(Path(sys.argv[1])); store.commit([PutSelf('counter', b'5')])\n"
        "print(store._env.info()['map_size'] <= 8 << 30, store.self_value('counter'))\n"
    )
    done = run(code, str(path))
    assert done.stdout == "True b'5'\n", done.stderr


def test_the_file_is_kept_ahead_of_its_pages(store: Store, path: Path) -> None:
    for first in range(0, 2000, 500):
        store.commit(appends(LOG, first, first + 500))
        assert store.prepare()
        ahead = (path / "data.mdb").stat().st_size - store.usage().file_bytes
        assert LIMITS.store_ahead_bytes <= ahead <= LIMITS.store_ahead_bytes + LIMITS.store_grow_bytes


def test_a_later_format_is_refused(store: Store, path: Path) -> None:
    from ledger.store.rows import Table, frame_row

    with store._env.begin(write=True) as txn:
        txn.put(b"format", frame_row(Table.SELF, b"format", b"\x02"), db=store._tables[Table.SELF])
    store.close()
    with pytest.raises(StoreFault) as fault:
        Store.open(path)
    assert fault.value.id == "store.format"


def test_a_failed_opening_leaves_the_folder_to_the_next(path: Path) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreFault) as fault:
            Store.open(path)
        assert fault.value.id == "store.corrupt"
    (path / "data.mdb").unlink()
    Store.open(path).close()
