"""The box's place in the mesh: its own broker and every peer's, as seen from the node.

Every message is at most once, QoS 0, never retained; the ledger's ranges recover what is lost. The sender of a message
can be believed: messages on a peer's broker are let through only from that peer (its server certificate is pinned), and
messages on our own broker carry the name the broker has checked against the pinned client certificate.
"""

from __future__ import annotations

import asyncio
import collections
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from agent.broker import EmbeddedBroker
from agent.link import Link, LinkCounters, LinkTarget
from agent.local_link import LocalLink
from agent.tls import TlsIdentity, client_context
from agent.topics import BROADCAST, TO_OWNER, Channel, OwnerTopics, client_id
from ledger.errors import OurFault
from ledger.limits import LIMITS

_CONNECTING_THREADS = 8
_LIVE = "live"
_BULK = "bulk"


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer's broker listens, and the certificate it must show (DER, from the manifest)."""

    box_id: str
    host: str
    port: int
    certificate_der: bytes


@dataclass(frozen=True, slots=True)
class MeshMessage:
    """A message from a peer.

    ``channel`` is how it came: live, heads and (bulk-)out by the peer's broker, (bulk-)in by ours.
    ``received_mono_ns`` is time.monotonic_ns().
    """

    sender: str
    channel: Channel
    data: bytes
    received_mono_ns: int


@dataclass(frozen=True, slots=True)
class PeerUp:
    """We are connected and subscribed to the peer's broker."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The connection to the peer's broker was lost; told once per loss, not per failed attempt."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class OwnBrokerUp:
    """We are connected and subscribed to our own broker."""


@dataclass(frozen=True, slots=True)
class OwnBrokerDown:
    """The connection to our own broker was lost."""

    reason: str


MeshEvent = MeshMessage | PeerUp | PeerDown | OwnBrokerUp | OwnBrokerDown


class Mesh:
    """Connections to the own broker and to every peer's. Belongs to the thread of one event loop.

    ``on_event`` is called on that loop, per source in order, and must return quickly: while it works, the sockets'
    own buffers hold back the senders, so nothing queues up here.
    """

    def __init__(
        self,
        site: str,
        own: TlsIdentity,
        own_broker: EmbeddedBroker | tuple[str, int],
        peers: Iterable[PeerAddress],
        on_event: Callable[[MeshEvent], None],
    ) -> None:
        """``own_broker`` is the broker peers connect to: the one inside this process, or host and port of mosquitto."""
        self._site = site
        self._own = own
        self._topics = OwnerTopics(site, own.box_id)
        self._own_broker = own_broker
        self._on_event = on_event
        self._instance = secrets.token_hex(8)
        self._peers: dict[str, _Peer] = {}
        self._first_peers = tuple(peers)
        self._own_live: _Kept | None = None
        self._own_bulk: _Kept | None = None
        self._executor: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Begin to connect; returns at once, `OwnBrokerUp` and `PeerUp` tell the rest.

        Raises:
            PeerFault: a peer's certificate is unfit.
        """
        if self._executor is not None:
            raise OurFault("mesh.running", "The mesh is already running.")
        self._executor = ThreadPoolExecutor(_CONNECTING_THREADS, thread_name_prefix="mesh-connect")
        if isinstance(self._own_broker, EmbeddedBroker):
            on_up, on_down = self._tell(OwnBrokerUp, OwnBrokerDown)
            self._own_live = self._own_bulk = _keep(LocalLink(self._own_broker, self._from_own_broker, on_up, on_down))
        else:
            host, port = self._own_broker
            self._own_live = self._own_link(host, port, _LIVE, Channel.IN, self._tell(OwnBrokerUp, OwnBrokerDown))
            self._own_bulk = self._own_link(host, port, _BULK, Channel.BULK_IN, (_nothing, _nothing))
        self.set_peers(self._first_peers)

    async def stop(self) -> None:
        """Close every connection."""
        links = [link for link in (self._own_live, self._own_bulk) if link is not None]
        for peer in self._peers.values():
            links.extend(peer.links())
        self._peers.clear()
        for link in links:
            link.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)  # at most one connect time-out
        self._executor = self._own_live = self._own_bulk = None

    def set_peers(self, peers: Iterable[PeerAddress]) -> None:
        """Connect to exactly these peers from now on; unchanged ones keep their connection."""
        wanted = {peer.box_id: peer for peer in peers}
        for box_id, peer in list(self._peers.items()):
            if wanted.get(box_id) != peer.address:
                del self._peers[box_id]
                for link in peer.links():
                    link.cancel()
        for box_id, address in wanted.items():
            if box_id not in self._peers and box_id != self._own.box_id:
                self._peers[box_id] = self._make_peer(address)

    def broadcast(self, channel: Channel, data: bytes) -> bool:
        """Send to every peer (channel live or heads); False when it was dropped and counted."""
        if channel not in BROADCAST:
            raise OurFault("mesh.channel", f"{channel} is not for broadcasts.")
        return self._own_publish(self._own_live, self._topics.topic(channel), data)

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        """Send to one peer by its broker; False when it was dropped and counted.

        With ``bulk`` it goes by a connection of its own, opened when needed; a few messages are held while it opens.
        """
        entry = self._peers.get(peer)
        if entry is None:
            return False
        if bulk:
            return entry.send_bulk(data)
        return entry.live.link.publish(entry.topics.topic(Channel.IN, self._own.box_id), data)

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        """Send to one peer by our own broker, where only that peer may read it; False when dropped and counted."""
        channel, link = (Channel.BULK_OUT, self._own_bulk) if bulk else (Channel.OUT, self._own_live)
        return peer in self._peers and self._own_publish(link, self._topics.topic(channel, peer), data)

    def is_up(self, peer: str) -> bool:
        """Whether the peer's broker can be reached now."""
        entry = self._peers.get(peer)
        return entry is not None and entry.live.link.up

    def counters(self) -> dict[str, LinkCounters]:
        """Per link since it was made, by ``<box id>`` and ``<box id>/bulk``; our own id stands for our own broker."""
        found: dict[str, LinkCounters] = {}
        for name, kept in ((f"{self._own.box_id}/bulk", self._own_bulk), (self._own.box_id, self._own_live)):
            if kept is not None and (kept is not self._own_live or name == self._own.box_id):
                found[name] = kept.link.counters
        for box_id, peer in self._peers.items():
            found[box_id] = peer.live.link.counters
            if peer.bulk is not None:
                found[f"{box_id}/bulk"] = peer.bulk.link.counters
        return found

    @staticmethod
    def _own_publish(kept: _Kept | None, topic: str, data: bytes) -> bool:
        return kept is not None and kept.link.publish(topic, data)

    def _own_link(
        self,
        host: str,
        port: int,
        purpose: str,
        channel: Channel,
        told: tuple[Callable[[], None], Callable[[str], None]],
    ) -> _Kept:
        tls = client_context(self._own, self._own.certificate_der)
        identifier = client_id(self._own.box_id, purpose, self._instance)
        target = LinkTarget(host, port, tls, identifier, (self._topics.topic(channel, "+"),))
        return self._keep_link(target, self._from_own_broker, *told)

    def _make_peer(self, address: PeerAddress) -> _Peer:
        topics = OwnerTopics(self._site, address.box_id)
        tls = client_context(self._own, address.certificate_der)
        me = self._own.box_id

        def target(purpose: str, *subscriptions: str) -> LinkTarget:
            identifier = client_id(me, purpose, self._instance)
            return LinkTarget(address.host, address.port, tls, identifier, subscriptions)

        def deliver(topic: str, data: bytes) -> None:
            self._from_peer(address.box_id, topics, topic, data)

        def open_bulk(on_up: Callable[[], None]) -> _Kept:
            return self._keep_link(target(_BULK, topics.topic(Channel.BULK_OUT, me)), deliver, on_up, _nothing)

        subscriptions = topics.topic(Channel.LIVE), topics.topic(Channel.HEADS), topics.topic(Channel.OUT, me)
        told = self._tell(lambda: PeerUp(address.box_id), lambda reason: PeerDown(address.box_id, reason))
        live = self._keep_link(target(_LIVE, *subscriptions), deliver, *told)
        return _Peer(address, topics, live, topics.topic(Channel.BULK_IN, me), open_bulk)

    def _keep_link(
        self,
        target: LinkTarget,
        deliver: Callable[[str, bytes], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
    ) -> _Kept:
        if self._executor is None:
            raise OurFault("mesh.stopped", "The mesh is not running.")
        return _keep(Link(target, self._executor, deliver, on_up, on_down))

    def _tell(
        self, up: Callable[[], MeshEvent], down: Callable[[str], MeshEvent]
    ) -> tuple[Callable[[], None], Callable[[str], None]]:
        """Call-backs of a link that tell the node; a loss once, not every failed attempt after it."""
        was_up: bool | None = None

        def on_up() -> None:
            nonlocal was_up
            was_up = True
            self._on_event(up())

        def on_down(reason: str) -> None:
            nonlocal was_up
            if was_up is not False:
                was_up = False
                self._on_event(down(reason))

        return on_up, on_down

    def _from_own_broker(self, topic: str, data: bytes) -> None:
        parsed = self._topics.parse(topic)
        if parsed is not None and parsed[0] in TO_OWNER and parsed[1] in self._peers:
            self._on_event(MeshMessage(parsed[1], parsed[0], data, time.monotonic_ns()))

    def _from_peer(self, peer: str, topics: OwnerTopics, topic: str, data: bytes) -> None:
        entry = self._peers.get(peer)
        parsed = topics.parse(topic)
        if entry is None or parsed is None:
            return
        if parsed[0] is Channel.BULK_OUT:
            entry.touch()
        self._on_event(MeshMessage(peer, parsed[0], data, time.monotonic_ns()))


class _AnyLink(Protocol):
    """What `Link` and `LocalLink` have in common."""

    counters: LinkCounters

    @property
    def up(self) -> bool: ...
    def publish(self, topic: str, data: bytes) -> bool: ...
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """A link and the task that keeps it up."""

    link: _AnyLink
    task: asyncio.Task[None]

    def cancel(self) -> None:
        self.task.cancel()


def _keep(link: _AnyLink) -> _Kept:
    return _Kept(link, asyncio.get_running_loop().create_task(link.run()))


def _nothing(_reason: str = "") -> None:
    """The bulk connections say nothing of themselves: the live ones tell who can be reached."""


class _Peer:
    """The connections to one peer's broker; the one for bulk exists only while it is used."""

    def __init__(
        self,
        address: PeerAddress,
        topics: OwnerTopics,
        live: _Kept,
        bulk_topic: str,
        open_bulk: Callable[[Callable[[], None]], _Kept],
    ) -> None:
        self.address = address
        self.topics = topics
        self.live = live
        self.bulk: _Kept | None = None
        self._bulk_topic = bulk_topic
        self._open_bulk = open_bulk
        self._held: collections.deque[bytes] = collections.deque()
        self._idle: asyncio.TimerHandle | None = None

    def links(self) -> list[_Kept]:
        if self._idle is not None:
            self._idle.cancel()
        return [self.live] if self.bulk is None else [self.live, self.bulk]

    def send_bulk(self, data: bytes) -> bool:
        if self.bulk is None:
            self.bulk = self._open_bulk(self._send_held)
        self.touch()
        if not self.bulk.link.up and len(self._held) < LIMITS.bulk_held_messages:
            self._held.append(data)
            return True
        return self.bulk.link.publish(self._bulk_topic, data)

    def touch(self) -> None:
        """Bulk is in use: keep its connection for a while more."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(LIMITS.bulk_idle_ns / 1e9, self._close_bulk)

    def _send_held(self) -> None:
        while self._held and self.bulk is not None:
            self.bulk.link.publish(self._bulk_topic, self._held.popleft())

    def _close_bulk(self) -> None:
        if self.bulk is not None:
            self.bulk.cancel()
        self.bulk = None
        self._held.clear()
