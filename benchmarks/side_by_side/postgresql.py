"""PostgreSQL: a primary and two standbys, one of which must have synced a commit before it is acknowledged.

It has no failover of its own. What a good operator's script does is done at once: the client's connection breaks, both
standbys are asked how far they are, the further one is promoted, and the other told to follow it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.daemon import Daemon, find
from benchmarks.side_by_side.system import MEMBERS, Failure
from benchmarks.side_by_side.work import Entries, WorkFault, first, now_ns, number_of, until_good
from benchmarks.site import HOST, free_ports

_USER = "postgres"
_START_S = 30.0
_FAIL_S = 30.0
_CONNECTIONS = 40
_PAGE = 500
_NAMES = [f"p{number + 1}" for number in range(MEMBERS)]
_CONFIGURATION = f"""
listen_addresses = '{HOST}'
fsync = on
synchronous_commit = on
synchronous_standby_names = 'ANY 1 ({", ".join(_NAMES)})'
wal_level = replica
hot_standby = on
max_connections = 200
wal_retrieve_retry_interval = 100ms
max_wal_size = 4GB
"""


def missing() -> str | None:
    """What to install; None when all is there."""
    if _program("initdb") is None:
        return "the Debian package postgresql"
    if os.getuid() == 0 and not _has_user():
        return f"a user {_USER} to run PostgreSQL, which refuses to run as root: the Debian package postgresql"
    return None


def _program(name: str) -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return find(name, *versions)


def _has_user() -> bool:
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        return False
    return True


class PostgreSql:
    """The client speaks to the primary; reads of copies go to the standbys."""

    name = "PostgreSQL"
    footnote = (
        "primary and 2 standbys, ANY 1 synchronous, synchronous_commit on, fsync on; plain TCP, its default as built; "
        "no failover of its own: the further standby is promoted as soon as the client's connection breaks"
    )

    def __init__(self) -> None:
        import asyncpg  # noqa: PLC0415 - needed only when this system is measured

        self._asyncpg: Any = asyncpg
        self._user = _USER if os.getuid() == 0 else None
        self._daemons: dict[str, Daemon] = {}
        self._ports = dict(zip(_NAMES, free_ports(MEMBERS), strict=True))
        self._homes: dict[str, Path] = {}
        self._watchers: dict[str, Any] = {}
        self._idle: asyncio.Queue[Any] = asyncio.Queue()
        self._primary = _NAMES[0]
        self._faults = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

    async def start(self, folder: Path) -> None:
        """A new cluster, two copies of it, connections, one table."""
        for name in _NAMES:
            home = folder / name
            home.mkdir()
            if self._user:
                shutil.chown(home, self._user, self._user)
            self._homes[name] = home
            command = [str(_program("postgres")), "-D", str(home / "data"), "-p", str(self._ports[name]), "-k", ""]
            self._daemons[name] = Daemon(name, command, folder / f"{name}.log", user=self._user)
        home = self._homes[self._primary]
        await self._run(
            "initdb", "--no-sync", "-D", str(home / "data"), "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-locale"
        )
        with (home / "data" / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
        self._daemons[self._primary].start()
        self._watchers[self._primary] = await self._connect(self._primary)
        for name in _NAMES[1:]:
            await self._copy(name)
        await self._settle()
        await self._watchers[self._primary].execute(
            "CREATE TABLE entries (id bigserial PRIMARY KEY, body bytea NOT NULL)"
        )
        await self._open_connections()

    async def stop(self) -> None:
        """Kill all three; their folders go anyway."""
        self._close_connections()
        for connection in self._watchers.values():
            connection.terminate()
        for daemon in self._daemons.values():
            daemon.kill()

    async def append(self, entry: bytes) -> None:
        """Insert, one transaction."""
        connection = await self._idle.get()
        try:
            await connection.execute("INSERT INTO entries (body) VALUES ($1)", entry)
        finally:
            self._idle.put_nowait(connection)

    async def read_from(self, back: int | None) -> int:
        """By primary key, in pages, over a connection of its own."""
        connection = await self._connect(self._primary)
        try:
            end = await connection.fetchval("SELECT max(id) FROM entries")
            at, last = 0 if back is None else end - back, 0
            while at < end:
                rows = await connection.fetch(
                    "SELECT id, body FROM entries WHERE id > $1 ORDER BY id LIMIT $2", at, _PAGE
                )
                at, last = rows[-1]["id"], number_of(rows[-1]["body"])
            return last
        finally:
            connection.terminate()

    async def fail(self, last: int, entries: Entries) -> Failure:
        """Kill the primary, promote the further standby."""
        dead = self._primary
        survivors = [name for name in _NAMES if name != dead]
        readers = {name: await self._connect(name) for name in survivors}
        broken = asyncio.Event()
        self._watchers[dead].add_termination_listener(lambda _connection: broken.set())
        began = now_ns()
        self._daemons[dead].kill()
        copied = asyncio.create_task(self._first_copy(readers, last))
        async with asyncio.timeout(_FAIL_S):
            await broken.wait()
        promoted = await self._promote(survivors)

        async def reads() -> bool:
            watcher = self._watchers[promoted]
            return not await watcher.fetchval("SELECT pg_is_in_recovery()") and await _newest(watcher) >= last

        latest = await until_good("read from the new primary", reads, self._faults, _FAIL_S)

        async def writes() -> bool:
            await self._watchers[promoted].execute("INSERT INTO entries (body) VALUES ($1)", entries.next())
            return True

        written = await until_good("write to the new primary", writes, self._faults, _FAIL_S)
        for reader in readers.values():
            reader.terminate()
        self._close_connections()
        self._primary = promoted
        await self._open_connections()
        return Failure((await copied - began) / 1e9, (latest - began) / 1e9, (written - began) / 1e9)

    async def mend(self) -> None:
        """A new copy in place of the dead one."""
        for name, daemon in self._daemons.items():
            if not daemon.runs:
                self._watchers.pop(name).terminate()
                shutil.rmtree(self._homes[name] / "data")
                await self._copy(name)
        await self._settle()

    async def _first_copy(self, readers: dict[str, Any], last: int) -> int:
        async def until_read(name: str) -> int:
            async def reads() -> bool:
                return await _newest(readers[name]) >= last

            return await until_good(f"read from {name}", reads, self._faults, _FAIL_S)

        return await first(*(until_read(name) for name in readers))

    async def _promote(self, survivors: list[str]) -> str:
        """The one that received most; the other follows it."""
        received = {
            name: await self._watchers[name].fetchval("SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn")
            for name in survivors
        }
        best = max(received, key=lambda name: received[name])
        (other,) = (name for name in survivors if name != best)
        await self._watchers[best].execute("SELECT pg_promote(wait => false)")
        await self._watchers[other].execute(f"ALTER SYSTEM SET primary_conninfo = '{self._conninfo(best, other)}'")
        await self._watchers[other].execute("SELECT pg_reload_conf()")
        return best

    def _conninfo(self, primary: str, name: str) -> str:
        return f"host={HOST} port={self._ports[primary]} user={_USER} application_name={name}"

    async def _copy(self, name: str) -> None:
        data = self._homes[name] / "data"
        await self._run(
            "pg_basebackup", "--no-sync", "-D", str(data), "-c", "fast", "-d", self._conninfo(self._primary, name)
        )
        (data / "standby.signal").touch()
        with (data / "postgresql.auto.conf").open("w") as file:
            file.write(f"primary_conninfo = '{self._conninfo(self._primary, name)}'\n")
        if self._user:
            for written in ("standby.signal", "postgresql.auto.conf"):
                shutil.chown(data / written, self._user, self._user)
        self._daemons[name].start()
        self._watchers[name] = await self._connect(name)

    async def _settle(self) -> None:
        async def settled() -> bool:
            count = await self._watchers[self._primary].fetchval(
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming' "
                "AND flush_lsn >= pg_current_wal_flush_lsn()"
            )
            return bool(count == MEMBERS - 1)

        await until_good("two standbys", settled, self._faults, _START_S)

    async def _open_connections(self) -> None:
        for _ in range(_CONNECTIONS):
            self._idle.put_nowait(await self._connect(self._primary))

    def _close_connections(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().terminate()

    async def _connect(self, name: str) -> Any:
        made: list[Any] = []

        async def connected() -> bool:
            if not self._daemons[name].runs:
                raise WorkFault(f"{name} ended:\n{self._daemons[name].last_words}")
            made.append(
                await self._asyncpg.connect(
                    host=HOST, port=self._ports[name], user=_USER, database=_USER, ssl=False, timeout=2
                )
            )
            return True

        await until_good(f"connection to {name}", connected, self._faults, _START_S)
        return made[0]

    async def _run(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", "--"]
        command = [*(as_user if self._user else []), str(_program(program)), *arguments]
        ran = await asyncio.to_thread(
            subprocess.run, command, check=False, capture_output=True, text=True, timeout=_START_S, cwd="/"
        )
        if ran.returncode:
            raise WorkFault(f"{program} failed: {ran.stderr[-500:]}")


async def _newest(connection: Any) -> int:
    return number_of(await connection.fetchval("SELECT body FROM entries ORDER BY id DESC LIMIT 1"))
