from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.box_files import BoxFolder, create_box, load_box, open_keyring
from ledger.errors import ConfigurationFault, OperatorFault, StoreFault
from ledger.sealing import DataKey


def test_a_box_is_found_again_with_the_keys_it_was_made_with(tmp_path: Path) -> None:
    folder = BoxFolder(tmp_path / "data")
    made = create_box(folder, "or-1")
    assert load_box(folder) == made
    assert made.tls.box_id == "or-1"
    assert len({made.secrets.signing.seed, made.secrets.receiving.secret, made.ring_key}) == 3


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = BoxFolder(tmp_path / "data")
    create_box(folder, "or-1")
    assert stat.S_IMODE(folder.keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.keys.iterdir()} == {0o600}


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    folder = BoxFolder(tmp_path / "data")
    before = create_box(folder, "or-1")
    with pytest.raises(OperatorFault, match="already holds a box"):
        create_box(folder, "or-1")
    assert load_box(folder) == before


def test_a_name_that_cannot_be_a_topic_or_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="not allowed"):
        create_box(BoxFolder(tmp_path / "data"), "OR 1/+")


def test_an_empty_folder_and_a_damaged_key_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="holds no box"):
        load_box(BoxFolder(tmp_path))
    folder = BoxFolder(tmp_path / "data")
    create_box(folder, "or-1")
    (folder.keys / "signing.seed").write_bytes(b"short")
    with pytest.raises(StoreFault, match=r"holds 5 bytes, not 32"):
        load_box(folder)


def test_the_keyring_opens_under_the_boxs_own_ring_key_only(tmp_path: Path) -> None:
    folder, other = BoxFolder(tmp_path / "a"), BoxFolder(tmp_path / "b")
    mine, theirs = create_box(folder, "or-1"), create_box(other, "or-2")
    key = DataKey(bytes(32))
    open_keyring(folder, mine).add("or-1", bytes(16), key, {})
    assert open_keyring(folder, mine).get(key.key_id) == key
    with pytest.raises(StoreFault, match="does not open"):
        open_keyring(folder, theirs)
