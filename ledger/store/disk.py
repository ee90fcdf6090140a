"""The file under the store: opening it safely, growing it ahead, naming its faults."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from ledger.errors import StoreFault
from ledger.limits import LIMITS
from ledger.store.rows import Table, corrupt

_DATA = "data.mdb"
_WRITER_LOCK = "writer.lock"
_ZEROS = bytes(1 << 20)
_SMALLEST_MAP_BYTES = 1 << 24
_FULL = (lmdb.MapFullError, lmdb.DiskError)
_DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError,
            lmdb.IncompatibleError)  # fmt: skip


def fault_of(error: lmdb.Error | OSError, where: str) -> StoreFault:
    """The StoreFault an LMDB or system error means: ``store.full``, ``store.corrupt`` or ``store.io``."""
    number = error.errno if isinstance(error, OSError) else error.code
    if isinstance(error, _FULL) or number in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFault("store.full", f"{where}: the disk is full ({error})", "free space on the data disk")
    if isinstance(error, _DAMAGED):
        return corrupt(where, str(error))
    return StoreFault("store.io", f"{where}: {error}", "check the disk (dmesg, smartctl)")


@contextmanager
def faults(where: str) -> Iterator[None]:
    """Turn LMDB's and the system's errors into StoreFault."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise fault_of(error, where) from error


def open_environment(path: Path, *, readonly: bool, map_bytes: int | None) -> lmdb.Environment:
    """Open or create the environment with LMDB's default, fully synchronous flags.

    The map is address space, not disk: it is made as large as the disk could ever need, so that it never has to be
    resized under a reader; where the kernel refuses that much, half of it is tried.
    """
    if readonly and not (path / _DATA).exists():
        raise StoreFault("store.absent", f"{path} holds no store", "check the data_dir of the configuration")
    size = map_bytes or LIMITS.store_map_bytes
    while True:
        try:
            # meminit stays on: freed heap may hold keys, and must not reach the disk in a page's unused part.
            environment = lmdb.open(
                str(path), map_size=size, readonly=readonly, mode=0o600, create=not readonly,
                max_dbs=len(Table) + LIMITS.store_boxes, max_readers=128, max_spare_txns=4,
            )  # fmt: skip
        except (lmdb.MemoryError, MemoryError) as error:
            size //= 2
            if map_bytes is not None or size < _SMALLEST_MAP_BYTES:
                raise StoreFault(
                    "store.map", f"{path} cannot be mapped into memory", "raise the memory limit"
                ) from error
            continue
        except (lmdb.Error, OSError) as error:
            raise fault_of(error, str(path)) from error
        break
    _check_whole(path, environment)
    return environment


def create_folder(path: Path) -> None:
    """A folder whose own name is durable: LMDB syncs its file, not the folder the file is in."""
    with faults(str(path)):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_whole(path: Path, environment: lmdb.Environment) -> None:
    """Refuse a file cut short: reading a mapped page beyond its end would kill the process."""
    held, needed = (path / _DATA).stat().st_size, used_bytes(environment)
    if held < needed:
        environment.close()
        raise corrupt(str(path / _DATA), f"the file has {held} bytes, its pages need {needed}")


def used_bytes(environment: lmdb.Environment) -> int:
    """Bytes of the file up to its last page ever used."""
    return (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]


class WriterLock:
    """Held by the one process that may write here; the kernel drops it with the process."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path) -> None:
        """Take it, or raise StoreFault ``store.locked``."""
        with faults(str(path)):
            self._descriptor = os.open(path / _WRITER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            text = f"another process writes to {path}"
            raise StoreFault("store.locked", text, "stop the other agent: two writers would fork the log") from error

    def release(self) -> None:
        """Let another process write."""
        os.close(self._descriptor)


class FileAhead:
    """Keeps the file some megabytes longer than its last used page, filled with zeros.

    Writing inside a file needs no entry in the file system's journal, which makes a commit faster (figures:
    ``benchmarks/bench_store.py``); and when the disk fills up, what is ahead still takes half a minute of three boxes'
    blocks.
    """

    __slots__ = ("_descriptor", "_environment")

    def __init__(self, path: Path, environment: lmdb.Environment) -> None:
        with faults(str(path)):
            # O_APPEND: zeros can only ever land beyond the end, never on a page.
            self._descriptor = os.open(path / _DATA, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._environment = environment

    def extend(self) -> bool:
        """Grow the file if what is ahead runs short; call between commits. False: the disk has no room left."""
        ahead = os.fstat(self._descriptor).st_size - used_bytes(self._environment)
        if ahead >= LIMITS.store_ahead_bytes:
            return True
        try:
            for _ in range(max(LIMITS.store_grow_bytes, LIMITS.store_ahead_bytes - ahead) // len(_ZEROS)):
                os.write(self._descriptor, _ZEROS)
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                return False
            raise fault_of(error, "growing the store") from error
        return True

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
