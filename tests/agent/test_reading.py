from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.box_files import BoxFolder
from agent.reading import Reader, open_reader, utc_ns
from ledger.block import Header
from ledger.errors import NoPeer, OperatorFault, StoreFault
from ledger.limits import MS_NS, S_NS
from ledger.log import LogId
from ledger.ops import PrunePayloads
from ledger.records import Numeric
from ledger.store import Store
from tests.agent.store_fixture import write_box_folder
from tests.ledger.audited import recording_cluster
from tests.ledger.cluster import Cluster

START_NS = 1_700_000_000 * S_NS
"""Where the cluster's clock starts; a block is closed every 100 ms."""


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    cluster = recording_cluster(1)
    cluster.run(20)
    cluster.boot("or-1")
    cluster.run(5)
    return cluster


@pytest.fixture
def stored(cluster: Cluster, tmp_path: Path) -> Iterator[Reader]:
    write_box_folder(cluster, "or-1", tmp_path)
    store = Store.open(BoxFolder(tmp_path).ledger)
    store.commit([PrunePayloads(store.logs("or-1")[0][0], 0, 3)])
    store.close()
    with open_reader(tmp_path) as reader:
        yield reader


def longest(stored: Reader, cluster: Cluster) -> LogId:
    logs = sorted(cluster.boxes["or-1"].disk.logs, key=lambda log: stored.ends(log)[1])
    return logs[-1]


def test_blocks_are_opened_in_order(stored: Reader, cluster: Cluster) -> None:
    log = longest(stored, cluster)
    end = stored.ends(log)[1]
    blocks = list(stored.blocks(log, 0, end))
    assert [block.header.seq for block in blocks] == list(range(end))
    assert [block.header.log for block in blocks] == [log] * end
    values = [
        record.value
        for block in blocks
        if block.groups is not None
        for record in block.groups["monitor"]
        if isinstance(record, Numeric)
    ]
    assert values == [str(number) for number in range(int(str(values[0])), int(str(values[0])) + len(values))]
    assert len(values) >= end - 3


def test_a_payload_that_is_gone_is_none_and_not_empty(stored: Reader, cluster: Cluster) -> None:
    first = next(iter(cluster.boxes["or-1"].disk.logs))  # pruned by the fixture
    end = stored.ends(first)[1]
    assert [block.groups is None for block in stored.blocks(first, 0, end)] == [seq < 3 for seq in range(end)]


def test_the_last_log_is_the_one_opened_last(stored: Reader, cluster: Cluster) -> None:
    logs = list(cluster.boxes["or-1"].disk.logs)
    assert len(logs) > 1
    assert stored.log("or-1") == logs[-1]


def test_a_log_is_named_by_a_beginning(stored: Reader, cluster: Cluster) -> None:
    for log in cluster.boxes["or-1"].disk.logs:
        assert stored.log("or-1", f"{log.counter}-{log.incarnation.hex()[:8]}") == log
    with pytest.raises(OperatorFault, match="unknown"):
        stored.log("or-1", "99-")
    with pytest.raises(OperatorFault, match="ambiguous"):
        stored.log("or-1", "")
    with pytest.raises(OperatorFault, match="or-9"):
        stored.log("or-9")


def test_a_place_is_a_number_or_a_time(stored: Reader, cluster: Cluster) -> None:
    log = longest(stored, cluster)
    first_ns = stored.header(log, 0).closed_ns
    assert stored.place(log, None, 7) == 7
    assert stored.place(log, "12", 0) == 12
    for seq in (0, 5, stored.ends(log)[1] - 1):
        closed_ns = stored.header(log, seq).closed_ns
        assert closed_ns == first_ns + seq * 100 * MS_NS
        assert stored.place(log, text(closed_ns), 0) == seq
        assert stored.place(log, text(closed_ns + MS_NS), 0) == seq + 1
    assert stored.place(log, "1970-01-01T00:00:00Z", 9) == 0


def text(at_ns: int) -> str:
    seconds, rest = divmod(at_ns - START_NS, S_NS)
    return f"2023-11-14T22:13:{20 + seconds:02d}.{rest // 1000:06d}Z"


@pytest.mark.parametrize("where", ["yesterday", "2026-11-23T08:14:02", "2026-11-23T08:14:02+01:00", "-5", ""])
def test_other_places_are_refused(where: str) -> None:
    with pytest.raises(OperatorFault):
        utc_ns(where)


def test_a_block_that_is_not_held_is_named(stored: Reader) -> None:
    with pytest.raises(StoreFault, match="999"):
        stored.header(stored.log("or-1"), 999)


def test_without_the_key_nothing_is_opened(cluster: Cluster, tmp_path: Path) -> None:
    write_box_folder(cluster, "or-1", tmp_path)
    BoxFolder(tmp_path).keyring.unlink()
    with open_reader(tmp_path) as stranger, pytest.raises(NoPeer):
        list(stranger.blocks(stranger.log("or-1"), 0, 1))


def test_a_reading_from_a_time_on_looks_at_few_blocks_before_it(
    stored: Reader, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = longest(stored, cluster)
    end = stored.ends(log)[1]
    from_ns = stored.header(log, end - 2).closed_ns
    looked: list[int] = []
    read_header = Reader.header

    def header(self: Reader, log: LogId, seq: int) -> Header:
        looked.append(seq)
        return read_header(self, log, seq)

    monkeypatch.setattr(Reader, "header", header)
    assert [seq for _, seq, _, _ in stored.decoded_log(log, from_ns=from_ns)] == [end - 2, end - 1]
    assert len(looked) <= end.bit_length()
