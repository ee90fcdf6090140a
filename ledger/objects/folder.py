"""The folder of sealed objects: whole files under the hash of their bytes, and what is not whole yet under other names.

A file gets its name only when its bytes are fsynced, and counts only when its name is. Whatever interrupts that leaves
the whole object or nothing that counts; what it leaves is swept at the next opening.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from ledger.errors import StoreFault
from ledger.limits import LIMITS, Limits
from ledger.objects.format import HASH_BYTES
from ledger.store.disk import create_folder, fault_of, sync_folder

_NEW = ".new"
_PART = ".part"
_NAME_CHARACTERS = 2 * HASH_BYTES

Wait = Callable[[], None]
Beside = Callable[[Callable[[], None]], Wait]
"""Does a work that waits for the disk, perhaps on a thread of its own; what it returns waits for its end, or raises
what it raised.
"""


def _at_once(work: Callable[[], None]) -> Wait:
    work()
    return _done


def _done() -> None:
    """There is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an interrupted writing left: removed when the folder was opened."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One whole object as it lies here; ``modified_ns`` is when it was written (UTC)."""

    sha256: bytes
    sealed_bytes: int
    modified_ns: int


def object_fault(error: OSError, where: str) -> StoreFault:
    """As the store's, but a full disk is the object's: recording goes on without it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFault("objects.full", f"{where}: the disk is full", "free space on the ledger's disk")
    return fault_of(error, where)


class ObjectFolder:
    """``ObjectFolder.open`` for the one that writes; readers may use the constructor beside it."""

    def __init__(self, path: Path, limits: Limits = LIMITS) -> None:
        self.path = path
        self.leftovers = Leftovers(0, 0)
        self._limits = limits

    @classmethod
    def open(cls, path: Path, limits: Limits = LIMITS) -> ObjectFolder:
        """Create it, and sweep what interrupted writing left. Parts of objects that were being fetched stay."""
        create_folder(path)
        folder = cls(path, limits)
        files = swept = 0
        for entry, size, _ in folder._entries(_NEW):
            folder._remove(entry)
            files, swept = files + 1, swept + size
        folder.leftovers = Leftovers(files, swept)
        return folder

    # ---- whole objects -----------------------------------------------------------------------------------------

    def held(self) -> Iterator[HeldFile]:
        """Every whole object. Raises StoreFault."""
        for entry, size, modified_ns in self._entries(""):
            if len(entry) == _NAME_CHARACTERS and set(entry) <= set("0123456789abcdef"):
                yield HeldFile(bytes.fromhex(entry), size, modified_ns)

    def length(self, sha256: bytes) -> int | None:
        """How long an object is; None when it is not here."""
        try:
            return self.file_of(sha256).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault_of(error, _named(sha256)) from error

    def file_of(self, sha256: bytes) -> Path:
        """Where an object lies, or would."""
        return self.path / sha256.hex()

    def source(self, sha256: bytes) -> ObjectFile:
        """An object to read; close it. Raises StoreFault ``objects.absent``."""
        return ObjectFile(self.file_of(sha256), _named(sha256))

    def delete(self, sha256: bytes) -> int:
        """Remove an object; how many bytes that freed. What is not there is no error."""
        size = self.length(sha256)
        if size is not None:
            self._remove(sha256.hex())
        return size or 0

    # ---- not whole yet -----------------------------------------------------------------------------------------

    def begin(self, beside: Beside = _at_once) -> NewFile:
        """A file to write an object into whose name is known only at its end; ``beside`` syncs while more comes."""
        path = self.path / f"{secrets.token_hex(8)}{_NEW}"
        return NewFile(self, path, append=False, limits=self._limits, beside=beside)

    def resume(self, sha256: bytes) -> NewFile:
        """The part held of an object that is being fetched; created when there is none."""
        return NewFile(self, self.path / f"{sha256.hex()}{_PART}", append=True, limits=self._limits)

    def parts(self) -> Iterator[HeldFile]:
        """Every part held of an object that is not whole."""
        for entry, size, modified_ns in self._entries(_PART):
            yield HeldFile(bytes.fromhex(entry.removesuffix(_PART)), size, modified_ns)

    def delete_part(self, sha256: bytes) -> None:
        """Remove the part held of an object."""
        self._remove(f"{sha256.hex()}{_PART}")

    # ---- the folder itself -------------------------------------------------------------------------------------

    def room(self) -> tuple[int, int]:
        """(free, all) bytes of the disk."""
        try:
            disk = os.statvfs(self.path)
        except OSError as error:
            raise fault_of(error, str(self.path)) from error
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def _entries(self, suffix: str) -> Iterator[tuple[str, int, int]]:
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                        known = entry.stat(follow_symlinks=False)
                        yield entry.name, known.st_size, known.st_mtime_ns
        except FileNotFoundError:
            return
        except OSError as error:
            raise fault_of(error, str(self.path)) from error

    def _remove(self, name: str) -> None:
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise fault_of(error, str(self.path / name)) from error


class ObjectFile:
    """A whole object opened to read; ``SealedSource``."""

    def __init__(self, path: Path, where: str) -> None:
        self._where = where
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._length = os.fstat(self._descriptor).st_size
        except FileNotFoundError as error:
            raise StoreFault("objects.absent", f"{where} is not held here", "ask a peer for it") from error
        except OSError as error:
            raise fault_of(error, where) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def length(self) -> int:
        """Bytes of the sealed object."""
        return self._length

    def read(self, first: int, end: int) -> bytes:
        """Exactly these bytes. Raises StoreFault ``store.corrupt`` when the file is shorter."""
        wanted = end - first
        try:
            data = os.pread(self._descriptor, wanted, first)
            while len(data) < wanted:
                more = os.pread(self._descriptor, wanted - len(data), first + len(data))
                if not more:
                    text = f"{self._where} ends at {first + len(data):,} bytes"
                    raise StoreFault("store.corrupt", text, "orledger verify --mend")
                data += more
        except OSError as error:
            raise fault_of(error, self._where) from error
        return data


class NewFile:
    """An object in the making. ``keep`` makes it durable under its name; ``discard`` leaves nothing.

    Written bytes go to the disk every few megabytes, so that the end has little left to wait for and the log's own
    commits never wait behind gigabytes. One such sync may be under way ``beside`` the writing of what comes next.
    """

    def __init__(
        self, folder: ObjectFolder, path: Path, *, append: bool, limits: Limits, beside: Beside = _at_once
    ) -> None:
        self._folder = folder
        self._path = path
        self._limits = limits
        self._beside = beside
        self._wait: Wait = _done
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if append else os.O_EXCL)
        try:
            self._descriptor: int | None = os.open(path, flags, 0o600)
            self.length = os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            raise object_fault(error, str(path)) from error
        self._synced = self.length

    def write(self, data: bytes) -> None:
        """Append. Raises StoreFault, ``objects.full`` when the disk is."""
        descriptor = self._open()
        view = memoryview(data)
        try:
            while view:
                written = os.write(descriptor, view)
                view = view[written:]
                self.length += written
            if self.length - self._synced >= self._limits.object_sync_bytes:
                self._synced_before()
                self._wait = self._beside(partial(_sync, descriptor, self._synced, self.length))
                self._synced = self.length
        except OSError as error:
            raise object_fault(error, str(self._path)) from error

    def _synced_before(self) -> None:
        """The sync under way has ended; the kernel tells only it of a fault, and not the next one."""
        wait, self._wait = self._wait, _done
        wait()

    def read(self, first: int, end: int) -> bytes:
        """What was written before, as far as it reaches."""
        try:
            return os.pread(self._open(), end - first, first)
        except OSError as error:
            raise fault_of(error, str(self._path)) from error

    def cut(self, length: int) -> None:
        """Go on at this length: what is behind it is not to be believed."""
        descriptor = self._open()
        try:
            os.ftruncate(descriptor, length)
            os.lseek(descriptor, length, os.SEEK_SET)
        except OSError as error:
            raise fault_of(error, str(self._path)) from error
        self.length = length
        self._synced = min(self._synced, length)

    def keep(self, sha256: bytes) -> None:
        """Durable under its name when this returns, or StoreFault and nothing is there."""
        descriptor = self._open()
        try:
            self._synced_before()
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            self._path.rename(self._folder.file_of(sha256))
            self._path = self._folder.file_of(sha256)
            sync_folder(self._folder.path)
        except OSError as error:
            self.discard()
            raise object_fault(error, str(self._path)) from error
        self.close()

    def discard(self) -> None:
        """Leave nothing; harmless when it was kept or discarded before."""
        if self._descriptor is None:
            return
        self.close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise fault_of(error, str(self._path)) from error

    def close(self) -> None:
        """Let go of the file; a part stays for later."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):  # not kept, so it does not matter; but no other file may get this number before
                self._synced_before()
            os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            raise StoreFault("objects.ended", f"{self._path} is no longer being written", "report this")
        return self._descriptor


def _sync(descriptor: int, first: int, end: int) -> None:
    os.fdatasync(descriptor)
    # What is on the disk need not stay in the memory that the store's pages live in.
    os.posix_fadvise(descriptor, first, end - first, os.POSIX_FADV_DONTNEED)


def _named(sha256: bytes) -> str:
    return f"object {sha256.hex()[:16]}"
