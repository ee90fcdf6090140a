"""The way from the node to the broker inside the same process: no socket, no TLS, the same contract as `agent.link`.

Saves a fifth of the mesh's CPU (benchmarks/bench_mesh.py), since most of that is system calls for small TLS records.
Two bounded queues, one each way, cross between the node's thread and the broker's.
"""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable

from agent.broker import EmbeddedBroker
from agent.link import LinkCounters
from ledger.limits import LIMITS

_BURST_MESSAGES = 32


class LocalLink:
    """The owner's connection to its own `EmbeddedBroker`, up while the broker serves.

    ``on_message(topic, payload)``, ``on_up()`` and ``on_down(reason)`` are called as by `agent.link.Link`: on the event
    loop's thread, messages in the order in which the broker took them.
    """

    def __init__(
        self,
        broker: EmbeddedBroker,
        on_message: Callable[[str, bytes], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._loop = asyncio.get_running_loop()
        self._arrived: collections.deque[tuple[str, bytes]] = collections.deque()
        self._bytes_put = 0  # by the broker's thread
        self._bytes_taken = 0  # by ours
        self._wake_pending = False
        self._lock = threading.Lock()
        self.up = False
        self.counters = LinkCounters()

    async def run(self) -> None:
        """Stay attached until cancelled."""
        self._broker.attach(self)
        try:
            await asyncio.Event().wait()
        finally:
            self._broker.attach(None)
            self.up = False

    def publish(self, topic: str, data: bytes) -> bool:
        """Hand over now, at most once; False and counted when the broker is stopped, or too far behind."""
        if self.up and len(data) <= LIMITS.message_bytes and self._broker.publish(topic, data):
            self.counters.messages_out += 1
            self.counters.bytes_out += len(data)
            return True
        self.counters.dropped_messages += 1
        self.counters.dropped_bytes += len(data)
        return False

    # Called by the broker on its thread.

    def put(self, topic: str, payload: bytes) -> bool:
        """A message for the node; False when it is too far behind to take more."""
        waiting = self._bytes_put - self._bytes_taken
        if len(self._arrived) >= LIMITS.inbound_messages or waiting + len(payload) > LIMITS.peer_queue_bytes:
            return False
        self._bytes_put += len(payload)
        with self._lock:
            self._arrived.append((topic, payload))
            wake, self._wake_pending = not self._wake_pending, True
        if wake:
            self._loop.call_soon_threadsafe(self._take)
        return True

    def serving(self, *, up: bool) -> None:
        """The broker serves now, or no longer does."""
        self._loop.call_soon_threadsafe(self._set_up, up)

    # On the loop again.

    def _take(self) -> None:
        """A burst, then everybody else's turn. One wake at a time: many would keep the loop from the tick."""
        for _ in range(_BURST_MESSAGES):
            with self._lock:
                if not self._arrived:
                    self._wake_pending = False
                    return
                topic, payload = self._arrived.popleft()
            self._bytes_taken += len(payload)
            self.counters.messages_in += 1
            self.counters.bytes_in += len(payload)
            self._on_message(topic, payload)
        self._loop.call_soon(self._take)

    def _set_up(self, up: bool) -> None:
        if up is self.up:
            return
        self.up = up
        if up:
            self.counters.connections += 1
            self._on_up()
        else:
            self._on_down("the broker was stopped")
