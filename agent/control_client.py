"""The command line's side of the control socket: one request, its answers as they come (no asyncio: it starts fast)."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from agent.control_errors import error_from_fields
from ledger.errors import AgentUnreachable, NotPermitted, OurFault
from ledger.limits import LIMITS

_START = "start it: systemctl start orledger; why it stopped: journalctl -u orledger"


class ControlClient:
    """Asks the agent behind the socket at ``path``; ``timeout_s`` bounds the wait for each line of the answer."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def request(self, cmd: str, **arguments: object) -> Generator[Any, None, None]:
        """Each item of the answer: decoded from JSON, or bytes as the agent sent them.

        Raises:
            AgentUnreachable: nobody listens, or the agent fell silent or died before the last line.
            NotPermitted: this user may not open the socket.
            OrledgerError: what the agent answered instead.
        """
        with self._connect() as connection:
            try:
                connection.sendall(msgspec.json.encode({"cmd": cmd, **arguments}) + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # an agent that turns an asker away hangs up unasked: why is still there to read
            except OSError as error:
                raise AgentUnreachable("agent.gone", f"the agent takes no request: {error}", _START) from error
            yield from self._items(connection)

    def ask(self, cmd: str, **arguments: object) -> Any:
        """The only item of an answer. Raises as ``request`` does."""
        items = list(self.request(cmd, **arguments))
        if len(items) != 1:
            raise OurFault("control.items", f"the agent gave {len(items)} answers to {cmd!r} instead of one")
        return items[0]

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(os.fsencode(self._path))
        except PermissionError as error:
            connection.close()
            raise NotPermitted(
                "agent.not-permitted", f"may not open {self._path}", "use sudo, or join the group orledger"
            ) from error
        except OSError as error:
            connection.close()
            raise AgentUnreachable(
                "agent.unreachable", f"no agent answers on {self._path}: {error.strerror or error}", _START
            ) from error
        return connection

    def _items(self, connection: socket.socket) -> Iterator[Any]:
        with connection.makefile("rb") as answers:
            while True:
                try:
                    line = answers.readline(LIMITS.control_line_bytes)
                except OSError as error:
                    raise AgentUnreachable(
                        "agent.silent", f"the agent on {self._path} does not answer: {error}", _START
                    ) from error
                if not line.endswith(b"\n"):
                    raise AgentUnreachable("agent.gone", "the agent hung up before its last line", _START)
                answer = _decode(line)
                if "item" in answer:
                    yield answer["item"]
                elif "bytes" in answer:
                    yield _exactly(answers, answer["bytes"])
                elif answer.get("done") is True:
                    return
                else:
                    raise error_from_fields(answer["error"] if isinstance(answer.get("error"), dict) else {})


def _exactly(answers: BinaryIO, count: int) -> bytes:
    try:
        data = answers.read(min(count, LIMITS.control_line_bytes))
    except OSError as error:
        raise AgentUnreachable("agent.silent", f"the agent does not answer: {error}", _START) from error
    if len(data) != count:
        raise AgentUnreachable("agent.gone", "the agent hung up within an answer", _START)
    return data


def _decode(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OurFault("control.not-json", f"the agent's answer is not a JSON object: {error}") from error
