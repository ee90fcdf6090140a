"""Agents and commands without the half second of processor time that loading one takes: forked from a process that has
loaded them and does nothing else.

Each is a process in a session of its own, as ``python -m agent`` would be: killed, frozen and waited for like any
other. What it differs in: a restore waits longer for its peers' answers, which on a busy machine come late.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ledger.limits import LIMITS, S_NS

PROJECT = Path(__file__).parents[2]
AGENT = (sys.executable, "-m", "agent")
_POLL_S = 0.01
_ANSWER_S = 5
_LOADED = (
    "agent.cli.case", "agent.cli.drill", "agent.cli.restore", "agent.cli.run", "agent.cli.site", "agent.cli.verify",
    "agent.node", "drivers.hl7v2",
)  # fmt: skip


class Nursery:
    """The process that has everything loaded, as seen from a test."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.processes.nursery"]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def start(self, arguments: Sequence[str], out: Path, errors: Path) -> Forked:
        """``python -m agent arguments``; what it prints is added to these files."""
        asked = {"arguments": list(arguments), "out": str(out), "errors": str(errors), "environment": dict(os.environ)}
        return Forked(self, self.ask(asked))

    def ask(self, question: dict[str, Any]) -> Any:
        """One answer."""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


class Forked:
    """A process born there: what tests ask of ``subprocess.Popen``."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask({"ended": self.pid})
        return self._code

    def wait(self, timeout: float) -> int:
        """Its exit code, once it ended; raises ``subprocess.TimeoutExpired``."""
        until_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until_s:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(_POLL_S)
        return code


@functools.cache
def nursery() -> Nursery:
    """That of this test process; it ends with it."""
    return Nursery()


def _serve() -> list[str] | None:
    """In each process born here, what its command line is; None once nobody asks any more."""
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        if "ended" in asked:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = _fork(asked)
            if not answer:
                arguments: list[str] = asked["arguments"]
                return arguments
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return None


def _fork(asked: dict[str, Any]) -> int:
    """Its process id, once it leads a session of its own; 0 in itself."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        return pid
    os.close(ready)
    os.setsid()
    os.write(tell, b".")
    os.close(tell)
    os.environ.clear()
    os.environ.update(asked["environment"])
    appending = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for number, opened in enumerate((
        os.open(os.devnull, os.O_RDONLY), os.open(asked["out"], appending, 0o644),
        os.open(asked["errors"], appending, 0o644),
    )):  # fmt: skip
        os.dup2(opened, number)
        os.close(opened)
    return 0


if __name__ == "__main__":
    object.__setattr__(LIMITS, "restore_answer_ns", _ANSWER_S * S_NS)
    for name in _LOADED:
        importlib.import_module(name)
    from agent.cli.main import main

    gc.collect()
    gc.freeze()
    born = _serve()
    if born is not None:
        sys.exit(main(born))
