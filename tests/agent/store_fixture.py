"""A box's data folder with a small ledger in it, as a group of boxes would have written it."""

from __future__ import annotations

from pathlib import Path

from agent.box_files import BoxFolder
from ledger.keyring import Keyring, write_durably
from tests.ledger.audited import recording_cluster, write_store
from tests.ledger.cluster import Cluster

RING_KEY = bytes(range(32))


def make_box_folder(path: Path, box: str = "or-2", *, boxes: int = 3, ticks: int = 30) -> Cluster:
    """Run ``boxes`` boxes for ``ticks`` ticks and write ``box``'s store, keys and keyring below ``path``."""
    cluster = recording_cluster(boxes)
    cluster.run(ticks)
    write_box_folder(cluster, box, path)
    return cluster


def write_box_folder(cluster: Cluster, box: str, path: Path) -> None:
    """One box of a cluster as it would lie on its disk."""
    folder = BoxFolder(path)
    folder.keys.mkdir(parents=True)
    member = cluster.boxes[box]
    write_durably(folder.keys / "signing.seed", member.secrets.signing.seed)
    write_durably(folder.keys / "receiving.key", member.secrets.receiving.secret)
    write_durably(folder.keys / "ring.key", RING_KEY)
    write_store(cluster, box, folder.ledger).close()
    keyring = Keyring(folder.keyring, RING_KEY)
    for key, wraps in member.keys.held.values():
        keyring.add(box, bytes(16), key, wraps)
