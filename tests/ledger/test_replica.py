"""A log as it is held: the tip survives a restart, and reading the disk gives what live appending gave."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerFault
from ledger.replica import KEYFRAMES_KEPT, RECENT_LEAVES, Replica, extend
from ledger.tree import Frontier
from tests.ledger.peers import MANIFEST, Recording, log_of

LOG = log_of(2)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """300 blocks with a keyframe in every tenth."""
    long = Recording(LOG)
    for _ in range(30):
        long.grow(10)
        long.chain.replica.durable_size = long.chain.size
    return long


def of(blocks: int) -> Recording:
    short = Recording(LOG)
    if blocks:
        short.grow(blocks)
    return short


def same(a: Replica, b: Replica) -> bool:
    facts = [(r.frontier, r.last_leaf, r.keyframe_seq, r.closed_ns, r.size, r.manifest_hash, r.frozen) for r in (a, b)]
    return facts[0] == facts[1]


def test_reading_the_disk_gives_the_live_replica(recording: Recording) -> None:
    live, read = recording.chain.replica, Replica(LOG, MANIFEST.hash)
    extend(read, ((block.signed_header, True) for block in recording.blocks))
    assert same(read, live)
    assert read.durable_size == 300
    assert list(read.keyframes) == list(live.keyframes)
    assert len(read.recent) == len(live.recent) == RECENT_LEAVES
    assert [known[:3] for known in read.recent] == [known[:3] for known in live.recent]
    assert read.newest_head() == live.newest_head()


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_a_tip_and_the_blocks_after_it_give_the_live_replica(before: int, after: int, frozen: bool) -> None:
    short = of(before)
    short.chain.replica.frozen = frozen
    tip = short.chain.replica.derived(None).tip
    again = Replica.from_tip(LOG, tip)
    assert same(again, short.chain.replica)
    assert again.durable_size == before
    if before:
        assert again.newest_head() == short.chain.head()
        assert again.recent_at(before) == short.chain.replica.recent_at(before)
    if after:
        short.grow(after)
    extend(again, ((block.signed_header, True) for block in short.blocks[before:]))
    assert same(again, short.chain.replica)
    assert again.size == again.durable_size == before + after


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_tip_raises_only_a_peers_fault(data: st.DataObject) -> None:
    tip = of(11).chain.replica.derived(None).tip
    for wrong in (tip[: data.draw(st.integers(0, len(tip) - 1))], tip + b"\x00", data.draw(st.binary(max_size=60))):
        with pytest.raises(PeerFault):
            Replica.from_tip(LOG, wrong)


def test_heads_are_known_for_the_newest_sizes_only(recording: Recording) -> None:
    replica = recording.chain.replica
    for size in (0, 301, 300 - RECENT_LEAVES, -1):
        assert replica.head_at(size) is None
    for size in (300, 299, 301 - RECENT_LEAVES):
        head = replica.head_at(size)
        assert head is not None
        assert (head.size, head.root) == (size, recording.blocks[size - 1].root)
        assert replica.leaf_at(size - 1) == head.leaf


@pytest.mark.parametrize(
    ("durable", "behind"), [(1, 0), (19, 1), (20, 2), (31, RECENT_LEAVES), (45, RECENT_LEAVES + 90)]
)
def test_however_far_the_disk_is_behind_the_durable_head_is_told_with_its_keyframe(durable: int, behind: int) -> None:
    live = of(durable)
    live.chain.replica.durable_size = durable
    if behind:
        live.grow(behind)
    report = live.chain.replica.report()
    assert report is not None
    assert (report.head.size, report.head.root) == (durable, live.blocks[durable - 1].root)
    assert report.keyframe_seq == (durable - 1) // 10 * 10
    live.chain.replica.durable_size = durable + behind
    live.grow(1)
    assert len(live.chain.replica.recent) <= RECENT_LEAVES


def test_the_newest_keyframes_are_kept_with_the_edge_before_them(recording: Recording) -> None:
    replica = recording.chain.replica
    assert [seq for seq, _ in replica.keyframes] == list(range(290 - 10 * (KEYFRAMES_KEPT - 1), 291, 10))
    for seq, encoded in replica.keyframes:
        frontier = Frontier.decode(encoded)
        assert (frontier.size, frontier.root()) == (seq, recording.blocks[seq - 1].root)
    (row,) = replica.derived(None).keyframes
    assert (row.seq, row.frontier) == replica.keyframes[-1]


def test_a_report_is_of_the_durable_head_and_our_word_on_that_very_head() -> None:
    replica = of(12).chain.replica
    assert replica.report() is None
    replica.durable_size, replica.cosigned_size, replica.cosigned_s, replica.cosignature = 5, 5, 77, b"c" * 64
    report = replica.report()
    assert report is not None
    assert (report.head.size, report.cosigned_s, report.cosignature, report.keyframe_seq) == (5, 77, b"c" * 64, 0)
    replica.durable_size = 12
    report = replica.report()
    assert report is not None
    assert (report.head.size, report.cosigned_s, report.cosignature, report.keyframe_seq) == (12, 0, b"", 10)
