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
            await asyncio.to_thread(broker.start)
            await until(lambda: link.up)
            assert link.publish(f"orledger/{SITE}/or-1/live", b"x")
            await asyncio.to_thread(broker.stop)
            await until(lambda: not link.up)
            assert not link.publish(f"orledger/{SITE}/or-1/live", b"x")
        assert told == ["up", "the broker was stopped"] * 2
        assert (link.counters.messages_out, link.counters.dropped_messages) == (2, 3)
        running.cancel()

    asyncio.run(test())


@pytest.mark.parametrize("failure", ["its loop stops", "it cannot accept"])
def test_a_broker_that_fails_is_told_and_starts_again(
    tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(self: EmbeddedBroker, *_: object) -> None:
        await asyncio.sleep(0.1)
        assert self._loop is not None
        if failure == "its loop stops":
            self._loop.stop()
            await asyncio.sleep(60)
        raise RuntimeError(failure)

    async def test() -> None:
        told: list[str] = []
        broker, link = make(tmp_path, [], told)
        running = asyncio.create_task(link.run())
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedBroker, "_accept", break_down)
            await asyncio.to_thread(broker.start)
            await until(lambda: len(told) == 2)
        assert not link.publish(f"orledger/{SITE}/or-1/live", b"x")
        await until(lambda: not broker._thread or not broker._thread.is_alive())
        await asyncio.to_thread(broker.start)
        await until(lambda: link.up)
        assert link.publish(f"orledger/{SITE}/or-1/live", b"x")
        await asyncio.to_thread(broker.stop)
        await until(lambda: not link.up)
        assert told == ["up", "the broker was stopped"] * 2
        running.cancel()

    asyncio.run(test())


def test_messages_put_from_another_thread_arrive_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        heard: list[bytes] = []
        _broker, link = make(tmp_path, heard, [])
        sent = [number.to_bytes(4, "big") for number in range(3000)]
        taken = await asyncio.to_thread(lambda: [link.put(TOPIC, data) for data in sent])
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


def test_what_waits_for_the_broker_is_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        broker, link = make(tmp_path, [], [])
        await asyncio.to_thread(broker.start)
        running = asyncio.create_task(link.run())
        await until(lambda: link.up)
        held = asyncio.Event()
        loop = broker._loop
        assert loop is not None
        own_loop = asyncio.get_running_loop()
        # Hold the broker's thread until everything was offered.
        offered = asyncio.run_coroutine_threadsafe(held.wait(), own_loop)
        loop.call_soon_threadsafe(offered.result)
        data = bytes(LIMITS.message_bytes)
        fit = LIMITS.peer_queue_bytes // LIMITS.message_bytes
        sent = [link.publish(f"orledger/{SITE}/or-1/live", data) for _ in range(fit + 2)]
        held.set()
        assert sent == [True] * fit + [False] * 2
        await until(lambda: broker.counters.messages_in == fit)
        assert link.publish(f"orledger/{SITE}/or-1/live", data)
        running.cancel()
        await asyncio.to_thread(broker.stop)

    asyncio.run(test())
