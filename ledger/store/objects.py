"""Rows about objects: which block names which, whether it is held, who said that they hold it.

``obj`` follows from the blocks' notices and is written with them, whoever brings the block. It says HELD only when the
file is durable. An object is known by the block that names it and not by its name alone: a box could name another's.

A label finds an object by what only its content says of it, and goes with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lmdb

from ledger.block import decode_signed_header
from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.notices import StoredObject, StoredObjects
from ledger.ops import ObjectState
from ledger.plain_header import plain_header
from ledger.store.lookups import ReadTransaction, log_row
from ledger.store.reads import StoreReads
from ledger.store.rows import MOST_SEQ, Table, corrupt, frame_row, lid_key, lid_of, open_row

_PLACE = struct.Struct(">IQ")
_NAME_BYTES = 32
_LABEL_BYTES = 32
_ROW_BYTES = 256


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """Block ``seq`` of ``log`` names this object."""

    log: LogId
    seq: int
    stored: StoredObject
    state: ObjectState


@dataclass(frozen=True, slots=True)
class ObjectTotals:
    """(objects, sealed bytes) by state."""

    wanted: tuple[int, int] = (0, 0)
    held: tuple[int, int] = (0, 0)
    gone: tuple[int, int] = (0, 0)


def object_key(lid: int, seq: int, sha256: bytes) -> bytes:
    """Key of ``obj`` and ``objw``."""
    return _PLACE.pack(lid, seq) + sha256


def name_key(sha256: bytes, lid: int, seq: int) -> bytes:
    """Key of ``objn``."""
    return sha256 + _PLACE.pack(lid, seq)


def holding_key(sha256: bytes, box: str) -> bytes:
    """Key of ``objv``."""
    return sha256 + box.encode()


def _row(stored: StoredObject, state: ObjectState) -> bytes:
    return pack([stored.sealed_bytes, stored.index_hash, int(state)])


def _open_row(key: bytes, row: bytes) -> tuple[int, int, StoredObject, ObjectState]:
    """(lid, seq, object, state)."""
    take = Fields(unpack(open_row(Table.OBJECTS, key, row), _ROW_BYTES, "object row"), 3, "object row")
    lid, seq = _PLACE.unpack_from(key)
    stored = StoredObject(key[_PLACE.size :], take.uint(), take.raw(32))
    return lid, seq, stored, ObjectState(take.uint(max(ObjectState)))


class ObjectRows:
    """Writing them inside one transaction."""

    def __init__(self, txn: lmdb.Transaction[bytes], tables: dict[Table, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def announced(self, lid: int, seq: int, signed_header: bytes) -> None:
        """A block was appended: what its notices name is wanted from now on."""
        if plain_header(signed_header) is not None:
            return  # no notices: all but a few
        try:
            notices = decode_signed_header(signed_header).notices
        except PeerFault:
            return  # whether a header is one is checked before it comes here, and by the audit
        for notice in notices:
            for stored in notice.objects if isinstance(notice, StoredObjects) else ():
                self._put(Table.OBJECTS, object_key(lid, seq, stored.sha256), _row(stored, ObjectState.WANTED))
                self._put(Table.OBJECT_NAMES, name_key(stored.sha256, lid, seq), b"")
                self._put(Table.OBJECTS_WANTED, object_key(lid, seq, stored.sha256), b"")

    def mark(self, lid: int, seq: int, sha256: bytes, state: ObjectState) -> None:
        """Held, gone, or wanted again."""
        key = object_key(lid, seq, sha256)
        row = self._txn.get(key, db=self._tables[Table.OBJECTS])
        if row is None:
            return  # its block was dropped meanwhile
        _, _, stored, before = _open_row(key, row)
        if before is ObjectState.GONE and state is ObjectState.HELD:
            return  # retention took it while it was being fetched
        self._put(Table.OBJECTS, key, _row(stored, state))
        if state is ObjectState.WANTED:
            self._put(Table.OBJECTS_WANTED, key, b"")
        else:
            self._txn.delete(key, db=self._tables[Table.OBJECTS_WANTED])
        if state is ObjectState.GONE and all(each is ObjectState.GONE for each in self._states(sha256)):
            self._forget_labels(sha256)

    def holding(self, sha256: bytes, box: str, value: bytes) -> None:
        """A box's word, as long as a block names the object."""
        if self._is_named(sha256):
            self._put(Table.OBJECT_HOLDINGS, holding_key(sha256, box), value)

    def label(self, sha256: bytes, label: bytes, value: bytes) -> None:
        """The object is found by this too, as long as a block names it and it has not gone."""
        if len(label) == _LABEL_BYTES and any(state is not ObjectState.GONE for state in self._states(sha256)):
            self._put(Table.OBJECT_LABELS, label + sha256, value)
            self._put(Table.LABELS_OF_OBJECT, sha256 + label, b"")

    def expire(self, lid: int, first: int, end: int) -> None:
        """The payloads of these blocks went, and with them what they name."""
        for seq, sha256 in list(self._between(lid, first, end)):
            self.mark(lid, seq, sha256, ObjectState.GONE)

    def drop(self, lid: int, first: int, end: int) -> None:
        """These blocks went."""
        for seq, sha256 in list(self._between(lid, first, end)):
            for table in (Table.OBJECTS, Table.OBJECTS_WANTED):
                self._txn.delete(object_key(lid, seq, sha256), db=self._tables[table])
            self._txn.delete(name_key(sha256, lid, seq), db=self._tables[Table.OBJECT_NAMES])
            if not self._is_named(sha256):
                self._forget_holdings(sha256)
                self._forget_labels(sha256)

    def _is_named(self, sha256: bytes) -> bool:
        with self._txn.cursor(db=self._tables[Table.OBJECT_NAMES]) as cursor:
            return cursor.set_range(sha256) and cursor.key().startswith(sha256)

    def _forget_holdings(self, sha256: bytes) -> None:
        with self._txn.cursor(db=self._tables[Table.OBJECT_HOLDINGS]) as cursor:
            while cursor.set_range(sha256) and cursor.key().startswith(sha256):
                cursor.delete()

    def _forget_labels(self, sha256: bytes) -> None:
        with self._txn.cursor(db=self._tables[Table.LABELS_OF_OBJECT]) as cursor:
            while cursor.set_range(sha256) and cursor.key().startswith(sha256):
                label = cursor.key()[_NAME_BYTES:]
                cursor.delete()
                self._txn.delete(label + sha256, db=self._tables[Table.OBJECT_LABELS])

    def _states(self, sha256: bytes) -> Iterator[ObjectState]:
        """Of every block's naming of it."""
        with self._txn.cursor(db=self._tables[Table.OBJECT_NAMES]) as cursor:
            more = cursor.set_range(sha256)
            while more and cursor.key().startswith(sha256):
                key = cursor.key()[_NAME_BYTES:] + sha256
                row = self._txn.get(key, db=self._tables[Table.OBJECTS])
                if row is not None:
                    yield _open_row(key, row)[3]
                more = cursor.next()

    def _between(self, lid: int, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        with self._txn.cursor(db=self._tables[Table.OBJECTS]) as cursor:
            more = cursor.set_range(_PLACE.pack(lid, first))
            while more:
                key_lid, seq = _PLACE.unpack_from(cursor.key())
                if key_lid != lid or seq >= end:
                    return
                yield seq, cursor.key()[_PLACE.size :]
                more = cursor.next()

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        self._txn.put(key, frame_row(table, key, value), db=self._tables[table])


class ObjectReads(StoreReads):
    """Questions about objects; a store of an earlier version has none."""

    def objects(self, log: LogId | None = None, first: int = 0, end: int = MOST_SEQ + 1) -> Iterator[ObjectRow]:
        """Every object that a block of the log, or of any, names, in the order of the blocks. Raises StoreFault."""
        for lid, each in self._lids().items():
            if log not in (None, each):
                continue
            after = _PLACE.pack(lid, first)
            while True:
                rows = self._object_page(Table.OBJECTS, after, _PLACE.pack(lid, end))
                for key, row in rows:
                    yield self._object_row(key, row)
                if not rows:
                    break
                after = rows[-1][0] + b"\x00"

    def objects_wanted(self, most: int = LIMITS.object_wanted_rows) -> list[ObjectRow]:
        """Objects that are not held here: of each log's first an equal share, so that none keeps another waiting."""
        if Table.OBJECTS_WANTED not in self._tables:
            return []

        def first_of(lid: int, share: int) -> Callable[[ReadTransaction], list[tuple[bytes, bytes]]]:
            def page(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
                found: list[tuple[bytes, bytes]] = []
                with txn.cursor(db=self._tables[Table.OBJECTS_WANTED]) as cursor:
                    more = cursor.set_range(_PLACE.pack(lid, 0))
                    while more and len(found) < share and lid_of(cursor.key()) == lid:
                        row = txn.get(cursor.key(), db=self._tables[Table.OBJECTS])
                        if row is not None:
                            found.append((cursor.key(), row))
                        more = cursor.next()
                return found

            return page

        wanting = self._read(self._logs_that_want, "objects wanted")
        share = max(1, most // max(1, len(wanting)))
        pages = [self._read(first_of(lid, share), "objects wanted") for lid in wanting[:most]]
        return [self._object_row(key, row) for page in pages for key, row in page]

    def _logs_that_want(self, txn: ReadTransaction) -> list[int]:
        found: list[int] = []
        with txn.cursor(db=self._tables[Table.OBJECTS_WANTED]) as cursor:
            more = cursor.first()
            while more:
                found.append(lid_of(cursor.key()))
                more = cursor.set_range(_PLACE.pack(found[-1] + 1, 0))
        return found

    def objects_named(self, sha256: bytes) -> list[ObjectRow]:
        """Every block that names an object of this name."""

        def rows(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            with txn.cursor(db=self._tables[Table.OBJECT_NAMES]) as cursor:
                more = cursor.set_range(sha256)
                while more and cursor.key().startswith(sha256):
                    key = cursor.key()[_NAME_BYTES:] + sha256
                    row = txn.get(key, db=self._tables[Table.OBJECTS])
                    if row is not None:
                        found.append((key, row))
                    more = cursor.next()
            return found

        if Table.OBJECT_NAMES not in self._tables:
            return []
        return [self._object_row(key, row) for key, row in self._read(rows, "object names")]

    def object_holdings(self, sha256: bytes) -> dict[str, bytes]:
        """Who said that it holds this object, and its signed word."""

        def rows(txn: ReadTransaction) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            with txn.cursor(db=self._tables[Table.OBJECT_HOLDINGS]) as cursor:
                more = cursor.set_range(sha256)
                while more and cursor.key().startswith(sha256):
                    value = open_row(Table.OBJECT_HOLDINGS, cursor.key(), cursor.value())
                    found[cursor.key()[_NAME_BYTES:].decode()] = value
                    more = cursor.next()
            return found

        return {} if Table.OBJECT_HOLDINGS not in self._tables else self._read(rows, "object holdings")

    def objects_labelled(self, label: bytes) -> list[tuple[bytes, bytes]]:
        """(object's name, value) of every object that is found by this label."""

        def rows(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            with txn.cursor(db=self._tables[Table.OBJECT_LABELS]) as cursor:
                more = cursor.set_range(label)
                while more and cursor.key().startswith(label):
                    value = open_row(Table.OBJECT_LABELS, cursor.key(), cursor.value())
                    found.append((cursor.key()[_LABEL_BYTES:], value))
                    more = cursor.next()
            return found

        return [] if Table.OBJECT_LABELS not in self._tables else self._read(rows, "object labels")

    def has_label(self, sha256: bytes) -> bool:
        """Whether an object is found by any label."""

        def has(txn: ReadTransaction) -> bool:
            with txn.cursor(db=self._tables[Table.LABELS_OF_OBJECT]) as cursor:
                return bool(cursor.set_range(sha256) and cursor.key().startswith(sha256))

        return Table.LABELS_OF_OBJECT in self._tables and self._read(has, "object labels")

    def pending(self) -> dict[bytes, bytes]:
        """Everything that this box promised somebody outside and has not done yet; sealed."""
        return {} if Table.PENDING not in self._tables else dict(self._rows(Table.PENDING))

    def object_totals(self) -> ObjectTotals:
        """How many objects of all logs are held, wanted, gone; each row counts."""
        counts = {state: [0, 0] for state in ObjectState}
        for row in self.objects():
            counts[row.state][0] += 1
            counts[row.state][1] += row.stored.sealed_bytes
        wanted, held, gone = ((counts[state][0], counts[state][1]) for state in ObjectState)
        return ObjectTotals(wanted, held, gone)

    def _lids(self) -> dict[int, LogId]:
        return {lid_of(key): log_row(value)[0] for key, value in self._rows(Table.LOGS)}

    def _object_row(self, key: bytes, row: bytes) -> ObjectRow:
        lid, seq, stored, state = _open_row(key, row)
        found = self._row(Table.LOGS, lid_key(lid))
        if found is None:
            raise corrupt("objects", f"some stand under number {lid}, which is no log")
        return ObjectRow(log_row(found)[0], seq, stored, state)

    def _object_page(self, table: Table, first: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        def page(txn: ReadTransaction) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            with txn.cursor(db=self._tables[table]) as cursor:
                more = cursor.set_range(first)
                while more and cursor.key() < end and len(found) < LIMITS.object_wanted_rows:
                    found.append((cursor.key(), cursor.value()))
                    more = cursor.next()
            return found

        return [] if table not in self._tables else self._read(page, f"table {table}")
