"""The link without a socket: order, bounds and thread crossing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.broker import EmbeddedBroker
from agent.local_link import LocalLink
from agent.tls import create_identity
from ledger.limits import LIMITS
from tests.agent.mesh_site import SITE, until

TOPIC = f"orledger/{SITE}/or-1/in/or-2"


def make(folder: Path, heard: list[bytes], told: list[str]) -> tuple[EmbeddedBroker, LocalLink]:
    broker = EmbeddedBroker(SITE, create_identity("or-1", folder / "or-1.pem"), "127.0.0.1", 0, {})
    link = LocalLink(broker, lambda _topic, data: heard.append(data), lambda: told.append("up"), told.append)
    return broker, link


def test_it_is_up_exactly_while_the_broker_serves(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[str] = []
        broker, link = make(tmp_path, [], told)
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0)
        assert not link.publish(f"orledger/{SITE}/or-1/live", b"x")
        for _ in range(2):
            await broker.start()
            await until(lambda: link.up)
            assert link.publish(f"orledger/{SITE}/or-1/live", b"x")
            await broker.stop()
            await until(lambda: not link.up)
            assert not link.publish(f"orledger/{SITE}/or-1/live", b"x")
        assert told == ["up", "the broker was stopped"] * 2
        assert (link.counters.messages_out, link.counters.dropped_messages) == (2, 3)
        running.cancel()

    asyncio.run(test())


def test_a_broker_that_fails_is_told_and_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(self: EmbeddedBroker, *_: object) -> None:
        raise RuntimeError("it cannot accept")

    async def test() -> None:
        told: list[str] = []
        broker, link = make(tmp_path, [], told)
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedBroker, "_accept", break_down)
            await broker.start()
            await until(lambda: len(told) == 2)
        assert not link.publish(f"orledger/{SITE}/or-1/live", b"x")
        await broker.start()
        await until(lambda: link.up)
        assert link.publish(f"orledger/{SITE}/or-1/live", b"x")
        await broker.stop()
        await until(lambda: not link.up)
        assert told == ["up", "the broker was stopped"] * 2
        running.cancel()

    asyncio.run(test())


def test_messages_arrive_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        heard: list[bytes] = []
        _broker, link = make(tmp_path, heard, [])
        sent = [number.to_bytes(4, "big") for number in range(3000)]
        taken = [link.put(TOPIC, data) for data in sent]
        await until(lambda: len(heard) == len(sent))
        assert all(taken)
        assert heard == sent

    asyncio.run(test())


def test_a_node_that_is_too_far_behind_takes_no_more_until_it_has_caught_up(tmp_path: Path) -> None:
    async def test() -> None:
        heard: list[bytes] = []
        _broker, link = make(tmp_path, heard, [])
        taken = [link.put(TOPIC, b"x") for _ in range(LIMITS.inbound_messages + 2)]
        assert taken == [True] * LIMITS.inbound_messages + [False] * 2
        await until(lambda: len(heard) == LIMITS.inbound_messages)
        large = bytes(LIMITS.message_bytes)
        fit = LIMITS.peer_queue_bytes // LIMITS.message_bytes
        assert [link.put(TOPIC, large) for _ in range(fit + 1)] == [True] * fit + [False]
        await until(lambda: len(heard) == LIMITS.inbound_messages + fit)
        assert link.put(TOPIC, large)

    asyncio.run(test())


def test_a_flood_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    async def test() -> None:
        heard: list[bytes] = []
        _broker, link = make(tmp_path, heard, [])
        most = 0
        for _ in range(60):
            for _ in range(100):
                link.put(TOPIC, b"x")
            before = len(heard)
            await asyncio.sleep(0)
            most = max(most, len(heard) - before)
        assert 0 < most <= 100

    asyncio.run(test())


def test_a_message_that_breaks_the_node_holds_up_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        heard: list[bytes] = []

        def hear(_topic: str, data: bytes) -> None:
            heard.append(data)
            if data == b"bad":
                raise ValueError(data)

        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(b"told"))
        broker, _ = make(tmp_path, [], [])
        link = LocalLink(broker, hear, lambda: None, lambda _reason: None)
        assert [link.put(TOPIC, data) for data in (b"bad", b"good")] == [True, True]
        await until(lambda: len(heard) == 3)
        assert heard == [b"bad", b"told", b"good"]

    asyncio.run(test())
