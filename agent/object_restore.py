"""Fetches the objects that the blocks of a rebuilt folder name, from this box's own folder and from every peer.

The rules are those of the running agent: header and index against the block's notice, each chunk against the index, the
whole against its name; what a source gives wrong is asked of another. Goes on where an earlier run stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.control_client import ControlClient
from ledger.errors import NoPeer, OrledgerError, PeerFault, StoreFault
from ledger.objects import NewFile, ObjectFolder
from ledger.objects.assembly import PIECE_BYTES, Assembly
from ledger.ops import MarkObject, ObjectState
from ledger.store import Store
from ledger.store.objects import ObjectRow

_CHUNKS_AT_ONCE = 16


class ObjectSource(Protocol):
    """Somebody who may hold objects. Proves nothing."""

    @property
    def name(self) -> str: ...

    def pieces(self, sha256: bytes, first: int, end: int) -> Iterator[bytes]:
        """Bytes in order, in pieces of ``PIECE_BYTES``; ends early when they are not held. Raises OrledgerError."""


class OwnObjects:
    """What this box holds itself, read beside its agent."""

    def __init__(self, name: str, folder: ObjectFolder) -> None:
        self.name = name
        self._folder = folder

    def pieces(self, sha256: bytes, first: int, end: int) -> Iterator[bytes]:
        """As ``ObjectSource`` says."""
        with contextlib.suppress(StoreFault), self._folder.source(sha256) as source:
            for start in range(first, end, PIECE_BYTES):
                yield source.read(start, min(start + PIECE_BYTES, end))


class ObjectsBySocket:
    """A peer, asked by the agent behind the control socket."""

    def __init__(self, name: str, client: ControlClient) -> None:
        self.name = name
        self._client = client

    def pieces(self, sha256: bytes, first: int, end: int) -> Iterator[bytes]:
        """As ``ObjectSource`` says."""
        with (
            contextlib.suppress(NoPeer),
            contextlib.closing(
                self._client.request("object-fetch", object=sha256.hex(), peer=self.name, first=first, end=end)
            ) as answers,
        ):
            yield from answers


@dataclass(slots=True)
class ObjectsRestored:
    """What came: ``had`` were there before. ``refused``: (source, why). ``missing``: names that nobody gave."""

    fetched: int = 0
    sealed_bytes: int = 0
    had: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    missing: list[bytes] = field(default_factory=list)


class ObjectRestore:
    """Into ``folder``, as ``store`` names them: those whose block's payload is there."""

    def __init__(self, store: Store, folder: ObjectFolder, sources: Sequence[ObjectSource]) -> None:
        self._store = store
        self._folder = folder
        self._sources = sources
        self.done = ObjectsRestored()

    def run(self, box: str, progress: Callable[[int, int], None] = lambda _done, _total: None) -> ObjectsRestored:
        """Fetch all that lacks. Raises StoreFault when the folder cannot be written."""
        rows = [row for row in self._store.objects() if row.log.box == box and row.state is not ObjectState.GONE]
        held = {row.stored.sha256 for row in rows if row.state is ObjectState.HELD and self._is_whole(row)}
        wanted = {row.stored.sha256: row for row in rows if row.stored.sha256 not in held and self._is_meant(row)}
        self.done.had = len(held)
        total = sum(row.stored.sealed_bytes for row in wanted.values())
        for row in wanted.values():
            if self.fetch(row):
                self._store.commit([
                    MarkObject(each.log, each.seq, each.stored.sha256, ObjectState.HELD)
                    for each in rows if each.stored == row.stored
                ])  # fmt: skip
                self.done.fetched += 1
                self.done.sealed_bytes += row.stored.sealed_bytes
            else:
                self.done.missing.append(row.stored.sha256)
            progress(self.done.sealed_bytes, total)
        return self.done

    def _is_whole(self, row: ObjectRow) -> bool:
        """A file that a person or a failed proof took away is fetched anew."""
        return self._folder.length(row.stored.sha256) == row.stored.sealed_bytes

    def _is_meant(self, row: ObjectRow) -> bool:
        block = self._store.block(row.log, row.seq)
        return block is not None and bool(block.payload)

    def fetch(self, row: ObjectRow) -> bool:
        """Whether somebody gave it, proved, into the folder. Raises StoreFault when that cannot be written."""
        try:
            assembly = Assembly(row.stored)
        except PeerFault as fault:
            self._refuse(row.log.box, fault)
            return False
        sources = [source for source in self._sources if self._gives_index(source, assembly)][:1]
        sources += [source for source in self._sources if source not in sources]
        if assembly.header is None:
            return False
        part = self._folder.resume(row.stored.sha256)
        try:
            good = assembly.resume(part.read, part.length)
            part.cut(good)
            if not good:
                part.write(assembly.beginning)
            for source in sources:
                self._take_chunks(source, assembly, part)
                if assembly.is_whole:
                    return self._end(row, assembly, part)
        finally:
            part.close()
        return False

    def _gives_index(self, source: ObjectSource, assembly: Assembly) -> bool:
        if assembly.header is not None:
            return False
        try:
            pieces = [self._whole(source, assembly, first, end) for first, end in assembly.index_pieces()]
            if not all(pieces):
                return False
            assembly.take_index(pieces)
        except OrledgerError as fault:
            self._refuse(source.name, fault)
            return False
        return True

    @staticmethod
    def _whole(source: ObjectSource, assembly: Assembly, first: int, end: int) -> bytes:
        return b"".join(source.pieces(assembly.stored.sha256, first, end))

    def _take_chunks(self, source: ObjectSource, assembly: Assembly, part: NewFile) -> None:
        """As many as this source gives right."""
        layout = assembly.layout
        try:
            while not assembly.is_whole:
                last = min(assembly.next_chunk + _CHUNKS_AT_ONCE, layout.chunks) - 1
                first, end = layout.chunk_at(assembly.next_chunk)[0], layout.chunk_at(last)[1]
                before = assembly.next_chunk
                for sealed in source.pieces(assembly.stored.sha256, first, end):
                    assembly.check(assembly.next_chunk, sealed)
                    part.write(sealed)
                    assembly.add(sealed)
                if assembly.next_chunk == before:
                    return
        except PeerFault as fault:
            self._refuse(source.name, fault)

    def _end(self, row: ObjectRow, assembly: Assembly, part: NewFile) -> bool:
        try:
            part.write(assembly.end())
        except PeerFault as fault:
            part.discard()
            self._refuse(row.log.box, fault)
            return False
        part.keep(row.stored.sha256)
        return True

    def _refuse(self, source: str, fault: OrledgerError) -> None:
        self.done.refused.append((source, f"{fault.text} [{fault.id}]"))
