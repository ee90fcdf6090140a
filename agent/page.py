"""What this box shows over HTTP: ``/metrics`` for Prometheus and ``/healthz``; more pages would join here.

Nothing here changes anything or holds a secret, and nothing here may harm the recording: a port that is taken is told
of and tried again, the text is made on a thread, at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from agent.config import host_port
from ledger.errors import OrledgerError, OurFault
from ledger.limits import LIMITS, S_NS
from ledger.outbox import Warn

if TYPE_CHECKING:
    from agent.http_server import HttpServer, Request, Response
    from agent.node import Node

_LOG = logging.getLogger(__name__)
_DOWN = "page.down"
_SUBJECT = "page"


@dataclass(frozen=True, slots=True)
class _Kept:
    """The metrics as last given out: whoever asks again at once gets the same."""

    accept: str
    until_ns: int
    text: bytes
    content_type: str


class Page:
    """The pages of one node. ``start`` and ``stop`` on its loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._server: HttpServer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._rendering = asyncio.Lock()
        self._kept: _Kept | None = None

    @property
    def port(self) -> int | None:
        """The port served now; None while there is none."""
        return None if self._server is None else self._server.port

    def start(self) -> None:
        """Begin to serve, if the configuration says so; returns at once. Again: changes nothing."""
        section = self._node.configuration.page
        if section is not None and self._opening is None:
            address = host_port(section.listen, "$.page.listen")
            self._opening = asyncio.get_running_loop().create_task(self._open(*address))

    async def stop(self) -> None:
        """Serve no longer."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
            self._opening = None
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def _open(self, host: str, port: int) -> None:
        """Listen at last: whatever is in the way is told of, and tried again."""
        while True:
            try:
                self._server = await self._listen(host, port)
            except OrledgerError as error:
                self._tell_down(error)
            except Exception as error:  # noqa: BLE001 - a bug here must not pass unseen
                self._tell_down(OurFault("page.failed", f"the page failed: {error!r}", "report this"))
            else:
                self._node.alerts.clear(_DOWN, _SUBJECT, self._node.now().utc_ns)
                _LOG.info("page: http://%s:%d/metrics", host, self._server.port)
                return
            await asyncio.sleep(LIMITS.network_retry_ns / S_NS)

    async def _listen(self, host: str, port: int) -> HttpServer:
        server = (await asyncio.to_thread(_load_server))({"/metrics": self._metrics, "/healthz": self._health})
        await server.start(host, port)
        return server

    def _tell_down(self, error: OrledgerError) -> None:
        text = f"nobody can read metrics and health: {error.text}"
        warning = Warn(_DOWN, "warning", error.party, _SUBJECT, text, f"{error.next_step}; recording goes on")
        self._node.alerts.take(warning, self._node.now().utc_ns)

    async def _metrics(self, request: Request) -> Response:
        from agent.http_server import Response  # noqa: PLC0415 - loaded by then
        from agent.metrics import exposition  # noqa: PLC0415
        from agent.metrics_sample import take_sample  # noqa: PLC0415

        accept = request.headers.get("accept", "")
        async with self._rendering:
            mono_ns = self._node.now().mono_ns
            if self._kept is None or self._kept.accept != accept or mono_ns >= self._kept.until_ns:
                text, content_type = await asyncio.to_thread(exposition, take_sample(self._node), accept)
                self._kept = _Kept(accept, mono_ns + LIMITS.metrics_kept_ns, text, content_type)
            return Response(HTTPStatus.OK, self._kept.text, self._kept.content_type)

    async def _health(self, _request: Request) -> Response:
        from agent.http_server import Response  # noqa: PLC0415 - loaded by then

        node = self._node
        if node.recording and not node.pump.overloaded():
            return Response(HTTPStatus.OK, b"recording\n")
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, b"NOT RECORDING: see orledger status\n")


def _load_server() -> type[HttpServer]:
    """On a thread: what HTTP and metrics need takes long to import, and the tick goes on meanwhile."""
    import agent.metrics  # noqa: PLC0415
    import agent.metrics_sample  # noqa: F401, PLC0415
    from agent.http_server import HttpServer  # noqa: PLC0415

    return HttpServer
