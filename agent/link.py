"""One MQTT connection that is kept up: connect, subscribe, deliver, drop what cannot be sent, connect again.

It lives on the agent's event loop (no thread per connection, no hand-over between threads), measured in
benchmarks/bench_mesh.py. Only connecting, which looks names up and shakes hands, runs on an executor.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Executor

from agent import mqtt_packets
from agent.mqtt_packets import Frame, MalformedPacket
from agent.sockets import tune
from agent.tls_stream import TlsStream
from ledger.dataclass import dataclass
from ledger.limits import LIMITS

_BURST_PACKETS = 64
_LOOK_EVERY_S = LIMITS.mqtt_keepalive_s / 4
_REFUSALS = {1: "protocol version", 2: "client id", 3: "unavailable", 4: "user name or password", 5: "not authorized"}


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """Where to connect, as whom, and what to subscribe to."""

    host: str
    port: int
    tls: ssl.SSLContext
    client_id: str
    subscriptions: tuple[str, ...]


@dataclass(slots=True)
class LinkCounters:
    """What one link did since it was made."""

    connections: int = 0
    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    dropped_messages: int = 0
    dropped_bytes: int = 0


class Link:
    """Keeps one connection up while `run` runs. All methods and call-backs belong to the event loop's thread.

    ``on_message(topic, payload)`` is called in the order of arrival, ``on_up()`` once every subscription is granted,
    ``on_down(reason)`` when a connection that was up is lost or one could not be made.
    """

    def __init__(
        self,
        target: LinkTarget,
        executor: Executor,
        on_message: Callable[[str, bytes], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._target = target
        self._executor = executor
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._connection: _Connection | None = None
        self.counters = LinkCounters()

    @property
    def up(self) -> bool:
        """Connected and subscribed."""
        return self._connection is not None and self._connection.granted

    async def run(self) -> None:
        """Connect again and again until cancelled."""
        while True:
            reason = await self._connect_once()
            self._on_down(reason)
            wait_ms = random.uniform(LIMITS.mqtt_reconnect_min_ms, LIMITS.mqtt_reconnect_max_ms)  # noqa: S311  # jitter
            await asyncio.sleep(wait_ms / 1000)

    def publish(self, topic: str, data: bytes) -> bool:
        """Send now, at most once; False and counted when not connected or too much waits to be sent."""
        connection = self._connection
        if connection is not None and connection.granted and connection.publish(topic, data):
            self.counters.messages_out += 1
            self.counters.bytes_out += len(data)
            return True
        self.counters.dropped_messages += 1
        self.counters.dropped_bytes += len(data)
        return False

    async def _connect_once(self) -> str:
        connection = _Connection(self._target, self._deliver, self._on_up)
        self._connection = connection
        try:
            # Not cancelled with us: the thread would go on with a client nobody closes.
            connecting = asyncio.get_running_loop().run_in_executor(self._executor, connection.connect)
            connecting.add_done_callback(connection.connected)
            self.counters.connections += 1
            return await connection.ended
        finally:
            self._connection = None
            connection.close()

    def _deliver(self, topic: str, payload: bytes) -> None:
        self.counters.messages_in += 1
        self.counters.bytes_in += len(payload)
        self._on_message(topic, payload)


class _Connection:
    """From connect to close, driven by the event loop."""

    def __init__(
        self, target: LinkTarget, on_message: Callable[[str, bytes], None], on_granted: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._on_message = on_message
        self._on_granted = on_granted
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.granted = False  # every subscription
        self._answered = False
        self._buffer = bytearray()
        self._again = False
        self._began_s = self._heard_s = self._sent_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.stream: TlsStream | None = None

    # Connecting: `connect` on the executor, everything else on the loop.

    def connect(self) -> ssl.SSLSocket:
        """TCP and TLS; blocks. Raises OSError (ssl.SSLError is one) or ValueError (bad host)."""
        sock = socket.create_connection((self._target.host, self._target.port), LIMITS.mqtt_connect_s)
        try:
            tune(sock)
            sock.settimeout(LIMITS.mqtt_handshake_s)
            return self._target.tls.wrap_socket(sock)
        except BaseException:
            sock.close()
            raise

    def connected(self, connecting: asyncio.Future[ssl.SSLSocket]) -> None:
        """Take over from the executor."""
        if connecting.cancelled():
            self._end("closed")
        elif (error := connecting.exception()) is not None:
            self._end(_say(error))
        elif self.ended.done():
            connecting.result().close()
        else:
            self.stream = TlsStream(connecting.result(), self._came, self._lost)
            self._began_s = self._heard_s = self._loop.time()
            self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)
            self._send(mqtt_packets.connect(self._target.client_id, LIMITS.mqtt_keepalive_s))

    def close(self) -> None:
        """End from our side; safe at any time."""
        if self.stream is not None and not self.ended.done():
            self.stream.send(mqtt_packets.GOODBYE)
        self._end("closed")

    def _lost(self) -> None:
        # With TLS 1.3 a server refuses a client's certificate only after the client's handshake is done.
        self._end(
            "connection lost" if self._answered else "closed before it answered: our certificate may be unknown there"
        )

    def _end(self, reason: str) -> None:
        self.granted = False
        if not self.ended.done():
            self.ended.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        if self.stream is not None:
            self.stream.close()

    def _look(self) -> None:
        """Now and then: a broker that hears nothing hangs up, and one that says nothing is given up."""
        now_s = self._loop.time()
        is_silent = now_s - self._heard_s > 1.5 * LIMITS.mqtt_keepalive_s
        if is_silent or not (self.granted or now_s - self._began_s <= LIMITS.mqtt_handshake_s):
            self._lost()
            return
        if self.granted and now_s - min(self._heard_s, self._sent_s) >= LIMITS.mqtt_keepalive_s / 2:
            self._send(mqtt_packets.PING)
        self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)

    # Sending

    def publish(self, topic: str, data: bytes) -> bool:
        if self.stream is None or len(data) > LIMITS.message_bytes:
            return False
        waiting_messages, waiting_bytes = self.stream.unsent
        if waiting_messages >= LIMITS.peer_queue_messages or waiting_bytes + len(data) > LIMITS.peer_queue_bytes:
            return False
        self._send(mqtt_packets.publish(topic, data))
        return not self.ended.done()

    def _send(self, packet: bytes) -> None:
        if self.stream is not None:
            self._sent_s = self._loop.time()
            self.stream.send(packet)

    # Receiving

    def _came(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        self._buffer += data
        if not self._again:
            self._take()

    def _take(self) -> None:
        """A burst of packets, then everybody else's turn: a peer that floods must not keep the loop from the tick."""
        self._again = True  # also when one of them cannot be handled
        try:
            for _ in range(_BURST_PACKETS):
                frame = None if self.ended.done() else mqtt_packets.take_frame(self._buffer)
                if frame is None:
                    self._again = False
                    break
                self._handle(frame)
        except MalformedPacket as error:
            self._end(f"the broker broke the protocol: {error}")
        finally:
            if self.stream is not None:
                self.stream.read(wanted=not self._again)
            if self._again and not self.ended.done():
                self._loop.call_soon(self._take)

    def _handle(self, frame: Frame) -> None:
        match frame.packet_type:
            case mqtt_packets.PUBLISH if self._answered:
                self._on_message(*mqtt_packets.published(frame))
            case mqtt_packets.CONNACK if not self._answered and len(frame.body) == 2:
                self._answered = True
                if frame.body[1]:
                    self._end(f"refused: {_REFUSALS.get(frame.body[1], frame.body[1])}")
                else:
                    self._send(mqtt_packets.subscribe(self._target.subscriptions))
            case mqtt_packets.SUBACK if self._answered and not self.granted:
                if mqtt_packets.grants(frame, len(self._target.subscriptions)):
                    self.granted = True
                    self._on_granted()
                else:
                    self._end("refused: subscription")
            case mqtt_packets.PINGRESP:
                pass
            case _:
                raise MalformedPacket(f"unexpected packet of type {frame.packet_type}")


def _say(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"refused: not the pinned certificate ({error.verify_message})"
    return str(error) or type(error).__name__
