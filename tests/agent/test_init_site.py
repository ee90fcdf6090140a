from __future__ import annotations

from pathlib import Path

import pytest

from agent import config
from agent.box_files import BoxFolder, load_box
from agent.disk import load_manifest
from agent.init_site import init_alone, init_site, read_site_file
from ledger.errors import ConfigurationFault, OperatorFault, OrledgerError
from ledger.manifest import Manifest
from ledger.store import Store

SITE = """
site = "lab"
[[box]]
id = "or-1"
room = "OR 1"
listen = "127.0.0.1:18881"
[[box]]
id = "or-2"
room = "OR 2"
listen = "127.0.0.1:18882"
restore = { standby_for = ["or-1"] }
[[box.feed]]
name = "gateway"
driver = "hl7"
mllp = { listen = "127.0.0.1:12575", allow = ["127.0.0.1"] }
"""


def site_file(tmp_path: Path, text: str = SITE) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


def stored_manifest(data_dir: Path) -> Manifest:
    store = Store.open(BoxFolder(data_dir).ledger, readonly=True)
    try:
        manifest = load_manifest(store)
    finally:
        store.close()
    assert manifest is not None
    return manifest


def test_every_box_of_a_site_gets_keys_configuration_and_the_same_manifest(tmp_path: Path) -> None:
    manifest, made = init_site(read_site_file(site_file(tmp_path)), tmp_path / "lab")
    assert [box.id for box in made] == ["or-1", "or-2"]
    for box in made:
        configuration = config.read(box.configuration)
        folder = BoxFolder(Path(configuration.box.data_dir))
        identity = load_box(folder)
        entry = stored_manifest(folder.path).box(box.id)
        assert stored_manifest(folder.path).hash == manifest.hash
        assert entry.signing_public == identity.secrets.signing.public
        assert entry.receiving_public == identity.secrets.receiving.public
        assert entry.tls_certificate == identity.tls.certificate_der
        assert configuration.replication is not None
        assert configuration.replication.listen == entry.address
    second = config.read(made[1].configuration)
    assert second.restore.standby_for == ("or-1",)
    assert [feed.name for feed in second.feed] == ["gateway"]


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    site = read_site_file(site_file(tmp_path))
    init_site(site, tmp_path / "lab")
    with pytest.raises(OperatorFault, match="is not empty"):
        init_site(site, tmp_path / "lab")


def test_one_box_alone_is_its_own_site(tmp_path: Path) -> None:
    text = f'[box]\nsite = "lab"\nid = "or-1"\nroom = "OR 1"\ndata_dir = "{tmp_path}/data"\n'
    manifest = init_alone(config.parse(text.encode()))
    assert stored_manifest(tmp_path / "data").hash == manifest.hash
    assert manifest.peers_of("or-1") == ()
    assert manifest.quorum_of("or-1").peers == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site = ", "is not TOML"),
        ('site = "lab"\nbox = []', "at least one box"),
        (SITE.replace('"or-2"', '"or-1"'), "each once"),
        (SITE.replace("18882", "0"), r"\$\.box\[1\]\.listen"),
        (SITE.replace("room", "rooom", 1), r"rooom"),
        (SITE.replace('"or-1"', '"OR 1"', 1), "not allowed"),
    ],
)
def test_a_wrong_site_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OrledgerError, match=message):
        read_site_file(site_file(tmp_path, text))


def test_an_absent_site_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"nothere\.toml"):
        read_site_file(tmp_path / "nothere.toml")
