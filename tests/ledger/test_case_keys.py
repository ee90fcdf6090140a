"""A log with several cases among several boxes: a key for each, held by all before they vouch, none before its time."""

from __future__ import annotations

from ledger.block import decode_signed_header
from ledger.log import LogId
from ledger.notices import CaseBoundary
from ledger.quorum import Level
from tests.ledger.cluster import Cluster

ANNA, BORIS = bytes([1]) * 16, bytes([2]) * 16


def keys_by_case(cluster: Cluster, box: str, log: LogId) -> dict[bytes | None, set[bytes]]:
    found: dict[bytes | None, set[bytes]] = {}
    for signed, _ in cluster.boxes[box].disk.logs[log]:
        header = decode_signed_header(signed)
        found.setdefault(header.case_id, set()).add(header.key_id)
    return found


def test_every_case_has_one_key_in_a_log_and_peers_hold_it_when_they_vouch() -> None:
    cluster = Cluster(3)
    cluster.run(30)
    member = cluster.boxes["or-1"].member
    for case_id in (ANNA, None, BORIS, ANNA):
        member.enter_case(case_id)
        cluster.run(5)
    log = member.writer.chain.log
    cluster.run(20)
    keys = keys_by_case(cluster, "or-1", log)
    assert {case: len(ids) for case, ids in keys.items()} == {None: 1, ANNA: 1, BORIS: 1}
    every = set().union(*keys.values())
    assert len(every) == 3
    for peer in ("or-2", "or-3"):
        assert every <= set(cluster.boxes[peer].keys.held)
        replica = cluster.boxes[peer].member.witness.replicas[log]
        assert replica.cosigned_size >= member.writer.chain.size - 1
    assert member.writer.vouching.level_of(0) >= Level.WITNESSED


def test_a_peer_that_was_away_asks_for_the_keys_of_cases_that_are_over() -> None:
    cluster = Cluster(3)
    cluster.run(30)
    member = cluster.boxes["or-1"].member
    log = member.writer.chain.log
    for case_id in (ANNA, BORIS, None):
        member.enter_case(case_id)
        cluster.run(5, only=["or-1", "or-2"])
    missing = set().union(*keys_by_case(cluster, "or-1", log).values())
    assert not missing <= set(cluster.boxes["or-3"].keys.held)
    cluster.run(60)
    assert missing <= set(cluster.boxes["or-3"].keys.held)
    assert not cluster.boxes["or-3"].member.witness.replicas[log].missing_keys


def test_a_new_log_goes_on_with_the_case_and_says_so() -> None:
    cluster = Cluster(1)
    cluster.run(3)
    writer = cluster.boxes["or-1"].member.writer
    cluster.boxes["or-1"].member.enter_case(ANNA)
    cluster.run(2)
    before = writer.chain
    writer._open_provisional()
    cluster.run(2)
    first = decode_signed_header(cluster.boxes["or-1"].disk.logs[writer.chain.log][0][0])
    assert writer.chain is not before
    assert first.case_id == ANNA
    assert CaseBoundary("continue", ANNA) in first.notices
    assert first.key_id != before.data_key.key_id
