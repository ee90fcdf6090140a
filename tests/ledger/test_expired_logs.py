"""A box that lost its ledger, in a group whose old logs went at their retention: nobody can give it those any more."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ledger.log import LogId
from ledger.quorum import Level
from ledger.writer import State
from tests.ledger.cluster import Cluster, MemoryDisk, MemoryKeys


class ExpiringDisk(MemoryDisk):
    """Of the logs in ``gone`` only the last block is left."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[LogId] = set()

    def signed_header(self, log: LogId, seq: int) -> bytes | None:
        return None if log in self.gone and seq < self.length(log) - 1 else super().signed_header(log, seq)

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
        return () if log in self.gone and first < self.length(log) - 1 else super().blocks(log, first, end)


def aged_group() -> Cluster:
    """Four boxes, or-1 with several epochs, of which all but the newest went everywhere."""
    cluster = Cluster(4, disk=ExpiringDisk)
    for _ in range(2):
        cluster.run(5)
        cluster.boot("or-1")
        cluster.link_up("or-1")
    cluster.run(12)
    live = cluster.boxes["or-1"].member.writer.chain.log
    for box in cluster.boxes.values():
        assert isinstance(box.disk, ExpiringDisk)
        gone = {log for log in box.disk.logs if log.box == "or-1" and log != live}
        assert len(gone) >= 2
        box.disk.gone |= gone
        box.member.expired(gone)
    return cluster


def lose_the_ledger(cluster: Cluster, name: str) -> None:
    box = cluster.boxes[name]
    box.disk, box.keys = ExpiringDisk(), MemoryKeys()
    cluster.boot(name)
    cluster.link_up(name)


def test_it_is_fenced_again_although_its_old_logs_are_nowhere() -> None:
    cluster = aged_group()
    lose_the_ledger(cluster, "or-1")
    cluster.run(25)
    writer = cluster.boxes["or-1"].member.writer
    assert writer.state is State.FENCED
    assert writer.vouching.size_at(Level.WITNESSED) == writer.chain.size


@pytest.mark.parametrize("speaks", [True, False])
def test_its_word_counts_again_also_on_a_box_that_is_silent(speaks: bool) -> None:
    cluster = aged_group()
    lose_the_ledger(cluster, "or-4")
    cluster.run(25, only=[name for name in cluster.boxes if speaks or name != "or-1"])
    assert cluster.boxes["or-4"].member.voids.void == frozenset()
