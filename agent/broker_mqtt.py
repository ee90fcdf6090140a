"""The MQTT 3.1.1 side of the embedded broker: amqtt, with its gaps closed.

amqtt keeps sessions, subscriptions and packet formats. What it lacks, or does too slowly, is overridden here:

- identity: the box of the pinned client certificate; amqtt would let a client replace another's session by its id
- a cap on every packet, checked on the fixed header, before anything is allocated
- keepalive enforced; amqtt ignores it
- a bound on what waits for a slow client; amqtt's queues are unbounded
- topic rules as a plain function; amqtt makes a task per check
- forwarding a PUBLISH as the bytes that came, at once; amqtt queues it, decodes it and makes a task per subscriber

Only QoS 0 without retain is served: correctness comes from the ledger's seq, hashes and ranges, not from MQTT.
Tests pin every amqtt internal that is relied on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from amqtt.adapters import BufferReader
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError, MQTTError
from amqtt.mqtt import packet_class
from amqtt.mqtt.connack import IDENTIFIER_REJECTED, NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.packet import CONNECT, DISCONNECT, PINGREQ, PUBLISH, SUBSCRIBE, UNSUBSCRIBE
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from agent.broker import BrokerCounters
from agent.broker_stream import BoundedWriter, Frame, FrameReader, ProtocolError
from agent.topics import OwnerTopics, client_id_belongs_to
from ledger.limits import LIMITS

LISTENER = "default"
_SUBSCRIPTIONS_WAITING = 8
_LOG = logging.getLogger(__name__)


class ClientHandler(BrokerProtocolHandler):  # type: ignore[misc]  # amqtt ships no types
    """One client's connection: reads capped packets and handles them in the order they came."""

    broker: MeshBroker
    identity: str

    def _bind(self, broker: MeshBroker, identity: str) -> None:
        self.broker = broker
        self.identity = identity
        self._pending_subscriptions: asyncio.Queue[object] = asyncio.Queue(_SUBSCRIPTIONS_WAITING)
        self._pending_unsubscriptions: asyncio.Queue[object] = asyncio.Queue(_SUBSCRIPTIONS_WAITING)

    async def start(self) -> None:
        await super().start()
        if self._reader_stopped.is_set():  # amqtt starts to wait for the end too late for a client that left at once
            await self.handle_connection_closed()

    async def _reader_loop(self) -> None:
        self._reader_ready.set()
        try:
            await self._read_all()
        except asyncio.CancelledError:
            _LOG.debug("reading from %s was stopped", self.identity)
        except (TimeoutError, EOFError, OSError) as error:  # EOFError: IncompleteReadError
            _LOG.debug("%s is gone: %r", self.identity, error)
        except (AMQTTError, MQTTError) as error:
            self.broker.counters.protocol_errors += 1
            _LOG.warning("%s broke the protocol and was disconnected: %s", self.identity, error)
        finally:
            await self.handle_connection_closed()
            self._reader_stopped.set()
            await self.stop()

    async def _read_all(self) -> None:
        # [MQTT-3.1.2-24]: one and a half times the keepalive; a client that wants none gets ours.
        keepalive_s = min(self.session.keep_alive or LIMITS.mqtt_keepalive_s, 10 * LIMITS.mqtt_keepalive_s)
        reader: FrameReader = self.reader
        reader.on_publish = self._forward
        while True:
            try:
                async with asyncio.timeout_at(reader.heard_s + 1.5 * keepalive_s):
                    frame = await reader.frame()
            except TimeoutError:
                if asyncio.get_running_loop().time() < reader.heard_s + 1.5 * keepalive_s:
                    continue  # it published meanwhile
                raise
            if frame.packet_type == PUBLISH:
                self._forward(frame)
            elif frame.packet_type == PINGREQ:
                await self.handle_pingreq(None)
            elif frame.packet_type == DISCONNECT:
                await self.handle_disconnect(await _decode(frame))
                return
            elif frame.packet_type == SUBSCRIBE:
                await self.handle_subscribe(await _decode(frame))
            elif frame.packet_type == UNSUBSCRIBE:
                await self.handle_unsubscribe(await _decode(frame))
            else:
                raise ProtocolError(f"unexpected packet of type {frame.packet_type}")

    def _forward(self, frame: Frame) -> None:
        if frame.first != PUBLISH << 4:
            raise ProtocolError(f"only QoS 0 without retain is served, not flags {frame.first & 0x0F:#x}")
        topic_length = int.from_bytes(frame.body[:2], "big")
        if not 0 < topic_length <= min(LIMITS.mqtt_topic_bytes, len(frame.body) - 2):
            raise ProtocolError("malformed topic")
        try:
            topic = frame.body[2 : 2 + topic_length].decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("topic is not UTF-8") from error
        self.broker.forward(self.identity, topic, frame.body[2 + topic_length :])


async def _decode(frame: Frame) -> object:
    data = frame.encode()
    try:
        packet = await packet_class(frame.header()).from_stream(BufferReader(frame.body), fixed_header=frame.header())
        whole = packet.to_bytes() == data  # amqtt reads over what is cut short or left over
    except MQTTError:
        raise
    except Exception as error:  # amqtt raises struct.error, IndexError and others on malformed packets
        raise ProtocolError(f"malformed packet of type {frame.packet_type}: {error!r}") from error
    if not whole:
        raise ProtocolError(f"malformed packet of type {frame.packet_type}")
    return packet


class MeshBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """amqtt's broker for connections that `EmbeddedBroker` has accepted and authenticated."""

    def __init__(self, topics: OwnerTopics, counters: BrokerCounters) -> None:
        listener = ListenerConfig(type=ListenerType.EXTERNAL)
        super().__init__(BrokerConfig(listeners={LISTENER: listener}, plugins={}))
        self.topics = topics
        self.counters = counters
        self.deliver_local: Callable[[str, bytes], bool] | None = None

    async def serve(self, reader: FrameReader, writer: BoundedWriter) -> None:
        """Serve one authenticated client until it is gone."""
        try:
            await self.external_connected(reader, writer, LISTENER)
        finally:
            writer.abort()

    async def _initialize_client_session(
        self, reader: FrameReader, writer: BoundedWriter, remote_address: str, remote_port: int
    ) -> tuple[ClientHandler, Session]:
        async with asyncio.timeout(LIMITS.mqtt_handshake_s):
            frame = await reader.frame()
        if frame.packet_type != CONNECT:
            raise ProtocolError("the first packet is no CONNECT")  # [MQTT-3.1.0-1]
        try:
            handler, session = await ClientHandler.init_from_connect(
                BufferReader(frame.encode()), writer, self.plugins_manager
            )
        except (AMQTTError, MQTTError):
            raise
        except Exception as error:  # amqtt raises struct.error, IndexError and others on malformed packets
            raise ProtocolError(f"malformed CONNECT: {error!r}") from error
        await self._check_client(session, reader.identity, writer)
        session.clean_session = True  # nothing is ever kept for a client that is away
        session.parent = 0
        handler._bind(self, reader.identity)  # noqa: SLF001  # our own subclass, made by amqtt's factory
        await self._take_over(session.client_id)
        return handler, session

    async def _check_client(self, session: Session, identity: str, writer: BoundedWriter) -> None:
        """Refuse before amqtt touches any session: it would let a refused client replace another's."""
        code = None
        if not client_id_belongs_to(session.client_id, identity):
            code, why = IDENTIFIER_REJECTED, f"client id {session.client_id!r} is not its own"
        elif session.will_flag:
            code, why = NOT_AUTHORIZED, "it brings a will"
        if code is not None:
            self.counters.clients_refused += 1
            await ConnackPacket.build(0, code).to_stream(writer)
            raise ProtocolError(f"{identity} was refused: {why}")

    async def _take_over(self, client_id: str) -> None:
        """[MQTT-3.1.4-2]: the same client id again ends the older connection."""
        old = self._sessions.get(client_id)
        if old is not None:
            old[1].writer.abort()
        await self._delete_session(client_id)

    async def _authenticate(self, session: Session, listener: ListenerConfig) -> bool:
        return True  # TLS and _check_client have; amqtt's way registers a session before it asks

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        if action != Action.SUBSCRIBE:  # publishing is checked in forward
            return False
        handler = self._get_handler(session)
        if handler is not None and self.topics.may_subscribe(handler.identity, topic):
            return True
        self.counters.subscriptions_refused += 1
        _LOG.info("%s may not subscribe to %s", session.client_id, topic)
        return False

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        code: int = await super().add_subscription((subscription[0], 0), session)  # grants QoS 0, whatever was asked
        return code

    async def _session_monitor(self) -> None:
        """Not needed: a session ends with its connection, in `_handle_client_session`."""

    async def _handle_client_session(
        self,
        reader: FrameReader,
        writer: BoundedWriter,
        client_session: Session,
        handler: ClientHandler,
        server: object,
        listener_name: str,
    ) -> None:
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, server, listener_name)
        finally:
            if self._sessions.get(client_session.client_id, (None, None))[1] is handler:
                await self._delete_session(client_session.client_id)

    def forward(self, identity: str, topic: str, payload: bytes) -> None:
        """Hand a message to everyone subscribed, or drop it: per client in order, never waiting, never unbounded."""
        counters = self.counters
        if not self.topics.may_publish(identity, topic):
            counters.publishes_refused += 1
            _LOG.info("%s may not publish to %s", identity, topic)
            return
        counters.messages_in += 1
        counters.bytes_in += len(payload)
        if self.deliver_local is not None and identity != self.topics.owner:  # peers publish only to the owner
            self._count(self.deliver_local(topic, payload), len(payload))
        data: bytes | None = None
        for topic_filter, subscriptions in self._subscriptions.items():
            if not self._matches(topic, topic_filter):
                continue
            if data is None:
                name = topic.encode()
                data = Frame(PUBLISH << 4, len(name).to_bytes(2, "big") + name + payload).encode()
            for session, _qos in subscriptions:
                handler = self._get_handler(session)
                taken = handler is not None and handler.writer is not None and handler.writer.offer(data)
                self._count(taken, len(payload))

    def _count(self, taken: bool, payload_bytes: int) -> None:
        if taken:
            self.counters.messages_out += 1
            self.counters.bytes_out += payload_bytes
        else:
            self.counters.dropped_messages += 1
            self.counters.dropped_bytes += payload_bytes
