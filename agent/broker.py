"""The broker inside the agent: its sockets, who may connect, and how fast; MQTT itself is in `agent.broker_mqtt`.

It lives on the node's own event loop (ADR 0004): a block reaches the sockets of its peers in the same turn in which it
was closed, and a peer's word is there when its bytes are. So whatever a stranger can make it do is bounded in time.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.sockets import tune
from agent.tls import TlsIdentity, certificate_box_id, server_context
from agent.topics import OwnerTopics
from ledger.errors import ConfigurationFault, OurFault, PeerFault
from ledger.limits import LIMITS

if TYPE_CHECKING:
    from agent.broker_mqtt import MeshBroker

_LOG = logging.getLogger(__name__)
_ACCEPT_RETRY_S = 0.1
_ACCEPT_PAUSE_S = 0.01
"""Between two connections: a TLS handshake takes up to a millisecond, those of strangers a tenth at most."""


@dataclass(slots=True)
class BrokerCounters:
    """What the broker did and refused since it was made."""

    connections_refused: int = 0
    clients_refused: int = 0
    publishes_refused: int = 0
    subscriptions_refused: int = 0
    protocol_errors: int = 0
    dropped_messages: int = 0
    dropped_bytes: int = 0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class LocalClient(Protocol):
    """The owner itself, in this process."""

    def put(self, topic: str, payload: bytes) -> bool:
        """A message from a peer; False when it was not taken."""

    def serving(self, *, up: bool) -> None:
        """The broker serves now, or no longer does."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker for one owner and its peers, over mutual TLS 1.3 with pinned certificates.

    It serves on the event loop on which it was started; every method belongs to that loop's thread.
    """

    def __init__(self, site: str, own: TlsIdentity, host: str, port: int, peers: Mapping[str, bytes]) -> None:
        """``host`` is a numeric address ("0.0.0.0" or "::" for all); ``peers`` maps box ids to certificates (DER)."""
        self._topics = OwnerTopics(site, own.box_id)
        self._own = own
        self._address = (host, port)
        self._boxes = self._pin(peers)
        self._tls = server_context(own, self._boxes)
        self._listener: socket.socket | None = None
        self.counters = BrokerCounters()
        self._connections: dict[asyncio.Task[None], str] = {}  # value: box id, "" before TLS has told
        self._accepting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._broker: MeshBroker | None = None
        self._local: LocalClient | None = None

    @property
    def port(self) -> int:
        """The port listened on; useful when 0 was asked for."""
        if self._listener is None:
            raise OurFault("broker.stopped", "The broker is not running.")
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen, then serve; again, too, after it has failed.

        Raises:
            ConfigurationFault: the address cannot be listened on.
            OurFault: already running, or the broker could not be loaded.
        """
        if self._listener is not None:
            raise OurFault("broker.running", "The broker is already running.")
        self._listener = listener = _listen(*self._address)
        try:
            # amqtt and what it needs take long to import: beside the loop, while the port queues whoever connects.
            make = await asyncio.to_thread(_load)
            broker = make(self._topics, self.counters)
            await broker.start()
        except Exception as error:
            self._unlisten()
            raise OurFault("broker.load", f"The embedded broker could not start: {error!r}") from error
        except BaseException:
            self._unlisten()
            raise
        self._broker = broker
        self._accepting = asyncio.get_running_loop().create_task(self._accept(broker, listener), name="broker")
        self._accepting.add_done_callback(self._accepting_ended)
        self._tell_local()

    async def stop(self) -> None:
        """Close every connection and the port."""
        if self._accepting is not None:
            self._accepting.remove_done_callback(self._accepting_ended)
            await self._end(self._accepting)
        elif self._ending is not None:
            await self._ending

    def _accepting_ended(self, accepting: asyncio.Task[None]) -> None:
        """It ends without having been asked: nobody could connect any more, and another broker may take its place."""
        error = None if accepting.cancelled() else accepting.exception()
        _LOG.critical("the broker failed", exc_info=error)
        self._ending = asyncio.get_running_loop().create_task(self._end(accepting))

    async def _end(self, accepting: asyncio.Task[None]) -> None:
        """The port first: whoever starts the broker again when the owner is told finds it free."""
        broker, self._broker, self._accepting = self._broker, None, None
        connections, self._connections = list(self._connections), {}
        accepting.cancel()
        self._unlisten()
        self._tell_local()
        try:
            if broker is not None:
                await broker.shutdown()
        except Exception:  # noqa: BLE001 - a bug there must not keep anything open here
            _LOG.exception("the broker did not end in order: its connections are closed all the same")
        for connection in connections:
            connection.cancel()
        await asyncio.gather(accepting, *connections, return_exceptions=True)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def set_peers(self, peers: Mapping[str, bytes]) -> None:
        """Trust exactly these certificates from now on; boxes no longer trusted are disconnected."""
        boxes = self._pin(peers)
        gone = set(self._boxes.values()) - set(boxes.values())
        changed = {box for der, box in self._boxes.items() if boxes.get(der) != box}
        self._boxes, self._tls = boxes, server_context(self._own, boxes)
        for task, box_id in list(self._connections.items()):
            if box_id in gone | changed:
                task.cancel()

    def attach(self, client: LocalClient | None) -> None:
        """Deliver what peers send to the owner to this client of the same process; None ends that."""
        self._local = client
        self._tell_local()

    def publish(self, topic: str, data: bytes) -> bool:
        """Publish as the owner, without a connection, at once; False when the broker is stopped."""
        if self._broker is None:
            return False
        self._broker.forward(self._own.box_id, topic, data)
        return True

    def _tell_local(self) -> None:
        local = self._local
        if self._broker is not None:
            self._broker.deliver_local = local.put if local is not None else None
        if local is not None:
            local.serving(up=self._broker is not None)

    def _pin(self, peers: Mapping[str, bytes]) -> dict[bytes, str]:
        boxes = {self._own.certificate_der: self._own.box_id}
        for box_id, der in peers.items():
            if certificate_box_id(der) != box_id or der in boxes:
                raise PeerFault(
                    "broker.certificate",
                    f"The certificate given for {box_id} names another box.",
                    "Check the manifest with `orledger verify`.",
                )
            boxes[der] = box_id
        return boxes

    async def _accept(self, broker: MeshBroker, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _address = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or the client left between SYN and accept
                _LOG.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(_ACCEPT_RETRY_S)
                continue
            if len(self._connections) >= LIMITS.mqtt_connections:
                broker.counters.connections_refused += 1
                sock.close()
                continue
            task = loop.create_task(self._connection(broker, sock))
            self._connections[task] = ""
            task.add_done_callback(self._connection_done)
            await asyncio.sleep(_ACCEPT_PAUSE_S)

    def _connection_done(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a client's connection ended with an unexpected error", exc_info=error)

    async def _connection(self, broker: MeshBroker, sock: socket.socket) -> None:
        from agent.broker_stream import BoundedWriter, FrameReader  # noqa: PLC0415  # loaded by start

        loop = asyncio.get_running_loop()
        reader = FrameReader()
        try:
            tune(sock)
            transport, _protocol = await loop.connect_accepted_socket(
                lambda: reader,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=LIMITS.mqtt_handshake_s,
                ssl_shutdown_timeout=LIMITS.mqtt_connect_s,
            )
        except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
            broker.counters.connections_refused += 1
            _LOG.info("a connection failed in TLS: %s", error)
            sock.close()
            return
        box_id = self._boxes.get(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        if box_id is None or self._too_many(box_id):
            broker.counters.connections_refused += 1
            transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            self._connections[task] = box_id
        reader.identity = box_id
        try:
            await broker.serve(reader, BoundedWriter(transport))
        except (OSError, EOFError) as error:
            _LOG.debug("%s left: %r", box_id, error)

    def _too_many(self, box_id: str) -> bool:
        return collections.Counter(self._connections.values())[box_id] >= LIMITS.mqtt_connections_per_box


def _load() -> type[MeshBroker]:
    from agent.broker_mqtt import MeshBroker  # noqa: PLC0415  # loaded only where a broker runs

    for noisy in ("amqtt", "transitions"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return MeshBroker


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=LIMITS.mqtt_connections)
    except (OSError, OverflowError) as error:
        raise ConfigurationFault(
            "broker.listen",
            f"The broker cannot listen on {host}:{port}: {error}",
            "Set replication.listen to a free port of this machine, or stop the program that uses it "
            f"(ss -ltnp 'sport = {port}').",
        ) from error
    listener.setblocking(False)
    return listener
