"""A cable between two processes: TCP bytes pass unchanged both ways until it is cut or goes dead."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

_HOST = "127.0.0.1"
_CHUNK_BYTES = 1 << 16
_POLL_S = 0.02
_RESET = struct.pack("ii", 1, 0)


class Cable:
    """Forwards connections to one port of this machine, in a thread of its own.

    ``cut`` resets every connection and each new one; ``deaden`` lets them stand but passes no byte, as when a switch
    dies or a firewall begins to drop; ``mend`` ends both: what was dead is reset first, as its bytes are lost.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((_HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._mode = "whole"
        self._closed = threading.Event()
        self._listener.settimeout(_POLL_S)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """As when the cable is pulled and the near end says so at once."""
        self._change("cut")

    def deaden(self) -> None:
        """As when the far end vanishes without a word."""
        self._change("dead")

    def mend(self) -> None:
        """Whole again, for new connections."""
        self._change("whole")

    def close(self) -> None:
        """Reset everything and stop listening."""
        self._closed.set()
        self._accepting.join()
        self._change("cut")
        self._listener.close()

    def _change(self, mode: str) -> None:
        with self._lock:
            self._mode = mode
            if mode != "dead":
                for pair in self._pairs:
                    for end in pair:
                        _reset(end)
                self._pairs.clear()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection((_HOST, self._target_port), timeout=1)
        except OSError:
            _reset(near)
            return
        with self._lock:
            if self._mode == "cut":
                _reset(near)
                _reset(far)
                return
            self._pairs.append((near, far))
        with contextlib.suppress(OSError, ValueError):
            self._pass_on(near, far)
        _reset(near)
        _reset(far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for source, sink in ((near, far), (far, near)):
                source.settimeout(1)
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(source, selectors.EVENT_READ, (source, sink))
            while not self._closed.is_set():
                for key, _ in selector.select(_POLL_S):
                    source, sink = key.data
                    data = source.recv(_CHUNK_BYTES)
                    if not data:
                        return
                    if self._mode != "dead":
                        sink.sendall(data)


def _reset(end: socket.socket) -> None:
    """Close with RST, so that nobody takes it for a clean end."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
    end.close()
