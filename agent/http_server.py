"""A small HTTP/1.1 server for pages of this box: h11 speaks the protocol, every wait and size has a bound.

One request per connection, GET and HEAD only, no bodies taken: nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus

import h11

from ledger.errors import ConfigurationFault, OurFault
from ledger.limits import LIMITS, S_NS, Limits

_LOG = logging.getLogger(__name__)
_READ_BYTES = 4_096
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What a page is asked for: header names in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Answers each path with its handler. Lives on one event loop; a handler must not hold it up."""

    def __init__(self, routes: Mapping[str, Handler], limits: Limits = LIMITS) -> None:
        self._routes = dict(routes)
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.refused_connections = 0

    @property
    def port(self) -> int:
        """The port listened on; useful when 0 was asked for."""
        if self._server is None:
            raise OurFault("page.stopped", "the page is not served")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are being served."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises ConfigurationFault ``page.listen``."""
        try:
            self._server = await asyncio.start_server(
                self._connected, host, port, limit=_READ_BYTES, backlog=self._limits.page_connections
            )
        except OSError as error:
            raise ConfigurationFault(
                "page.listen",
                f"the page cannot listen on {host}:{port}: {error.strerror or error}",
                f"set $.page.listen to a free port of this machine, or stop what uses it (ss -ltnp 'sport = {port}')",
            ) from error

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.page_connections:
            self.refused_connections += 1
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is None:
            raise OurFault("page.no-task", "a connection is served outside a task")
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError) as error:
            _LOG.debug("a client of the page left: %r", error)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.page_request_bytes)
        head = False
        try:
            async with asyncio.timeout(self._limits.page_request_ns / S_NS):
                request = await _next_request(connection, reader)
            if request is None:
                return
            head = request.method == b"HEAD"
            response = await self._answer(request)
        except TimeoutError:
            response = _refusal(HTTPStatus.REQUEST_TIMEOUT, "no whole request came in time")
        except h11.RemoteProtocolError as error:
            response = _refusal(HTTPStatus(error.error_status_hint), f"not HTTP/1.1: {error}")
        await self._send(connection, reader, writer, response, head=head)

    async def _answer(self, request: h11.Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            refusal = _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "this page can only be read")
            return replace(refusal, headers=(("Allow", "GET, HEAD"),))
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        handler = self._routes.get(path)
        if handler is None:
            return _refusal(HTTPStatus.NOT_FOUND, f"nothing is here; there is {', '.join(sorted(self._routes))}")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        try:
            async with asyncio.timeout(self._limits.page_answer_ns / S_NS):
                return await handler(Request(path, headers))
        except TimeoutError:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the answer took too long; try again")
        except Exception:  # noqa: BLE001 - a bug in a page must not end the recorder
            _LOG.exception("the page %s failed", path)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the agent failed to answer: see journalctl -u orledger")

    async def _send(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        response: Response,
        *,
        head: bool,
    ) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
            *response.headers,
        ]
        try:
            parts = [connection.send(h11.Response(status_code=response.status, headers=headers))]
            if not head:
                parts.append(connection.send(h11.Data(data=response.body)))
            parts.append(connection.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:  # the client's side of the dialogue is beyond an answer
            _LOG.debug("a client of the page gets no answer: %s", error)
            return
        writer.write(b"".join(part for part in parts if part))
        try:
            async with asyncio.timeout(self._limits.page_answer_ns / S_NS):
                await writer.drain()
                writer.write_eof()
        except TimeoutError:  # it does not take its answer
            writer.transport.abort()
            return
        with contextlib.suppress(TimeoutError):  # closed with bytes unread, the kernel would take the answer back
            async with asyncio.timeout(self._limits.page_linger_ns / S_NS):
                while await reader.read(_READ_BYTES):
                    pass


async def _next_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request on a connection, None when there came none. Raises RemoteProtocolError."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Request):
            return event
        else:
            return None


def _refusal(status: HTTPStatus, text: str) -> Response:
    return Response(status, f"{text}\n".encode())
