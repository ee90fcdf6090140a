"""A cable between two boxes: bytes pass unchanged both ways until it is cut.

A box's address of its peer points here. Cutting drops every connection at once, with whatever was under way in it, and
drops each new one as soon as it is made, until the cable is mended. No firewall and no root are needed.
"""

from __future__ import annotations

import asyncio

_CHUNK_BYTES = 1 << 16
_HOST = "127.0.0.1"


class Cable:
    """Forwards TCP connections to one port of this machine."""

    def __init__(self, target_port: int) -> None:
        self.cut = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> int:
        """Listen on ``port`` (0: any that is free); the port listened on. Raises OSError."""
        self._server = await asyncio.start_server(self._forward, _HOST, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Drop everything and stop listening."""
        self.set_cut(cut=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def set_cut(self, *, cut: bool) -> None:
        """Cut it, or mend it."""
        self.cut = cut
        if cut:
            for writer in self._writers:
                writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.cut:
                return
            far_reader, far_writer = await asyncio.open_connection(_HOST, self._target_port)
            self._writers.add(far_writer)
            try:
                await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
            finally:
                self._writers.discard(far_writer)
                far_writer.transport.abort()
        except OSError:
            pass  # one side is gone, so the other is dropped
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self.cut:
            data = await reader.read(_CHUNK_BYTES)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if not self.cut and writer.can_write_eof():
            writer.write_eof()
