"""What the disk may do to the store: flipped bits, a file cut short, a process killed at any moment."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.block import NO_LEAF, ClockQuality, ClockState, Header, header_signature_is_valid, payload_hash, sign_header
from ledger.block import decode_signed_header as decode
from ledger.errors import StoreFault
from ledger.log import LogId
from ledger.ops import (
    AppendBlock,
    CheckpointRow,
    KeyframeRow,
    OpenLog,
    PutDerived,
    PutPromise,
    PutSelf,
)
from ledger.signing import SigningKey
from ledger.store import Store

PROJECT = Path(__file__).parents[2]
LOG = LogId("or-1", 3, bytes(range(16)), fenced=True)
KEY = SigningKey(b"\x07" * 32)
PAYLOAD = hashlib.sha512(b"payload").digest() * 3


def signed_header(seq: int) -> bytes:
    header = Header(
        log=LOG, seq=seq, opened_ns=1, closed_ns=2, boot_ns=3, clock=ClockQuality(ClockState.SYNCHRONISED, 5),
        previous_leaf=NO_LEAF, payload_hash=payload_hash(PAYLOAD), payload_bytes=len(PAYLOAD), key_id=bytes(32),
        codec=1, keyframe_seq=0, case_id=None, manifest_hash=bytes(32),
    )  # fmt: skip
    return sign_header(header, KEY)


def audit(store: Store) -> None:
    """What any reader checks of a block before it believes it."""
    block = store.block(LOG, 0)
    assert block is not None
    assert header_signature_is_valid(block.signed_header, KEY.public)
    assert payload_hash(block.payload) == decode(block.signed_header).payload_hash


def with_one_block(path: Path) -> tuple[bytes, int, int]:
    """The file's bytes, and where the one block's record begins and ends."""
    store = Store.open(path)
    header = signed_header(0)
    store.commit([OpenLog(LOG, b"meta"), AppendBlock(LOG, 0, header, PAYLOAD)])
    audit(store)
    store.close()
    data = (path / "data.mdb").read_bytes()[: 1 << 17]
    assert data.count(header + PAYLOAD) == 1
    start = data.index(header + PAYLOAD) - 6
    return data, start, start + 6 + len(header) + len(PAYLOAD)


def test_a_flipped_bit_of_a_block_is_found(tmp_path: Path) -> None:
    data, start, end = with_one_block(tmp_path)
    random_bits = random.Random(1)
    with (tmp_path / "data.mdb").open("r+b", buffering=0) as file:
        for at in [*range(start, start + 8), *random_bits.sample(range(start + 8, end), 150), end - 1]:
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << random_bits.randrange(8)]))
            store = Store.open(tmp_path)
            with pytest.raises((StoreFault, AssertionError)):
                audit(store)
            store.close()
            file.seek(at)
            file.write(data[at : at + 1])
    store = Store.open(tmp_path)
    audit(store)
    store.close()


ROW_READS: list[Callable[[Store], object]] = [
    lambda store: store.tip(LOG),
    lambda store: store.subtree(LOG, 0),
    lambda store: store.checkpoints(LOG),
    lambda store: store.keyframe_at_or_before(LOG, 0),
    lambda store: store.logs(),
    lambda store: store.promise("or-2"),
    lambda store: store.self_value("counter"),
]


def test_a_flipped_bit_of_any_other_row_is_found(tmp_path: Path) -> None:
    marks = [b"<%d:%s>" % (n, hashlib.sha256(bytes([n])).hexdigest().encode()) for n in range(len(ROW_READS))]
    derived = PutDerived(LOG, marks[0], ((0, marks[1]),), (CheckpointRow(1, marks[2]),), (KeyframeRow(0, marks[3]),))
    store = Store.open(tmp_path)
    store.commit([OpenLog(LOG, marks[4]), derived, PutPromise("or-2", marks[5]), PutSelf("counter", marks[6])])
    for read in ROW_READS:
        assert read(store)
    store.close()
    data = (tmp_path / "data.mdb").read_bytes()[: 1 << 18]
    with (tmp_path / "data.mdb").open("r+b", buffering=0) as file:
        for mark, read in zip(marks, ROW_READS, strict=True):
            assert data.count(mark) == 1
            for at in (data.index(mark), data.index(mark) + len(mark) - 1):
                file.seek(at)
                file.write(bytes([data[at] ^ 4]))
                store = Store.open(tmp_path)
                with pytest.raises(StoreFault, match="checksum"):
                    read(store)
                store.close()
                file.seek(at)
                file.write(data[at : at + 1])


def test_a_row_moved_to_another_key_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit([PutSelf("counter-a", b"1"), PutSelf("counter-b", b"2")])
    table = next(handle for name, handle in store._tables.items() if name == "self")
    with store._env.begin(write=True) as txn:
        row = txn.get(b"self/counter-a", db=table)
        assert row is not None
        txn.put(b"self/counter-b", row, db=table)
    assert store.self_value("counter-a") == b"1"
    with pytest.raises(StoreFault, match="checksum"):
        store.self_value("counter-b")
    store.close()


@pytest.mark.parametrize("keep", [0, 1, 100, 4096, 8192, 20_000])
def test_a_file_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    with_one_block(tmp_path)
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.truncate(keep)
    if keep == 0:  # an empty file is LMDB's new one: the log is gone, which only peers can tell
        store = Store.open(tmp_path)
        assert store.logs() == []
        store.close()
        return
    with pytest.raises(StoreFault) as fault:
        Store.open(tmp_path)
    assert fault.value.id == "store.corrupt"


READ_ALL = """
import sys
from pathlib import Path
from tests.ledger.test_store_damage import LOG, audit
from ledger.errors import OrledgerError
from ledger.store import Store
try:
    store = Store.open(Path(sys.argv[1]), readonly=True)
    answers = store.logs(), store.promises(), store.tip(LOG), store.self_value("counter"), store.length(LOG)
    audit(store)
except (OrledgerError, AssertionError):
    sys.exit(9)
sys.exit(0 if answers == ([(LOG, b"meta")], {}, None, None, 1) else 8)
"""


@pytest.mark.parametrize("page", range(2, 10))
def test_a_page_of_garbage_is_never_believed(tmp_path: Path, page: int) -> None:
    """LMDB may kill the process over a damaged page; what must not happen is an answer made of it."""
    with_one_block(tmp_path)
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.seek(page * 4096)
        file.write(random.Random(page).randbytes(4096))
    code = subprocess.run([sys.executable, "-c", READ_ALL, str(tmp_path)], cwd=PROJECT, check=False).returncode
    assert code in {0, 9, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS}  # 0: the page was not in use


COMMIT_FOR_EVER = """
import hashlib, sys
from pathlib import Path
from ledger.log import LogId
from ledger.ops import AppendBlock, OpenLog, PutDerived, PutSelf
from ledger.store import Store
store = Store.open(Path(sys.argv[1]))
log = LogId("or-1", 3, bytes(range(16)), True)
store.commit([OpenLog(log, b"")])
for seq in range(store.length(log), 1 << 20):
    body = hashlib.sha512(b"%d" % seq).digest() * 60
    mark = b"%d" % seq
    store.commit([AppendBlock(log, seq, body[:400], body), PutSelf("counter", mark), PutDerived(log, mark)])
    print(seq, flush=True)
    store.prepare()
"""


def test_killed_at_any_moment_nothing_reported_is_lost(tmp_path: Path) -> None:
    moments = random.Random(3)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", COMMIT_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, cwd=PROJECT
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(moments.randrange(5, 60))]
            process.kill()
            lines += process.stdout.readlines()
        reported = int([line for line in lines if line.endswith(b"\n")][-1])
        store = Store.open(tmp_path)
        length = store.length(LOG)
        assert length > reported
        for seq, header, payload in store.blocks(LOG, 0, length):
            body = hashlib.sha512(b"%d" % seq).digest() * 60
            assert (header, payload) == (body[:400], body)
        # All of a transaction or nothing of it.
        assert store.self_value("counter") == store.tip(LOG) == b"%d" % (length - 1)
        store.close()
