"""A server process of another system: on this machine only, bounded in time, and dead when the benchmark is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_STOP_S = 5.0


def find(program: str, *folders: Path) -> Path | None:
    """The program in ``folders``, else on the path, else where Debian keeps servers."""
    search = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=search)
    return Path(found) if found else None


class Daemon:
    """One process with its output in a file. The kernel kills it when the benchmark dies, however that happens."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        as_user = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        self._command = ["setpriv", "--pdeathsig=KILL", *as_user, "--", *command]
        self._environment = {**os.environ, **(environment or {})}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, once or again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self._environment, cwd=self._log.parent,
            )  # fmt: skip

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-1_000:] if self._log.exists() else ""

    def kill(self) -> None:
        """SIGKILL, to its children too, as when the machine loses power; returns when it is gone."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for pid in (process.pid, *_children(process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """A clean stop, SIGKILL if it takes too long."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
