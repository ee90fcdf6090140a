from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import DeviceFault, OrledgerError, PeerFault, VerificationFailed
from ledger.limits import Limits
from ledger.log import LogId
from ledger.objects import Layout, ObjectHeader, SealedObject, Sealer, open_content, prove, read_header, sealed_length
from ledger.objects.format import CHUNK_BYTES, HASH_BYTES, HEADER_BYTES, SEALED_CHUNK_BYTES, ChunkCipher
from ledger.sealing import DataKey

KEY, OTHER_KEY = DataKey(bytes(range(32))), DataKey(bytes(32))
LOG = LogId("or-1", 7, b"i" * 16, True)
HEADER = ObjectHeader(LOG, KEY.key_id, b"s" * 32)

logs = st.builds(
    LogId, st.text("abc-9", min_size=1, max_size=63), st.integers(0, (1 << 63) - 1),
    st.binary(min_size=16, max_size=16), st.booleans(),
)  # fmt: skip
hashes = st.binary(min_size=32, max_size=32)
headers = st.builds(ObjectHeader, logs, hashes, hashes)
sizes = st.integers(0, 600) | st.integers(-3, 3).map(lambda near: 2 * CHUNK_BYTES + near) | st.integers(0, 200_000)


class Bytes:
    """``SealedSource`` of what was sealed in a test."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def length(self) -> int:
        return len(self.data)

    def read(self, first: int, end: int) -> bytes:
        return self.data[first:end]


def content_of(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(4, "big")).digest(size)


def seal(content: bytes, cuts: list[int] | None = None, header: ObjectHeader = HEADER) -> tuple[bytes, SealedObject]:
    sealer = Sealer(header, KEY)
    out = [sealer.begin()]
    at = 0
    for cut in [*sorted(cuts or []), len(content)]:
        out += sealer.add(content[at:cut])
        at = cut
    rest, known = sealer.end()
    return b"".join([*out, rest]), known


@given(headers)
def test_a_header_comes_back(header: ObjectHeader) -> None:
    encoded = header.encode()
    assert len(encoded) == HEADER_BYTES
    assert ObjectHeader.decode(encoded) == header


@given(headers, st.data())
def test_a_changed_header_is_another_or_none(header: ObjectHeader, data: st.DataObject) -> None:
    encoded = bytearray(header.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = ObjectHeader.decode(bytes(encoded))
    except PeerFault:
        return
    assert decoded != header
    assert decoded.encode() == encoded


@given(sizes, st.lists(st.integers(0, 200_000), max_size=4))
def test_any_cut_of_a_stream_seals_to_the_same_bytes_and_opens_again(size: int, cuts: list[int]) -> None:
    content = content_of(size)
    sealed, known = seal(content, cuts)
    assert sealed == seal(content)[0]
    assert known.sha256 == hashlib.sha256(sealed).digest()
    assert (known.plain_bytes, known.sealed_bytes) == (size, len(sealed))
    assert len(sealed) == sealed_length(size)
    assert b"".join(open_content(Bytes(sealed), KEY)) == content
    assert read_header(Bytes(sealed)) == HEADER
    proof = prove(Bytes(sealed), known.sha256, KEY)
    assert (proof.plain_bytes, proof.index_hash, proof.header) == (size, known.index_hash, HEADER)
    assert prove(Bytes(sealed), known.sha256, None).plain_bytes is None


@given(sizes)
def test_the_length_alone_tells_where_everything_lies(size: int) -> None:
    layout = Layout.of(sealed_length(size))
    assert layout.chunks == size // CHUNK_BYTES + 1
    ends = [layout.chunk_at(number) for number in range(layout.chunks)]
    assert ends[0][0] == HEADER_BYTES
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert ends[-1][1] == layout.index_at == layout.sealed_bytes - layout.chunks * HASH_BYTES


@given(st.integers(0, 400_000))
def test_a_length_that_no_object_has_is_refused(length: int) -> None:
    try:
        layout = Layout.of(length)
    except PeerFault:
        return
    first, end = layout.chunk_at(layout.chunks - 1)
    assert 256 <= end - first - 16 <= CHUNK_BYTES
    assert (end - first - 16) % 256 == 0


SHORT = seal(content_of(3 * CHUNK_BYTES + 100))


@given(st.integers(0, len(SHORT[0]) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_noticed(at: int, flip: int) -> None:
    sealed, known = SHORT
    damaged = bytearray(sealed)
    damaged[at] ^= flip
    with pytest.raises(OrledgerError):
        prove(Bytes(bytes(damaged)), known.sha256, KEY)
    if at < Layout.of(len(sealed)).index_at:
        with pytest.raises(OrledgerError):
            list(open_content(Bytes(bytes(damaged)), KEY))


@given(st.integers(0, len(SHORT[0]) - 1))
def test_a_cut_end_never_opens_as_a_shorter_object(length: int) -> None:
    with pytest.raises((VerificationFailed, PeerFault)):
        list(open_content(Bytes(SHORT[0][:length]), KEY))


def _chunks(sealed: bytes) -> list[bytes]:
    layout = Layout.of(len(sealed))
    return [sealed[slice(*layout.chunk_at(number))] for number in range(layout.chunks)]


def _moved(chunks: list[bytes], order: list[int]) -> bytes:
    body = b"".join(chunks[number] for number in order)
    return HEADER.encode() + body + b"".join(hashlib.sha256(chunks[number]).digest() for number in order)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3], [0, 3], [0, 1, 2, 2, 3], [3]])
def test_chunks_moved_left_out_or_doubled_do_not_open(order: list[int]) -> None:
    with pytest.raises(VerificationFailed, match="does not open"):
        list(open_content(Bytes(_moved(_chunks(SHORT[0]), order)), KEY))


def test_a_whole_chunk_does_not_pass_for_the_last() -> None:
    """Content of exactly two chunks, cut after the first: only the flag in nonce and additional data tells."""
    sealed, _ = seal(content_of(2 * CHUNK_BYTES))
    first = _chunks(sealed)[0]
    assert len(first) == SEALED_CHUNK_BYTES
    cut = HEADER.encode() + first + hashlib.sha256(first).digest()
    with pytest.raises(VerificationFailed):
        list(open_content(Bytes(cut), KEY))


def test_a_chunk_of_another_object_under_the_same_data_key_does_not_open() -> None:
    other = ObjectHeader(LOG, KEY.key_id, b"t" * 32)
    chunks, others = _chunks(SHORT[0]), _chunks(seal(content_of(3 * CHUNK_BYTES + 100), header=other)[0])
    with pytest.raises(VerificationFailed):
        list(open_content(Bytes(_moved([chunks[0], others[1], *chunks[2:]], [0, 1, 2, 3])), KEY))


def test_the_same_content_twice_is_two_names() -> None:
    """A name tells nothing of the content: not even that it was seen before."""
    content = content_of(1_000)
    assert seal(content)[1].sha256 != seal(content, header=ObjectHeader(LOG, KEY.key_id, b"t" * 32))[1].sha256


def test_lengths_are_told_only_to_256_bytes() -> None:
    assert {sealed_length(size) for size in range(256)} == {sealed_length(0)}
    assert sealed_length(256) == sealed_length(0) + 256


def test_another_key_is_refused_by_its_id() -> None:
    with pytest.raises(VerificationFailed, match="another key"):
        list(open_content(Bytes(SHORT[0]), OTHER_KEY))
    with pytest.raises(VerificationFailed, match="another key"):
        ChunkCipher(HEADER, OTHER_KEY)


def test_more_than_is_allowed_is_the_sender_s_fault() -> None:
    sealer = Sealer(HEADER, KEY, Limits(object_bytes=1_000))
    sealer.begin()
    list(sealer.add(bytes(1_000)))
    with pytest.raises(DeviceFault, match="more than 1,000 bytes"):
        list(sealer.add(b"x"))


def test_a_length_that_lies_about_gigabytes_is_refused_at_once() -> None:
    with pytest.raises(PeerFault):
        Layout.of(1 << 60)


@given(st.binary(max_size=600))
def test_anything_may_come_as_an_object(data: bytes) -> None:
    for read in (lambda: list(open_content(Bytes(data), KEY)), lambda: prove(Bytes(data), bytes(32), KEY)):
        with pytest.raises(OrledgerError):
            _call(read)


def _call(read: Any) -> None:
    read()
