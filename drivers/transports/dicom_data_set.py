"""The data set of one C-STORE on its way into the object store: sealed as it comes, its beginning kept to be read.

What is stored is a DICOM file (PS3.10): preamble, file meta group, and then the data set's bytes exactly as received,
never decoded and written again.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from drivers.transports.dicom_dimse import StoreCommand
from drivers.transports.dicom_file import head_bytes
from drivers.transports.object_sink import FinishedObject, ObjectSink, ObjectWriter
from ledger.errors import OrledgerError, OurFault

_TAGS: Final = {
    "study": 0x0020000D, "series": 0x0020000E, "modality": 0x00080060, "instance": 0x00080018, "class": 0x00080016,
}  # fmt: skip
_WANTED: Final[list[BaseTag | int]] = [BaseTag(tag) for tag in _TAGS.values()]
_LAST_WANTED: Final = max(_TAGS.values())
_UID_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Received:
    """A whole data set that is durable here: the object, the SHA-256 of its bytes as received, and what it says.

    ``body`` is the data set itself if all of it was kept, else empty.
    """

    object: FinishedObject
    data_set_sha256: bytes
    data_set_bytes: int
    identifiers: Mapping[str, str]
    body: bytes


class DataSet:
    """``dicom_wire.IncomingDataSet``: its first ``keep_bytes`` stay in memory, to be read.

    ``wait_for_room`` returns when more may be taken; ``abandoned`` is told why a data set did not become an object.
    """

    def __init__(
        self, command: StoreCommand, sink: ObjectSink, keep_bytes: int, wait_for_room: Callable[[], None],
        abandoned: Callable[[DataSet, str], None],
    ) -> None:  # fmt: skip
        self.command = command
        self.length = 0
        self.fault: OrledgerError | None = None
        self._abandoned = abandoned
        self._lock = threading.Lock()  # who ends an association may be another thread than who reads it
        self._over = False
        self._keep_bytes = keep_bytes
        self._kept = bytearray()
        self._digest = hashlib.sha256()
        self._wait_for_room = wait_for_room
        self._writer: ObjectWriter | None = None
        head = head_bytes(command)  # what fails here claims no writer
        try:
            self._writer = sink.begin()
            self._writer.write(head)
        except OrledgerError as fault:
            self.fault = fault

    def write(self, fragment: bytes | memoryview) -> None:
        """Seal and write more of it. After a fault the rest is read and dropped, as DICOM has no way to interrupt."""
        self._wait_for_room()
        with self._lock:
            self._write(fragment)

    def _write(self, fragment: bytes | memoryview) -> None:
        self.length += len(fragment)
        if self._over or self.fault is not None or self._writer is None:
            return
        self._digest.update(fragment)
        room = self._keep_bytes - len(self._kept)
        if room > 0:
            self._kept += fragment[:room]
        try:
            self._writer.write(fragment)
        except OrledgerError as fault:
            self.fault = fault

    def finish(self) -> Received:
        """Durable when this returns. Raises OrledgerError: what kept it from being stored; then nothing is left."""
        with self._lock:
            if self._over or self.fault is not None or self._writer is None:
                raise self.fault or OurFault("dicom.writer", "a data set that is over already")
            done = self._writer.finish()
            self._over = True
        kept = bytes(self._kept)
        named = identifiers(kept, self.command.transfer_syntax)
        if named.get("class") == self.command.sop_class:
            del named["class"]  # the record names it once
        return Received(done, self._digest.digest(), self.length, named, kept if len(kept) == self.length else b"")

    def abandon(self, reason: str) -> None:
        """Leave nothing of it and say so; harmless when it is over already."""
        with self._lock:
            if self._over:
                return
            self._over = True
            if self._writer is not None:
                self._writer.abort()
            self._abandoned(self, reason)  # before another thread that ends the association goes on to forget it

    @property
    def is_over(self) -> bool:
        """Whether it became an object, or never will."""
        return self._over


def identifiers(head: bytes, transfer_syntax: str) -> dict[str, str]:
    """Study, series, modality, instance and class as the beginning of a data set names them; absent where it does not.

    Whatever cannot be read is left out: that a reader fails on a data set is no reason not to store it.
    """
    syntax = UID(transfer_syntax)
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, len(head))
        found = read_dataset(
            BytesIO(head), syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian,
            stop_when=_is_beyond, specific_tags=_WANTED,
        )  # fmt: skip
        named = {name: _text(found.get_item(tag))[:_UID_CHARACTERS] for name, tag in _TAGS.items() if tag in found}
    except Exception:  # noqa: BLE001 - a sender's bytes can fail a reader in any way
        return {}
    return {name: value for name, value in named.items() if value}


def _text(element: Any) -> str:
    """An ASCII value as it was read: to have the library decode it takes longer than to read all of the head."""
    value = element.value
    return value.decode("ascii", "replace").rstrip("\0 ") if isinstance(value, bytes) else str(value or "")


def _is_beyond(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _LAST_WANTED
