"""The audit's processes: whoever asked is told when they die, and none is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.verifier import Audit, Task
from ledger.errors import StoreFault
from tests.agent.store_fixture import make_box_folder

_MOST_S = 60.0


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + _MOST_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_audit_that_is_killed_is_told_and_its_workers_end_with_it(tmp_path: Path) -> None:
    make_box_folder(tmp_path / "data", ticks=3)
    with Audit(Task(tmp_path / "data", None, every_signature=False)) as audit:
        pid = audit._process.pid
        assert pid is not None
        until(lambda: len(children(pid)) == 2)
        workers = children(pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(StoreFault, match="killed the reader"):
            audit.finish(lambda _done, _total: None)
        until(lambda: all(is_gone(worker) for worker in workers))
