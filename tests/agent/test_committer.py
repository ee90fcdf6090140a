from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence

import pytest

from agent.committer import Committer
from ledger.errors import OrledgerError, StoreFault
from ledger.ops import Op, PutSelf


class SlowStore:
    """Commits when it is let go on; remembers which operations shared a transaction."""

    def __init__(self) -> None:
        self.batches: list[list[Op]] = []
        self.go_on = threading.Event()
        self.fault: Exception | None = None
        self.room = threading.Event()
        self.room.set()
        self.prepared = 0

    def commit(self, operations: Sequence[Op]) -> object:
        self.go_on.wait(60)
        if self.fault is not None:
            raise self.fault
        self.batches.append(list(operations))
        return None

    def prepare(self) -> bool:
        self.prepared += 1
        return self.room.wait(60)


class Waiting:
    """What waits for the disk, and what was heard back."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.done: list[int] = []
        self.failed: list[OrledgerError] = []

    def gather(self) -> list[Op]:
        ops, self.ops = self.ops, []
        return ops


def op(name: str) -> PutSelf:
    return PutSelf(name, b"")


async def make(store: SlowStore, waiting: Waiting) -> Committer:
    return Committer(store, waiting.gather, waiting.done.append, waiting.failed.append)


def test_what_comes_while_the_disk_is_busy_shares_the_next_transaction() -> None:
    async def scenario() -> None:
        store, waiting = SlowStore(), Waiting()
        committer = await make(store, waiting)
        waiting.ops.append(op("a"))
        committer.poke()
        for name in ("b", "c"):
            waiting.ops.append(op(name))
            committer.poke()
        assert waiting.done == []
        store.go_on.set()
        await committer.drain()
        committer.close()
        assert store.batches == [[op("a")], [op("b"), op("c")]]
        assert len(waiting.done) == 2
        assert waiting.failed == []

    asyncio.run(scenario())


def test_what_fails_once_it_is_durable_ends_the_recording_too() -> None:
    async def scenario() -> None:
        store, waiting = SlowStore(), Waiting()
        store.go_on.set()

        def fold(_elapsed_ns: int) -> None:
            raise ValueError("a record that cannot be folded")

        committer = Committer(store, waiting.gather, fold, waiting.failed.append)
        waiting.ops.append(op("a"))
        async with asyncio.timeout(60):
            await committer.drain()
        committer.close()
        assert [fault.id for fault in waiting.failed] == ["commit.crashed"]
        assert committer.fault is waiting.failed[0]

    asyncio.run(scenario())


def test_nothing_is_committed_after_a_failure_and_it_is_told_once() -> None:
    async def scenario() -> None:
        store, waiting = SlowStore(), Waiting()
        store.fault = StoreFault("store.io", "the disk is gone")
        store.go_on.set()
        committer = await make(store, waiting)
        waiting.ops.append(op("a"))
        await committer.drain()
        store.fault = None
        waiting.ops.append(op("b"))
        await committer.drain()
        committer.close()
        assert store.batches == []
        assert waiting.done == []
        assert [error.id for error in waiting.failed] == ["store.io"]

    asyncio.run(scenario())


def test_a_bug_in_the_store_ends_the_log_too() -> None:
    async def scenario() -> None:
        store, waiting = SlowStore(), Waiting()
        store.fault = RuntimeError("surprise")
        store.go_on.set()
        committer = await make(store, waiting)
        waiting.ops.append(op("a"))
        await committer.drain()
        committer.close()
        assert [error.id for error in waiting.failed] == ["commit.crashed"]

    asyncio.run(scenario())


def test_answers_do_not_wait_for_room_to_be_made_but_the_next_commit_does() -> None:
    async def scenario() -> None:
        store, waiting, answered = SlowStore(), Waiting(), asyncio.Event()
        store.go_on.set()
        store.room.clear()
        committer = Committer(store, waiting.gather, lambda _ns: answered.set(), waiting.failed.append)
        for name in ("a", "b"):
            waiting.ops.append(op(name))
            committer.poke()
        await answered.wait()
        assert store.batches == [[op("a")]]
        store.room.set()
        await committer.drain()
        committer.close()
        assert store.batches == [[op("a")], [op("b")]]

    asyncio.run(scenario())


def test_room_is_made_once_in_many_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.committer._PREPARE_EVERY_S", math.inf)  # however long this test takes

    async def scenario() -> None:
        store, waiting = SlowStore(), Waiting()
        store.go_on.set()
        committer = await make(store, waiting)
        for count in range(48):
            waiting.ops.append(op(str(count)))
            committer.poke()
            await committer.drain()
        committer.close()
        assert len(store.batches) == 48
        assert store.prepared == 3

    asyncio.run(scenario())
