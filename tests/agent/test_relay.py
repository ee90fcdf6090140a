"""Handing a peer's answers through: what is handed through is not copied at the same time as well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.relay import Relay
from ledger.errors import NoPeer
from ledger.log import LogId
from ledger.member import RESTORE_REQUESTS_FROM, WireMessage
from ledger.messages import Get, Want
from tests.agent.pumped import PumpedBox, PumpedGroup

LOG, OTHER = (LogId("or-3", counter, bytes(16), fenced=True) for counter in (1, 2))


class Wire:
    """Notes what was sent; ``reachable`` or not."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.sent: list[bytes] = []
        self.reachable = reachable

    def broadcast_live(self, data: bytes) -> bool:
        return self.reachable

    def broadcast_heads(self, data: bytes) -> bool:
        return self.reachable

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        self.sent.append(data)
        return self.reachable

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        return self.send_to(peer, data, bulk=bulk)


def _sent(box: PumpedBox, log: LogId, *, bulk: bool, request_id: int = 7) -> bool:
    wire = Wire()
    box.pump.wire = wire
    box.pump._send(WireMessage("or-2", box.member.sign(Get(request_id, log, 0, 9, Want.BLOCKS)), Get, bulk))
    return bool(wire.sent)


def test_only_the_copying_in_bulk_of_a_log_that_is_rebuilt_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            assert _sent(box, LOG, bulk=True)
            box.pump.rebuilding = {LOG}
            assert not _sent(box, LOG, bulk=True)
            assert _sent(box, LOG, bulk=False), "a gap in what comes live"
            assert _sent(box, OTHER, bulk=True)
            assert _sent(box, LOG, bulk=True, request_id=RESTORE_REQUESTS_FROM)

    asyncio.run(main())


def test_a_log_is_rebuilt_as_long_as_it_is_handed_through(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            box.pump.wire = Wire()

            async def send(_wire: bytes) -> None:
                raise AssertionError("nobody answers")

            task = asyncio.create_task(relay.fetch("or-2", LOG, 0, 9, Want.BLOCKS, send))
            await asyncio.sleep(0)
            assert LOG in box.pump.rebuilding
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert LOG not in box.pump.rebuilding
            box.pump.wire = Wire(reachable=False)
            with pytest.raises(NoPeer):
                await relay.fetch("or-2", LOG, 0, 9, Want.BLOCKS, send)
            assert LOG not in box.pump.rebuilding

    asyncio.run(main())
