"""What stands in the tables, asked within one transaction: of a read, or of the commit that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import lmdb

from ledger.canonical import Fields, unpack
from ledger.log import LogId
from ledger.store.rows import (
    Table,
    block_key,
    lid_key,
    log_index_key,
    open_row,
    sized_key,
    split_block_key,
    split_sized_key,
)
from ledger.tree import Frontier

_META_BYTES = 1 << 22
SELF_PREFIX = b"self/"
DROPPED_PREFIX = b"dropped/"

ReadTransaction: TypeAlias = "lmdb.Transaction[bytes]"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Blocks before ``end`` were removed on order; ``frontier`` is the tree's there, None if one could not be read."""

    end: int
    frontier: Frontier | None


def dropped_of(txn: ReadTransaction, table: Any, lid: int) -> Dropped | None:
    """What was noted of the dropped blocks of log ``lid``."""
    key = DROPPED_PREFIX + lid_key(lid)
    row = txn.get(key, db=table)
    if row is None:
        return None
    take = Fields(unpack(open_row(Table.SELF, key, row), _META_BYTES, "dropped row"), 2, "dropped row")
    end, frontier = take.uint(), take.blob(_META_BYTES)
    return Dropped(end, Frontier.decode(frontier) if frontier else None)


def log_row(value: bytes) -> tuple[LogId, bytes]:
    """(log, meta) of a ``logs`` row."""
    take = Fields(unpack(value, _META_BYTES, "log row"), 2, "log row")
    return LogId.from_fields(take.optional(), "log row"), take.blob(_META_BYTES)


def find_lid(txn: ReadTransaction, table: Any, log: LogId) -> int | None:
    """The local number of a log, or None: also when another log has its incarnation, as a liar may tell of one."""
    key = log_index_key(log.box, log.incarnation)
    row = txn.get(key, db=table)
    if row is None:
        return None
    take = Fields(unpack(open_row(Table.LOG_INDEX, key, row), _META_BYTES, "log index"), 3, "log index")
    lid, counter, fenced = take.uint(), take.uint(), take.boolean()
    return lid if (counter, fenced) == (log.counter, log.fenced) else None


def length_of(txn: ReadTransaction, table: Any, lid: int) -> int:
    """One more than the last seq of log ``lid`` in its box's block table."""
    with txn.cursor(db=table) as cursor:
        found = cursor.prev() if cursor.set_range(block_key(lid + 1, 0)) else cursor.last()
        key_lid, seq = split_block_key(cursor.key()) if found else (lid, -1)
    return seq + 1 if key_lid == lid else 0


def numbered_rows(
    txn: ReadTransaction, handle: Any, table: Table, lid: int, first: int = 0
) -> Iterator[tuple[int, bytes]]:
    """(number, value) of a log's rows in ``t``, ``cp`` or ``kf`` from number ``first`` on, in order."""
    with txn.cursor(db=handle) as cursor:
        more = cursor.set_range(sized_key(lid, first))
        while more:
            key_lid, number = split_sized_key(cursor.key())
            if key_lid != lid:
                return
            yield number, open_row(table, cursor.key(), cursor.value())
            more = cursor.next()
