"""From a stream of any size to the bytes of a sealed object and back, with one chunk in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import DeviceFault, OurFault, VerificationFailed
from ledger.limits import LIMITS, Limits
from ledger.objects.format import (
    CHUNK_BYTES,
    HASH_BYTES,
    HEADER_BYTES,
    ChunkCipher,
    Layout,
    ObjectHeader,
    index_hash,
    padded,
)
from ledger.sealing import DataKey


@dataclass(frozen=True, slots=True)
class SealedObject:
    """What is known of a sealed object: its name, its content's length and its own, and the hash of its index."""

    sha256: bytes
    plain_bytes: int
    sealed_bytes: int
    index_hash: bytes


class Sealer:
    """``begin``, ``add`` as content comes, ``end``: each returns bytes to write, in order."""

    def __init__(self, header: ObjectHeader, data_key: DataKey, limits: Limits = LIMITS) -> None:
        self._header = header.encode()
        self._cipher = ChunkCipher(header, data_key)
        self._limits = limits
        self._waiting = bytearray()
        self._index = bytearray()
        self._name = hashlib.sha256()
        self._sealed_bytes = 0
        self._ended = False
        self.plain_bytes = 0

    def begin(self) -> bytes:
        """The header."""
        return self._out(self._header)

    def add(self, content: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Take content over; yields every chunk that is full. Exhaust it. Raises DeviceFault ``objects.too-large``."""
        if self._ended:
            raise OurFault("objects.ended", "content came after an object's end")
        view = memoryview(content).cast("B")
        if self.plain_bytes + len(view) > self._limits.object_bytes:
            raise DeviceFault("objects.too-large", f"an object has more than {self._limits.object_bytes:,} bytes")
        self.plain_bytes += len(view)
        if self._waiting:
            taken = CHUNK_BYTES - len(self._waiting)
            self._waiting += view[:taken]
            view = view[taken:]
            if len(self._waiting) == CHUNK_BYTES:
                yield self._seal(self._waiting)
                self._waiting = bytearray()
        while len(view) >= CHUNK_BYTES:
            yield self._seal(view[:CHUNK_BYTES])
            view = view[CHUNK_BYTES:]
        self._waiting += view

    def end(self) -> tuple[bytes, SealedObject]:
        """The last chunk and the index; and what is known now."""
        last = self._seal(padded(self._waiting), is_last=True)
        self._waiting = bytearray()
        self._ended = True
        index = self._out(bytes(self._index))
        known = SealedObject(
            self._name.digest(), self.plain_bytes, self._sealed_bytes, index_hash(self._header, self._index)
        )
        return last + index, known

    def _seal(self, content: bytes | bytearray | memoryview, *, is_last: bool = False) -> bytes:
        sealed = self._cipher.seal(len(self._index) // HASH_BYTES, content, is_last=is_last)
        self._index += hashlib.sha256(sealed).digest()
        return self._out(sealed)

    def _out(self, data: bytes) -> bytes:
        self._name.update(data)
        self._sealed_bytes += len(data)
        return data


class SealedSource(Protocol):
    """A sealed object that can be read at any place. Raises StoreFault."""

    def length(self) -> int: ...

    def read(self, first: int, end: int) -> bytes:
        """Exactly these bytes."""


def read_header(source: SealedSource) -> ObjectHeader:
    """Whose key opens it. Raises PeerFault, StoreFault."""
    return ObjectHeader.decode(source.read(0, min(HEADER_BYTES, source.length())))


def open_content(source: SealedSource, data_key: DataKey) -> Iterator[bytes]:
    """The content, chunk by chunk; each chunk is proved before it is given, the end before the last one.

    Raises VerificationFailed, PeerFault (malformed) or StoreFault.
    """
    layout = Layout.of(source.length())
    header = read_header(source)
    cipher = ChunkCipher(header, data_key)
    for number in range(layout.chunks):
        yield cipher.open(number, source.read(*layout.chunk_at(number)), is_last=layout.is_last(number))


@dataclass(frozen=True, slots=True)
class ObjectProof:
    """What reading a sealed object from end to end proved."""

    header: ObjectHeader
    sealed_bytes: int
    index_hash: bytes
    plain_bytes: int | None


def prove(source: SealedSource, sha256: bytes, data_key: DataKey | None) -> ObjectProof:
    """Read all of it: its name, every chunk against the index and, with the key, its content.

    ``plain_bytes`` is None without a key. Raises VerificationFailed naming the first chunk that is wrong, PeerFault for
    what is no object, StoreFault.
    """
    layout = Layout.of(source.length())
    header_bytes = source.read(0, HEADER_BYTES)
    header = ObjectHeader.decode(header_bytes)
    cipher = None if data_key is None else ChunkCipher(header, data_key)
    index = source.read(layout.index_at, layout.sealed_bytes)
    name, plain_bytes = hashlib.sha256(header_bytes), 0
    for number in range(layout.chunks):
        sealed = source.read(*layout.chunk_at(number))
        if hashlib.sha256(sealed).digest() != index[number * HASH_BYTES : (number + 1) * HASH_BYTES]:
            raise VerificationFailed(
                "object.bad-chunk", f"chunk {number} of {layout.chunks} of object {sha256.hex()[:16]} is damaged"
            )
        name.update(sealed)
        if cipher is not None:
            plain_bytes += len(cipher.open(number, sealed, is_last=layout.is_last(number)))
    name.update(index)
    if name.digest() != sha256:
        raise VerificationFailed("object.bad-name", f"object {sha256.hex()[:16]} does not have the hash it is named by")
    known = plain_bytes if cipher is not None else None
    return ObjectProof(header, layout.sealed_bytes, index_hash(header_bytes, index), known)
