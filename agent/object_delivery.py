"""Handing restored objects on: what is to go, what became of each, and the journal of what was acknowledged.

A content is opened chunk by chunk, each proved before it is given; nothing of it is written to a disk but where the
operator says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from agent.clock import read_now
from ledger.errors import OrledgerError, StoreFault, VerificationFailed
from ledger.record_json import utc_text
from ledger.records import Object

if TYPE_CHECKING:
    from drivers.transports.dicom_file import FileHead

_JOURNAL_SCHEMA = "orledger.objects-delivered/1"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One object to be handed on: its name, its record, and how its content is opened (raises OrledgerError)."""

    sha256: bytes
    record: Object
    content: Callable[[], Iterator[bytes]]

    def head(self) -> FileHead | None:
        """What it says it is as a DICOM file; None when it is none. Raises OrledgerError."""
        from drivers.transports.dicom_file import file_head  # noqa: PLC0415 - a restore without DICOM starts without it

        return file_head(next(self.content(), b""))

    def data_set(self, at: int) -> Iterator[bytes]:
        """The data set's bytes, from ``at`` on. Raises VerificationFailed before its end when the whole of it is not
        what the record says was received.
        """
        digest = hashlib.sha256()
        for number, content in enumerate(self.content()):
            piece = memoryview(content)[at:] if not number else memoryview(content)
            digest.update(piece)
            yield bytes(piece)
        received = self.record.meta.get("data_set_sha256")
        if received is not None and received != digest.hexdigest():
            text = f"the data set of object {self.sha256.hex()[:16]} is not the one that was received"
            raise VerificationFailed("object.other-data-set", text, "orledger verify")


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of one object. ``status`` is the receiver's (PS3.7 annex C), None without an answer or for a file.

    ``file`` is what it was written as. ``fault`` is why it was not handed on; None for one that was.
    """

    sha256: bytes
    record: Object
    status: int | None = None
    comment: str = ""
    file: Path | None = None
    tries: int = 1
    fault: OrledgerError | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is there."""
        return self.fault is None


@dataclass(slots=True)
class Delivery:
    """All of one run. ``before``: acknowledged by an earlier run, or there as a file. ``left_out``: no DICOM.

    ``recorded_in`` is the block of this box's chain that says so.
    """

    to: str
    done: list[Handed] = field(default_factory=list)
    failed: list[Handed] = field(default_factory=list)
    before: int = 0
    left_out: list[Outgoing] = field(default_factory=list)
    bytes: int = 0
    recorded_in: int | None = None

    def add(self, handed: Handed) -> None:
        """One that is decided."""
        (self.done if handed.is_done else self.failed).append(handed)


Progress = Callable[[int, int], None]
Told = Callable[[Handed], None]


def shown(pieces: Iterator[bytes], progress: Progress, before: int, total: int) -> Iterator[bytes]:
    """The same pieces; how far they are is told as they go, after ``before`` bytes of others."""
    for piece in pieces:
        yield piece
        before += len(piece)
        progress(before, total)


class Way(Protocol):
    """Where objects go: a receiver or a folder."""

    delivery: Delivery
    """What was handed on so far."""

    def run(self, items: list[Outgoing], progress: Progress, told: Told) -> Delivery:
        """Hand all of them on; ``told`` of each once, when it is decided."""


class Journal:
    """A file of JSON lines beside restored objects: what became of each, by receiver. Never whose they are."""

    def __init__(self, path: Path, to: str) -> None:
        """Raises StoreFault when it cannot be read."""
        self._path = path
        self._to = to
        self._file: IO[str] | None = None
        self.acknowledged = self._read()

    def _read(self) -> set[bytes]:
        """Objects whose last word of this receiver was an acknowledgment. A line that a crash cut off says nothing."""
        acknowledged: set[bytes] = set()
        try:
            lines = self._path.read_text().splitlines()
        except FileNotFoundError:
            return acknowledged
        except (OSError, UnicodeDecodeError) as fault:
            text = f"cannot read {self._path}: {fault}"
            raise StoreFault("delivery.journal", text, "remove it, and all is sent again") from fault
        for line in lines:
            try:
                told = json.loads(line)
                to, sha256, is_done = told["to"], bytes.fromhex(told["object"]), told["acknowledged"]
            except (ValueError, KeyError, TypeError):
                continue
            if to == self._to:
                (acknowledged.add if is_done is True else acknowledged.discard)(sha256)
        return acknowledged

    def note(self, handed: Handed) -> None:
        """Append one. Raises StoreFault."""
        told = {
            "schema": _JOURNAL_SCHEMA, "to": self._to, "object": handed.sha256.hex(), "acknowledged": handed.is_done,
            "status": None if handed.status is None else f"{handed.status:04X}", "at": utc_text(read_now().utc_ns),
            "error": None if handed.fault is None else handed.fault.id,
        }  # fmt: skip
        try:
            if self._file is None:
                descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                size = os.fstat(descriptor).st_size
                torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
                self._file = os.fdopen(descriptor, "a")
                self._file.write("\n" if torn else "")
            self._file.write(json.dumps(told) + "\n")
            self._file.flush()
        except OSError as fault:
            raise self._unwritable(fault) from fault

    def _unwritable(self, fault: OSError) -> StoreFault:
        text = f"cannot write {self._path}: {fault.strerror}"
        return StoreFault("delivery.journal", text, "free space there, then the same command goes on")

    def close(self) -> None:
        """Durable, what was noted. Raises StoreFault."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                with file:
                    os.fsync(file.fileno())
            except OSError as fault:
                raise self._unwritable(fault) from fault
