"""The keyring's file: what was kept is there after a restart, what was erased is not, and damage is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.secret import SecretBox

from ledger import keyring as module
from ledger.canonical import pack
from ledger.errors import StoreFault
from ledger.keyring import Keyring, write_durably
from ledger.log import LogId
from ledger.sealing import DataKey
from tests.ledger_strategies import exactly, names

RING = bytes(range(32))
KEY = DataKey(bytes([1]) * 32)
OTHER = DataKey(bytes([2]) * 32)
INCARNATION = bytes(16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


wraps_of = st.dictionaries(names, st.binary(max_size=80), max_size=3)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, exactly(16), exactly(32), wraps_of), max_size=5))
def test_every_key_and_wrap_is_there_after_reopening(
    tmp_path: Path, added: list[tuple[str, bytes, bytes, Mapping[str, bytes]]]
) -> None:
    path = tmp_path / "keyring"
    path.unlink(missing_ok=True)
    ring = Keyring(path, RING)
    for box, incarnation, secret, wraps in added:
        assert ring.add(box, incarnation, DataKey(secret), wraps)
    again = Keyring(path, RING)
    assert again.key_ids() == ring.key_ids() == {DataKey(secret).key_id for _, _, secret, _ in added}
    for key_id in ring.key_ids():
        assert again.entry(key_id) == ring.entry(key_id)
        assert again.get(key_id) == ring.get(key_id)


def test_later_wraps_join_the_earlier_ones(path: Path) -> None:
    ring = Keyring(path, RING)
    ring.add("or-1", INCARNATION, KEY, {"or-2": b"two"})
    ring.add("or-1", INCARNATION, KEY, {"or-3": b"three"})
    entry = Keyring(path, RING).entry(KEY.key_id)
    assert entry is not None
    assert entry.wraps == {"or-2": b"two", "or-3": b"three"}


def test_what_is_known_already_is_not_written_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(path, RING)
    ring.add("or-1", INCARNATION, KEY, {"or-2": b"two"})
    monkeypatch.setattr(module, "write_durably", lambda *_: pytest.fail("written again"))
    assert ring.add("or-1", INCARNATION, KEY, {"or-2": b"two"})


def test_no_key_and_no_wrap_stands_in_the_file_in_clear(path: Path) -> None:
    Keyring(path, RING).add("or-1", INCARNATION, KEY, {"or-2": b"a wrapped key"})
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in (KEY.secret, KEY.key_id, b"a wrapped key", b"or-2"):
        assert secret not in path.read_bytes()


def test_a_wrong_ring_key_is_named_and_leaves_the_file_alone(path: Path) -> None:
    Keyring(path, RING).add("or-1", INCARNATION, KEY, {})
    before = path.read_bytes()
    with pytest.raises(StoreFault) as caught:
        Keyring(path, bytes(32))
    assert caught.value.id == "keyring.unreadable"
    assert caught.value.next_step
    assert path.read_bytes() == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_truncated_or_flipped_file_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "keyring"
    path.unlink(missing_ok=True)
    Keyring(path, RING).add("or-1", INCARNATION, KEY, {"or-2": b"two"})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    for damaged in (whole[: data.draw(st.integers(0, len(whole) - 1))], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(StoreFault, match="does not open"):
            Keyring(path, RING)


@pytest.mark.parametrize(
    "plain",
    [b"", pack(["orledger/keyring/2", [], []]), pack(["orledger/keyring/1", [["or-1"]], []]), pack([1, 2])],
)
def test_a_file_of_another_form_under_the_right_key_is_refused(path: Path, plain: bytes) -> None:
    path.write_bytes(bytes(SecretBox(RING).encrypt(plain)))
    with pytest.raises(StoreFault, match="does not open"):
        Keyring(path, RING)


def test_a_tombstone_is_permanent_and_beats_a_later_wrap(path: Path) -> None:
    ring = Keyring(path, RING)
    ring.add("or-1", INCARNATION, KEY, {"or-2": b"two"})
    ring.add("or-1", INCARNATION, OTHER, {})
    ring.entomb(KEY.key_id)
    for held in (ring, Keyring(path, RING)):
        assert held.get(KEY.key_id) is None
        assert held.entry(KEY.key_id) is None
        assert not held.add("or-1", INCARNATION, KEY, {"or-2": b"two"})
        assert held.key_ids() == {OTHER.key_id}
        assert held.settled_ids() == {KEY.key_id, OTHER.key_id}
    assert Keyring(path, RING).get(KEY.key_id) is None


def test_a_key_can_be_entombed_before_it_ever_arrives(path: Path) -> None:
    Keyring(path, RING).entomb(KEY.key_id)
    assert not Keyring(path, RING).add("or-1", INCARNATION, KEY, {})


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["os.write", "os.fsync", "os.open", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_claimed(
    path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    ring = Keyring(path, RING)
    ring.add("or-1", INCARNATION, KEY, {})
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(StoreFault) as caught:
            ring.add("or-1", INCARNATION, OTHER, {})
        assert caught.value.id == "keyring.unwritable"
        with pytest.raises(StoreFault):
            ring.entomb(KEY.key_id)
    assert path.read_bytes() == before
    assert ring.key_ids() == {KEY.key_id}, "memory must not claim what the disk does not hold"
    assert ring.add("or-1", INCARNATION, OTHER, {}), "a second try writes"
    assert Keyring(path, RING).key_ids() == {KEY.key_id, OTHER.key_id}


def test_a_ring_never_outgrows_what_it_can_read_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENTRIES", 1)
    ring = Keyring(path, RING)
    ring.add("or-1", INCARNATION, KEY, {})
    with pytest.raises(StoreFault) as caught:
        ring.add("or-1", INCARNATION, OTHER, {})
    assert caught.value.id == "keyring.full"
    assert Keyring(path, RING).key_ids() == {KEY.key_id}


def test_one_box_fills_a_share_and_wraps_never_more_than_can_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring(path, RING)
    monkeypatch.setattr(module, "_ENTRIES_OF_A_BOX", 1)
    assert ring.add("or-1", INCARNATION, KEY, {})
    with pytest.raises(StoreFault, match="keys of or-1"):
        ring.add("or-1", INCARNATION, OTHER, {})
    assert ring.add("or-2", INCARNATION, OTHER, {})
    monkeypatch.setattr(module, "_FILE_BYTES", 512)
    with pytest.raises(StoreFault, match="bytes"):
        ring.add("or-2", INCARNATION, OTHER, {"or-1": bytes(256), "or-2": bytes(256)})
    monkeypatch.undo()
    assert Keyring(path, RING).key_ids() == {KEY.key_id, OTHER.key_id}


def test_write_durably_replaces_whole_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"", b"x" * 100_000):
        write_durably(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_the_keys_of_a_log_that_went_are_let_go_and_may_come_again(path: Path) -> None:
    ring = Keyring(path, RING)
    gone, stays = LogId("or-1", 1, bytes(16), True), LogId("or-2", 1, bytes(range(16)), True)
    ring.add(gone.box, gone.incarnation, KEY, {"or-2": b"wrap"})
    ring.add(stays.box, stays.incarnation, OTHER, {})
    assert ring.forget([gone, LogId("or-3", 9, bytes(16), False)]) == 1
    assert ring.forget([gone]) == 0
    assert Keyring(path, RING).key_ids() == ring.key_ids() == {OTHER.key_id}
    assert ring.add(gone.box, gone.incarnation, KEY, {})
    assert Keyring(path, RING).key_ids() == {KEY.key_id, OTHER.key_id}
