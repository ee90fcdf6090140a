"""Real processes: the boxes and the simulated devices, each in a process group of its own, its output in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

import agent
from agent.config import read
from agent.control_client import ControlClient
from ledger.errors import AgentUnreachable, OurFault

_STOP_S = 30.0
_ANSWER_S = 60.0
_COMMAND_S = 120.0
_TAIL_LINES = 12


class Process:
    """One program of this Python, started and ended on demand."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._arguments = tuple(arguments)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Started, and not ended since."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id. Raises OurFault ``demo.not-running``."""
        if self._process is None or not self.running:
            raise OurFault("demo.not-running", f"{self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start it, or start it again; what it prints is appended to its file."""
        if self.running:
            raise OurFault("demo.started", f"{self.name} is already running")
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=_environment(),
            )  # fmt: skip

    async def kill(self) -> None:
        """SIGKILL: it gets no chance to do anything."""
        await self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it in time."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._signal(signal.SIGTERM)
        except TimeoutError:
            await self.kill()

    def tail(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        return ""

    async def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        await process.wait()


class Box(Process):
    """An agent and its control socket."""

    def __init__(self, box: str, configuration: Path, log: Path) -> None:
        super().__init__(box, ("-m", "agent", "--config", str(configuration), "run", "--verbose"), log)
        self.configuration = configuration
        self._client = ControlClient(read(configuration).box.control_socket, _ANSWER_S)

    async def ask(self, command: str, **arguments: object) -> Any:
        """One answer of the running agent.

        Raises AgentUnreachable while it does not answer, OurFault ``demo.box-ended`` once its process has ended, or
        what the agent answered instead.
        """
        try:
            return await asyncio.to_thread(self._client.ask, command, **arguments)
        except AgentUnreachable as error:
            if self.running:
                raise
            raise OurFault("demo.box-ended", f"{self.name} has ended") from error

    async def command(self, *arguments: str) -> dict[str, Any]:
        """What ``orledger --config … ARGUMENTS --json`` prints, run as a program of its own.

        Raises OurFault ``demo.command`` when that is no JSON, TimeoutError when it takes too long.
        """
        command = ("-m", "agent", "--config", str(self.configuration), *arguments, "--json")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True, env=_environment(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, errors = await process.communicate()
        except (TimeoutError, asyncio.CancelledError):
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        try:
            return msgspec.json.decode(out, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            text = f"{' '.join(arguments)} on {self.name} printed no JSON: {errors.decode(errors='replace')[-400:]}"
            raise OurFault("demo.command", text) from error

    async def status(self) -> dict[str, Any]:
        """``orledger status --json`` of this box."""
        status: dict[str, Any] = await self.ask("status")
        return status


def gateway(name: str, port: int, acknowledged: Path, log: Path, *options: str) -> Process:
    """A simulated HL7 gateway that sends to ``port`` and writes down what was acknowledged."""
    arguments = ("hl7", "--to", f"127.0.0.1:{port}", "--acked-file", str(acknowledged))
    return Process(name, ("-m", "firmware_sim", *arguments, *options), log)


def monitor(name: str, link: Path, log: Path, *options: str) -> Process:
    """A simulated GE monitor on a pty, to which ``link`` will lead."""
    return Process(name, ("-m", "firmware_sim", "ge-s5", "--pty-link", str(link), *options), log)


def _environment() -> dict[str, str]:
    """Ours, and this very checkout or installation on the path."""
    root = str(Path(agent.__file__).parents[1])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{others}" if others else root, "PYTHONUNBUFFERED": "1"}
