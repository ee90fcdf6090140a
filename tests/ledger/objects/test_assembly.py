from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerFault
from ledger.limits import S_NS, Limits
from ledger.log import LogId
from ledger.notices import StoredObject
from ledger.objects.assembly import Assembly
from ledger.objects.format import CHUNK_BYTES
from ledger.objects.turns import Turns
from tests.ledger.objects.test_format import HEADER, content_of, seal

SEALED, KNOWN = seal(content_of(4 * CHUNK_BYTES + 77))
STORED = StoredObject(KNOWN.sha256, KNOWN.sealed_bytes, KNOWN.index_hash)


def begun() -> Assembly:
    assembly = Assembly(STORED)
    assembly.take_index([SEALED[first:end] for first, end in assembly.index_pieces()])
    return assembly


def chunk(assembly: Assembly, number: int) -> bytes:
    return SEALED[slice(*assembly.layout.chunk_at(number))]


@settings(max_examples=50)
@given(st.integers(0, KNOWN.sealed_bytes), st.none() | st.integers(0, KNOWN.sealed_bytes))
def test_a_part_of_any_length_and_any_damage_goes_on_to_the_whole(held: int, damaged_at: int | None) -> None:
    part = bytearray(SEALED[:held])
    if damaged_at is not None and damaged_at < held:
        part[damaged_at] ^= 1
    assembly = begun()
    assert assembly.header == HEADER
    good = assembly.resume(lambda first, end: bytes(part[first:end]), len(part))
    assert part[:good] == SEALED[:good]
    whole = bytes(part[:good]) if good else assembly.beginning
    while not assembly.is_whole:
        sealed = chunk(assembly, assembly.next_chunk)
        assembly.check(assembly.next_chunk, sealed)
        assembly.add(sealed)
        whole += sealed
    assert whole + assembly.end() == SEALED


@given(st.integers(0, KNOWN.sealed_bytes - 1), st.integers(1, 255))
def test_a_wrong_byte_is_noticed_where_it_comes(at: int, flip: int) -> None:
    damaged = bytearray(SEALED)
    damaged[at] ^= flip
    assembly = Assembly(STORED)
    pieces = [bytes(damaged[first:end]) for first, end in assembly.index_pieces()]
    if at < 256 or at >= assembly.layout.index_at:
        with pytest.raises(PeerFault, match="another header or index"):
            assembly.take_index(pieces)
        return
    assembly.take_index(pieces)
    bad = []
    for number in range(assembly.layout.chunks):
        try:
            assembly.check(number, bytes(damaged[slice(*assembly.layout.chunk_at(number))]))
        except PeerFault:
            bad.append(number)
    assert len(bad) == 1


def test_a_false_name_shows_at_the_end() -> None:
    assembly = Assembly(StoredObject(bytes(32), STORED.sealed_bytes, STORED.index_hash))
    assembly.take_index([SEALED[first:end] for first, end in assembly.index_pieces()])
    assembly.resume(lambda first, end: SEALED[first:end], assembly.layout.index_at)
    assert assembly.is_whole
    with pytest.raises(PeerFault, match="does not have the hash"):
        assembly.end()


def test_an_index_that_is_short_by_a_chunk_is_refused() -> None:
    with pytest.raises(PeerFault):
        Assembly(STORED).take_index([SEALED[:256], SEALED[-32:]])


@dataclass(frozen=True)
class Row:
    log: LogId
    seq: int
    stored: StoredObject


def row(box: str, seq: int, size: int = 1_000) -> Row:
    name = f"{box} {seq}".encode().ljust(32, b".")
    return Row(LogId(box, 1, b"i" * 16, True), seq, StoredObject(name, size, bytes(32)))


LIMITS = Limits(object_retry_min_ns=2 * S_NS, object_retry_max_ns=8 * S_NS)


def test_the_boxes_take_turns_and_a_slot_takes_the_smallest() -> None:
    turns = Turns()
    turns.peer_up("or-2")
    rows = [row("or-1", 0, 9_000), row("or-1", 1, 100), row("or-3", 0, 500), row("or-4", 7, 50)]
    assert turns.choose(rows, (), 0, smallest=True) == rows[1]
    assert turns.choose(rows, (), 0, smallest=True) == rows[2]
    assert turns.choose(rows, (), 0, smallest=False) == rows[3]
    assert turns.choose(rows, (), 0, smallest=False) == rows[0]
    assert turns.choose(rows, {rows[2].stored.sha256}, 0, smallest=False) == rows[3]
    assert turns.choose([], (), 0, smallest=False) is None


def test_who_refuses_is_asked_later_and_later_and_at_once_when_met_anew() -> None:
    turns = Turns(LIMITS)
    for peer in ("or-1", "or-2", "or-3"):
        turns.peer_up(peer)
    one = row("or-2", 0)
    assert turns.sources(one, 0) == ["or-2", "or-1", "or-3"]
    pauses, now_ns = [], 0
    for _ in range(4):
        turns.refused("or-2", one.stored.sha256, now_ns)
        assert turns.sources(one, now_ns) == ["or-1", "or-3"]
        begun_ns = now_ns
        while "or-2" not in turns.sources(one, now_ns):
            now_ns += S_NS
        pauses.append((now_ns - begun_ns) // S_NS)
    assert pauses == [2, 4, 8, 8]
    turns.refused("or-2", one.stored.sha256, now_ns)
    turns.peer_up("or-2")
    assert "or-2" in turns.sources(one, now_ns)
    turns.peer_down("or-2")
    assert "or-2" not in turns.sources(one, now_ns)
    assert turns.sources(row("or-2", 1), 0) == ["or-1", "or-3"]


def test_only_all_others_together_can_say_that_nobody_has_it() -> None:
    turns = Turns(LIMITS)
    one, group = row("or-1", 0), {"or-1", "or-2"}
    name = one.stored.sha256
    turns.refused("or-1", name, 0, denied=True)
    turns.refused("or-2", name, 0)
    assert not turns.nobody_has(name, group)
    turns.refused("or-2", name, 0, denied=True)
    assert turns.nobody_has(name, group)
    assert not turns.nobody_has(name, set())
    turns.peer_up("or-2")
    assert not turns.nobody_has(name, group)


def test_what_is_remembered_is_bounded() -> None:
    turns = Turns()
    turns.peer_up("or-1")
    for seq in range(9_000):
        turns.refused("or-1", row("or-1", seq).stored.sha256, 0, denied=True)
    assert len(turns._refusals) == len(turns._denials) == 8_192
