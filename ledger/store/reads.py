"""Reading the store: every read is a short transaction of its own over committed data.

Nothing holds one across a yield, because a reader that stays keeps all pages freed since from being used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from ledger.errors import StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.store.disk import faults, used_bytes
from ledger.store.lookups import (
    SELF_PREFIX,
    Dropped,
    ReadTransaction,
    dropped_of,
    find_lid,
    length_of,
    log_row,
    numbered_rows,
)
from ledger.store.rows import (
    BLOCK_TABLE_PREFIX,
    FORMAT,
    LATER_TABLES,
    MOST_SEQ,
    StoredBlock,
    Table,
    block_key,
    header_of,
    held_of,
    lid_key,
    lid_of,
    open_row,
    sized_key,
    split_block_key,
    unpack_block,
    unpack_pair,
)

_ROWS_AT_ONCE = 16
FORMAT_KEY = b"format"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """``live_bytes`` of the ``file_bytes`` hold data, the rest will be used again; ``disk_*`` is the file system's."""

    live_bytes: int
    file_bytes: int
    disk_free_bytes: int
    disk_bytes: int

    @property
    def room_bytes(self) -> int:
        """What can still be written: the file never shrinks, but what was freed inside it is used again."""
        return self.disk_free_bytes + max(0, self.file_bytes - self.live_bytes)


@dataclass(frozen=True, slots=True)
class Beginning:
    """``first``: the oldest block held; ``dropped``: what the order to drop those before it left, if there was one."""

    first: int
    dropped: Dropped | None


class StoreReads:
    """All questions; safe on any thread while another commits."""

    def __init__(self, path: Path, environment: lmdb.Environment) -> None:
        self._path = path
        self._env = environment
        self._tables: dict[Table, Any] = {}
        self._blocks: dict[str, Any] = {}

    def _open_tables(self) -> None:
        """Open every handle at once: LMDB lets only one thread at a time open handles."""
        with faults(f"{self._path}: opening tables"):
            with self._env.begin() as txn, txn.cursor() as cursor:
                names = [name.decode() for name in cursor.iternext(keys=True, values=False)]
            for name in names:
                if name.startswith(BLOCK_TABLE_PREFIX):
                    box = name.removeprefix(BLOCK_TABLE_PREFIX)
                    self._blocks[box] = self._env.open_db(name.encode(), create=False)
            for table in Table:
                if table.value in names or table not in LATER_TABLES:
                    self._tables[table] = self._env.open_db(table.encode(), create=False)
        if self._row(Table.SELF, FORMAT_KEY) != bytes([FORMAT]):
            raise StoreFault(
                "store.format", f"{self._path} has a format this version does not know", "upgrade orledger"
            )

    # Logs and blocks.

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]:
        """(log, meta) of every log, or of one box's, in the order they were opened."""
        found = [log_row(value) for _, value in self._rows(Table.LOGS)]
        return [(log, meta) for log, meta in found if box is None or log.box == box]

    def length(self, log: LogId) -> int:
        """Number of blocks: one more than the last seq held; 0 for an empty or unknown log."""
        table = self._blocks.get(log.box)

        def last(txn: ReadTransaction) -> int:
            lid = find_lid(txn, self._tables[Table.LOG_INDEX], log)
            return 0 if lid is None or table is None else length_of(txn, table, lid)

        return self._read(last, f"length of {log}")

    def block(self, log: LogId, seq: int) -> StoredBlock | None:
        """One block, or None when it is not held."""
        where, table = f"block {seq} of {log}", self._blocks.get(log.box)
        if not 0 <= seq <= MOST_SEQ:
            return None

        def get(txn: ReadTransaction) -> StoredBlock | None:
            lid = find_lid(txn, self._tables[Table.LOG_INDEX], log)
            record = None if lid is None or table is None else txn.get(block_key(lid, seq), db=table)
            return None if record is None else unpack_block(seq, record, where)

        return self._read(get, where)

    def first_held(self, log: LogId) -> int:
        """The oldest block's seq: above 0 once blocks were dropped; 0 for an empty or unknown log."""
        return self.beginning(log).first

    def beginning(self, log: LogId) -> Beginning:
        """Where the log begins here, and what was noted when blocks before that were dropped."""
        table = self._blocks.get(log.box)

        def begin(txn: ReadTransaction) -> Beginning:
            lid = find_lid(txn, self._tables[Table.LOG_INDEX], log)
            if lid is None or table is None:
                return Beginning(0, None)
            with txn.cursor(db=table) as cursor:
                key_lid, seq = split_block_key(cursor.key()) if cursor.set_range(block_key(lid, 0)) else (lid, 0)
            return Beginning(seq if key_lid == lid else 0, dropped_of(txn, self._tables[Table.SELF], lid))

        return self._read(begin, f"first block of {log}")

    def last(self, log: LogId) -> StoredBlock | None:
        """The newest block, or None for an empty or unknown log."""
        length = self.length(log)
        return self.block(log, length - 1) if length else None

    def blocks(self, log: LogId, first: int, end: int) -> Iterator[StoredBlock]:
        """Blocks ``first`` to ``end`` - 1, as many as are held. Raises StoreFault ``store.missing`` at a hole."""
        return self._scan(log, first, end, unpack_block, views=False)

    def pairs(self, log: LogId, first: int, end: int) -> Iterator[tuple[bytes, bytes]]:
        """The same as (signed header, payload)."""
        return self._scan(log, first, end, unpack_pair, views=False)

    def headers(self, log: LogId, first: int, end: int) -> Iterator[bytes]:
        """Signed headers of blocks ``first`` to ``end`` - 1, as many as are held; payloads are not copied."""
        return self._scan(log, first, end, header_of)

    def headers_and_held(self, log: LogId, first: int, end: int) -> Iterator[tuple[bytes, bool]]:
        """The same, each with whether its payload is held."""
        return self._scan(log, first, end, held_of)

    # Derived rows.

    def tip(self, log: LogId) -> bytes | None:
        """The newest tip put, which may lag behind the blocks."""
        return self._of_log(log, Table.TIP, lid_key)

    def subtree(self, log: LogId, index: int) -> bytes | None:
        """Hash of leaves 256 ``index`` to 256 ``index`` + 255, if stored."""
        return self._of_log(log, Table.SUBTREES, lambda lid: sized_key(lid, index))

    def checkpoint(self, log: LogId, size: int) -> bytes | None:
        """The checkpoint of exactly this size, if stored."""
        row = self._of_log(log, Table.CHECKPOINTS, lambda lid: sized_key(lid, size))
        return None if row is None else row[1:]

    def newest_checkpoint(self, log: LogId) -> tuple[int, bytes] | None:
        """(size, checkpoint) of the largest size stored."""
        stored = self.checkpoints(log)
        return stored[-1] if stored else None

    def checkpoints(self, log: LogId) -> list[tuple[int, bytes]]:
        """(size, checkpoint) of all stored, smallest first."""
        return [(size, row[1:]) for size, row in self._numbered(log, Table.CHECKPOINTS)]

    def keyframe_at_or_before(self, log: LogId, seq: int) -> tuple[int, bytes] | None:
        """(seq, frontier before it) of the newest stored keyframe not after ``seq``."""
        before = [(number, row[1:]) for number, row in self._numbered(log, Table.KEYFRAMES) if number <= seq]
        return before[-1] if before else None

    # Facts.

    def promise(self, box: str) -> bytes | None:
        """What this box last promised about ``box``."""
        return self._row(Table.PROMISE, box.encode())

    def promises(self) -> dict[str, bytes]:
        """All promises, by box."""
        return {key.decode(): value for key, value in self._rows(Table.PROMISE)}

    def self_value(self, name: str) -> bytes | None:
        """A fact about this box."""
        return self._row(Table.SELF, SELF_PREFIX + name.encode())

    def self_values(self) -> dict[str, bytes]:
        """Every fact about this box, by name."""
        rows = self._rows(Table.SELF)
        return {key.removeprefix(SELF_PREFIX).decode(): value for key, value in rows if key.startswith(SELF_PREFIX)}

    def manifests(self) -> list[tuple[int, bytes]]:
        """(version, signed manifest), oldest first."""
        return [(int.from_bytes(key, "big"), value) for key, value in self._rows(Table.MANIFEST)]

    def cases(self) -> list[tuple[bytes, LogId, bytes]]:
        """(case id, log, value) of every case in every log."""
        known = {lid_of(key): log_row(value)[0] for key, value in self._rows(Table.LOGS)}
        return [(key[:-4], known[lid_of(key[-4:])], value) for key, value in self._rows(Table.CASE)]

    def case_values(self, case_id: bytes) -> list[bytes]:
        """What stands of one case, in every log that has it."""

        def of_case(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            with txn.cursor(db=self._tables[Table.CASE]) as cursor:
                more = cursor.set_range(case_id)
                while more and cursor.key().startswith(case_id):
                    found.append((cursor.key(), cursor.value()))
                    more = cursor.next()
            return found

        return [open_row(Table.CASE, key, row) for key, row in self._read(of_case, "rows of a case")]

    def tombs(self) -> dict[bytes, bytes]:
        """Every order to destroy a key, by key id."""
        return dict(self._rows(Table.TOMB))

    def proofs(self) -> dict[bytes, bytes]:
        """Every proof of equivocation, by its hash."""
        return dict(self._rows(Table.PROOF))

    def misplaced(self) -> list[str]:
        """What stands where no question finds it, in words: a log without its index, blocks without their log.

        Raises StoreFault ``store.corrupt`` when a row of the index does not fit its checksum.
        """
        logs = {lid_of(key): log_row(value)[0] for key, value in self._rows(Table.LOGS)}
        self._rows(Table.LOG_INDEX)

        def unfound(txn: ReadTransaction) -> list[str]:
            index = self._tables[Table.LOG_INDEX]
            lost = [log for lid, log in logs.items() if find_lid(txn, index, log) != lid]
            return [f"{log} is not in the index of logs" for log in lost]

        def orphans(txn: ReadTransaction, box: str, table: Any) -> Iterator[str]:
            with txn.cursor(db=table) as cursor:
                more = cursor.first()
                while more:
                    lid, _ = split_block_key(cursor.key())
                    if lid not in logs or logs[lid].box != box:
                        yield f"blocks of {box} stand under number {lid}, which is no log of it"
                    more = cursor.set_range(block_key(lid + 1, 0))

        found = self._read(unfound, "index of logs")
        for box, table in self._blocks.items():
            found += self._read(lambda txn, b=box, t=table: list(orphans(txn, b, t)), f"blocks of {box}")  # type: ignore[misc]
        return found

    def usage(self) -> StoreUsage:
        """What the store takes and what the disk has left."""
        tables = [*self._tables.values(), *self._blocks.values()]

        def live_pages(txn: ReadTransaction) -> int:
            stats = [txn.stat(db=table) for table in tables]
            return sum(each["branch_pages"] + each["leaf_pages"] + each["overflow_pages"] for each in stats)

        live_bytes = self._read(live_pages, "usage") * self._env.stat()["psize"]
        with faults(f"{self._path}: usage"):
            disk = os.statvfs(self._path)
        return StoreUsage(
            live_bytes, used_bytes(self._env), disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        )

    # How it is read.

    def _read(self, question: Callable[[ReadTransaction], T], where: str) -> T:
        with faults(where), self._env.begin() as txn:
            return question(txn)

    def _row(self, table: Table, key: bytes) -> bytes | None:
        row = self._read(lambda txn: txn.get(key, db=self._tables[table]), f"table {table}")
        return None if row is None else open_row(table, key, row)

    def _rows(self, table: Table) -> list[tuple[bytes, bytes]]:
        def every(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
            with txn.cursor(db=self._tables[table]) as cursor:
                return list(cursor)

        return [(key, open_row(table, key, row)) for key, row in self._read(every, f"table {table}")]

    def _of_log(self, log: LogId, table: Table, key_of: Callable[[int], bytes]) -> bytes | None:
        def get(txn: ReadTransaction) -> bytes | None:
            lid = find_lid(txn, self._tables[Table.LOG_INDEX], log)
            if lid is None:
                return None
            row = txn.get(key_of(lid), db=self._tables[table])
            return None if row is None else open_row(table, key_of(lid), row)

        return self._read(get, f"table {table} of {log}")

    def _numbered(self, log: LogId, table: Table) -> list[tuple[int, bytes]]:
        def rows(txn: ReadTransaction) -> list[tuple[int, bytes]]:
            lid = find_lid(txn, self._tables[Table.LOG_INDEX], log)
            return [] if lid is None else list(numbered_rows(txn, self._tables[table], table, lid))

        return self._read(rows, f"table {table} of {log}")

    def _scan(
        self, log: LogId, first: int, end: int, take: Callable[[int, Any, str], T], *, views: bool = True
    ) -> Iterator[T]:
        """``take`` is given views of the records, good only until it returns; or, cheaper when all is wanted, bytes."""
        while first < end:
            batch = self._batch(log, first, end, take, views=views)
            if not batch:
                return
            yield from batch
            first += len(batch)

    def _batch(
        self, log: LogId, first: int, end: int, take: Callable[[int, Any, str], T], *, views: bool
    ) -> list[T]:  # fmt: skip
        """A bounded run of blocks in one transaction; empty at the log's end."""
        table, size = self._blocks.get(log.box), 0
        found: list[T] = []
        lid = self._read(lambda txn: find_lid(txn, self._tables[Table.LOG_INDEX], log), f"{log}")
        if table is None or lid is None:
            return []
        where = f"blocks {first} to {end} of {log}"
        with ExitStack() as opened:
            opened.enter_context(faults(where))
            begun: Any = self._env.begin(buffers=True) if views else self._env.begin()
            cursor = opened.enter_context(opened.enter_context(begun).cursor(db=table))
            if not cursor.set_range(block_key(lid, first)):
                return found
            rows, seq = cursor.iternext(), first
            end = min(end, first + LIMITS.store_read_records)
            while seq < end and size <= LIMITS.store_read_bytes:
                some = _in_line(list(islice(rows, min(_ROWS_AT_ONCE, end - seq))), lid, seq, where)
                if not some:
                    break
                found += [take(number, record, where) for number, (_, record) in enumerate(some, seq)]
                size += sum([len(record) for _, record in some])
                seq += len(some)
        return found


def _in_line(rows: list[tuple[Any, Any]], lid: int, first: int, where: str) -> list[tuple[Any, Any]]:
    """The rows as far as they are of log ``lid``. Raises StoreFault ``store.missing`` at a hole."""
    keys = [key for key, _ in rows]
    if keys == [block_key(lid, seq) for seq in range(first, first + len(rows))]:
        return rows
    for at, key in enumerate(keys):
        if split_block_key(key)[0] != lid:
            return rows[:at]
        if key != block_key(lid, first + at):
            text = f"{where}: block {first + at} is not held: dropped at its retention, or lost"
            raise StoreFault("store.missing", text, "fetch it from a peer")
    return rows
