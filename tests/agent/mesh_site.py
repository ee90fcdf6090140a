"""A site for the transport's tests: identities, one broker per box of either kind, meshes that note what they see."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from agent.broker import EmbeddedBroker
from agent.mesh import Mesh, MeshEvent, MeshMessage, PeerAddress, PeerDown, PeerUp
from agent.mosquitto import ACL_NAME, CONFIG_NAME, PEERS_NAME, render_acl, render_config, render_peers
from agent.tls import TlsIdentity, create_identity
from tests.conftest import require_tool
from tests.processes.site import free_port

SITE = "st-mary"
DEADLINE_S = 60.0


class Broker(Protocol):
    """Started and stopped on the loop of the mesh it belongs to."""

    port: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class LoopThread:
    """An event loop on a thread of its own, for tests whose clients block."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, call: Callable[[], object]) -> Any:
        """The result of a call made on the loop; awaited there when it is a coroutine."""

        async def called() -> object:
            result = call()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(DEADLINE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._runner.close()


class Embedded:
    def __init__(self, own: TlsIdentity, peers: dict[str, bytes], folder: Path) -> None:
        self.port = free_port()
        self.broker = EmbeddedBroker(SITE, own, "127.0.0.1", self.port, peers)

    async def start(self) -> None:
        await self.broker.start()

    async def stop(self) -> None:
        await self.broker.stop()


class Mosquitto:
    def __init__(self, own: TlsIdentity, peers: dict[str, bytes], folder: Path) -> None:
        self.port = free_port()
        self._program = require_tool("mosquitto")
        self._folder = folder / f"mosquitto-{own.box_id}"
        self._folder.mkdir()
        config = render_config("127.0.0.1", self.port, own.pem_path, self._folder)
        # Started by root it would give up its rights and could not read the keys; systemd starts it as the right user.
        (self._folder / CONFIG_NAME).write_text(config + "user root\n")
        (self._folder / ACL_NAME).write_text(render_acl(SITE, own.box_id))
        (self._folder / PEERS_NAME).write_text(render_peers([own.certificate_der, *peers.values()]))
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._launch()
        await until(self._listening)

    def _launch(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", self._folder / CONFIG_NAME], stderr=log)

    def _listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, DEADLINE_S)
            self._process = None


KINDS: dict[str, Callable[[TlsIdentity, dict[str, bytes], Path], Broker]] = {
    "embedded": Embedded,
    "mosquitto": Mosquitto,
}


class Site:
    """Boxes with an identity and a broker each."""

    def __init__(self, kind: str, folder: Path, *box_ids: str) -> None:
        self.kind = kind
        self.identities = {box: create_identity(box, folder / f"{box}.pem") for box in box_ids}
        self.brokers: dict[str, Broker] = {}
        for box, own in self.identities.items():
            self.brokers[box] = KINDS[kind](own, self.certificates(without=box), folder)

    def certificates(self, without: str) -> dict[str, bytes]:
        return {box: own.certificate_der for box, own in self.identities.items() if box != without}

    async def start(self) -> None:
        for broker in self.brokers.values():
            await broker.start()

    async def stop(self) -> None:
        for broker in self.brokers.values():
            await broker.stop()

    def node(self, box: str) -> Node:
        return Node(self, box)


class Node:
    """A mesh, and every event it has told."""

    def __init__(self, site: Site, box: str) -> None:
        self.events: list[MeshEvent] = []
        addresses = [
            PeerAddress(peer, "127.0.0.1", site.brokers[peer].port, der)
            for peer, der in site.certificates(without=box).items()
        ]
        broker = site.brokers[box]
        own_broker = broker.broker if isinstance(broker, Embedded) else ("127.0.0.1", broker.port)
        self.mesh = Mesh(SITE, site.identities[box], own_broker, addresses, self.events.append)

    def messages(self) -> list[MeshMessage]:
        return [event for event in self.events if isinstance(event, MeshMessage)]

    def data(self) -> list[bytes]:
        return [message.data for message in self.messages()]

    def links(self) -> list[str]:
        """PeerUp and PeerDown as they came, as "up or-2" and "down or-2"."""
        links = (event for event in self.events if isinstance(event, PeerUp | PeerDown))
        return [f"{'up' if isinstance(event, PeerUp) else 'down'} {event.peer}" for event in links]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true; a deadline, not a timing assertion."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
