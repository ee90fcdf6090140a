"""Opening, committing, closing. Commits come from one thread; reads from any."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import lmdb

from ledger.errors import StoreFault
from ledger.ops import Op, OpenLog
from ledger.store.batch import Batch
from ledger.store.disk import FileAhead, WriterLock, create_folder, faults, open_environment, sync_folder
from ledger.store.objects import ObjectReads
from ledger.store.reads import FORMAT_KEY, StoreReads
from ledger.store.rows import BLOCK_TABLE_PREFIX, FORMAT, LATER_TABLES, Table, frame_row


@dataclass(frozen=True, slots=True)
class CommitReport:
    """Block records written by one commit, and their bytes before LMDB's pages."""

    blocks: int
    bytes: int


class Store(ObjectReads, StoreReads):
    """The store of one box. Use ``Store.open``."""

    def __init__(self, path: Path, environment: lmdb.Environment, lock: WriterLock | None) -> None:
        super().__init__(path, environment)
        self._lock = lock
        self._ahead: FileAhead | None = None
        self._stopped: Exception | None = None

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False, map_bytes: int | None = None) -> Store:
        """Open, or create unless ``readonly``; ``map_bytes`` bounds the file (default: 1 TiB of address space).

        A reader may open beside the running agent; boxes it does not know yet appear to it when opened again. Raises
        StoreFault: ``store.locked`` (another writer), ``store.absent``, ``store.corrupt``, ``store.format``,
        ``store.io``.
        """
        with ExitStack() as undo:
            lock = None
            if not readonly:
                create_folder(path)
                lock = WriterLock(path)
                undo.callback(lock.release)
            environment = open_environment(path, readonly=readonly, map_bytes=map_bytes)
            undo.callback(environment.close)
            store = cls(path, environment, lock)
            if not readonly:
                store._create_tables()
                store._ahead = FileAhead(path, environment)
            store._open_tables()
            undo.pop_all()
        store.prepare()
        return store

    def _create_tables(self) -> None:
        """All fixed tables and the format's number, in one transaction, as far as they are not there."""
        with faults(f"{self._path}: first opening"):
            with self._env.begin() as txn, txn.cursor() as cursor:
                names = {name.decode() for name in cursor.iternext(keys=True, values=False)}
            if names >= set(Table):
                return
            with self._env.begin(write=True) as txn:
                missing = set(Table) if not names else LATER_TABLES
                tables = {table: self._env.open_db(table.encode(), txn=txn) for table in missing}
                if not names:
                    txn.put(FORMAT_KEY, frame_row(Table.SELF, FORMAT_KEY, bytes([FORMAT])), db=tables[Table.SELF])
            sync_folder(self._path)

    def _create_block_tables(self, operations: Sequence[Op]) -> None:
        """Tables for boxes met for the first time, committed on their own.

        A handle may not be used before its transaction is committed, and a reader must never see a log whose table's
        handle it does not have yet.
        """
        boxes = {each.log.box for each in operations if isinstance(each, OpenLog)} - self._blocks.keys()
        for box in sorted(boxes):
            self._blocks[box] = self._env.open_db(f"{BLOCK_TABLE_PREFIX}{box}".encode())

    def commit(self, operations: Sequence[Op]) -> CommitReport:
        """Apply all in order in ONE transaction, durable when this returns: then, and only then, acknowledge.

        On any error nothing of it is stored and the store takes no further commit (StoreFault ``store.stopped``): after
        a failed sync nobody knows what the disk holds, so nothing more may be signed on top of it.
        """
        if self._stopped is not None:
            text = f"the store stopped after: {self._stopped}"
            raise StoreFault("store.stopped", text, "restart the agent; it opens a new epoch") from self._stopped
        if self._lock is None:
            raise StoreFault("store.readonly", f"{self._path} was opened to read", "report this")
        try:
            with faults("commit"):
                self._create_block_tables(operations)
                with self._env.begin(write=True) as txn:
                    batch = Batch(txn, self._tables, self._blocks)
                    for operation in operations:
                        batch.apply(operation)
        except Exception as error:
            self._stopped = error
            raise
        return CommitReport(batch.blocks_written, batch.bytes_written)

    def prepare(self) -> bool:
        """Make room in the file ahead of the next commit; call on the committing thread once the answers are out.

        False: the disk has no room left, and only what was made before remains (half a minute of three boxes' blocks).
        """
        if self._ahead is None:
            return True
        self._env.reader_check()  # a reader that was killed must not keep freed pages from being used again
        return self._ahead.extend()

    def close(self) -> None:
        """Close; every iterator and read must be done."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        self._env.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
