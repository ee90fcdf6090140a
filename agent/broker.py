"""The broker inside the agent: own event loop, own thread, own sockets; MQTT itself is in `agent.broker_mqtt`."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.sockets import tune
from agent.threads import show_thread_name
from agent.tls import TlsIdentity, certificate_box_id, server_context
from agent.topics import OwnerTopics
from ledger.errors import ConfigurationFault, OurFault, PeerFault
from ledger.limits import LIMITS

if TYPE_CHECKING:
    from agent.broker_mqtt import MeshBroker

_LOG = logging.getLogger(__name__)
_STOP_S = 5.0
_ACCEPT_RETRY_S = 0.1


@dataclass(slots=True)
class BrokerCounters:
    """What the broker did and refused since it was made; written by its own thread only."""

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
    """The owner itself, in this process; called on the broker's thread, must not block."""

    def put(self, topic: str, payload: bytes) -> bool:
        """A message from a peer; False when it was not taken."""

    def serving(self, *, up: bool) -> None:
        """The broker serves now, or no longer does."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker for one owner and its peers, over mutual TLS 1.3 with pinned certificates.

    All methods may be called from any one other thread; `start` and `stop` block until done.
    """

    def __init__(self, site: str, own: TlsIdentity, host: str, port: int, peers: Mapping[str, bytes]) -> None:
        """``host`` is a numeric address ("0.0.0.0" or "::" for all); ``peers`` maps box ids to certificates (DER)."""
        self._topics = OwnerTopics(site, own.box_id)
        self._own = own
        self._address = (host, port)
        self._boxes = self._pin(peers)
        self._tls = server_context(own, self._boxes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None
        self.counters = BrokerCounters()
        self._connections: dict[asyncio.Task[None], str] = {}  # value: box id, "" before TLS has told
        self._stopping: asyncio.Event | None = None
        self._broker: MeshBroker | None = None
        self._local: LocalClient | None = None
        self._bytes_published = 0  # by the owner's thread
        self._bytes_forwarded = 0  # by the broker's

    @property
    def port(self) -> int:
        """The port listened on; useful when 0 was asked for."""
        if self._listener is None:
            raise OurFault("broker.stopped", "The broker is not running.")
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Listen, then serve on a thread of its own; again, too, after that thread has failed.

        Raises:
            ConfigurationFault: the address cannot be listened on.
            OurFault: already running, or the broker could not be loaded.
        """
        if self._thread is not None:
            raise OurFault("broker.running", "The broker is already running.")
        self._listener = _listen(*self._address)
        self._connections = {}
        self._bytes_published = self._bytes_forwarded = 0  # what a failed thread did not forward is lost
        serving: concurrent.futures.Future[None] = concurrent.futures.Future()
        thread = threading.Thread(target=self._run, args=(self._listener, serving), name="broker", daemon=True)
        self._thread = thread
        thread.start()
        try:
            serving.result()
        except BaseException:
            thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Close every connection and the port; returns when the thread has ended."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed this moment: it has failed
            loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_S)
        if thread.is_alive():
            raise OurFault("broker.stuck", f"The broker did not stop within {_STOP_S:g} s.")
        self._thread = self._loop = self._stopping = None

    def set_peers(self, peers: Mapping[str, bytes]) -> None:
        """Trust exactly these certificates from now on; boxes no longer trusted are disconnected."""
        boxes = self._pin(peers)
        tls = server_context(self._own, boxes)
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._replace_peers, boxes, tls)
                return
        except RuntimeError:  # the loop was closed this moment
            pass
        self._boxes, self._tls = boxes, tls

    def attach(self, client: LocalClient | None) -> None:
        """Deliver what peers send to the owner to this client of the same process; None ends that."""
        self._local = client
        if self._loop is not None and self._stopping is not None and not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._tell_local)

    def publish(self, topic: str, data: bytes) -> bool:
        """Publish as the owner, without a connection; False when the broker is stopped or too far behind."""
        loop = self._loop
        waiting = self._bytes_published - self._bytes_forwarded
        if loop is None or waiting + len(data) > LIMITS.peer_queue_bytes:
            return False
        try:
            loop.call_soon_threadsafe(self._publish, topic, data)
        except RuntimeError:  # the loop was closed this moment
            return False
        self._bytes_published += len(data)
        return True

    def _publish(self, topic: str, data: bytes) -> None:
        self._bytes_forwarded += len(data)
        if self._broker is not None:
            self._broker.forward(self._own.box_id, topic, data)

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

    def _run(self, listener: socket.socket, serving: concurrent.futures.Future[None]) -> None:
        show_thread_name()
        try:
            # amqtt and what it needs take long to import: here, while the port already queues whoever connects.
            from agent.broker_mqtt import MeshBroker  # noqa: PLC0415

            for noisy in ("amqtt", "transitions"):
                logging.getLogger(noisy).setLevel(logging.ERROR)
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._stopping = asyncio.Event()
                try:
                    runner.run(self._serve(MeshBroker, listener, self._stopping, serving))
                except Exception:
                    if serving.done():  # told before the runner waits for the tasks that are left
                        self._failed(listener)
                    raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the owner hears of it
            if serving.done():
                _LOG.critical("the broker failed", exc_info=error)
            else:
                serving.set_exception(OurFault("broker.load", f"The embedded broker could not start: {error!r}"))
        finally:
            listener.close()
            if self._listener is listener:
                self._listener = None

    def _failed(self, listener: socket.socket) -> None:
        """On the broker's thread: it ends without having been asked, and another may take its place."""
        listener.close()
        self._broker = self._thread = self._loop = self._stopping = None
        self._tell_local()

    async def _serve(
        self,
        make: type[MeshBroker],
        listener: socket.socket,
        stopping: asyncio.Event,
        serving: concurrent.futures.Future[None],
    ) -> None:
        broker = make(self._topics, self.counters)
        await broker.start()
        accepting = asyncio.create_task(self._accept(broker, listener))
        self._broker = broker
        self._tell_local()
        serving.set_result(None)
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait({asked, accepting}, return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()  # raises: without it nobody could connect any more
        accepting.cancel()
        self._broker = None
        self._tell_local()
        await broker.shutdown()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(accepting, *self._connections, return_exceptions=True)

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

    def _connection_done(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a client's connection ended with an unexpected error", exc_info=error)

    async def _connection(self, broker: MeshBroker, sock: socket.socket) -> None:
        from agent.broker_mqtt import BoundedWriter, FrameReader  # noqa: PLC0415  # loaded by _serve

        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            tune(sock)
            transport, _protocol = await loop.connect_accepted_socket(
                lambda: protocol,
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
        writer = BoundedWriter(asyncio.StreamWriter(transport, protocol, reader, loop))
        try:
            await broker.serve(FrameReader(reader, box_id), writer)
        except (OSError, EOFError) as error:
            _LOG.debug("%s left: %r", box_id, error)

    def _too_many(self, box_id: str) -> bool:
        return collections.Counter(self._connections.values())[box_id] >= LIMITS.mqtt_connections_per_box

    def _replace_peers(self, boxes: dict[bytes, str], tls: ssl.SSLContext) -> None:
        gone = set(self._boxes.values()) - set(boxes.values())
        changed = {box for der, box in self._boxes.items() if boxes.get(der) != box}
        self._boxes, self._tls = boxes, tls
        for task, box_id in list(self._connections.items()):
            if box_id in gone | changed:
                task.cancel()


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
