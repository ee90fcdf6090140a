"""Where data keys and key wraps rest: one file beside the log, encrypted under the box's ring key.

Wraps are never in a log, so that destroying them everywhere erases a case and leaves every chain whole. A tombstone is
permanent and beats any later wrap. The file is rewritten whole and fsynced: it changes once per epoch or case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from ledger.canonical import Fields, pack, unpack
from ledger.errors import PeerFault, StoreFault
from ledger.log import LogId
from ledger.sealing import KEY_BYTES, DataKey

_DOMAIN = "orledger/keyring/1"
_ENTRIES = 65_536
_ENTRIES_OF_A_BOX = _ENTRIES // 4
_FILE_BYTES = 64 << 20
_WRAP_BYTES = 256


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One data key: whose log it seals, the key, and its wraps by recipient (box id, or "recovery")."""

    box: str
    incarnation: bytes
    key: DataKey
    wraps: Mapping[str, bytes]


class Keyring:
    """The keys this box holds, in memory and in its file."""

    def __init__(self, path: Path, ring_key: bytes) -> None:
        """Open or create. Raises StoreFault ``keyring.unreadable`` when the file does not open under ``ring_key``."""
        self._path = path
        self._cipher = SecretBox(ring_key)
        self._entries: dict[bytes, KeyEntry] = {}
        self._tombs: set[bytes] = set()
        if path.exists():
            self._load()

    def get(self, key_id: bytes) -> DataKey | None:
        """The key of that id, None when not held or erased."""
        entry = self._entries.get(key_id)
        return entry.key if entry else None

    def entry(self, key_id: bytes) -> KeyEntry | None:
        """The key with its wraps."""
        return self._entries.get(key_id)

    def key_ids(self) -> frozenset[bytes]:
        """Every key held."""
        return frozenset(self._entries)

    def settled_ids(self) -> frozenset[bytes]:
        """Every key held, and those destroyed for good: nobody waits for one of these."""
        return self.key_ids() | self._tombs

    def add(self, box: str, incarnation: bytes, key: DataKey, wraps: Mapping[str, bytes]) -> bool:
        """Keep a key durably; False when it is entombed. Returns only after the fsync.

        A wrap that is held already stays as it is: a later one of another sender cannot spoil it.

        Raises StoreFault ``keyring.full`` / ``keyring.unwritable``; what was held before stays held.
        """
        if key.key_id in self._tombs:
            return False
        held = self._entries.get(key.key_id)
        if held is None and len(self.entries_of(box)) >= _ENTRIES_OF_A_BOX:
            raise self._full(f"{_ENTRIES_OF_A_BOX} keys of {box}")
        if held is None or not wraps.keys() <= held.wraps.keys():
            merged = {**wraps, **(held.wraps if held else {})}
            self._save({**self._entries, key.key_id: KeyEntry(box, incarnation, key, merged)}, self._tombs)
        return True

    def entries_of(self, box: str) -> list[KeyEntry]:
        """Every key held of this box's logs."""
        return [entry for entry in self._entries.values() if entry.box == box]

    def add_all(self, entries: Iterable[KeyEntry]) -> None:
        """Keep these, but for what is entombed, in one durable write. Raises as ``add``."""
        new = {entry.key.key_id: entry for entry in entries if entry.key.key_id not in self._tombs}
        self._save({**new, **self._entries}, self._tombs)

    def forget(self, logs: Iterable[LogId]) -> int:
        """Let the keys and wraps of these logs go, which are kept no longer; how many there were. They may come again.

        Raises StoreFault when that cannot be made durable.
        """
        gone = {(log.box, log.incarnation) for log in logs}
        kept = {held: entry for held, entry in self._entries.items() if (entry.box, entry.incarnation) not in gone}
        count = len(self._entries) - len(kept)
        if count:
            self._save(kept, self._tombs)
        return count

    def entomb(self, key_id: bytes) -> None:
        """Destroy a key and its wraps for good. Raises StoreFault when that cannot be made durable."""
        kept = {held: entry for held, entry in self._entries.items() if held != key_id}
        self._save(kept, self._tombs | {key_id})

    def _save(self, entries: dict[bytes, KeyEntry], tombs: set[bytes]) -> None:
        """Take these over once they are durable: what memory says is held must be on the disk."""
        if len(entries) > _ENTRIES or len(tombs) > _ENTRIES:
            raise self._full(f"{_ENTRIES} keys")
        rows = [
            [
                entry.box,
                entry.incarnation,
                entry.key.secret,
                [[name, entry.wraps[name]] for name in sorted(entry.wraps)],
            ]
            for _, entry in sorted(entries.items())
        ]
        plain = pack([_DOMAIN, rows, sorted(tombs)])
        if len(plain) > _FILE_BYTES:  # it could not be read again
            raise self._full(f"{len(plain)} bytes")
        sealed = self._cipher.encrypt(plain)
        try:
            write_durably(self._path, bytes(sealed))
        except OSError as error:
            raise StoreFault(
                "keyring.unwritable", f"cannot write {self._path}: {error.strerror}", "check the disk and its space"
            ) from error
        self._entries, self._tombs = entries, tombs

    def _full(self, what: str) -> StoreFault:
        return StoreFault("keyring.full", f"{self._path} would hold more than {what}", "report this: it should not be")

    def _load(self) -> None:
        try:
            plain = self._cipher.decrypt(self._path.read_bytes())
            take = Fields(unpack(plain, _FILE_BYTES, "keyring"), 3, "keyring")
            take.literal(_DOMAIN)
            for item in take.array(_ENTRIES):
                self._load_entry(item)
            self._tombs = {bytes(tomb) for tomb in take.array(_ENTRIES)}
        except (OSError, CryptoError, ValueError, PeerFault) as error:
            raise StoreFault(
                "keyring.unreadable",
                f"{self._path} does not open under this box's ring key",
                "put back the keyring and the keys folder of the same box",
            ) from error

    def _load_entry(self, item: object) -> None:
        take = Fields(item, 4, "keyring entry")
        box, incarnation, key = take.text(63, 1), take.raw(16), DataKey(take.raw(KEY_BYTES))
        wraps = {}
        for pair in take.array(_ENTRIES):
            fields = Fields(pair, 2, "keyring wrap")
            recipient = fields.text(63, 1)
            wraps[recipient] = fields.blob(_WRAP_BYTES)
        self._entries[key.key_id] = KeyEntry(box, incarnation, key, wraps)


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that after a power cut it holds either the old bytes or the new ones. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
