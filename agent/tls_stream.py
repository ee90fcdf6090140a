"""A TLS connection on the event loop, read and written on its own socket.

asyncio's own way leads through a protocol, a transport and two buffers of memory; for a message that comes alone,
with caches cold, that is most of its cost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

_RECORD_BYTES = 16_384
"""The largest TLS record; a shorter one ends what is there to read, or the selector tells of more."""
_RECORDS_AT_ONCE = 16


class TlsStream:
    """From the end of the handshake to the end of the connection; every method belongs to the loop's thread.

    ``on_bytes`` is given what comes; ``on_end`` is called once when the other side or the network ends it, not after
    ``close``.
    """

    def __init__(self, sock: ssl.SSLSocket, on_bytes: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.sock = sock
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._is_reading = self._is_writing = self._is_closed = False
        sock.setblocking(False)
        self.read(wanted=True)

    @property
    def unsent(self) -> tuple[int, int]:
        """Messages and bytes that the socket did not take yet."""
        return len(self._unsent), self._unsent_bytes

    def send(self, data: bytes) -> None:
        """It leaves at once as far as the socket takes it. The rest waits: bound it by ``unsent``."""
        if self._is_closed:
            return
        self._unsent.append(memoryview(data))
        self._unsent_bytes += len(data)
        if not self._is_writing:
            self._write()

    def read(self, *, wanted: bool) -> None:
        """Whether what comes is read, or stays in the socket."""
        if wanted is self._is_reading or self._is_closed:
            return
        self._is_reading = wanted
        if wanted:
            self._loop.add_reader(self.sock, self._read)
        else:
            self._loop.remove_reader(self.sock)

    def close(self) -> None:
        """End it, whatever is still to be sent; safe at any time."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self.sock)  # before it is closed: its number is soon another's
        self._loop.remove_writer(self.sock)
        self.sock.close()

    def _read(self) -> None:
        came, is_over = list[bytes](), False
        try:
            for _ in range(_RECORDS_AT_ONCE):
                came.append(self.sock.recv(_RECORD_BYTES))
                if len(came[-1]) < _RECORD_BYTES:
                    break
            is_over = not came[-1]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            is_over = True
        if data := b"".join(came):
            self._on_bytes(data)
        if is_over:
            self._ended()

    def _write(self) -> None:
        try:
            while self._unsent:
                first = self._unsent[0]
                sent = self._write_some(first)
                self._unsent_bytes -= sent
                if sent == len(first):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = first[sent:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._ended()
            return
        if bool(self._unsent) is not self._is_writing:
            self._is_writing = not self._is_writing
            if self._is_writing:
                self._loop.add_writer(self.sock, self._write)
            else:
                self._loop.remove_writer(self.sock)

    def _write_some(self, data: memoryview) -> int:
        return self.sock.send(data)

    def _ended(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_end()
