"""First keys and first manifest: one box alone, or a whole small site from one file for laboratories.

A laboratory's site is made on one machine, private keys and all, and then copied to its boxes. A hospital enrols its
boxes one by one instead, so that no key ever leaves the box it was made on.
"""

from __future__ import annotations

import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from agent.box_files import BoxFolder, BoxIdentity, create_box, load_box
from agent.config import BoxSection, Configuration, convert, host_port
from ledger.canonical import Fields, pack, unpack
from ledger.errors import BadInput, ConfigurationFault, OperatorFault, PeerFault, StoreFault
from ledger.keyring import write_durably
from ledger.limits import LIMITS
from ledger.log import require_name
from ledger.manifest import Box, Manifest, Role, SignedManifest, sign_manifest
from ledger.ops import PutManifest
from ledger.signing import SEED_BYTES, SigningKey
from ledger.store import Store

GROUP = "main"
FORMAT = 1
_SITE_KEY = "site.seed"
_HISTORY = "orledger/manifests/1"
_HISTORY_BYTES = LIMITS.manifests * LIMITS.manifest_bytes
_EXPORT = "on another box: orledger restore manifest --out FILE"


class SiteBox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One box of a laboratory's site file. ``feed`` tables, ``restore`` and ``address`` (of peers, where not their
    ``listen``) go into its configuration as they are.
    """

    id: str
    room: str
    listen: str
    broker: str = "embedded"
    address: dict[str, str] = {}
    feed: list[dict[str, Any]] = []
    restore: dict[str, Any] = {}


class SiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A laboratory's site."""

    site: str
    box: list[SiteBox]


@dataclass(frozen=True, slots=True)
class MadeBox:
    """A box that now exists: its id and its configuration file."""

    id: str
    configuration: Path


def init_alone(configuration: Configuration) -> Manifest:
    """Make the configured box, with a manifest of its own. Raises OperatorFault ``box.exists``."""
    box = configuration.box
    folder = BoxFolder(Path(box.data_dir))
    identity = create_box(folder, box.id)
    listen = configuration.replication.listen if configuration.replication is not None else ""
    site_key = _new_site_key(folder.keys / _SITE_KEY)
    signed = _first_manifest(box.site, [_box_entry(box.id, box.room, listen, identity)], site_key)
    _store_manifest(folder, signed)
    return signed.manifest


def init_again(configuration: Configuration, exported: bytes) -> Manifest:
    """Make the store of a box whose disk is gone and whose keys are not, from the manifests that a peer exported.

    Raises OperatorFault ``box.not-empty`` when there is a store with logs already, BadInput when the file is none or
    does not list this box under the keys it has, StoreFault when the keys cannot be read.
    """
    box = configuration.box
    folder = BoxFolder(Path(box.data_dir))
    identity = load_box(folder)
    history = _read_history(exported)
    manifest = history[-1].manifest
    listed = manifest.box(box.id) if manifest.lists(box.id) else None
    if manifest.site != box.site or listed is None or listed.signing_public != identity.secrets.signing.public:
        raise BadInput(
            "init.other-box", f"these manifests of {manifest.site} do not list {box.id} under the keys it has",
            "export them on a box of the same site; a box with new keys is enrolled instead",
        )  # fmt: skip
    store = Store.open(folder.ledger)
    try:
        if store.logs():
            raise OperatorFault("box.not-empty", f"{folder.ledger} holds logs already", "move it away first")
        store.commit([PutManifest(signed.manifest.version, signed.encode()) for signed in history])
    finally:
        store.close()
    return manifest


def export_history(store: Store) -> bytes:
    """Every manifest held, for ``init_again`` on another box. They are public, and prove themselves."""
    return pack([_HISTORY, [data for _, data in store.manifests()]])


def _read_history(exported: bytes) -> list[SignedManifest]:
    """The manifests, oldest first, each signed by the site keys of the one before. Raises BadInput."""
    try:
        take = Fields(unpack(exported, _HISTORY_BYTES, "manifests"), 2, "manifests")
        take.literal(_HISTORY)
        history = [SignedManifest.decode(data) for data in take.array(LIMITS.manifests)]
        for before, signed in zip((None, *history), history, strict=False):
            signed.check(before.manifest if before is not None else None)
    except (PeerFault, TypeError) as error:
        raise BadInput("init.manifests", f"no manifests can be read from this file: {error}", _EXPORT) from error
    if not history:
        raise BadInput("init.manifests", "this file holds no manifest", _EXPORT)
    return history


def read_site_file(path: Path) -> SiteFile:
    """A site file, checked. Raises ConfigurationFault naming the spot."""
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationFault("site.unreadable", f"{path}: {error.strerror}", "name a readable file") from error
    except ValueError as error:
        raise ConfigurationFault("site.syntax", f"{path} is not TOML: {error}", "correct the file") from error
    site = convert(document, SiteFile, "$")
    require_name(site.site, "site")
    for index, box in enumerate(site.box):
        require_name(box.id, "box id")
        host_port(box.listen, f"$.box[{index}].listen")
    if not site.box or len({box.id for box in site.box}) != len(site.box):
        raise ConfigurationFault("site.boxes", f"{path} must list at least one box, each once", "correct the file")
    return site


def init_site(site: SiteFile, out: Path) -> tuple[Manifest, list[MadeBox]]:
    """Make every box below ``out``: keys, store with the signed manifest, configuration.

    Raises OperatorFault ``site.exists`` unless ``out`` is empty or absent.
    """
    if out.exists() and any(out.iterdir()):
        raise OperatorFault("site.exists", f"{out} is not empty", "name a new folder")
    folders = {box.id: BoxFolder((out / box.id / "data").resolve()) for box in site.box}
    entries = []
    for box in site.box:
        identity = create_box(folders[box.id], box.id)
        entries.append(_box_entry(box.id, box.room, box.listen, identity))
    signed = _first_manifest(site.site, entries, _new_site_key(out / _SITE_KEY))
    made = []
    for box in site.box:
        _store_manifest(folders[box.id], signed)
        made.append(MadeBox(box.id, _write_configuration(site.site, box, folders[box.id], out / box.id)))
    return signed.manifest, made


def _write_configuration(site: str, box: SiteBox, folder: BoxFolder, home: Path) -> Path:
    section = BoxSection(site, box.id, box.room, str(folder.path), str((home / "run").resolve()))
    document: dict[str, Any] = {
        "box": msgspec.to_builtins(section),
        "replication": {"listen": box.listen, "broker": box.broker, "address": box.address},
    }
    if box.restore:
        document["restore"] = box.restore
    if box.feed:
        document["feed"] = box.feed
    path = home / "config.toml"
    try:
        (home / "run").mkdir(mode=0o750)
        path.write_bytes(tomli_w.dumps(document).encode())
    except OSError as error:
        raise StoreFault("site.unwritable", f"cannot write {path}: {error.strerror}", "check the disk") from error
    return path


def _new_site_key(path: Path) -> SigningKey:
    key = SigningKey(secrets.token_bytes(SEED_BYTES))
    write_durably(path, key.seed)
    return key


def _box_entry(box_id: str, room: str, address: str, identity: BoxIdentity) -> Box:
    return Box(
        box_id, room, GROUP, Role.MEMBER, identity.secrets.signing.public, identity.secrets.receiving.public,
        identity.tls.certificate_der, address,
    )  # fmt: skip


def _first_manifest(site: str, boxes: list[Box], key: SigningKey) -> SignedManifest:
    manifest = Manifest(site, 1, bytes(32), tuple(boxes), None, FORMAT, (key.public,), 1, None)
    return sign_manifest(manifest, [key])


def _store_manifest(folder: BoxFolder, signed: SignedManifest) -> None:
    store = Store.open(folder.ledger)
    try:
        store.commit([PutManifest(signed.manifest.version, signed.encode())])
    finally:
        store.close()
