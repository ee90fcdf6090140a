"""Boxes with real stores and object folders in one loop: what tests of the object store share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from agent.clock import read_now
from agent.object_intake import ObjectIntake
from agent.object_keeper import ObjectKeeper
from ledger.limits import MS_NS, Limits
from ledger.log import LogId
from ledger.objects import ObjectFolder, SealedObject, open_content, read_header
from ledger.ops import ObjectState
from ledger.records import Object
from tests.agent.pumped import PumpedBox, PumpedGroup

QUICK = Limits(
    object_look_ns=5 * MS_NS, object_ask_ns=20 * MS_NS, object_retry_min_ns=20 * MS_NS, object_retry_max_ns=40 * MS_NS,
    object_piece_timeout_ns=200 * MS_NS, retention_survey_ns=20 * MS_NS,
)  # fmt: skip
_PATIENCE_S = 60.0


class ObjectBox:
    """A box of the group with its objects."""

    def __init__(self, box: PumpedBox, path: Path, limits: Limits) -> None:
        self.box = box
        self.folder = ObjectFolder.open(path / "objects", limits)
        chain = box.member.writer
        self.intake = ObjectIntake(self.folder, lambda: (chain.chain.log, chain.chain.data_key), 0, limits)
        self.keeper = ObjectKeeper(
            box.store, box.keyring, box.member, box.pump, box.intake, self.intake, box.alerts, read_now
        )
        box.recorder.objects_named = self.keeper.named

    def accept(self, content: bytes) -> SealedObject:
        with self.intake.begin(expected_bytes=len(content)) as writer:
            writer.write(content)
            return writer.finish()

    def record(self, content: bytes) -> tuple[SealedObject, LogId]:
        """Take an object in and close a block that names it."""
        known = self.accept(content)
        self.box.tick(record_of(known))
        return known, self.box.member.writer.chain.log

    def content(self, sha256: bytes) -> bytes:
        with self.folder.source(sha256) as source:
            key = self.box.keyring.get(read_header(source).key_id)
            assert key is not None
            return b"".join(open_content(source, key))

    def state(self, sha256: bytes) -> ObjectState | None:
        rows = self.box.store.objects_named(sha256)
        return rows[0].state if rows else None


class ObjectGroup:
    """``async with ObjectGroup(3, folder) as group``: keepers run."""

    def __init__(self, count: int, path: Path, limits: Limits = QUICK) -> None:
        self.pumped = PumpedGroup(count, path)
        self.boxes: dict[str, ObjectBox] = {}
        self._path = path
        self._limits = limits

    async def __aenter__(self) -> Self:
        await self.pumped.__aenter__()
        for name in self.pumped.boxes:
            self.begin(name)
        await self.pumped.tick(3)
        return self

    def begin(self, name: str) -> ObjectBox:
        box = ObjectBox(self.pumped.boxes[name], self._path / name, self._limits)
        self.boxes[name] = box
        for peer in self.pumped.boxes:
            if peer != name and not {name, peer} & self.pumped.cut:
                box.box.pump.on_peer(peer, True)
        box.keeper.start()
        return box

    async def restart(self, name: str) -> ObjectBox:
        await self.boxes[name].keeper.stop()
        await self.pumped.restart(name)
        return self.begin(name)

    async def until(self, so: Callable[[], bool], what: str) -> None:
        """Tick until it is so."""
        deadline = time.monotonic() + _PATIENCE_S
        while not so():
            assert time.monotonic() < deadline, what
            await self.pumped.tick(1)
            await asyncio.sleep(0.005)

    async def __aexit__(self, *_: object) -> None:
        for box in self.boxes.values():
            await box.keeper.stop()
        await self.pumped.__aexit__()


def record_of(known: SealedObject) -> Object:
    return Object(at_ns=1, sha256=known.sha256, size=known.plain_bytes, media_type="application/dicom", name="CT")
