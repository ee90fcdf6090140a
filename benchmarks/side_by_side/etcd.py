"""etcd: three members. One key is written again and again: its value is the state, its revisions are the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.daemon import Daemon, find
from benchmarks.side_by_side.system import MEMBERS, Failure
from benchmarks.side_by_side.work import Entries, WorkFault, first, now_ns, number_of, until_good
from benchmarks.site import HOST, free_ports

KEY = b"entry"
_QUOTA_BYTES = 4 << 30
_START_S = 30.0
_FAIL_S = 30.0
_CONNECT_S = 2.0
_ATTEMPT_S = 0.25
_OPTIONS = {"grpc.max_receive_message_length": -1}


def missing() -> str | None:
    """What to install; None when all is there."""
    return None if find("etcd") else "the Debian package etcd-server"


class Etcd:
    """The client speaks to the leader; reads of copies are serializable ones of a follower."""

    name = "etcd"
    footnote = "3 members, fsync on, default heartbeat 100 ms and election timeout 1 s; plain TCP, its default"

    def __init__(self) -> None:
        import aetcd  # noqa: PLC0415 - needed only when this system is measured

        self._aetcd: Any = aetcd
        self._daemons: dict[str, Daemon] = {}
        self._ports: dict[str, int] = {}
        self._clients: dict[str, Any] = {}
        self._leader = ""
        self._faults = (aetcd.exceptions.ClientError, OSError, TimeoutError)

    async def start(self, folder: Path) -> None:
        """Members and connections."""
        ports = free_ports(2 * MEMBERS)
        names = [f"e{number + 1}" for number in range(MEMBERS)]
        peers = {name: f"http://{HOST}:{port}" for name, port in zip(names, ports[MEMBERS:], strict=True)}
        for name, port in zip(names, ports, strict=False):
            home = folder / name
            home.mkdir(mode=0o700)
            options = {
                "name": name, "data-dir": home / "data", "listen-client-urls": f"http://{HOST}:{port}",
                "advertise-client-urls": f"http://{HOST}:{port}", "listen-peer-urls": peers[name],
                "initial-advertise-peer-urls": peers[name], "initial-cluster-token": "bench",
                "initial-cluster": ",".join(f"{peer}={url}" for peer, url in peers.items()),
                "quota-backend-bytes": _QUOTA_BYTES, "logger": "zap", "log-level": "error",
            }  # fmt: skip
            command = [str(find("etcd")), *(f"--{key}={value}" for key, value in options.items())]
            self._daemons[name] = Daemon(name, command, home / "log", environment={"ETCD_UNSUPPORTED_ARCH": ""})
            self._ports[name] = port
            self._daemons[name].start()
        for name in names:
            self._clients[name] = await self._connect(name)
        await self._settle()

    async def stop(self) -> None:
        """Kill the members; their folder goes anyway."""
        for client in self._clients.values():
            await client.close()
        for daemon in self._daemons.values():
            daemon.kill()

    async def append(self, entry: bytes) -> None:
        """Put."""
        await self._clients[self._leader].put(KEY, entry)

    async def read_from(self, back: int | None) -> int:
        """Over a connection of its own: single revisions at once, or all by a watch (which begins within 100 ms)."""
        client = await self._connect(self._leader)
        try:
            newest = (await client.get(KEY)).mod_revision
            if back is None:
                return await self._watch(client, newest)
            wanted = [
                self._aetcd.rpc.RangeRequest(key=KEY, revision=revision)
                for revision in range(newest - back + 1, newest + 1)
            ]
            answers = await asyncio.gather(*(client.kvstub.Range(request) for request in wanted))
            return [number_of(answer.kvs[0].value) for answer in answers][-1]
        finally:
            await client.close()

    async def _watch(self, client: Any, newest: int) -> int:
        watch = await client.watch(KEY, start_revision=1)
        async for event in watch:
            if event.kv.mod_revision >= newest:
                await watch.cancel()
                return number_of(event.kv.value)
        raise WorkFault("the watch ended before the newest revision")

    async def fail(self, last: int, entries: Entries) -> Failure:
        """Kill the leader. The client is connected to the survivors already."""
        dead = self._leader
        survivors = [name for name in self._daemons if name != dead]
        began = now_ns()
        self._daemons[dead].kill()
        copied, latest, written = await asyncio.gather(
            first(*(self._until_read(name, last, serializable=True) for name in survivors)),
            first(*(self._until_read(name, last, serializable=False) for name in survivors)),
            first(*(self._until_written(name, entries) for name in survivors)),
        )
        self._leader = survivors[0]
        return Failure((copied - began) / 1e9, (latest - began) / 1e9, (written - began) / 1e9)

    async def mend(self) -> None:
        """Start whoever is dead; wait until it has the newest entry."""
        for name, daemon in self._daemons.items():
            if not daemon.runs:
                daemon.start()
                await self._clients[name].close()
                self._clients[name] = await self._connect(name)
        await self._settle()

    async def _settle(self) -> None:
        async def settled() -> bool:
            states = [await self._attempt(client.status()) for client in self._clients.values()]
            leaders = {state.leader.name for state in states if state.leader is not None}
            indexes = [state.raft_index for state in states]
            if len(leaders) != 1 or None in [state.leader for state in states] or max(indexes) - min(indexes) > 2:
                return False
            (self._leader,) = leaders
            return True

        await until_good("a leader that all follow", settled, self._faults, _START_S)

    async def _connect(self, name: str) -> Any:
        client = self._aetcd.Client(HOST, self._ports[name], options=_OPTIONS)

        async def answers() -> bool:
            if not self._daemons[name].runs:
                raise WorkFault(f"{name} ended:\n{self._daemons[name].last_words}")
            await client.connect()
            async with asyncio.timeout(_CONNECT_S):
                await client.get(KEY, serializable=True)
            return True

        await until_good(f"answer of {name}", answers, self._faults, _START_S)
        return client

    async def _attempt(self, call: Any) -> Any:
        async with asyncio.timeout(_ATTEMPT_S):
            return await call

    async def _until_read(self, name: str, last: int, *, serializable: bool) -> int:
        async def read() -> bool:
            found = await self._attempt(self._clients[name].get(KEY, serializable=serializable))
            return found is not None and number_of(found.value) >= last

        return await until_good(f"read from {name}", read, self._faults, _FAIL_S)

    async def _until_written(self, name: str, entries: Entries) -> int:
        async def write() -> bool:
            await self._attempt(self._clients[name].put(KEY, entries.next()))
            return True

        return await until_good(f"write through {name}", write, self._faults, _FAIL_S)
