"""The layout: tables, keys and the framing of rows. All integers are big-endian, so that keys sort as numbers.

| table | key | value |
| --- | --- | --- |
| ``b/<box>`` | lid, seq | block record |
| ``logs`` | lid | log id, meta |
| ``lidx`` | box, 0, incarnation | lid, counter, fenced |
| ``t`` | lid, index | hash of a full 256-leaf subtree |
| ``tip`` | lid | opaque |
| ``cp`` | lid, size | keep flag, checkpoint |
| ``kf`` | lid, seq | keep flag, frontier before it |
| ``self`` | dropped/, lid | end of the dropped blocks, frontier there |
| ``obj`` | lid, seq, object's name | its sealed bytes, index hash, state |
| ``objn`` | object's name, lid, seq | nothing |
| ``objw`` | as ``obj`` | nothing: it is wanted |
| ``objv`` | object's name, box | opaque: the box's word that it holds it |
| ``objl`` | label, object's name | opaque |
| ``objm`` | object's name, label | nothing: by what ``objl`` knows it |
| ``pending`` | keyed hash | sealed, opaque |
| ``promise`` ``self`` ``manifest`` ``tomb`` ``proof`` | name | opaque |
| ``case`` | case id, lid | opaque |

One block table per box: its live log has the highest lid, so blocks are appended at the end of the table, and the
number of tables is bounded by the site's boxes and not by their epochs. A block record needs no checksum: its header is
signed and names the payload's hash. Every other row starts with a CRC-32 of table, key and value.
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import NamedTuple

from ledger.errors import StoreFault
from ledger.limits import LIMITS

FORMAT = 1
BLOCK_TABLE_PREFIX = "b/"
MOST_SEQ = (1 << 32) - 2
_U32 = struct.Struct(">I")
_BLOCK_KEY = struct.Struct(">II")
_SIZED_KEY = struct.Struct(">IQ")
_BLOCK_HEAD = struct.Struct(">HI")
BLOCK_HEAD_BYTES = _BLOCK_HEAD.size
_unpack_head = _BLOCK_HEAD.unpack_from
"""In a block record, before the signed header: the lengths of header and payload."""
_RESTORE_NEXT = "stop the agent, restore this box from its peers, replace the disk"


class Table(enum.StrEnum):
    """The fixed tables; block tables come one per box."""

    LOGS = "logs"
    LOG_INDEX = "lidx"
    SUBTREES = "t"
    TIP = "tip"
    CHECKPOINTS = "cp"
    KEYFRAMES = "kf"
    PROMISE = "promise"
    SELF = "self"
    MANIFEST = "manifest"
    CASE = "case"
    TOMB = "tomb"
    PROOF = "proof"
    OBJECTS = "obj"
    OBJECT_NAMES = "objn"
    OBJECTS_WANTED = "objw"
    OBJECT_HOLDINGS = "objv"
    OBJECT_LABELS = "objl"
    LABELS_OF_OBJECT = "objm"
    PENDING = "pending"


LATER_TABLES = frozenset({
    Table.OBJECTS, Table.OBJECT_NAMES, Table.OBJECTS_WANTED, Table.OBJECT_HOLDINGS, Table.OBJECT_LABELS,
    Table.LABELS_OF_OBJECT, Table.PENDING,
})  # fmt: skip
"""A store of an earlier version lacks these: its next writer adds them, a reader finds them empty."""


class StoredBlock(NamedTuple):
    """One block as held; ``payload`` is empty when it is not held or was pruned."""

    seq: int
    signed_header: bytes
    payload: bytes


_make = tuple.__new__


def corrupt(where: str, what: str) -> StoreFault:
    """Stored bytes are not what was written."""
    return StoreFault("store.corrupt", f"{where}: {what}", _RESTORE_NEXT)


def lid_key(lid: int) -> bytes:
    """Key of ``logs`` and ``tip``."""
    return _U32.pack(lid)


def lid_of(key: bytes) -> int:
    """The local log number that a key starts with."""
    return int(_U32.unpack_from(key)[0])


def log_index_key(box: str, incarnation: bytes) -> bytes:
    """Key of ``lidx``; a box id holds no NUL."""
    return box.encode() + b"\x00" + incarnation


def block_key(lid: int, seq: int) -> bytes:
    """Key of a block table."""
    return _BLOCK_KEY.pack(lid, seq)


def split_block_key(key: bytes | memoryview) -> tuple[int, int]:
    """(lid, seq)."""
    lid, seq = _BLOCK_KEY.unpack(key)
    return lid, seq


def sized_key(lid: int, number: int) -> bytes:
    """Key of ``t``, ``cp`` and ``kf``."""
    return _SIZED_KEY.pack(lid, number)


def split_sized_key(key: bytes) -> tuple[int, int]:
    """(lid, number)."""
    lid, number = _SIZED_KEY.unpack(key)
    return lid, number


def frame_row(table: Table, key: bytes, value: bytes) -> bytes:
    """The value with its checksum, which also binds it to its place."""
    return _U32.pack(_checksum(table, key, value)) + value


def open_row(table: Table, key: bytes, row: bytes) -> bytes:
    """Inverse of ``frame_row``; raises StoreFault ``store.corrupt``."""
    value = row[_U32.size :]
    if len(row) < _U32.size or _U32.unpack_from(row)[0] != _checksum(table, key, value):
        raise corrupt(f"table {table}, key {key.hex()}", "the row does not fit its checksum")
    return value


def _checksum(table: Table, key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key, zlib.crc32(table.encode() + b"\x00")))


def pack_block(signed_header: bytes, payload: bytes) -> bytes:
    """uint16 header length, uint32 payload length, header, payload."""
    if not 0 < len(signed_header) <= LIMITS.signed_header_bytes or len(payload) > 2 * LIMITS.payload_plain_bytes:
        text = f"a block of {len(signed_header)} + {len(payload)} bytes is not allowed"
        raise StoreFault("store.oversize", text, "report this: blocks are bounded before they come here")
    return _BLOCK_HEAD.pack(len(signed_header), len(payload)) + signed_header + payload


def block_bounds(record: bytes | memoryview, where: str) -> tuple[int, int]:
    """(end of header, end of payload) in a block record; raises StoreFault ``store.corrupt``."""
    if len(record) < BLOCK_HEAD_BYTES:
        raise corrupt(where, f"a record of {len(record)} bytes is no block")
    header_bytes, payload_bytes = _unpack_head(record)
    header_end: int = BLOCK_HEAD_BYTES + header_bytes
    if not header_bytes or header_end + payload_bytes != len(record):
        raise corrupt(where, "the record's lengths do not add up")
    return header_end, header_end + payload_bytes


def header_of(_seq: int, record: memoryview, where: str) -> bytes:
    """The signed header, without copying the payload."""
    header_end, _ = block_bounds(record, where)
    return bytes(record[BLOCK_HEAD_BYTES:header_end])


def held_of(_seq: int, record: memoryview, where: str) -> tuple[bytes, bool]:
    """The signed header, and whether the payload is held; the payload is not copied."""
    header_end, end = block_bounds(record, where)
    return bytes(record[BLOCK_HEAD_BYTES:header_end]), end > header_end


def unpack_block(seq: int, record: bytes, where: str) -> StoredBlock:
    """Inverse of ``pack_block``."""
    header_end, _ = block_bounds(record, where)
    # As StoredBlock(…) makes it, in half the time: an audit reads hundreds of thousands.
    return _make(StoredBlock, (seq, record[BLOCK_HEAD_BYTES:header_end], record[header_end:]))


def unpack_pair(_seq: int, record: bytes, where: str) -> tuple[bytes, bytes]:
    """The same without its number: (signed header, payload)."""
    header_end, _ = block_bounds(record, where)
    return record[BLOCK_HEAD_BYTES:header_end], record[header_end:]
