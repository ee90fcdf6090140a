"""A disk with a folder of objects: what was written and not synced may be gone, torn or there after a power cut.

``ObjectDisk`` answers of objects what the store does, by the same rules: rows follow from the notices of the blocks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from ledger.block import decode_signed_header
from ledger.errors import StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.notices import StoredObject, StoredObjects
from ledger.objects.folder import Beside, HeldFile, object_fault
from ledger.ops import AppendBlock, MarkObject, ObjectState, Op, PutHolding
from ledger.plain_header import plain_header
from ledger.sealing import DataKey
from tests.sim.disk import SimDisk

_NEW, _PART = ".new", ".part"
ROOMY_BYTES = 1 << 40


class PowerCut(BaseException):
    """The process ends at this step."""


@dataclass(slots=True, eq=False)
class _Inode:
    data: bytearray
    synced: int = 0


class SimFolder:
    """``ledger.objects.ObjectFolder`` in memory. ``die_at``: so many durable steps from now the process dies."""

    def __init__(self, rng: random.Random) -> None:
        self.die_at: int | None = None
        self.capacity = ROOMY_BYTES
        self.now_ns: Callable[[], int] = lambda: 0
        self._random = rng
        self._entries: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._changes: list[tuple[str, str, _Inode]] = []
        self._number = 0

    # ---- what happens to it ------------------------------------------------------------------------------------

    def step(self) -> None:
        """Between two things that a disk does."""
        if self.die_at is not None:
            self.die_at -= 1
            if self.die_at < 0:
                raise PowerCut

    def crash(self, *, power: bool) -> None:
        """The process is gone; with the power also what was not synced, as far as it pleases the disk."""
        self.die_at = None
        if not power:
            return
        kept = self._random.randrange(len(self._changes) + 1)
        for old, new, inode in self._changes[:kept]:
            _renamed(self._durable, old, new, inode)
        self._changes.clear()
        self._entries = dict(self._durable)
        for inode in {id(each): each for each in self._entries.values()}.values():
            end = self._random.randrange(inode.synced, len(inode.data) + 1)
            torn = self._random.random() < 0.5
            inode.data[:] = inode.data[: inode.synced] + (
                bytes(end - inode.synced) if torn else inode.data[inode.synced : end]
            )
            inode.synced = len(inode.data)

    def sweep(self) -> int:
        """As at the opening of the real one: what was being written when the process died is removed."""
        litter = [name for name in self._entries if name.endswith(_NEW)]
        for name in litter:
            self.change(name, "")
        return len(litter)

    def change(self, old: str, new: str, inode: _Inode | None = None) -> None:
        """Rename, create (no ``old``) or remove (no ``new``); durable after ``sync``."""
        inode = inode or self._entries.get(old)
        if inode is not None:
            _renamed(self._entries, old, new, inode)
            self._changes.append((old, new, inode))

    def sync(self) -> None:
        """Names are durable now."""
        self._durable = dict(self._entries)
        self._changes.clear()

    # ---- what the checks ask -----------------------------------------------------------------------------------

    def durable(self, sha256: bytes) -> bytes | None:
        """What of an object no power cut can take."""
        inode = self._durable.get(sha256.hex())
        if inode is None or self._entries.get(sha256.hex()) is not inode or inode.synced < len(inode.data):
            return None
        return bytes(inode.data)

    def holds(self, sha256: bytes) -> bool:
        """Whole, bit for bit, whatever happens to the power."""
        data = self.durable(sha256)
        return data is not None and hashlib.sha256(data).digest() == sha256

    def unfinished(self) -> list[str]:
        """Names of what is being written."""
        return [name for name in self._entries if name.endswith(_NEW)]

    # ---- as the real one ---------------------------------------------------------------------------------------

    def held(self) -> Iterator[HeldFile]:
        for name, inode in list(self._entries.items()):
            if not name.endswith((_NEW, _PART)):
                yield HeldFile(bytes.fromhex(name), len(inode.data), 0)

    def parts(self) -> Iterator[HeldFile]:
        for name, inode in list(self._entries.items()):
            if name.endswith(_PART):
                yield HeldFile(bytes.fromhex(name.removesuffix(_PART)), len(inode.data), 0)

    def length(self, sha256: bytes) -> int | None:
        inode = self._entries.get(sha256.hex())
        return None if inode is None else len(inode.data)

    def source(self, sha256: bytes) -> SimSource:
        inode = self._entries.get(sha256.hex())
        if inode is None:
            raise StoreFault("objects.absent", "an object is not held here", "ask a peer for it")
        return SimSource(bytes(inode.data))

    def delete(self, sha256: bytes) -> int:
        size = self.length(sha256)
        self.change(sha256.hex(), "")
        return size or 0

    def delete_part(self, sha256: bytes) -> None:
        self.change(f"{sha256.hex()}{_PART}", "")

    def begin(self, _beside: Beside) -> SimFile:
        """Objects are shorter here than what is synced beside their coming."""
        self._number += 1
        return SimFile(self, f"{self._number:016x}{_NEW}")

    def resume(self, sha256: bytes) -> SimFile:
        return SimFile(self, f"{sha256.hex()}{_PART}")

    def entry(self, name: str) -> _Inode:
        """A file, made if it is not there."""
        if name not in self._entries:
            self.change("", name, _Inode(bytearray()))
        return self._entries[name]

    def room(self) -> tuple[int, int]:
        used = sum(len(inode.data) for inode in self._entries.values())
        return max(0, self.capacity - used), self.capacity


def _renamed(entries: dict[str, _Inode], old: str, new: str, inode: _Inode) -> None:
    entries.pop(old, None)
    if new:
        entries[new] = inode


@dataclass(frozen=True, slots=True)
class SimSource:
    """``ledger.objects.ObjectFile``."""

    data: bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def length(self) -> int:
        return len(self.data)

    def read(self, first: int, end: int) -> bytes:
        if end > len(self.data):
            raise StoreFault("store.corrupt", "an object ends early", "orledger verify --mend")
        return self.data[first:end]


class SimFile:
    """``ledger.objects.NewFile``."""

    def __init__(self, folder: SimFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._inode = folder.entry(name)
        self._open = True
        self.length = len(self._inode.data)

    def write(self, data: bytes) -> None:
        self._folder.step()
        free, _ = self._folder.room()
        self._inode.data += data[:free]
        self.length = len(self._inode.data)
        if len(data) > free:
            raise object_fault(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self._name)

    def read(self, first: int, end: int) -> bytes:
        return bytes(self._inode.data[first:end])

    def cut(self, length: int) -> None:
        del self._inode.data[length:]
        self._inode.synced = min(self._inode.synced, length)
        self.length = length

    def keep(self, sha256: bytes) -> None:
        self._folder.step()
        self._inode.synced = len(self._inode.data)
        self._folder.step()
        self._folder.change(self._name, sha256.hex())
        self._folder.step()
        self._folder.sync()
        self._open = False

    def discard(self) -> None:
        if self._open:
            self._folder.step()
            self._open = False
            self._folder.change(self._name, "")

    def close(self) -> None:
        self._open = False


@dataclass(frozen=True, slots=True)
class Row:
    """``ledger.store.objects.ObjectRow``."""

    log: LogId
    seq: int
    stored: StoredObject
    state: ObjectState


class ObjectDisk(SimDisk):
    """A box's store and its folder. ``on_commit`` sees every transaction once it is durable."""

    def __init__(self, manifests: Iterable[tuple[int, bytes]], folder: SimFolder) -> None:
        super().__init__(manifests)
        self.folder = folder
        self.on_commit: Callable[[Iterable[Op]], None] = lambda _ops: None
        self._rows: dict[tuple[LogId, int, bytes], Row] = {}
        self._holdings: dict[bytes, dict[str, bytes]] = {}

    def commit(self, ops: Iterable[Op]) -> None:
        for op in ops:
            if isinstance(op, MarkObject | PutHolding):
                self._apply_object(op)
            else:
                self._apply(op)
                if isinstance(op, AppendBlock):
                    self._announced(op)
        self.on_commit(ops)

    def _announced(self, op: AppendBlock) -> None:
        if plain_header(op.signed_header) is not None:
            return
        for notice in decode_signed_header(op.signed_header).notices:
            for stored in notice.objects if isinstance(notice, StoredObjects) else ():
                key = op.log, op.seq, stored.sha256
                self._rows.setdefault(key, Row(op.log, op.seq, stored, ObjectState.WANTED))

    def _apply_object(self, op: MarkObject | PutHolding) -> None:
        if isinstance(op, PutHolding):
            if self.objects_named(op.sha256):
                self._holdings.setdefault(op.sha256, {})[op.box] = op.value
            return
        row = self._rows.get((op.log, op.seq, op.sha256))
        if row is not None and (row.state, op.state) != (ObjectState.GONE, ObjectState.HELD):
            self._rows[op.log, op.seq, op.sha256] = replace(row, state=op.state)

    def objects(self) -> Iterator[Row]:
        return iter(list(self._rows.values()))

    def objects_named(self, sha256: bytes) -> list[Row]:
        return [row for row in self._rows.values() if row.stored.sha256 == sha256]

    def objects_wanted(self) -> list[Row]:
        return [row for row in self._rows.values() if row.state is ObjectState.WANTED][: LIMITS.object_wanted_rows]

    def object_holdings(self, sha256: bytes) -> Mapping[str, bytes]:
        return self._holdings.get(sha256, {})

    def get(self, key_id: bytes) -> DataKey | None:
        """As the keyring."""
        return self.key(key_id)
