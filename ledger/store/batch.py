"""Applying operations inside one write transaction."""

from __future__ import annotations

from typing import Any

import lmdb

from ledger.canonical import pack
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
    LabelObject,
    MarkObject,
    Op,
    OpenLog,
    PrunePayloads,
    PutCase,
    PutDerived,
    PutHolding,
    PutManifest,
    PutPending,
    PutPromise,
    PutProof,
    PutSelf,
    PutTomb,
    ReplaceBlock,
)
from ledger.store.lookups import DROPPED_PREFIX, SELF_PREFIX, Dropped, dropped_of, find_lid, length_of, numbered_rows
from ledger.store.objects import ObjectRows
from ledger.store.rows import (
    MOST_SEQ,
    StoredBlock,
    Table,
    block_key,
    frame_row,
    lid_key,
    lid_of,
    log_index_key,
    open_row,
    pack_block,
    sized_key,
    split_sized_key,
    unpack_block,
)
from ledger.tree import SUBTREE_LEAVES, Frontier, leaf_hash

_KEEP, _THIN = b"\x01", b"\x00"
_OURS = "report this: the store was asked for what its rules exclude"


class Batch:
    """One write transaction in the making; the block tables of all its boxes exist already."""

    def __init__(self, txn: lmdb.Transaction[bytes], tables: dict[Table, Any], blocks: dict[str, Any]) -> None:
        self._txn = txn
        self._tables = tables
        self._blocks = blocks
        self._lids: dict[LogId, int] = {}
        self._lengths: dict[int, int] = {}
        self._greatest: dict[str, bytes] = {}
        self._objects = ObjectRows(txn, tables)
        self.blocks_written = 0
        self.bytes_written = 0

    def apply(self, op: Op) -> None:
        """Apply one operation; raises StoreFault, after which the transaction must be aborted."""
        match op:
            case AppendBlock():
                self._append(op)
            case AppendRun():
                self._append_run(op)
            case PutDerived():
                self._derive(op)
            case FillPayload():
                self._fill(op)
            case ReplaceBlock():
                self._replace(op)
            case OpenLog(log, meta):
                self._open(log, meta)
            case PrunePayloads():
                self._prune(op)
            case DropBlocks():
                self._drop(op)
            case MarkObject(log, seq, sha256, state):
                self._objects.mark(self._lid(log), seq, sha256, state)
            case PutHolding(sha256, box, value):
                self._objects.holding(sha256, box, value)
            case LabelObject(sha256, label, value):
                self._objects.label(sha256, label, value)
            case _:
                self._put_fact(op)

    def _put_fact(self, op: PutPromise | PutSelf | PutManifest | PutCase | PutTomb | PutProof | PutPending) -> None:
        match op:
            case PutPending(key, None):
                self._delete(Table.PENDING, key)
            case PutPending(key, bytes(value)):
                self._put(Table.PENDING, key, value)
            case PutPromise(box, value):
                self._put(Table.PROMISE, box.encode(), value)
            case PutSelf(name, value):
                self._put(Table.SELF, SELF_PREFIX + name.encode(), value)
            case PutManifest(version, value):
                self._put(Table.MANIFEST, version.to_bytes(8, "big"), value)
            case PutCase(case_id, log, value):
                self._put(Table.CASE, case_id + lid_key(self._lid(log)), value)
            case PutTomb(key_id, value):
                self._put(Table.TOMB, key_id, value)
            case PutProof(hash_, value):
                self._put(Table.PROOF, hash_, value)

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        self._txn.put(key, frame_row(table, key, value), db=self._tables[table])

    def _delete(self, table: Table, key: bytes) -> None:
        self._txn.delete(key, db=self._tables[table])

    # Logs.

    def _lid(self, log: LogId) -> int:
        """The log's number, looked up once in a transaction: it never changes."""
        lid = self._lids.get(log)
        if lid is None:
            lid = find_lid(self._txn, self._tables[Table.LOG_INDEX], log)
            if lid is None:
                raise StoreFault("store.unknown-log", f"{log} was not opened", _OURS)
            self._lids[log] = lid
        return lid

    def _length(self, log: LogId, lid: int) -> int:
        """How many blocks the log has, counted once in a transaction: only ``_append`` makes it longer, and the last
        block is never dropped.
        """
        length = self._lengths.get(lid)
        if length is None:
            length = self._lengths[lid] = length_of(self._txn, self._table(log), lid)
        return length

    def _open(self, log: LogId, meta: bytes) -> None:
        lid = find_lid(self._txn, self._tables[Table.LOG_INDEX], log)
        if lid is None:
            if self._txn.get(log_index_key(log.box, log.incarnation), db=self._tables[Table.LOG_INDEX]) is not None:
                text = f"{log} has the incarnation of a log with another counter"
                raise StoreFault("store.log-conflict", text, "report this: an incarnation is never used twice")
            with self._txn.cursor(db=self._tables[Table.LOGS]) as cursor:
                lid = lid_of(cursor.key()) + 1 if cursor.last() else 0
            self._put(Table.LOG_INDEX, log_index_key(log.box, log.incarnation), pack([lid, log.counter, log.fenced]))
        self._put(Table.LOGS, lid_key(lid), pack([log.fields(), meta]))

    # Blocks.

    def _table(self, log: LogId) -> Any:
        return self._blocks[log.box]

    def _held(self, log: LogId, lid: int, seq: int) -> StoredBlock | None:
        record = self._txn.get(block_key(lid, seq), db=self._table(log))
        return None if record is None else unpack_block(seq, record, f"block {seq} of {log}")

    def _write_block(self, log: LogId, lid: int, block: StoredBlock, *, is_new: bool) -> None:
        record, table, key = pack_block(block.signed_header, block.payload), self._table(log), block_key(lid, block.seq)
        # MDB_APPEND fills pages whole, but only the table's greatest key may be written so.
        self._txn.put(key, record, db=table, append=is_new and self._becomes_greatest(log.box, key))
        self.blocks_written += 1
        self.bytes_written += len(record)

    def _becomes_greatest(self, box: str, key: bytes) -> bool:
        """True when the table holds no key behind this one; looked up once in a transaction: only new blocks change it,
        and a log's last is never dropped.
        """
        greatest = self._greatest.get(box)
        if greatest is None:
            with self._txn.cursor(db=self._blocks[box]) as cursor:
                greatest = cursor.key() if cursor.last() else b""
        self._greatest[box] = max(greatest, key)
        return key > greatest

    def _append(self, op: AppendBlock) -> None:
        lid = self._lid(op.log)
        length = self._length(op.log, lid)
        if op.seq == length and op.seq <= MOST_SEQ:
            block = StoredBlock(op.seq, op.signed_header, op.payload)
            self._write_block(op.log, lid, block, is_new=True)
            self._lengths[lid] = length + 1
            if op.has_notices:
                self._objects.announced(lid, op.seq, op.signed_header)
            return
        held = self._held(op.log, lid, op.seq) if 0 <= op.seq < length else None
        if held is None:
            text = f"block {op.seq} of {op.log} does not follow its {length} blocks"
            raise StoreFault("store.out-of-order", text, _OURS)
        if held.signed_header != op.signed_header or (op.payload and held.payload and held.payload != op.payload):
            text = f"block {op.seq} of {op.log} is held with other bytes"
            raise StoreFault("store.out-of-order", text, _OURS)
        if op.payload and not held.payload:
            self._write_block(op.log, lid, held._replace(payload=op.payload), is_new=False)

    def _append_run(self, op: AppendRun) -> None:
        lid, end = self._lid(op.log), op.first + len(op.blocks)
        is_next = bool(op.blocks) and op.first == self._length(op.log, lid) and end <= MOST_SEQ
        if not is_next or not self._becomes_greatest(op.log.box, block_key(lid, op.first)):
            for seq, (signed_header, payload) in enumerate(op.blocks, op.first):
                self._append(AppendBlock(op.log, seq, signed_header, payload, has_notices=seq in op.with_notices))
            return
        records = [
            (block_key(lid, seq), pack_block(signed_header, payload))
            for seq, (signed_header, payload) in enumerate(op.blocks, op.first)
        ]
        with self._txn.cursor(db=self._table(op.log)) as cursor:
            cursor.putmulti(records, append=True)
        self.blocks_written += len(records)
        self.bytes_written += sum(len(record) for _, record in records)
        self._lengths[lid] = end
        self._greatest[op.log.box] = records[-1][0]
        for seq in sorted(op.with_notices):
            self._objects.announced(lid, seq, op.blocks[seq - op.first][0])

    def _fill(self, op: FillPayload) -> None:
        lid = self._lid(op.log)
        held = self._held(op.log, lid, op.seq) if 0 <= op.seq <= MOST_SEQ else None
        if held is None or (held.payload and held.payload != op.payload):
            text = f"block {op.seq} of {op.log} cannot take a payload: " + (
                "not held" if held is None else "it has one"
            )
            raise StoreFault("store.out-of-order", text, _OURS)
        if not held.payload:
            self._write_block(op.log, lid, held._replace(payload=op.payload), is_new=False)

    def _replace(self, op: ReplaceBlock) -> None:
        lid = self._lid(op.log)
        if not 0 <= op.seq < length_of(self._txn, self._table(op.log), lid):
            raise StoreFault("store.out-of-order", f"block {op.seq} of {op.log} is not held", _OURS)
        self._write_block(op.log, lid, StoredBlock(op.seq, op.signed_header, op.payload), is_new=False)

    def _prune(self, op: PrunePayloads) -> None:
        """Take all out, then put the headers back: only deleting makes LMDB join pages that have become half empty, so
        that small payloads, which lie in the same page as their header, free their room too.
        """
        lid = self._lid(op.log)
        range_held = (self._held(op.log, lid, seq) for seq in range(op.first, op.end))
        pruned = [held for held in range_held if held is not None and held.payload]
        for held in pruned:
            self._txn.delete(block_key(lid, held.seq), db=self._table(op.log))
        for held in pruned:
            self._write_block(op.log, lid, held._replace(payload=b""), is_new=False)
        self._objects.expire(lid, op.first, op.end)

    def _drop(self, op: DropBlocks) -> None:
        lid = self._lid(op.log)
        end = min(op.end, length_of(self._txn, self._table(op.log), lid) - 1)
        if op.first and self._held(op.log, lid, op.first - 1) is not None:
            text = f"block {op.first} of {op.log} is not its oldest"
            raise StoreFault("store.out-of-order", text, _OURS)
        self._note_dropped(op.log, lid, op.first, end)
        self._objects.drop(lid, op.first, end)
        for seq in range(op.first, end):
            self._txn.delete(block_key(lid, seq), db=self._table(op.log))
        for index in range(-(-op.first // SUBTREE_LEAVES), max(0, end) // SUBTREE_LEAVES):
            self._delete(Table.SUBTREES, sized_key(lid, index))
        for table in (Table.CHECKPOINTS, Table.KEYFRAMES):
            rows = list(numbered_rows(self._txn, self._tables[table], table, lid))
            for number, _ in rows[:-1]:
                if op.first <= number < end:
                    self._delete(table, sized_key(lid, number))

    def _note_dropped(self, log: LogId, lid: int, first: int, end: int) -> None:
        """Else what a disk lost would look like what was dropped; the tree's edge lets roots still be checked."""
        noted = dropped_of(self._txn, self._tables[Table.SELF], lid) or Dropped(0, Frontier())
        if end <= noted.end:
            return
        frontier = self._edge_at(log, lid, noted, end) if first <= noted.end else None
        value = pack([end, b"" if frontier is None else frontier.encode()])
        self._put(Table.SELF, DROPPED_PREFIX + lid_key(lid), value)

    def _edge_at(self, log: LogId, lid: int, noted: Dropped, end: int) -> Frontier | None:
        """None when a block on the way is lost, which was for the audit to say while there was something to mend."""
        if noted.frontier is None:
            return None
        frontier = noted.frontier.copy()
        for seq in range(noted.end, end):
            header = self._header(log, lid, seq)
            if header is None:
                return None
            frontier.append(leaf_hash(header))
        return frontier

    def _header(self, log: LogId, lid: int, seq: int) -> bytes | None:
        try:
            held = self._held(log, lid, seq)
        except StoreFault:
            return None
        return None if held is None else held.signed_header

    # Derived rows.

    def _derive(self, op: PutDerived) -> None:
        lid = self._lid(op.log)
        self._put(Table.TIP, lid_key(lid), op.tip)
        for index, subtree in op.subtrees:
            self._put(Table.SUBTREES, sized_key(lid, index), subtree)
        for checkpoint in op.checkpoints:
            self._put_checkpoint(lid, checkpoint)
        for keyframe in op.keyframes:
            self._put_keyframe(lid, keyframe)

    def _put_checkpoint(self, lid: int, row: CheckpointRow) -> None:
        key = sized_key(lid, row.size)
        before = self._txn.get(key, db=self._tables[Table.CHECKPOINTS])
        was_kept = before is not None and open_row(Table.CHECKPOINTS, key, before)[:1] == _KEEP
        self._put(Table.CHECKPOINTS, key, (_KEEP if row.keep or was_kept else _THIN) + row.data)
        self._thin_checkpoints(lid, row.size)

    def _thin_checkpoints(self, lid: int, size: int) -> None:
        """Keep the first of each run of 600 sizes, the newest of all, and what is marked; only ``size`` is new."""
        every, table = LIMITS.checkpoint_every_blocks, self._tables[Table.CHECKPOINTS]
        with self._txn.cursor(db=table) as cursor:
            cursor.set_key(sized_key(lid, size))
            neighbour = split_sized_key(cursor.key()) if cursor.prev() else (lid, size)
        nearest = neighbour[1] if neighbour[0] == lid else size
        rows = list(numbered_rows(self._txn, table, Table.CHECKPOINTS, lid, nearest // every * every))
        runs: set[int] = set()
        for number, value in rows[:-1]:
            if number // every in runs and value[:1] == _THIN:
                self._delete(Table.CHECKPOINTS, sized_key(lid, number))
            runs.add(number // every)

    def _put_keyframe(self, lid: int, row: KeyframeRow) -> None:
        self._put(Table.KEYFRAMES, sized_key(lid, row.seq), (_KEEP if row.keep else _THIN) + row.frontier)
        rows = list(numbered_rows(self._txn, self._tables[Table.KEYFRAMES], Table.KEYFRAMES, lid))
        for seq, value in rows[: -LIMITS.keyframes_kept]:
            if value[:1] == _THIN:
                self._delete(Table.KEYFRAMES, sized_key(lid, seq))
