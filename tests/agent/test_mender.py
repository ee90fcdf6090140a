"""A damaged block is fetched, proved and written anew; whatever cannot be proved is not written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from agent.mender import Mended, Mender
from agent.pump import Pump
from agent.replies import Replies
from ledger.audit import Options, audit_store
from ledger.errors import BadInput, NoPeer, VerificationFailed
from ledger.log import LogId
from ledger.member import RestoreReply
from ledger.message_codec import decode_message
from ledger.messages import Get, Signed
from ledger.ops import DropBlocks, ReplaceBlock
from ledger.store import Store, StoredBlock
from tests.ledger.audited import recording_cluster, write_store
from tests.ledger.cluster import Cluster

BOX = "or-2"


class PumpOfMemory:
    """The pump and its mesh: peers answer from the cluster's memory, at once."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self.cluster = cluster
        self.store = store
        self.wire = self
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.replies: Replies | None = None

    def listen(self) -> Replies:
        self.replies = Replies()
        return self.replies

    def stop_listening(self) -> None:
        self.replies = None

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        message = decode_message(data)
        assert isinstance(message, Signed)
        assert isinstance(message.body, Get)
        self.asked.append(peer)
        if peer in self.silent or self.replies is None:
            return False
        self.replies.put_nowait(RestoreReply(peer, self.cluster.boxes[peer].member.serve(message.body)))
        return True

    async def make_durable(self) -> None:
        ops, _ = self.cluster.boxes[BOX].member.take_ops()
        self.store.commit(ops)


class Damaged:
    """or-2's store with a mender beside it."""

    def __init__(self, path: Path) -> None:
        self.cluster = recording_cluster(3)
        self.cluster.run(24)
        self.store = write_store(self.cluster, BOX, path)
        self.pump = PumpOfMemory(self.cluster, self.store)
        member = self.cluster.boxes[BOX].member
        self.mender = Mender(member, self.store, cast("Pump", self.pump), asyncio.Lock())

    def log(self, box: str) -> LogId:
        return next(log for log, _ in self.store.logs(box) if log.fenced)

    def block(self, log: LogId, seq: int) -> StoredBlock:
        block = self.store.block(log, seq)
        assert block is not None
        return block

    def damage(self, log: LogId, seq: int, *, header: bool = False) -> None:
        block = self.block(log, seq)
        signed, payload = block.signed_header, block.payload
        if header:
            signed = signed[:-1] + bytes([signed[-1] ^ 1])
        else:
            payload = payload[:-1] + bytes([payload[-1] ^ 1])
        self.store.commit([ReplaceBlock(log, seq, signed, payload)])

    def is_good(self) -> bool:
        return audit_store(self.store, self.cluster.boxes[BOX].keys.get, Options()).is_good

    def mend(self, log: LogId, seq: int) -> Mended:
        return asyncio.run(self.mender.mend(log, seq))


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Damaged]:
    made = Damaged(tmp_path / "store")
    yield made
    made.store.close()


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("box", ["or-1", "or-2"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_block_is_whole_again(damaged: Damaged, box: str, place: str, header: bool) -> None:
    log = damaged.log(box)
    seq = {"first": 0, "middle": 9, "last": damaged.store.length(log) - 1}[place]
    before = damaged.block(log, seq)
    damaged.damage(log, seq, header=header)
    assert not damaged.is_good()
    mended = damaged.mend(log, seq)
    assert mended.peer in {"or-1", "or-3"}
    assert damaged.block(log, seq) == before
    assert damaged.is_good()


def test_a_whole_block_is_left_alone(damaged: Damaged) -> None:
    assert damaged.mend(damaged.log("or-1"), 3).peer is None
    assert damaged.pump.asked == []


def test_the_next_peer_is_asked_when_one_is_away_or_holds_it_damaged_too(damaged: Damaged) -> None:
    log = damaged.log("or-1")
    header, payload = damaged.cluster.boxes["or-1"].disk.logs[log][5]
    damaged.cluster.boxes["or-1"].disk.logs[log][5] = (header, payload[:-1] + b"?")
    damaged.damage(log, 5)
    assert damaged.mend(log, 5).peer == "or-3"
    assert damaged.pump.asked == ["or-1", "or-3"]
    assert damaged.is_good()


def test_nothing_is_written_when_no_peer_has_it(damaged: Damaged) -> None:
    log = damaged.log("or-1")
    damaged.damage(log, 5)
    before = damaged.block(log, 5)
    damaged.pump.silent = {"or-1"}
    header, payload = damaged.cluster.boxes["or-3"].disk.logs[log][5]
    other = damaged.cluster.boxes["or-3"].disk.logs[log][6]
    damaged.cluster.boxes["or-3"].disk.logs[log][5] = other
    with pytest.raises(NoPeer, match="or-1 does not answer; or-3 holds another header there"):
        damaged.mend(log, 5)
    damaged.cluster.boxes["or-3"].disk.logs[log][5] = (header, b"")
    with pytest.raises(NoPeer, match="or-3 does not hold its payload"):
        damaged.mend(log, 5)
    assert payload
    assert damaged.block(log, 5) == before


def test_a_block_that_nothing_commits_to_is_not_mended(damaged: Damaged) -> None:
    log = damaged.log("or-1")
    last = damaged.store.length(log) - 1
    damaged.damage(log, last, header=True)
    del damaged.cluster.boxes[BOX].member.witness.replicas[log]
    with pytest.raises(VerificationFailed, match="nothing whole here commits"):
        damaged.mend(log, last)


def test_a_block_that_is_not_held_is_refused(damaged: Damaged) -> None:
    damaged.store.commit([DropBlocks(damaged.log("or-1"), 0, 5)])
    with pytest.raises(BadInput, match="has no block 4"):
        damaged.mend(damaged.log("or-1"), 4)
    with pytest.raises(BadInput, match="has no block 999"):
        damaged.mend(damaged.log("or-1"), 999)
