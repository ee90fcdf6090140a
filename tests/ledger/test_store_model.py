"""The store against a dictionary: what is committed reads the same, before and after reopening."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.errors import StoreFault
from ledger.log import LogId
from ledger.ops import (
    AppendBlock,
    AppendRun,
    DropBlocks,
    FillPayload,
    Op,
    OpenLog,
    PrunePayloads,
    PutDerived,
    PutPromise,
    PutSelf,
)
from ledger.store import Store

LOGS = [
    LogId(box, counter, bytes([counter]) * 16, fenced)
    for box, counter, fenced in [("or-1", 1, True), ("or-1", 2, False), ("or-1", 3, True), ("or-2", 7, True)]
]
logs = st.sampled_from(LOGS)
blobs = st.one_of(st.binary(max_size=40), st.integers(1, 9_000).map(lambda size: b"\xa5" * size))


class StoreMachine(RuleBasedStateMachine):
    """Operations gather in ``waiting`` and take effect on ``truth`` only when they are committed."""

    @initialize()
    def start(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="orledger-model-"))
        self.store = Store.open(self.path)
        self.blocks: dict[LogId, dict[int, tuple[bytes, bytes]]] = {log: {} for log in LOGS}
        self.lengths = dict.fromkeys(LOGS, 0)
        self.tips: dict[LogId, bytes] = {}
        self.facts: dict[str, bytes] = {}
        self.metas = dict.fromkeys(LOGS, b"")
        self.store.commit([OpenLog(log, b"") for log in LOGS])

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.path)

    @rule(
        log=logs, bodies=st.lists(st.tuples(blobs.filter(bool), blobs), min_size=1, max_size=20), at_once=st.booleans()
    )
    def append(self, log: LogId, bodies: list[tuple[bytes, bytes]], at_once: bool) -> None:
        first = self.lengths[log]
        one_by_one: list[Op] = [AppendBlock(log, first + n, *body) for n, body in enumerate(bodies)]
        report = self.store.commit([AppendRun(log, first, bodies, frozenset())] if at_once else one_by_one)
        assert report.blocks == len(bodies)
        self.blocks[log] |= {first + n: body for n, body in enumerate(bodies)}
        self.lengths[log] += len(bodies)

    @rule(log=logs, value=blobs, fact=st.sampled_from(["counter", "manifest"]))
    def facts_and_tip(self, log: LogId, value: bytes, fact: str) -> None:
        self.store.commit(
            [PutDerived(log, value), PutSelf(fact, value), PutPromise(log.box, value), OpenLog(log, value)]
        )
        self.tips[log] = self.metas[log] = value
        self.facts |= {fact: value, log.box: value}

    @rule(log=logs, data=st.data(), value=blobs)
    def fill(self, log: LogId, data: st.DataObject, value: bytes) -> None:
        empty = [seq for seq, (_, payload) in self.blocks[log].items() if not payload]
        if empty:
            seq = data.draw(st.sampled_from(empty))
            self.store.commit([FillPayload(log, seq, value)])
            self.blocks[log][seq] = (self.blocks[log][seq][0], value)

    @rule(log=logs, first=st.integers(0, 30), count=st.integers(0, 30))
    def prune(self, log: LogId, first: int, count: int) -> None:
        self.store.commit([PrunePayloads(log, first, first + count)])
        for seq in range(first, first + count):
            if seq in self.blocks[log]:
                self.blocks[log][seq] = (self.blocks[log][seq][0], b"")

    @rule(log=logs, count=st.integers(0, 12))
    def drop(self, log: LogId, count: int) -> None:
        first = min(self.blocks[log], default=0)
        self.store.commit([DropBlocks(log, first, first + count)])
        for seq in range(first, min(first + count, self.lengths[log] - 1)):
            del self.blocks[log][seq]

    @rule(log=logs, bad=st.integers(1, 5))
    def refused(self, log: LogId, bad: int) -> None:
        good = AppendBlock(log, self.lengths[log], b"h", b"p")
        operations: list[Op] = [
            good,
            PutSelf("counter", b"lost"),
            AppendBlock(log, good.seq + 1 + bad, b"h", b"p"),
        ]
        with pytest.raises(StoreFault):
            self.store.commit(operations)
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path)

    @invariant()
    def reads_what_was_committed(self) -> None:
        for log in LOGS:
            held = self.blocks[log]
            first = min(held, default=0)
            assert self.store.first_held(log) == first
            assert self.store.length(log) == self.lengths[log]
            read = {seq: (header, payload) for seq, header, payload in self.store.blocks(log, first, 1 << 31)}
            assert read == held
            assert list(self.store.headers(log, first, 1 << 31)) == [held[seq][0] for seq in sorted(held)]
            assert self.store.tip(log) == self.tips.get(log)
        assert self.store.logs() == [(log, self.metas[log]) for log in LOGS]
        assert self.store.self_value("counter") == self.facts.get("counter")
        assert self.store.self_value("manifest") == self.facts.get("manifest")
        assert self.store.promises() == {box: self.facts[box] for box in ("or-1", "or-2") if box in self.facts}


StoreMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=25)
TestStoreModel = StoreMachine.TestCase
