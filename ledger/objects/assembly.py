"""An object as it comes from peers: header and index first, then chunk after chunk, each checked before it is kept.

A block's signed notice names the object, its length and its index's hash: so whoever gives a wrong byte is known at
that chunk, and what was fetched before stays good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ledger.errors import PeerFault
from ledger.notices import StoredObject
from ledger.objects.format import HASH_BYTES, HEADER_BYTES, SEALED_CHUNK_BYTES, Layout, ObjectHeader, index_hash

PIECE_BYTES = SEALED_CHUNK_BYTES
"""At most so much is asked for at a time."""


class Assembly:
    """One object. ``index_pieces`` and ``take_index`` first; then ``resume``; ``add`` each chunk in order; ``end``."""

    def __init__(self, stored: StoredObject) -> None:
        """Raises PeerFault ``object.length`` for a length that no object has."""
        self.stored = stored
        self.layout = Layout.of(stored.sealed_bytes)
        self.header: ObjectHeader | None = None
        self.next_chunk = 0
        self._header_bytes = b""
        self._index = b""
        self._name = hashlib.sha256()

    def index_pieces(self) -> list[tuple[int, int]]:
        """(first, end) of what to ask for first, in order."""
        starts = range(self.layout.index_at, self.layout.sealed_bytes, PIECE_BYTES)
        index = [(start, min(start + PIECE_BYTES, self.layout.sealed_bytes)) for start in starts]
        return [(0, HEADER_BYTES), *index]

    def take_index(self, pieces: Sequence[bytes]) -> None:
        """What was asked for, in order. Raises PeerFault ``object.bad-index`` when it is not what the notice says."""
        header, index = pieces[0], b"".join(pieces[1:])
        if index_hash(header, index) != self.stored.index_hash or len(index) != self.layout.chunks * HASH_BYTES:
            raise PeerFault("object.bad-index", f"{self} came with another header or index than its block names")
        self.header = ObjectHeader.decode(header)
        self._header_bytes, self._index = header, index

    def resume(self, read: Callable[[int, int], bytes], held: int) -> int:
        """What of a part of ``held`` bytes is good, from the front; the rest is to be cut off. Reads all of it."""
        self._name = hashlib.sha256(self._header_bytes)
        self.next_chunk = 0
        good = HEADER_BYTES
        if held < HEADER_BYTES or read(0, HEADER_BYTES) != self._header_bytes:
            return 0
        while self.next_chunk < self.layout.chunks:
            first, end = self.layout.chunk_at(self.next_chunk)
            if end > held:
                break
            sealed = read(first, end)
            if not self._fits(self.next_chunk, sealed):
                break
            self.add(sealed)
            good = end
        return good

    @property
    def beginning(self) -> bytes:
        """The header, to write before the first chunk."""
        return self._header_bytes

    @property
    def is_whole(self) -> bool:
        """True when every chunk is here."""
        return self.next_chunk == self.layout.chunks

    def check(self, number: int, sealed: bytes) -> None:
        """Raises PeerFault ``object.bad-chunk`` unless these bytes are that chunk."""
        if not self._fits(number, sealed):
            raise PeerFault("object.bad-chunk", f"chunk {number} of {self} is not what its index says")

    def add(self, sealed: bytes) -> None:
        """The next chunk, checked before."""
        self._name.update(sealed)
        self.next_chunk += 1

    def end(self) -> bytes:
        """The index, to write after the last chunk. Raises PeerFault ``object.bad-name``: the block lied."""
        self._name.update(self._index)
        if self._name.digest() != self.stored.sha256:
            raise PeerFault("object.bad-name", f"{self} does not have the hash that its block names")
        return self._index

    def _fits(self, number: int, sealed: bytes) -> bool:
        return hashlib.sha256(sealed).digest() == self._index[number * HASH_BYTES : (number + 1) * HASH_BYTES]

    def __str__(self) -> str:
        return f"object {self.stored.sha256.hex()[:16]}"
