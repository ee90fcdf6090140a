"""HTTP as SDC devices speak it: a client that keeps its connection, and a listener for what the device sends."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11

from drivers.sdc.soap import sender_fault
from drivers.transports.addresses import tune
from drivers.transports.sdc_config import SdcTls
from ledger.limits import Limits

_NO_SUCH_SUBSCRIPTION = sender_fault("DestinationUnreachable", "no subscription of this recorder has this address")
_CODINGS = frozenset({b"", b"identity", b"gzip", b"x-gzip"})


class HttpFault(Exception):
    """The other side broke the connection, or HTTP."""


@dataclass(slots=True)
class _Message:
    """A message that is being received."""

    status: int = 0
    method: bytes = b""
    target: str = ""
    coding: bytes = b""
    body: bytearray | None = None

    def whole(self, limit: int) -> bytes:
        """The body, its content coding undone. Raises HttpFault."""
        data = bytes(self.body or b"")
        if self.coding not in _CODINGS:
            raise HttpFault("a message is coded in a way that was not asked for")
        if self.coding in {b"", b"identity"}:
            return data
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            plain = inflater.decompress(data, limit)
        except zlib.error as fault:
            raise HttpFault("a compressed message cannot be read") from fault
        if not inflater.eof:
            raise HttpFault("a compressed message is cut off, or too long")
        return plain


class _Connection(asyncio.Protocol):
    """What client and listener share: h11 over an asyncio transport, bodies bounded."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], limits: Limits) -> None:
        self.http = h11.Connection(role)
        self.transport: asyncio.Transport | None = None
        self._limits = limits
        self._message = _Message()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        if not isinstance(transport, asyncio.Transport):  # pragma: no cover - asyncio gives nothing else
            raise TypeError(type(transport).__name__)
        self.transport = transport
        tune(transport.get_extra_info("socket"), user_timeout_ms=self._limits.link_user_timeout_ms)

    def data_received(self, data: bytes) -> None:
        """Bytes of the other side."""
        try:
            self.http.receive_data(data)
            self._read()
        except (HttpFault, h11.ProtocolError) as fault:
            self.broken(str(fault))

    def abort(self) -> None:
        """Cut the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def broken(self, reason: str) -> None:
        """The other side does not keep to HTTP."""
        raise NotImplementedError

    def message(self, message: _Message) -> None:
        """A whole message came."""
        raise NotImplementedError

    def _read(self) -> None:
        while True:
            event: Any = self.http.next_event()
            if isinstance(event, h11.Request | h11.Response):
                self._message = _Message(body=bytearray())
                if isinstance(event, h11.Request):
                    self._message.method = event.method
                    self._message.target = event.target.decode("ascii", "replace")
                else:
                    self._message.status = event.status_code
                for name, value in event.headers:
                    if name == b"content-encoding":
                        self._message.coding = value.strip().lower()
            elif isinstance(event, h11.Data) and self._message.body is not None:
                if len(self._message.body) + len(event.data) > self._limits.sdc_message_bytes:
                    raise HttpFault("a message is too long")
                self._message.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.message(self._message)
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                if self.http.they_are_waiting_for_100_continue:
                    self.write(h11.InformationalResponse(status_code=100, headers=[]))
                return

    def write(self, *events: Any) -> None:
        """Send h11 events."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self.http.send(event) or b"" for event in events))


class HttpClient(_Connection):
    """A connection to a device; one request at a time. ``lost`` is called when it falls while nothing is asked."""

    def __init__(self, limits: Limits, lost: Callable[[], None]) -> None:
        super().__init__(h11.CLIENT, limits)
        self._lost = lost
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._answered = False
        self._closed = False

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return not self._closed and self._answer is None and self.http.our_state is h11.IDLE

    @property
    def went_stale(self) -> bool:
        """Whether the device closed it after an answer before: then nothing was read of the request that failed."""
        return self._closed and self._answered and self.http.their_state is not h11.SEND_BODY

    async def post(self, host: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises HttpFault."""
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answer = answer
        headers = [
            ("Host", host),
            ("Content-Type", "application/soap+xml; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Accept", "application/soap+xml"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "orledger"),
        ]
        request = h11.Request(method="POST", target=target, headers=headers)
        self.write(request, h11.Data(data=body), h11.EndOfMessage())
        return await answer

    def message(self, message: _Message) -> None:
        """The answer is whole."""
        body = message.whole(self._limits.sdc_message_bytes)
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        self._answered = True
        answer.set_result((message.status, body))
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        else:
            self._closed = True
            self.abort()

    def broken(self, reason: str) -> None:
        """The device does not keep to HTTP."""
        self._fail(HttpFault(f"the device does not keep to HTTP: {reason}"))
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. A body without a length ends with it."""
        was_closed, self._closed = self._closed, True
        if self._answer is not None:
            try:
                self.http.receive_data(b"")
                self._read()
            except (HttpFault, h11.RemoteProtocolError):
                pass  # told below: the answer did not come
            self._fail(HttpFault(self._ended(exc)))
        elif not was_closed:
            self._lost()

    def _ended(self, fault: Exception | None) -> str:
        if isinstance(fault, ssl.SSLError):
            return f"it does not accept this box's certificate: {fault.reason}"
        secured = self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
        why = "; it may not accept this box's certificate" if secured and not self._answered else ""
        return f"it closed the connection before it answered{why}"

    def _fail(self, fault: HttpFault) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(fault)


class NotifyConnection(_Connection):
    """A connection of the device, on which it sends reports. Each is answered at once: receiving is no promise."""

    def __init__(
        self,
        limits: Limits,
        tls: SdcTls | None,
        admit: Callable[[NotifyConnection, str], bool],
        notified: Callable[[str, bytes], bool],
        gone: Callable[[NotifyConnection], None],
    ) -> None:
        super().__init__(h11.SERVER, limits)
        self._tls = tls
        self._admit = admit
        self._notified = notified
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in the device and nobody else."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        known = self._tls is None or self._tls.admits(transport.get_extra_info("ssl_object"))
        if not known or not peer or not self._admit(self, str(peer[0])):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._gone(self)

    def message(self, message: _Message) -> None:
        """A report is whole: hand it over and say so."""
        if message.method == b"POST":
            known = self._notified(message.target, message.whole(self._limits.sdc_message_bytes))
            if known:
                self._answer(202)
            else:  # the code of a fault that the sender causes (SOAP 1.2 Part 2, 7.5.2.2)
                self._answer(400, _NO_SUCH_SUBSCRIPTION, ("Content-Type", "application/soap+xml"))
        else:
            self._answer(405, b"", ("Allow", "POST"))
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        elif self.transport is not None:
            self.transport.close()

    def broken(self, reason: str) -> None:
        """The sender does not keep to HTTP."""
        if self.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._answer(400)
        if self.transport is not None:
            self.transport.close()

    def _answer(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        lengths = ("Content-Length", str(len(body)))
        response: Any = h11.Response(status_code=status, headers=[lengths, *headers])
        self.write(response, h11.Data(data=body), h11.EndOfMessage())
