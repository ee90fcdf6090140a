"""Broker and mesh of one node: started after the first feeds, loaded only when there are peers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agent.config import host_port
from ledger.errors import ConfigurationFault, OrledgerError, OurFault, PeerFault
from ledger.limits import LIMITS, S_NS
from ledger.manifest import Box, Manifest
from ledger.messages import ManifestOffer
from ledger.outbox import Warn

if TYPE_CHECKING:
    from agent.broker import BrokerCounters, EmbeddedBroker
    from agent.mesh import Mesh, MeshEvent, PeerAddress
    from agent.node import Node

_LOG = logging.getLogger(__name__)
_BROKER_DOWN = "broker.down"
_BROKER_PEERS = "broker.peers"
_NETWORK_DOWN = "network.down"
_PEER_UNFIT = "network.peer-unfit"
_ASK = "have the site's manifest corrected"


def _load() -> None:
    """On a thread: what MQTT and certificates need takes long to import, and the first ticks go on meanwhile."""
    import agent.broker  # noqa: PLC0415
    import agent.mesh  # noqa: PLC0415
    import agent.tls  # noqa: F401, PLC0415


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
    """The node's connection to its peers: those of the manifest in force, which may change at any time.

    What is wrong with the network never stops the recorder: it is told of, and tried again.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._broker: EmbeddedBroker | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._leaving: dict[str, float] = {}
        self._connected: dict[str, PeerAddress] = {}
        self._unfit: set[str] = set()
        self.mesh: Mesh | None = None

    @property
    def broker_counters(self) -> BrokerCounters | None:
        """What the broker inside this process counts; None without one."""
        return None if self._broker is None else self._broker.counters

    async def start(self) -> None:
        """Listen and connect; from then on follow the manifest."""
        went_well = await self._adapt_and_tell()
        self._keeping = asyncio.get_running_loop().create_task(self._keep(went_well=went_well))

    def follow(self, before: Manifest) -> None:
        """A manifest came into force after ``before``: connect to its boxes, cut off who left.

        Who leaves is told so first, with a little time to read it, and for the epoch that both groups must fence.
        """
        node, until = self._node, asyncio.get_running_loop().time() + LIMITS.farewell_ns / S_NS
        staying = {peer.id for peer in node.manifest.peers_of(node.member.own_id)}
        following = node.member.manifests.next_after(before.hash)
        for peer in self._connected.keys() - staying - self._leaving.keys():
            self._leaving[peer] = until
            if following is not None:
                node.member.out.tell_when_durable(peer, ManifestOffer(following))
        node.pump.pump()
        self._changed.set()

    async def _keep(self, *, went_well: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            waits = [until - loop.time() for until in self._leaving.values()]
            if not went_well:
                waits.append(LIMITS.network_retry_ns / S_NS)
            try:
                async with asyncio.timeout(max(0.0, min(waits)) if waits else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            went_well = await self._adapt_and_tell()

    async def _adapt_and_tell(self) -> bool:
        """True when everything is as the manifest wants it."""
        node = self._node
        try:
            await self._adapt()
        except OrledgerError as error:
            self._tell_down(error)
            return False
        except Exception as error:  # noqa: BLE001 - a bug here must not end the recording
            _LOG.exception("the network could not be adapted to the manifest")
            self._tell_down(OurFault("network.failed", f"it failed: {error!r}", "report this"))
            return False
        node.alerts.clear(_NETWORK_DOWN, "network", node.now().utc_ns)
        return True

    def _tell_down(self, error: OrledgerError) -> None:
        text = f"this box records alone, because the network could not be started: {error.text}"
        if self._connected:
            text = f"this box stays with its earlier peers, because the manifest cannot be followed: {error.text}"
        warning = Warn(_NETWORK_DOWN, "critical", error.party, "network", text, error.next_step)
        self._node.alerts.take(warning, self._node.now().utc_ns)

    async def _adapt(self) -> None:
        """Make broker and mesh as the manifest wants them now. Raises OrledgerError; then it is to be done again."""
        node, replication = self._node, self._node.configuration.replication
        if replication is None and node.manifest.peers_of(node.member.own_id):
            raise ConfigurationFault(
                "config.no-replication", "the manifest lists peers, but there is no [replication]",
                "add [replication] listen to the configuration and restart",
            )  # fmt: skip
        if replication is not None:
            await asyncio.to_thread(_load)
        addresses = self._wanted()
        if replication is None or (not addresses and self.mesh is None):
            return
        host, port = host_port(replication.listen, "$.replication.listen")
        certificates = {box: address.certificate_der for box, address in addresses.items()}
        if replication.broker == "mosquitto":
            self._tell_mosquitto(certificates)
        elif self._broker is None:
            await self._start_broker(host, port, certificates)
        else:
            self._broker.set_peers(certificates)
        if self.mesh is None:
            from agent.mesh import Mesh  # noqa: PLC0415 - loaded by then

            own = node.identity.tls
            mesh = Mesh(node.manifest.site, own, self._broker or (host, port), addresses.values(), self._on_event)
            await mesh.start()
            self.mesh = mesh
            node.pump.wire = MeshWire(mesh)
        else:
            self.mesh.set_peers(addresses.values())
        for peer, address in self._connected.items():
            if addresses.get(peer) != address:
                _LOG.info("peer %s: %s by the manifest", peer, "changed" if peer in addresses else "removed")
                node.pump.peer_down(peer)
        self._connected = addresses

    def _wanted(self) -> dict[str, PeerAddress]:
        """Every peer of the manifest that can be connected to, and who is just leaving; alerts for who cannot."""
        node, now_s = self._node, asyncio.get_running_loop().time()
        self._leaving = {peer: until for peer, until in self._leaving.items() if until > now_s}
        wanted = {peer: address for peer, address in self._connected.items() if peer in self._leaving}
        unfit: dict[str, OrledgerError] = {}
        for peer in node.manifest.peers_of(node.member.own_id):
            self._leaving.pop(peer.id, None)
            try:
                wanted[peer.id] = self._address(peer)
            except OrledgerError as error:
                wanted.pop(peer.id, None)
                unfit[peer.id] = error
        for peer_id in self._unfit - unfit.keys():
            node.alerts.clear(_PEER_UNFIT, peer_id, node.now().utc_ns)
        for peer_id, why in unfit.items():
            text = f"{peer_id} cannot be connected to: {why.text}"
            node.alerts.take(Warn(_PEER_UNFIT, "critical", why.party, peer_id, text, why.next_step), node.now().utc_ns)
        self._unfit = set(unfit)
        return wanted

    def _address(self, peer: Box) -> PeerAddress:
        """Where a peer is and what it must show. Raises ConfigurationFault or PeerFault, naming it."""
        from agent.mesh import PeerAddress  # noqa: PLC0415 - the network comes after the first feeds
        from agent.tls import certificate_box_id  # noqa: PLC0415

        replication = self._node.configuration.replication
        overridden = replication.address.get(peer.id) if replication is not None else None
        if certificate_box_id(peer.tls_certificate) != peer.id:
            raise PeerFault("network.certificate", "the manifest gives it a certificate that names another box", _ASK)
        spot = f"$.replication.address.{peer.id}" if overridden is not None else f"the manifest's address of {peer.id}"
        return PeerAddress(peer.id, *host_port(overridden or peer.address, spot), peer.tls_certificate)

    def _tell_mosquitto(self, certificates: dict[str, bytes]) -> None:
        """A mosquitto beside the agent has the certificates in a file of its own, which only a person changes."""
        if self.mesh is None or certificates.items() == {(b, a.certificate_der) for b, a in self._connected.items()}:
            return
        text = f"mosquitto still lets in the boxes from before manifest {self._node.manifest.version}"
        next_step = (
            "write peers.pem anew with the certificates of the manifest's boxes, restart mosquitto, then orledger"
        )
        alerts = self._node.alerts
        alerts.take(Warn(_BROKER_PEERS, "critical", "operator", "broker", text, next_step), self._node.now().utc_ns)

    async def _start_broker(self, host: str, port: int, certificates: dict[str, bytes]) -> None:
        from agent.broker import EmbeddedBroker  # noqa: PLC0415 - the network comes after the first feeds

        node = self._node
        broker = EmbeddedBroker(node.manifest.site, node.identity.tls, host, port, certificates)
        await broker.start()
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
                if self._broker is not None and (self._restarting is None or self._restarting.done()):
                    self._restarting = asyncio.get_running_loop().create_task(self._restart(self._broker))
            case _:
                raise OurFault("network.event", f"unknown mesh event {event!r}")

    async def _restart(self, broker: EmbeddedBroker) -> None:
        """The broker inside this process failed: start it again until it serves; recording goes on meanwhile."""
        while True:
            await asyncio.sleep(LIMITS.mqtt_reconnect_max_ms / 1_000)
            try:
                await broker.start()
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
        for task in (self._keeping, self._restarting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.mesh is not None:
            await self.mesh.stop()
            self.mesh = None
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None
