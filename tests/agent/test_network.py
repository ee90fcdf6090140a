"""Two whole nodes in this process over real TLS and brokers; and a network that cannot start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from agent import config
from agent.init_site import SiteBox, SiteFile, init_site
from agent.node import Node
from agent.tls import create_identity
from ledger.manifest import Box, sign_manifest
from ledger.quorum import Level
from ledger.signing import SigningKey
from tests.processes.site import free_port


def site(tmp_path: Path, count: int) -> list[config.Configuration]:
    boxes = [SiteBox(id=f"or-{number}", room="x", listen=f"127.0.0.1:{free_port()}") for number in range(1, count + 1)]
    _, made = init_site(SiteFile("lab", boxes), tmp_path / "lab")
    return [config.read(box.configuration) for box in made]


def alert_ids(node: Node) -> set[str]:
    return {alert.warning.id for alert in node.alerts.active()}


async def until(node: Node, reached: object) -> None:
    assert callable(reached)
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
    assert node.recording


def test_two_nodes_find_each_other_and_vouch(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes = [Node(each) for each in site(tmp_path, 2)]
        running = [asyncio.create_task(node.run()) for node in nodes]
        for node in nodes:
            await until(node, lambda node=node: node.member.writer.vouching.size_at(Level.WITNESSED) > 2)
        for node in nodes:
            node.stop()
        assert await asyncio.gather(*running) == [0, 0]

    asyncio.run(scenario())


def test_a_port_in_use_is_told_of_and_recording_goes_on_until_it_is_free(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, _ = site(tmp_path, 2)
        assert first.replication is not None
        taken = socket.create_server(config.host_port(first.replication.listen, "$"))
        node = Node(first)
        running = asyncio.create_task(node.run())
        await until(node, lambda: "network.down" in alert_ids(node))
        await until(node, lambda: node.pump.durable_blocks > 1)
        taken.close()
        await until(node, lambda: "network.down" not in alert_ids(node))
        assert node.network.mesh is not None
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


def test_a_damaged_certificate_does_not_stop_the_recorder(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, _ = site(tmp_path, 2)
        (Path(first.box.data_dir) / "keys" / "tls.pem").write_text("rubbish")
        node = Node(first)
        running = asyncio.create_task(node.run())
        await until(node, lambda: "network.down" in alert_ids(node))
        await until(node, lambda: node.pump.durable_blocks > 1)
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


def offer(node: Node, folder: Path, change: Callable[[Box], Box]) -> None:
    """The next manifest, with every peer changed."""
    before = node.manifest
    boxes = tuple(box if box.id == node.member.own_id else change(box) for box in before.boxes)
    after = replace(before, version=before.version + 1, previous_hash=before.hash, boxes=boxes)
    key = SigningKey((folder / "lab" / "site.seed").read_bytes())
    assert node.member.offer_manifest(sign_manifest(after, [key]).encode())


def test_a_peer_that_a_manifest_describes_wrongly_is_named_and_left_out_until_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        configuration = site(tmp_path, 3)[0]
        node = Node(configuration)
        addresses = {box.id: box.address for box in node.manifest.boxes}
        running = asyncio.create_task(node.run())
        await until(node, lambda: node.network.mesh is not None and node.pump.durable_blocks > 1)
        offer(node, tmp_path, lambda box: replace(box, address="nowhere") if box.id == "or-2" else box)
        await until(node, lambda: "network.peer-unfit" in alert_ids(node))
        assert node.network.mesh is not None
        assert set(node.network.mesh.counters()) == {"or-1", "or-3"}
        offer(node, tmp_path, lambda box: replace(box, address=addresses[box.id]))
        await until(node, lambda: "network.peer-unfit" not in alert_ids(node))
        assert set(node.network.mesh.counters()) == {"or-1", "or-2", "or-3"}
        node.stop()
        assert await running == 0

    asyncio.run(scenario())


def test_with_a_mosquitto_a_person_is_told_that_its_certificates_are_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = site(tmp_path, 2)[0]
        assert first.replication is not None
        mosquitto = msgspec.structs.replace(first.replication, broker="mosquitto")
        node = Node(msgspec.structs.replace(first, replication=mosquitto))
        running = asyncio.create_task(node.run())
        await until(node, lambda: node.network.mesh is not None)
        await asyncio.sleep(0.3)
        assert "broker.peers" not in alert_ids(node)
        certificate = create_identity("or-2", tmp_path / "new.pem").certificate_der
        offer(node, tmp_path, lambda box: replace(box, tls_certificate=certificate))
        await until(node, lambda: "broker.peers" in alert_ids(node))
        node.stop()
        assert await running == 0

    asyncio.run(scenario())
