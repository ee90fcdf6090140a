"""Restored objects as files in a folder that the operator names: bit for bit, and nothing there is ever overwritten."""

from __future__ import annotations

import errno
import mimetypes
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from agent.object_delivery import Delivery, Handed, Outgoing, Progress, Told, shown
from ledger.errors import OperatorFault, OrledgerError, StoreFault
from ledger.store.disk import sync_folder

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_UID_CHARACTERS: Final = 64
_SHORT: Final = 16
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_DICOM = "application/dicom"
_Show = Callable[[Iterator[bytes]], Iterator[bytes]]


class ToFolder:
    """``<SOP instance UID>.dcm``; other objects, and those whose UID is none, under the beginning of their own name.

    Two contents of one instance lie beside each other. What is there already and the same is left as it is, so the
    same command goes on where it was.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.delivery = Delivery(str(folder))

    def run(self, items: list[Outgoing], progress: Progress, told: Told) -> Delivery:
        """Write what is not there. A full disk fails one after the other, each named.

        Raises OperatorFault ``delivery.folder`` when there can be no such folder.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as fault:
            text = f"cannot write to {self._folder}: {fault.strerror}"
            raise OperatorFault("delivery.folder", text, "name another folder") from fault
        total, passed = sum(item.record.size for item in items), 0
        for item in items:
            handed = self._one(item, partial(shown, progress=progress, before=passed, total=total))
            if handed is None:
                self.delivery.before += 1
            else:
                self.delivery.add(handed)
                self.delivery.bytes += item.record.size if handed.is_done else 0
                told(handed)
            passed += item.record.size
            progress(passed, total)
        return self.delivery

    def _one(self, item: Outgoing, show: _Show) -> Handed | None:
        """None when it is there already."""
        try:
            taken = []
            for name in names_of(item):
                path = self._folder / name
                if not path.exists():
                    self._write(show(item.content()), path)
                    return Handed(item.sha256, item.record, file=path)
                if _is_same(path, item.content()):
                    return None
                taken.append(name)
        except OSError as fault:
            text = f"cannot write to {self._folder}: {fault.strerror}"
            return Handed(
                item.sha256, item.record, fault=StoreFault("delivery.unwritable", text, "name another folder")
            )
        except OrledgerError as fault:
            return Handed(item.sha256, item.record, fault=fault)
        text = f"{' and '.join(taken)} are there with other contents"
        return Handed(item.sha256, item.record, fault=OperatorFault("delivery.exists", text, "name an empty folder"))

    def _write(self, content: Iterator[bytes], path: Path) -> None:
        """Whole under its name, or not at all."""
        part = path.with_name(f".{path.name}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _copy(content, file)
            _give_name(part, path)
            sync_folder(self._folder)
        finally:
            part.unlink(missing_ok=True)


def names_of(item: Outgoing) -> Iterator[str]:
    """The name that it gets, and the one for when that is taken by another content."""
    own = item.sha256.hex()[:_SHORT]
    if item.record.media_type != _DICOM:
        yield f"object-{own}{mimetypes.guess_extension(item.record.media_type) or '.bin'}"
        return
    uid = item.record.meta.get("sop_instance", "")
    if not uid:
        head = item.head()
        uid = "" if head is None else head.command.sop_instance
    if _UID.fullmatch(uid) and len(uid) <= _MOST_UID_CHARACTERS:
        yield f"{uid}.dcm"
        yield f"{uid}-{own}.dcm"
    else:
        yield f"object-{own}.dcm"


def _copy(content: Iterator[bytes], file: BinaryIO) -> None:
    file.writelines(content)
    file.flush()
    os.fsync(file.fileno())


def _give_name(part: Path, path: Path) -> None:
    """Never over another file, not even one that came this moment; a disk without links (FAT) is only looked at."""
    try:
        os.link(part, path)
    except OSError as fault:
        if fault.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from fault
        part.rename(path)


def _is_same(path: Path, content: Iterator[bytes]) -> bool:
    with path.open("rb") as file:
        return all(file.read(len(piece)) == piece for piece in content) and not file.read(1)
