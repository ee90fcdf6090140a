"""A group of boxes with real stores and real commits in one loop; only the network between them is made of calls."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Self

from agent.alerts import Alerts
from agent.clock import read_now, read_pair
from agent.disk import RingKeys, StoreDisk, load_replicas, own_past
from agent.intake import Batch, Intake
from agent.pump import Pump
from agent.recorder import Recorder
from agent.restorer import Restorer
from agent.statistics import Statistics
from ledger.block import ClockQuality, ClockState
from ledger.errors import OrledgerError
from ledger.keyring import Keyring
from ledger.manifest import Box, Manifest, Role
from ledger.member import Member, Secrets
from ledger.payload import encode_record
from ledger.records import Record
from ledger.sealing import BoxKey
from ledger.signing import SigningKey
from ledger.state import RoomState
from ledger.store import Store

QUALITY = ClockQuality(ClockState.SYNCHRONISED, 1)
_FLOOD_MESSAGES = 64


class CallWire:
    """``agent.pump.Wire`` by calls on the loop; ``cut`` boxes hear and say nothing."""

    def __init__(self, own: str, group: dict[str, PumpedBox], cut: set[str]) -> None:
        self._own = own
        self._group = group
        self._cut = cut

    def broadcast_live(self, data: bytes) -> bool:
        sent = [self.send_to(peer, data) for peer in self._group if peer != self._own]
        return all(sent)

    def broadcast_heads(self, data: bytes) -> bool:
        return self.broadcast_live(data)

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        if {self._own, peer} & self._cut or peer not in self._group:
            return False
        asyncio.get_running_loop().call_soon(self._group[peer].arrived, self._own, data, bulk)
        return True

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        return self.send_to(peer, data, bulk=bulk)


class PumpedBox:
    """One box without feeds: member, store, pump."""

    def __init__(self, own: str, private: Secrets, manifest: Manifest, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.own = own
        self.store = Store.open(folder / "ledger")
        self.keyring = Keyring(folder / "keyring", bytes(32))
        self.intake = Intake()
        self.alerts, self.statistics = Alerts(), Statistics()
        self.failures: list[OrledgerError] = []
        self.dead = False
        self.member = Member(
            own, private, manifest, secrets.token_bytes(16), StoreDisk(self.store), RingKeys(self.keyring),
            secrets.token_bytes,
        )  # fmt: skip
        replicas = load_replicas(self.store)
        self.member.start(own_past(self.store, own, replicas), replicas, self.store.promises(),
                          self.keyring.settled_ids())  # fmt: skip
        self.recorder = Recorder(self.member, RoomState(), lambda: QUALITY)
        self.pump = Pump(
            self.member, self.store, self.keyring, self.intake, self.alerts, self.statistics, read_now,
            self.failures.append,
        )  # fmt: skip
        self.restorer = Restorer(self.member, self.keyring, self.pump, read_now)

    def arrived(self, sender: str, data: bytes, bulk: bool) -> None:
        if not self.dead:
            self.pump.arrived(sender, data, bulk=bulk)

    def tick(self, *records: Record) -> None:
        now = read_pair()
        self.member.step(now)
        closed = self.recorder.tick(
            now, Batch({"monitor": [encode_record(record) for record in records]} if records else {}, 1, 0, 0)
        )
        if closed is not None:
            self.pump.closed(closed)
        self.pump.pump()

    async def close(self) -> None:
        self.dead = True
        await self.pump.drain()
        self.pump.close()
        self.store.close()


class PumpedGroup:
    """``async with PumpedGroup(3, folder) as group``."""

    def __init__(self, count: int, folder: Path) -> None:
        self._names = [f"or-{number + 1}" for number in range(count)]
        self._private = {
            name: Secrets(SigningKey(secrets.token_bytes(32)), BoxKey(secrets.token_bytes(32))) for name in self._names
        }
        boxes = tuple(
            Box(name, name, "main", Role.MEMBER, own.signing.public, own.receiving.public, b"", "127.0.0.1:1")
            for name, own in self._private.items()
        )
        site_key = SigningKey(bytes(32))
        self.manifest = Manifest("lab", 1, bytes(32), boxes, None, 1, (site_key.public,), 1, None)
        self._folder = folder
        self.cut: set[str] = set()
        self.boxes: dict[str, PumpedBox] = {}

    async def __aenter__(self) -> Self:
        for name in self._names:
            self.boxes[name] = PumpedBox(name, self._private[name], self.manifest, self._folder / name)
        for name in self._names:
            self._connect(name)
        return self

    def _connect(self, name: str) -> None:
        self.boxes[name].pump.wire = CallWire(name, self.boxes, self.cut)
        for peer in self._names:
            if peer != name and not {name, peer} & self.cut:
                self.boxes[name].pump.peer_up(peer)

    async def restart(self, name: str) -> None:
        """The box's process ends and another begins on the same disk; its peers are met again."""
        await self.boxes[name].close()
        self.boxes[name] = PumpedBox(name, self._private[name], self.manifest, self._folder / name)
        self._connect(name)
        for peer in self._names:
            if peer != name and not {name, peer} & self.cut:
                self.boxes[peer].pump.peer_up(name)

    async def __aexit__(self, *_: object) -> None:
        for box in self.boxes.values():
            await box.close()

    def key_of(self, box: str) -> SigningKey:
        """What a box signs with: for tests in which it turns against its group."""
        return self._private[box].signing

    async def tick(self, count: int, *records: Record) -> None:
        """Tick every live box, and let messages and commits settle after each."""
        for _ in range(count):
            for box in self.boxes.values():
                if not box.dead:
                    box.tick(*records)
            await self.settle()

    async def settle(self) -> None:
        """Every commit done and every message delivered."""
        await self._settle_once()
        async with asyncio.timeout(60):
            while self._is_held_up():
                await asyncio.sleep(0.001)
                await self._settle_once()

    async def _settle_once(self) -> None:
        for _ in range(8):
            for box in self.boxes.values():
                if not box.dead:
                    await box.pump.drain()
            await asyncio.sleep(0)

    def _is_held_up(self) -> bool:
        """Whether messages wait for their sender's share of a loop that this machine did not let run; a flood may."""
        return any(0 < box.pump._shares.waiting < _FLOOD_MESSAGES for box in self.boxes.values() if not box.dead)
