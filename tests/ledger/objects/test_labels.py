"""Labels: an object is found by them as long as it is kept; what was promised outside is kept until it is done."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, Header, sign_header
from ledger.errors import StoreFault
from ledger.local_secret import LABEL_BYTES, LocalSecret
from ledger.log import LogId
from ledger.notices import StoredObject, StoredObjects
from ledger.ops import AppendBlock, DropBlocks, LabelObject, MarkObject, ObjectState, OpenLog, PrunePayloads, PutPending
from ledger.signing import SigningKey
from ledger.store import Store
from ledger.store.rows import Table

LOG = LogId("or-1", 3, bytes(16), fenced=True)
LABEL, OTHER_LABEL = b"L" * 32, b"M" * 32


def naming(seq: int, *objects: StoredObject) -> bytes:
    """A signed header that names these."""
    header = Header(
        log=LOG, seq=seq, opened_ns=0, closed_ns=seq, boot_ns=0, clock=ClockQuality(ClockState.UNKNOWN, 0),
        previous_leaf=bytes(32), payload_hash=bytes(32), payload_bytes=6, key_id=bytes(32), codec=1, keyframe_seq=0,
        case_id=None, manifest_hash=bytes(32), notices=(StoredObjects(objects),) if objects else (),
    )  # fmt: skip
    return sign_header(header, SigningKey(bytes(32)))


def stored(name: bytes) -> StoredObject:
    return StoredObject(name * 32, 512, b"i" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Blocks 0 to 3: the first names a and b, the second a again, the others nothing."""
    opened = Store.open(tmp_path)
    opened.commit([OpenLog(LOG, b"")])
    for seq, names in enumerate(((b"a", b"b"), (b"a",), (), ())):
        opened.commit([AppendBlock(LOG, seq, naming(seq, *map(stored, names)), b"sealed")])
        opened.commit([MarkObject(LOG, seq, name * 32, ObjectState.HELD) for name in names])
    opened.commit([
        LabelObject(b"a" * 32, LABEL, b"ct"), LabelObject(b"b" * 32, LABEL, b"mr"),
        LabelObject(b"b" * 32, OTHER_LABEL, b"mr"), LabelObject(b"c" * 32, OTHER_LABEL, b"not named by any block"),
    ])  # fmt: skip
    return opened


def rows(store: Store, table: Table) -> int:
    return len(store._rows(table))


def test_an_object_is_found_by_each_of_its_labels_and_several_by_one(store: Store) -> None:
    assert store.objects_labelled(LABEL) == [(b"a" * 32, b"ct"), (b"b" * 32, b"mr")]
    assert store.objects_labelled(OTHER_LABEL) == [(b"b" * 32, b"mr")]
    assert store.objects_labelled(b"N" * 32) == []
    assert [store.has_label(name * 32) for name in (b"a", b"b", b"c")] == [True, True, False]
    store.close()


def test_labels_go_with_the_last_naming_of_the_object(store: Store) -> None:
    store.commit([PrunePayloads(LOG, 0, 1)])
    assert store.objects_labelled(LABEL) == [(b"a" * 32, b"ct")]
    assert store.objects_labelled(OTHER_LABEL) == []
    store.commit([LabelObject(b"b" * 32, LABEL, b"mr")])
    assert not store.has_label(b"b" * 32)
    store.commit([MarkObject(LOG, 1, b"a" * 32, ObjectState.GONE)])
    assert rows(store, Table.OBJECT_LABELS) == rows(store, Table.LABELS_OF_OBJECT) == 0
    store.close()


def test_labels_go_with_the_blocks(store: Store) -> None:
    store.commit([DropBlocks(LOG, 0, 1)])
    assert store.objects_labelled(LABEL) == [(b"a" * 32, b"ct")]
    store.commit([DropBlocks(LOG, 1, 2)])
    assert rows(store, Table.OBJECT_LABELS) == rows(store, Table.LABELS_OF_OBJECT) == 0
    store.close()


def test_what_is_pending_stays_until_it_is_done(tmp_path: Path) -> None:
    opened = Store.open(tmp_path)
    opened.commit([PutPending(b"one", b"1"), PutPending(b"two", b"2"), PutPending(b"one", b"3")])
    opened.close()
    opened = Store.open(tmp_path)
    assert opened.pending() == {b"one": b"3", b"two": b"2"}
    opened.commit([PutPending(b"one", None), PutPending(b"never", None)])
    assert opened.pending() == {b"two": b"2"}
    opened.close()


def test_a_store_of_an_earlier_version_gets_the_tables(tmp_path: Path) -> None:
    opened = Store.open(tmp_path)
    with opened._env.begin(write=True) as txn:
        for table in (Table.OBJECT_LABELS, Table.LABELS_OF_OBJECT, Table.PENDING):
            txn.drop(opened._tables[table])
    opened.close()
    reader = Store.open(tmp_path, readonly=True)
    assert (reader.pending(), reader.objects_labelled(LABEL), reader.has_label(b"a" * 32)) == ({}, [], False)
    reader.close()
    opened = Store.open(tmp_path)
    opened.commit([PutPending(b"one", b"1")])
    assert opened.pending() == {b"one": b"1"}
    opened.close()


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.text(max_size=64), st.text(max_size=64), st.binary(max_size=300))
def test_labels_tell_nothing_without_the_key_and_what_is_sealed_opens_with_it_alone(
    ring_key: bytes, one: str, other: str, plain: bytes
) -> None:
    secret, stranger = LocalSecret(ring_key), LocalSecret(secrets.token_bytes(32))
    assert (secret.label("uid", one) == secret.label("uid", other)) is (one == other)
    assert secret.label("uid", one) not in (stranger.label("uid", one), secret.label("class", one))
    assert len(secret.label("uid", one)) == LABEL_BYTES
    sealed = secret.seal(plain)
    assert secret.open(sealed) == plain
    for wrong in (stranger, secret):
        with pytest.raises(StoreFault, match="ring key"):
            wrong.open(sealed if wrong is stranger else sealed[:-1] + bytes([sealed[-1] ^ 1]))
