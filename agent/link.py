"""One MQTT connection that is kept up: connect, subscribe, deliver, drop what cannot be sent, connect again.

paho does MQTT; the agent's event loop drives it (no thread per connection, no hand-over between threads), measured
in benchmarks/bench_mesh.py. Only connecting, which blocks in paho, runs on an executor. Every connection gets a fresh
paho client: paho queues without bound while it is away and sends that queue again after a reconnect.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.sockets import tune
from ledger.limits import LIMITS

_BURST_PACKETS = 64
_HOUSEKEEPING_S = 0.5
# A broker's packet: payload, topic and its length.
_PACKET_BYTES = LIMITS.message_bytes + LIMITS.mqtt_topic_bytes + 2


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
    """One paho client, from connect to close, driven by the event loop."""

    def __init__(
        self, target: LinkTarget, on_message: Callable[[str, bytes], None], on_granted: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._on_message = on_message
        self._on_granted = on_granted
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.granted = False  # every subscription
        self._told = False
        self._answered = False
        self._arrived: list[tuple[str, bytes]] = []
        self._sock: socket.socket | None = None
        self._writer_added = False
        self._again = False
        self._waiting_messages = 0
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._client = self._make_client()

    def _make_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self._target.client_id, protocol=paho.MQTTv311)
        client.tls_set_context(self._target.tls)
        client.tls_insecure_set(True)  # only the host name goes unchecked: the context trusts one certificate
        client.connect_timeout = LIMITS.mqtt_connect_s
        client.suppress_exceptions = False
        client.on_socket_open = _tune
        client.on_connect = self._paho_connected
        client.on_subscribe = self._paho_subscribed
        client.on_message = self._paho_message
        client.on_disconnect = self._paho_disconnected
        client.on_socket_close = self._paho_closing
        return client

    # Connecting: `connect` on the executor, everything else on the loop.

    def connect(self) -> None:
        """TCP, TLS, CONNECT; blocks. Raises OSError (ssl.SSLError is one) or ValueError (bad host)."""
        self._client.connect(self._target.host, self._target.port, LIMITS.mqtt_keepalive_s)

    def connected(self, connecting: asyncio.Future[None]) -> None:
        """Take over from the executor."""
        if connecting.cancelled():
            self._end("closed")
        elif (error := connecting.exception()) is not None:
            self._end(_say(error))
        elif self.ended.done():
            self._hang_up()
        elif (sock := self._client.socket()) is None:
            self._end(self._loss())
        else:
            self._sock = sock  # type: ignore[assignment]  # a TLS socket, never paho's websocket wrapper
            self._loop.add_reader(sock, self._readable)
            self._timer = self._loop.call_later(_HOUSEKEEPING_S, self._housekeeping)
            self._settle()

    def close(self) -> None:
        """End from our side; safe at any time."""
        self._end("closed")
        if self._sock is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self._release()
        self._client.on_disconnect = None
        self._client.disconnect()
        if (sock := self._client.socket()) is not None:
            sock.close()

    def _release(self) -> None:
        """Forget the socket; before it is closed, since its number is soon another's."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock = None

    def _loss(self) -> str:
        # With TLS 1.3 a server refuses a client's certificate only after the client's handshake is done.
        return (
            "connection lost" if self._answered else "closed before it answered: our certificate may be unknown there"
        )

    def _end(self, reason: str) -> None:
        self.granted = False
        if not self.ended.done():
            self.ended.set_result(reason)

    # Sending

    def publish(self, topic: str, data: bytes) -> bool:
        if (
            len(data) > LIMITS.message_bytes
            or self._waiting_messages >= LIMITS.peer_queue_messages
            or self._waiting_bytes + len(data) > LIMITS.peer_queue_bytes
        ):
            return False
        sent = self._client.publish(topic, data, qos=0, retain=False)  # paho writes at once what the socket takes
        self._waiting_messages += 1
        self._waiting_bytes += len(data)
        self._settle()
        return sent.rc == paho.MQTT_ERR_SUCCESS

    # Driving

    def _readable(self) -> None:
        for _ in range(_BURST_PACKETS):
            self._client.loop_read()
            if self._client._in_packet["remaining_length"] > _PACKET_BYTES:  # noqa: SLF001  # paho has no cap; test pins
                self._end("the broker sent an oversize packet")
                self._hang_up()
                return
            # What TLS has already decrypted does not wake the selector again.
            if self._sock is None or self._sock.pending() == 0:  # type: ignore[attr-defined]  # a TLS socket
                break
        else:
            self._read_again()
        if self.granted and not self._told:
            self._told = True
            self._on_granted()
        arrived, self._arrived = self._arrived, []
        for topic, payload in arrived:
            self._on_message(topic, payload)
        self._settle()

    def _read_again(self) -> None:
        """Once a turn beside the selector's own call: a peer that floods must not keep the loop from the tick."""
        if not self._again:
            self._again = True
            self._loop.call_soon(self._read_more)

    def _read_more(self) -> None:
        self._again = False
        self._readable()

    def _writable(self) -> None:
        self._client.loop_write()
        self._settle()

    def _housekeeping(self) -> None:
        self._client.loop_misc()
        self._timer = self._loop.call_later(_HOUSEKEEPING_S, self._housekeeping)
        self._settle()

    def _settle(self) -> None:
        """After paho did anything: send what its call-backs queued, and watch the socket for exactly what is needed."""
        if self._sock is None:
            return
        if self._client.want_write() and not self._writer_added:
            self._client.loop_write()
        if self._client.socket() is None:
            self._release()
            self._end(self._loss())
            return
        waiting = self._client.want_write()
        if waiting and not self._writer_added:
            self._loop.add_writer(self._sock, self._writable)
        elif not waiting:
            # Counted down only when all is sent: paho does not tell cheaply about each.
            self._waiting_messages = self._waiting_bytes = 0
            if self._writer_added:
                self._loop.remove_writer(self._sock)
        self._writer_added = waiting

    # paho's call-backs: they only note what happened

    def _paho_connected(
        self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._end(f"refused: {code}")
        else:
            client.subscribe([(topic_filter, 0) for topic_filter in self._target.subscriptions])

    def _paho_subscribed(
        self, _client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            self._end("refused: subscription")
        else:
            self.granted = True

    def _paho_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._arrived.append((message.topic, bytes(message.payload)))

    def _paho_disconnected(
        self,
        _client: paho.Client,
        _data: object,
        _flags: object,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._end(self._loss())

    def _paho_closing(self, _client: paho.Client, _data: object, _sock: object) -> None:
        self._release()


def _tune(_client: paho.Client, _data: object, sock: object) -> None:
    if isinstance(sock, socket.socket):
        tune(sock)


def _say(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"refused: not the pinned certificate ({error.verify_message})"
    return str(error) or type(error).__name__
