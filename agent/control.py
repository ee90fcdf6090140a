"""The Unix socket between the command line and the agent: one request, then a stream of answers.

Both directions are JSON, one value a line, UTF-8. The request is ``{"cmd": "status", ...}``. Each answer is
``{"item": ...}``, or ``{"bytes": n}`` and then n raw bytes; the last line is ``{"done": true}`` or
``{"error": {...}}``. One request per connection. Whoever may open the socket (mode 0660) may ask; who asked, as the
kernel says it, is told to the handler.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.control_errors import error_fields
from ledger.errors import BadInput, NotPermitted, OperatorFault, OrledgerError, OurFault, StoreFault
from ledger.limits import LIMITS, S_NS, Limits

SOCKET_MODE = 0o660

_LOG = logging.getLogger(__name__)
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, with which arguments, and by whom (user id and process id, from the kernel)."""

    cmd: str
    arguments: Mapping[str, Any]
    uid: int
    pid: int


Reply = Callable[[object], Awaitable[None]]
Handler = Callable[[Request, Reply], Awaitable[None]]


class _HungUpError(Exception):
    """The asker is gone, or no longer reads: nobody is left to tell."""


class ControlServer:
    """Answers requests with the handler of their ``cmd``. A handler awaits ``reply(item)`` for each of its answers
    (anything msgspec can encode; bytes leave as they are) and raises an OrledgerError to refuse; it is cancelled when
    the asker hangs up.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler], limits: Limits = LIMITS) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OperatorFault if another agent does, NotPermitted or StoreFault."""
        listener = _bind(self._path)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=self._limits.control_line_bytes
        )

    async def stop(self) -> None:
        """Stop listening, cancel what is being answered, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise OurFault("control.no-task", "a control connection is served outside a task")
        self._connections.add(task)
        try:
            await self._answer(reader, writer)
        except _HungUpError as gone:
            _LOG.info("a command line hung up: %s", gone)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answers; whatever goes wrong becomes the last line."""

        async def reply(item: object) -> None:
            if isinstance(item, bytes):
                await self._send(writer, {"bytes": len(item)}, item)
            else:
                await self._send(writer, {"item": item})

        last: dict[str, object] = {"done": True}
        try:
            if len(self._connections) > self._limits.control_connections:
                raise OperatorFault("control.busy", "too many commands are being answered", "try again")  # noqa: TRY301
            request = await self._request(reader, writer)
            await _unless_hung_up(reader, self._handler(request.cmd)(request, reply))
        except OrledgerError as error:
            last = {"error": error_fields(error)}
        except _HungUpError:
            raise
        except Exception:  # noqa: BLE001 - a bug in one command must not end the recorder
            _LOG.exception("a control command failed")
            fault = OurFault("control.failed", "the agent failed to answer", "see journalctl -u orledger, report it")
            last = {"error": error_fields(fault)}
        await self._send(writer, last)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        try:
            async with asyncio.timeout(self._limits.control_request_ns / S_NS):
                line = await reader.readline()
        except TimeoutError as error:
            raise BadInput("control.no-request", "no request came", "send one JSON object on one line") from error
        except ValueError as error:  # the reader's limit
            raise BadInput("control.too-long", "the request is too long", "send less") from error
        arguments = parse_line(line)
        cmd = arguments.pop("cmd", None)
        if not isinstance(cmd, str):
            raise BadInput("control.no-command", "the request names no cmd", 'send {"cmd": "status"}')
        pid, uid, _ = _UCRED.unpack(
            writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        return Request(cmd, arguments, uid, pid)

    def _handler(self, cmd: str) -> Handler:
        handler = self._handlers.get(cmd)
        if handler is None:
            raise OperatorFault("control.unknown", f"this agent knows no {cmd!r}", "use a command line of its version")
        return handler

    async def _send(self, writer: asyncio.StreamWriter, value: object, raw: bytes = b"") -> None:
        line = msgspec.json.encode(value)
        if max(len(line), len(raw)) >= self._limits.control_line_bytes:
            raise OurFault("control.too-long", f"an answer of {len(line) + len(raw)} bytes is too long")
        writer.write(line + b"\n")
        if raw:  # not joined to the line: it may be half a megabyte
            writer.write(raw)
        try:
            async with asyncio.timeout(self._limits.control_reply_ns / S_NS):
                await writer.drain()
        except TimeoutError as error:
            raise _HungUpError("it does not take its answer") from error
        except ConnectionError as error:
            raise _HungUpError(str(error)) from error


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object on one line. Raises BadInput for anything else."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("control.not-json", f"not a JSON object: {error}", "send one JSON object on one line") from error


async def _unless_hung_up(reader: asyncio.StreamReader, answering: Awaitable[None]) -> None:
    """Await ``answering``; cancel it and raise when the other side closes."""
    answer = asyncio.ensure_future(answering)
    hang_up = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({answer, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise _HungUpError("closed before it was answered")
        answer.result()
    finally:
        for task in (answer, hang_up):
            task.cancel()
        await asyncio.gather(answer, hang_up, return_exceptions=True)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _remove_stale(path)
        listener.bind(os.fsencode(path))
        path.chmod(SOCKET_MODE)  # nobody can connect before listen()
    except OrledgerError:
        listener.close()
        raise
    except PermissionError as error:
        listener.close()
        raise NotPermitted(
            "control.not-permitted", f"cannot make {path}: {error.strerror}", "run the agent as user orledger"
        ) from error
    except OSError as error:
        listener.close()
        raise StoreFault(
            "control.socket", f"cannot make {path}: {error.strerror or error}", "check $.box.runtime_dir"
        ) from error
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that died; refuse if one answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fsencode(path))
        except FileNotFoundError:
            return
        except BlockingIOError:  # its backlog is full: it lives
            pass
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            path.unlink()
            return
    raise OperatorFault("control.in-use", f"another agent listens on {path}", "stop it first: systemctl stop orledger")
