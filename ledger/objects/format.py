r"""The bytes of a sealed object: header, sealed chunks, the chunks' hashes. Its name is the SHA-256 of all of it.

| part | bytes |
| --- | --- |
| header | 256: ``orledger-object/1\n``, one byte of length, a canonical msgpack array, zeros |
| chunks | each 65,280 bytes of content and 16 of tag; the last one is shorter, padded to 256 bytes (ISO/IEC 7816-4) |
| index | SHA-256 of each sealed chunk, 32 bytes each |

The array: version, chunk bytes, the log whose data key sealed it (box, counter, incarnation, fenced), key id, salt.
Every object has a key of its own, derived from the data key and its random salt, so a chunk's nonce is its number and
whether it is the last; additional data = the header and the same two. So no chunk can be moved, left out, or put into
another object, and no end can be cut off.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl._sodium import ffi, lib  # type: ignore[import-not-found]

from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.sealing import TAG_BYTES, DataKey

OBJECT_VERSION: Final = 1
HEADER_BYTES: Final = 256
CHUNK_BYTES: Final = 65_280
SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES
PAD_BYTES: Final = 256
HASH_BYTES: Final = 32
SALT_BYTES: Final = 32
_MAGIC = b"orledger-object/1\n"
_CHUNK_DOMAIN = b"orledger/object-chunk/1\n"
_INDEX_DOMAIN = b"orledger/object-index/1\n"
_ARRAY_MOST = HEADER_BYTES - len(_MAGIC) - 1
_NUMBER_BYTES = 8
_NONCE_REST = bytes(bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES - _NUMBER_BYTES - 1)
_SHORTEST = HEADER_BYTES + PAD_BYTES + TAG_BYTES + HASH_BYTES


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """Whose key sealed an object: ``log`` is the one it belongs to, ``key_id`` commits to it, ``salt`` is random."""

    log: LogId
    key_id: bytes
    salt: bytes

    def encode(self) -> bytes:
        """The 256 bytes an object begins with."""
        log = self.log
        array = pack(
            [OBJECT_VERSION, CHUNK_BYTES, log.box, log.counter, log.incarnation, log.fenced, self.key_id, self.salt]
        )
        return (_MAGIC + bytes([len(array)]) + array).ljust(HEADER_BYTES, b"\x00")

    @classmethod
    def decode(cls, data: bytes) -> ObjectHeader:
        """Strict inverse of ``encode``; raises PeerFault."""
        if len(data) != HEADER_BYTES or not data.startswith(_MAGIC):
            raise PeerFault("object.header", "this is not the header of an object")
        length, body = data[len(_MAGIC)], data[len(_MAGIC) + 1 :]
        if any(body[length:]):
            raise PeerFault("object.header", "an object's header must end in zeros")
        take = Fields(unpack(body[:length], _ARRAY_MOST, "object header"), 8, "object header")
        if take.uint() != OBJECT_VERSION:
            raise PeerFault("object.version", "this version of an object is unknown", "upgrade this box")
        if take.uint() != CHUNK_BYTES:
            raise PeerFault("object.header", "an object's chunks must have 65,280 bytes")
        log = LogId(take.text(63, 1), take.uint(), take.raw(INCARNATION_BYTES), take.boolean())
        return cls(log, take.raw(32), take.raw(SALT_BYTES))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an object's parts lie, all told by its length."""

    sealed_bytes: int
    chunks: int

    @classmethod
    def of(cls, sealed_bytes: int) -> Layout:
        """Raises PeerFault ``object.length`` for a length that no object has."""
        body = sealed_bytes - HEADER_BYTES
        chunks = -(-body // (SEALED_CHUNK_BYTES + HASH_BYTES))
        layout = cls(sealed_bytes, chunks)
        if not _SHORTEST <= sealed_bytes <= longest_sealed_bytes() or layout._last_plain_bytes % PAD_BYTES:
            raise PeerFault("object.length", f"no object has {sealed_bytes:,} bytes")
        if layout._last_plain_bytes < PAD_BYTES:
            raise PeerFault("object.length", f"no object has {sealed_bytes:,} bytes")
        return layout

    @property
    def _last_plain_bytes(self) -> int:
        return self.index_at - HEADER_BYTES - (self.chunks - 1) * SEALED_CHUNK_BYTES - TAG_BYTES

    @property
    def index_at(self) -> int:
        """Where the index begins and the chunks end."""
        return self.sealed_bytes - self.chunks * HASH_BYTES

    def chunk_at(self, number: int) -> tuple[int, int]:
        """(first, end) of a sealed chunk."""
        first = HEADER_BYTES + number * SEALED_CHUNK_BYTES
        return first, min(first + SEALED_CHUNK_BYTES, self.index_at)

    def is_last(self, number: int) -> bool:
        """True for the chunk that ends the object."""
        return number == self.chunks - 1


def sealed_length(plain_bytes: int) -> int:
    """How long an object of so much content is when sealed."""
    chunks, rest = plain_bytes // CHUNK_BYTES + 1, plain_bytes % CHUNK_BYTES
    last = (rest // PAD_BYTES + 1) * PAD_BYTES
    return HEADER_BYTES + (chunks - 1) * SEALED_CHUNK_BYTES + last + TAG_BYTES + chunks * HASH_BYTES


def longest_sealed_bytes() -> int:
    """The length of the largest object allowed."""
    return sealed_length(LIMITS.object_bytes)


def index_hash(header: bytes, index: bytes | bytearray) -> bytes:
    """What a notice says of header and index, so that each chunk can be checked as it comes."""
    return hashlib.sha256(_INDEX_DOMAIN + header + index).digest()


class ChunkCipher:
    """Seals and opens the chunks of one object. Not for two threads at once."""

    __slots__ = ("_associated", "_key", "_out", "_size")

    def __init__(self, header: ObjectHeader, data_key: DataKey) -> None:
        """Raises VerificationFailed ``object.other-key`` when it is not the key that the header names."""
        if data_key.key_id != header.key_id:
            raise VerificationFailed("object.other-key", "the object was sealed under another key")
        self._key = data_key.object_key(header.salt)
        self._associated = _CHUNK_DOMAIN + header.encode()
        self._out = ffi.new("unsigned char[]", SEALED_CHUNK_BYTES)
        self._size = ffi.new("unsigned long long *")

    def seal(self, number: int, content: bytes | bytearray | memoryview, *, is_last: bool) -> bytes:
        """One sealed chunk; a number is sealed once. The last one's content must be padded."""
        place = number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])
        associated = self._associated + place
        lib.crypto_aead_xchacha20poly1305_ietf_encrypt(
            self._out, self._size, ffi.from_buffer(content), len(content), associated, len(associated), ffi.NULL,
            place + _NONCE_REST, self._key,
        )  # fmt: skip
        sealed: bytes = ffi.buffer(self._out, len(content) + TAG_BYTES)[:]
        return sealed

    def open(self, number: int, sealed: bytes, *, is_last: bool) -> bytes:
        """The content of a chunk, the last one's unpadded. Raises VerificationFailed ``object.unsealable``."""
        place = number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])
        associated, size = self._associated + place, len(sealed) - TAG_BYTES
        if not 0 <= size <= CHUNK_BYTES or lib.crypto_aead_xchacha20poly1305_ietf_decrypt(
            self._out, ffi.NULL, ffi.NULL, sealed, len(sealed), associated, len(associated), place + _NONCE_REST,
            self._key,
        ):  # fmt: skip
            raise VerificationFailed("object.unsealable", f"chunk {number} of the object does not open under its key")
        content: bytes = ffi.buffer(self._out, size)[:]
        return unpadded(content, number) if is_last else content


def padded(content: bytes | bytearray | memoryview) -> bytes:
    """The last chunk's content: one byte 0x80, then zeros up to 256 bytes, always at least the one."""
    length = (len(content) // PAD_BYTES + 1) * PAD_BYTES
    return (bytes(content) + b"\x80").ljust(length, b"\x00")


def unpadded(content: bytes, number: int) -> bytes:
    """Inverse of ``padded``; raises VerificationFailed."""
    plain = content.rstrip(b"\x00")
    if plain[-1:] != b"\x80" or len(content) - len(plain) >= PAD_BYTES:
        raise VerificationFailed("object.unsealable", f"chunk {number} of the object is not padded as its last must be")
    return plain[:-1]
