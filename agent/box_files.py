"""A box's own folder: its unrelated keys, the ledger and the keyring. Identities are never copied."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import ConfigurationFault, NotPermitted, OperatorFault, StoreFault
from ledger.keyring import Keyring, write_durably
from ledger.log import require_name
from ledger.member import Secrets
from ledger.sealing import KEY_BYTES, BoxKey
from ledger.signing import SEED_BYTES, SigningKey

if TYPE_CHECKING:
    from agent.tls import TlsIdentity


@dataclass(frozen=True, slots=True)
class BoxFolder:
    """Where things lie below ``[box] data_dir``."""

    path: Path

    @property
    def keys(self) -> Path:
        """The private keys; never backed up, never copied to another box."""
        return self.path / "keys"

    @property
    def tls(self) -> Path:
        """Private TLS key and certificate."""
        return self.keys / "tls.pem"

    @property
    def ledger(self) -> Path:
        """The LMDB environment."""
        return self.path / "ledger"

    @property
    def objects(self) -> Path:
        """Sealed objects, each under the hash of its bytes."""
        return self.path / "objects"

    @property
    def keyring(self) -> Path:
        """Data keys and wraps, encrypted under the ring key."""
        return self.path / "keyring"


@dataclass(frozen=True, slots=True)
class BoxIdentity:
    """Everything private of one box."""

    secrets: Secrets
    tls_path: Path
    ring_key: bytes

    @property
    def tls(self) -> TlsIdentity:
        """Certificate and private key for the network, read when it is first wanted: the first record does not wait for
        them. Raises ConfigurationFault, NotPermitted.
        """
        from agent.tls import load_identity  # noqa: PLC0415 - a third of the start's imports, for the network alone

        return load_identity(self.tls_path)


_SIGNING, _RECEIVING, _RING = "signing.seed", "receiving.key", "ring.key"
_ANEW = "make a new box with a new identity, and restore the ledger from its peers"


def create_box(folder: BoxFolder, box_id: str) -> BoxIdentity:
    """Make the folder and fresh keys. Raises OperatorFault ``box.exists`` rather than overwrite an identity."""
    require_name(box_id, "box id")
    if folder.keys.exists():
        raise OperatorFault(
            "box.exists", f"{folder.path} already holds a box", "choose another data_dir, or move the old one away"
        )
    try:
        folder.keys.mkdir(mode=0o700, parents=True)
        folder.ledger.mkdir(mode=0o700)
        write_durably(folder.keys / _SIGNING, secrets.token_bytes(SEED_BYTES))
        write_durably(folder.keys / _RECEIVING, secrets.token_bytes(KEY_BYTES))
        write_durably(folder.keys / _RING, secrets.token_bytes(KEY_BYTES))
    except PermissionError as error:
        raise NotPermitted("box.not-permitted", f"may not write {folder.path}", "run as root or as orledger") from error
    except OSError as error:
        raise StoreFault("box.unwritable", f"cannot make {folder.path}: {error.strerror}", "check the disk") from error
    from agent.tls import create_identity  # noqa: PLC0415 - see BoxIdentity.tls

    create_identity(box_id, folder.tls)
    return load_box(folder)


def load_box(folder: BoxFolder) -> BoxIdentity:
    """The keys of an existing box. Raises ConfigurationFault ``box.absent``, StoreFault, NotPermitted."""
    if not folder.keys.is_dir():
        raise ConfigurationFault("box.absent", f"{folder.path} holds no box", "run: orledger init")
    signing = SigningKey(_read_key(folder.keys / _SIGNING))
    receiving = BoxKey(_read_key(folder.keys / _RECEIVING))
    return BoxIdentity(Secrets(signing, receiving), folder.tls, _read_key(folder.keys / _RING))


def read_ring_key(folder: BoxFolder) -> bytes:
    """The key of the keyring alone, for readers that sign nothing. Raises StoreFault, NotPermitted."""
    return _read_key(folder.keys / _RING)


def open_keyring(folder: BoxFolder, identity: BoxIdentity) -> Keyring:
    """The keyring, created empty where there is none."""
    return Keyring(folder.keyring, identity.ring_key)


def _read_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except PermissionError as error:
        raise NotPermitted("box.not-permitted", f"may not read {path}", "run as root or as orledger") from error
    except OSError as error:
        raise StoreFault("box.damaged", f"cannot read {path}: {error.strerror}", _ANEW) from error
    if len(key) != KEY_BYTES:
        raise StoreFault("box.damaged", f"{path} holds {len(key)} bytes, not {KEY_BYTES}", _ANEW)
    return key
