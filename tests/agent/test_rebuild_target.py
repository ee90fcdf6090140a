"""What a rebuild keeps: in order, many pieces in one transaction while another is written, told of once durable."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.rebuild_target import Target
from ledger.errors import StoreFault
from ledger.ops import Op, PutSelf
from ledger.store import CommitReport

_PATIENCE_S = 60.0


class Disk:
    """Commits as the store does, each once it is let."""

    def __init__(self, target: Target) -> None:
        self.transactions: list[list[Op]] = []
        self.begun = threading.Event()
        self.let = threading.Event()
        self._commit = target.store.commit

    def commit(self, operations: Sequence[Op]) -> CommitReport:
        self.transactions.append(list(operations))
        self.begun.set()
        assert self.let.wait(_PATIENCE_S)
        return self._commit(operations)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = Target(tmp_path / "out", "or-1")
    yield made
    made.close()


def test_what_comes_while_one_transaction_is_written_goes_into_the_next(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, durable = Disk(target), list[int]()
    monkeypatch.setattr(target.store, "commit", disk.commit)
    ops = [PutSelf(f"piece-{number}", bytes([number])) for number in range(5)]
    target.commit([ops[0]], lambda: durable.append(0))
    assert disk.begun.wait(_PATIENCE_S)
    for number in range(1, 5):
        target.commit([ops[number]], lambda number=number: durable.append(number))  # type: ignore[misc]
    assert durable == []
    disk.let.set()
    target.flush()
    assert disk.transactions == [[ops[0]], ops[1:]]
    assert durable == [0, 1, 2, 3, 4]
    assert [target.store.self_value(f"piece-{number}") for number in range(5)] == [bytes([n]) for n in range(5)]


def test_a_disk_that_fails_is_told_and_nothing_is_called_durable(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_operations: Sequence[Op]) -> CommitReport:
        raise StoreFault("store.full", "the disk is full", "free space")

    durable: list[int] = []
    monkeypatch.setattr(target.store, "commit", fails)
    target.commit([PutSelf("piece", b"")], lambda: durable.append(0))
    with pytest.raises(StoreFault, match=r"store\.full"):
        target.flush()
    assert durable == []
