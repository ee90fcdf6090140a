"""A peer that floods waits for itself alone: its queue is bounded, the others are served at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.shares import Shares
from ledger.limits import LIMITS, MS_NS, S_NS
from ledger.messages import Get, Want
from ledger.quorum import Level
from ledger.records import Numeric
from tests.agent.pumped import PumpedGroup

_COST_NS = 10 * MS_NS


class Served:
    """Every message costs 10 ms of a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.cost_ns = _COST_NS
        self.handled: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.shares = Shares(self._handle, self.refused.append, lambda: self.now_ns)

    def _handle(self, sender: str, wire: bytes, _bulk: bool) -> None:
        self.now_ns += self.cost_ns
        self.handled.append((sender, wire))

    def count(self, sender: str) -> int:
        return sum(1 for each, _ in self.handled if each == sender)


def test_an_honest_peer_is_served_at_once_while_another_floods() -> None:
    async def scenario() -> None:
        served = Served()
        for number in range(2_000):
            served.shares.arrived("or-2", b"%d" % number, False)
            if number % 100 == 0:
                before = served.count("or-3")
                served.shares.arrived("or-3", b"hello", False)
                assert served.count("or-3") == before + 1
        assert served.shares.waiting == LIMITS.peer_waiting_messages
        assert set(served.refused) == {"or-2"}
        assert served.count("or-2") + LIMITS.peer_waiting_messages + len(served.refused) == 2_000
        served.shares.close()

    asyncio.run(scenario())


def test_what_waits_is_handled_in_order_once_there_is_time_again() -> None:
    async def scenario() -> None:
        served = Served()
        for number in range(200):
            served.shares.arrived("or-2", b"%d" % number, False)
        assert 0 < served.shares.waiting < 200
        async with asyncio.timeout(60):
            while served.shares.waiting:
                served.now_ns += 100 * MS_NS
                await asyncio.sleep(0.002)
        assert [wire for _, wire in served.handled] == [b"%d" % number for number in range(200)]
        assert served.refused == []

    asyncio.run(scenario())


def test_a_peer_gets_no_more_than_its_share_of_the_clock() -> None:
    async def scenario() -> None:
        served = Served()
        began_ns = served.now_ns
        for _ in range(3_000):
            served.shares.arrived("or-2", b"x", False)
            served.now_ns += MS_NS
        spent_ns = served.count("or-2") * _COST_NS
        most = (served.now_ns - began_ns) * LIMITS.peer_share_percent / 100 + LIMITS.peer_share_burst_ns + _COST_NS
        assert spent_ns <= most
        served.shares.close()

    asyncio.run(scenario())


def test_what_a_peer_sends_in_bulk_is_not_in_the_way_of_its_blocks() -> None:
    async def scenario() -> None:
        served = Served()
        for _ in range(100):
            served.shares.arrived("or-2", b"bulk", True)
        assert served.shares.waiting > 50
        before = len(served.handled)
        served.shares.arrived("or-2", b"block", False)
        assert served.handled[before:] == [("or-2", b"block")]
        served.shares.close()

    asyncio.run(scenario())


def test_blocks_that_wait_do_not_wait_for_bulk_that_waits_longer() -> None:
    async def scenario() -> None:
        served = Served()
        served.cost_ns = 3_600 * S_NS
        served.shares.arrived("or-2", b"bulk", True)
        served.shares.arrived("or-2", b"more", True)
        served.cost_ns = _COST_NS
        for number in range(50):
            served.shares.arrived("or-2", b"%d" % number, False)
        assert served.shares.waiting > 1
        async with asyncio.timeout(60):
            while served.shares.waiting > 1:
                served.now_ns += 100 * MS_NS
                await asyncio.sleep(0.002)
        assert [wire for _, wire in served.handled] == [b"bulk", *(b"%d" % number for number in range(50))]
        served.shares.close()

    asyncio.run(scenario())


def test_bulk_of_all_peers_together_has_one_share() -> None:
    async def scenario() -> None:
        served = Served()
        began_ns = served.now_ns
        for number in range(3_000):
            served.shares.arrived(f"or-{2 + number % 5}", b"x", True)
            served.now_ns += MS_NS
        spent_ns = len(served.handled) * _COST_NS
        most = (served.now_ns - began_ns) * LIMITS.bulk_share_percent / 100 + LIMITS.bulk_share_burst_ns + _COST_NS
        assert 0 < spent_ns <= most
        served.shares.close()

    asyncio.run(scenario())


def test_bulk_waits_while_a_tick_is_due_and_live_messages_do_not() -> None:
    async def scenario() -> None:
        served = Served()
        served.cost_ns = 1
        served.shares.tick_due_ns = 100 * MS_NS
        served.now_ns = 100 * MS_NS - LIMITS.bulk_before_tick_ns - 2
        served.shares.arrived("or-2", b"early enough", True)
        served.now_ns = 100 * MS_NS - LIMITS.bulk_before_tick_ns
        served.shares.arrived("or-2", b"bulk", True)
        served.shares.arrived("or-2", b"live", False)
        served.now_ns = 101 * MS_NS
        served.shares.arrived("or-3", b"bulk too", True)
        assert [wire for _, wire in served.handled] == [b"early enough", b"live"]
        served.shares.tick_due_ns = 200 * MS_NS  # it has ticked
        async with asyncio.timeout(20):
            while served.shares.waiting:
                served.now_ns += MS_NS
                await asyncio.sleep(0.002)
        assert [wire for _, wire in served.handled[2:]] == [b"bulk", b"bulk too"]
        served.shares.close()

    asyncio.run(scenario())


def test_bulk_does_not_wait_for_a_box_that_ticks_no_more() -> None:
    async def scenario() -> None:
        served = Served()
        served.shares.tick_due_ns = 100 * MS_NS
        served.now_ns = 1_000 * MS_NS
        served.shares.arrived("or-2", b"bulk", True)
        assert served.count("or-2") == 1
        served.shares.close()

    asyncio.run(scenario())


def test_what_waits_is_bounded_in_bytes() -> None:
    async def scenario() -> None:
        served = Served()
        for _ in range(100):
            served.shares.arrived("or-2", bytes(1 << 20), False)
        assert served.shares.waiting <= LIMITS.peer_waiting_bytes >> 20
        assert served.refused
        served.shares.close()

    asyncio.run(scenario())


def test_blocks_of_the_others_are_witnessed_while_one_peer_floods_with_requests(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            value = Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="72", unit="/min")
            await group.tick(10, value)
            box, flooder = group.boxes["or-1"], group.boxes["or-3"]
            log = box.member.writer.chain.log
            for number in range(8):
                get = flooder.member.sign(Get(number, log, 0, 10, Want.BLOCKS))
                for _ in range(2_000):
                    box.pump.arrived("or-3", get)
                size = box.member.writer.chain.size
                await group.tick(1, value)
                assert box.member.writer.vouching.cosigned["or-2"] > size - 1
            assert box.statistics.peer_faults["or-3 peer.flood"] > 0
            assert not [key for key in box.statistics.peer_faults if key.startswith("or-2")]
            assert box.failures == []
            async with asyncio.timeout(60):
                while box.member.writer.vouching.size_at(Level.WITNESSED) < box.member.writer.chain.size:
                    await group.tick(1, value)
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())
