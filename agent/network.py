"""Broker and mesh of one node: started after the first feeds, loaded only when there are peers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agent.config import host_port
from ledger.errors import OrledgerError, OurFault
from ledger.limits import LIMITS, S_NS
from ledger.outbox import Warn

if TYPE_CHECKING:
    from agent.broker import BrokerCounters, EmbeddedBroker
    from agent.mesh import Mesh, MeshEvent
    from agent.node import Node

_LOG = logging.getLogger(__name__)
_BROKER_DOWN = "broker.down"
_NETWORK_DOWN = "network.down"


class MeshWire:
    """``agent.pump.Wire`` over the mesh."""

    def __init__(self, mesh: Mesh) -> None:
        from agent.topics import Channel  # noqa: PLC0415 - loaded with the mesh, after the first feeds

        self._mesh = mesh
        self._live = Channel.LIVE
        self._heads = Channel.HEADS

    def broadcast_live(self, data: bytes) -> bool:
        """To every peer, blocks."""
        return self._mesh.broadcast(self._live, data)

    def broadcast_heads(self, data: bytes) -> bool:
        """To every peer, gossip."""
        return self._mesh.broadcast(self._heads, data)

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        """To one peer by its broker."""
        return self._mesh.send_to(peer, data, bulk=bulk)

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        """To one peer by our broker."""
        return self._mesh.reply_to(peer, data, bulk=bulk)


class Network:
    """The node's connection to its peers."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker: EmbeddedBroker | None = None
        self._restarting: asyncio.Task[None] | None = None
        self.mesh: Mesh | None = None

    @property
    def broker_counters(self) -> BrokerCounters | None:
        """What the broker inside this process counts; None without one."""
        return None if self._broker is None else self._broker.counters

    async def start(self) -> None:
        """Listen and connect; returns at once when the box has no peers.

        What is wrong with the network never stops the recorder: it is told of, and tried again.
        """
        try:
            await self._connect()
        except OrledgerError as error:
            self._tell_down(error)
            self._restarting = asyncio.get_running_loop().create_task(self._connect_at_last())

    async def _connect_at_last(self) -> None:
        while True:
            await asyncio.sleep(LIMITS.network_retry_ns / S_NS)
            try:
                await self._connect()
            except OrledgerError as error:
                self._tell_down(error)
            else:
                self._node.alerts.clear(_NETWORK_DOWN, "network", self._node.now().utc_ns)
                return

    def _tell_down(self, error: OrledgerError) -> None:
        text = f"this box records alone, because the network could not be started: {error.text}"
        warning = Warn(_NETWORK_DOWN, "critical", error.party, "network", text, error.next_step)
        self._node.alerts.take(warning, self._node.now().utc_ns)

    async def _connect(self) -> None:
        node = self._node
        replication = node.configuration.replication
        peers = node.manifest.peers_of(node.member.own_id)
        if replication is None or not peers:
            return
        from agent.mesh import Mesh, PeerAddress  # noqa: PLC0415 - the network comes after the first feeds

        host, port = host_port(replication.listen, "$.replication.listen")
        if replication.broker == "embedded" and self._broker is None:
            await self._start_broker(host, port, {peer.id: peer.tls_certificate for peer in peers})
        addresses = []
        for peer in peers:
            text = replication.address.get(peer.id, peer.address)
            addresses.append(
                PeerAddress(peer.id, *host_port(text, f"$.replication.address.{peer.id}"), peer.tls_certificate)
            )
        mesh = Mesh(node.manifest.site, node.identity.tls, self._broker or (host, port), addresses, self._on_event)
        self.mesh = mesh
        node.pump.wire = MeshWire(mesh)
        await mesh.start()

    async def _start_broker(self, host: str, port: int, certificates: dict[str, bytes]) -> None:
        from agent.broker import EmbeddedBroker  # noqa: PLC0415 - the network comes after the first feeds

        node = self._node
        broker = EmbeddedBroker(node.manifest.site, node.identity.tls, host, port, certificates)
        await asyncio.to_thread(broker.start)
        self._broker = broker

    def _on_event(self, event: MeshEvent) -> None:
        from agent.mesh import MeshMessage, OwnBrokerDown, OwnBrokerUp, PeerDown, PeerUp  # noqa: PLC0415
        from agent.topics import Channel  # noqa: PLC0415

        pump = self._node.pump
        match event:
            case MeshMessage(sender, channel, data, _):
                pump.arrived(sender, data, bulk=channel is Channel.BULK_IN)
            case PeerUp(peer):
                _LOG.info("peer %s: connected", peer)
                pump.peer_up(peer)
            case PeerDown(peer, reason):
                _LOG.info("peer %s: connection lost, %s", peer, reason)
                pump.peer_down(peer)
            case OwnBrokerUp():
                _LOG.info("own broker: connected")
                self._node.alerts.clear(_BROKER_DOWN, "broker", self._node.now().utc_ns)
            case OwnBrokerDown(reason):
                self._node.alerts.take(self._broker_down(reason), self._node.now().utc_ns)
                if self._broker is not None:
                    self._restarting = asyncio.get_running_loop().create_task(self._restart(self._broker))
            case _:
                raise OurFault("network.event", f"unknown mesh event {event!r}")

    async def _restart(self, broker: EmbeddedBroker) -> None:
        """The broker inside this process failed: start it again until it serves; recording goes on meanwhile."""
        while True:
            await asyncio.sleep(LIMITS.mqtt_reconnect_max_ms / 1_000)
            try:
                await asyncio.to_thread(broker.start)
            except OrledgerError as error:
                _LOG.error("the broker could not be started again: %s", error)
            else:
                return

    def _broker_down(self, reason: str) -> Warn:
        text = f"this box's own broker cannot be reached ({reason}): its blocks reach no peer"
        name = "orledger" if self._broker is not None else "mosquitto"
        return Warn(_BROKER_DOWN, "warning", "us", "broker", text, f"systemctl status {name}")

    async def stop(self) -> None:
        """Leave the network."""
        self._node.pump.wire = None
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        if self.mesh is not None:
            await self.mesh.stop()
            self.mesh = None
        if self._broker is not None:
            await asyncio.to_thread(self._broker.stop)
            self._broker = None
