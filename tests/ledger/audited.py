"""A small but complete store for audits: blocks, derived rows, cosignatures and promises, made by the real rules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ledger.manifest import SignedManifest, sign_manifest
from ledger.ops import Op, PutManifest
from ledger.store import Store
from tests.ledger.cluster import Cluster, MemoryDisk


class RecordingDisk(MemoryDisk):
    """Keeps what it is asked to commit, so that a real store can be made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Op] = []

    def commit(self, ops: Iterable[Op]) -> None:
        kept = list(ops)
        self.operations += kept
        super().commit(kept)


def recording_cluster(n: int = 3, seed: int = 0) -> Cluster:
    """A cluster whose disks remember their operations."""
    return Cluster(n, seed, disk=RecordingDisk)


def signed_manifest(cluster: Cluster) -> SignedManifest:
    return sign_manifest(cluster.manifest, [cluster.site_key])


def write_store(cluster: Cluster, box: str, path: Path) -> Store:
    """The store of one box, as it committed it."""
    disk = cluster.boxes[box].disk
    assert isinstance(disk, RecordingDisk)
    store = Store.open(path)
    signed = signed_manifest(cluster)
    store.commit([PutManifest(1, signed.encode()), *disk.operations])
    return store
