"""The way from the node to the broker inside the same process: no socket, no TLS, the same contract as `agent.link`.

Saves a fifth of the mesh's CPU (benchmarks/bench_mesh.py), since most of that is system calls for small TLS records.
What the node says leaves in the same turn of the loop; what peers say waits in a bounded queue for the next one.
"""

from __future__ import annotations

import asyncio
import collections
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
        self._arrived_bytes = 0
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
        """Hand over now, at most once; False and counted when the broker is stopped."""
        if self.up and len(data) <= LIMITS.message_bytes and self._broker.publish(topic, data):
            self.counters.messages_out += 1
            self.counters.bytes_out += len(data)
            return True
        self.counters.dropped_messages += 1
        self.counters.dropped_bytes += len(data)
        return False

    # Called by the broker.

    def put(self, topic: str, payload: bytes) -> bool:
        """A message for the node; False when it is too far behind to take more."""
        if (
            len(self._arrived) >= LIMITS.inbound_messages
            or self._arrived_bytes + len(payload) > LIMITS.peer_queue_bytes
        ):
            return False
        if not self._arrived:
            self._loop.call_soon(self._take)
        self._arrived.append((topic, payload))
        self._arrived_bytes += len(payload)
        return True

    def serving(self, *, up: bool) -> None:
        """The broker serves now, or no longer does."""
        self._loop.call_soon(self._set_up, up)

    # In a turn of the loop of its own.

    def _take(self) -> None:
        """A burst, then everybody else's turn: many would keep the loop from the tick."""
        try:
            for _ in range(min(_BURST_MESSAGES, len(self._arrived))):
                topic, payload = self._arrived.popleft()
                self._arrived_bytes -= len(payload)
                self.counters.messages_in += 1
                self.counters.bytes_in += len(payload)
                self._on_message(topic, payload)
        finally:
            if self._arrived:
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
