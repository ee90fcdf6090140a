"""The folder that a rebuild fills: a store, a keyring and its ring key, readable with ``--data-dir`` like a box's own.

It holds no identity: no process can record in it. The store itself is the record of how far a rebuild has come.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from agent.box_files import BoxFolder
from agent.disk import load_replicas
from ledger.errors import OperatorFault, StoreFault
from ledger.keyring import KeyEntry, Keyring, write_durably
from ledger.log import LogId
from ledger.ops import Op, PutManifest, PutSelf
from ledger.replica import Replica
from ledger.sealing import KEY_BYTES
from ledger.store import Store

_REBUILD = "rebuild"
_COMMITS_UNDER_WAY = 6
"""So many pieces wait for the disk at most. A disk syncs many in the time of one."""


class Target:
    """An empty folder, or one that an earlier rebuild of the same box began."""

    def __init__(self, path: Path, box: str) -> None:
        """Raises OperatorFault ``restore.target`` for a folder that holds anything else, StoreFault."""
        self.folder = BoxFolder(path)
        self.box = box
        begun = self.folder.ledger.exists()
        if path.exists() and not begun and any(path.iterdir()):
            raise OperatorFault("restore.target", f"{path} is not empty", "name a new folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFault("restore.unwritable", f"cannot make {path}: {error.strerror}", "name another") from error
        self.store = Store.open(self.folder.ledger)
        whose = self.store.self_value(_REBUILD)
        if whose != box.encode() and self.store.logs():
            self.store.close()
            raise OperatorFault("restore.target", f"{path} is no rebuild of {box}", "name a new folder")
        self.store.commit([PutSelf(_REBUILD, box.encode())])
        self._committer = ThreadPoolExecutor(1, "rebuild-commit")
        self._under_way: deque[Future[None]] = deque()
        self._waiting: deque[tuple[list[Op], Callable[[], None]]] = deque()
        self.replicas: dict[LogId, Replica] = {replica.log: replica for replica in load_replicas(self.store)}

    def take_manifests(self, manifests: Iterable[tuple[int, bytes]]) -> None:
        """The site's manifests: every signature hangs on them."""
        self.store.commit([PutManifest(version, data) for version, data in manifests])

    def take_keys(self, entries: Iterable[KeyEntry]) -> None:
        """Data keys, under a ring key of this folder's own."""
        ring_key = self.folder.keys / "ring.key"
        if not ring_key.exists():
            self.folder.keys.mkdir(mode=0o700, exist_ok=True)
            write_durably(ring_key, secrets.token_bytes(KEY_BYTES))
        Keyring(self.folder.keyring, ring_key.read_bytes()).add_all(entries)

    def commit(self, ops: list[Op], durable: Callable[[], None] = lambda: None) -> None:
        """Keep these, on a thread of their own, which calls ``durable`` once they are; ``flush`` before reading.

        While one transaction is written the next gathers. Raises StoreFault when an earlier one failed.
        """
        while len(self._under_way) >= _COMMITS_UNDER_WAY:
            self._under_way.popleft().result()
        self._waiting.append((ops, durable))
        self._under_way.append(self._committer.submit(self._commit_waiting))

    def _commit_waiting(self) -> None:
        """All that waits, in one transaction; what came with it finds nothing left to do."""
        some = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if some:
            self.store.commit([op for ops, _ in some for op in ops])
            for _, durable in some:
                durable()

    def flush(self) -> None:
        """Everything given is durable. Raises StoreFault when it cannot be."""
        while self._under_way:
            self._under_way.popleft().result()

    def close(self) -> None:
        """Close the store; what was given and can be kept is kept."""
        self._committer.shutdown(wait=True)
        self.store.close()
