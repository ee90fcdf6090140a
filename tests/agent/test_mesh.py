"""The mesh over real sockets, the same tests with the embedded broker and with mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.link import _PACKET_BYTES, Link
from agent.mesh import Mesh, MeshEvent, OwnBrokerDown, OwnBrokerUp, PeerAddress, PeerDown
from agent.topics import Channel
from ledger.errors import OurFault
from ledger.limits import LIMITS
from tests.agent.mesh_site import KINDS, SITE, Node, Site, until

BOXES = ("or-1", "or-2", "or-3")


@pytest.fixture(params=sorted(KINDS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(request.param, tmp_path, *BOXES)


def is_up(node: Node, *peers: str) -> bool:
    return all(node.mesh.is_up(peer) for peer in peers) and any(isinstance(event, OwnBrokerUp) for event in node.events)


def has(node: Node, messages: int) -> bool:
    return len(node.messages()) == messages


@contextlib.asynccontextmanager
async def running(site: Site, *boxes: str) -> AsyncIterator[list[Node]]:
    nodes = [site.node(box) for box in boxes]
    for node in nodes:
        await node.mesh.start()
    try:
        for box, node in zip(boxes, nodes, strict=True):
            await until(functools.partial(is_up, node, *(other for other in BOXES if other != box)))
        yield nodes
    finally:
        for node in nodes:
            await node.mesh.stop()


def run(site: Site, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await site.start()
        try:
            await test()
        finally:
            await site.stop()

    asyncio.run(main())


def test_broadcasts_reach_every_peer_in_order_and_not_the_sender(site: Site) -> None:
    async def test() -> None:
        async with running(site, *BOXES) as (one, two, three):
            sent = [b"%d" % number + bytes(6000) for number in range(200)]
            for data in sent:
                assert one.mesh.broadcast(Channel.LIVE, data)
            assert one.mesh.broadcast(Channel.HEADS, b"heads")
            for node in (two, three):
                await until(functools.partial(has, node, len(sent) + 1))
                assert node.data() == [*sent, b"heads"]
                assert [message.channel for message in node.messages()] == [Channel.LIVE] * 200 + [Channel.HEADS]
                assert {message.sender for message in node.messages()} == {"or-1"}
            assert one.messages() == []

    run(site, test)


@pytest.mark.parametrize("bulk", [False, True])
def test_request_and_reply_reach_only_the_one_asked(site: Site, bulk: bool) -> None:
    async def test() -> None:
        async with running(site, *BOXES) as (one, two, three):
            assert two.mesh.send_to("or-1", b"request", bulk=bulk)
            await until(one.messages)
            (request,) = one.messages()
            assert (request.sender, request.data) == ("or-2", b"request")
            assert request.channel is (Channel.BULK_IN if bulk else Channel.IN)
            assert one.mesh.reply_to("or-2", bytes(LIMITS.range_reply_bytes), bulk=bulk)
            await until(two.messages)
            (reply,) = two.messages()
            assert (reply.sender, len(reply.data)) == ("or-1", LIMITS.range_reply_bytes)
            assert reply.channel is (Channel.BULK_OUT if bulk else Channel.OUT)
            one.mesh.broadcast(Channel.LIVE, b"after")  # same connection as a stray reply would have taken
            await until(three.messages)
            assert three.data() == [b"after"]

    run(site, test)


def test_the_largest_message_passes_and_a_larger_one_is_dropped_and_counted(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1", "or-2") as (one, two):
            assert one.mesh.broadcast(Channel.LIVE, bytes(LIMITS.message_bytes))
            assert not one.mesh.broadcast(Channel.LIVE, bytes(LIMITS.message_bytes + 1))
            assert one.mesh.broadcast(Channel.LIVE, b"after")
            await until(lambda: len(two.messages()) == 2)
            assert [len(data) for data in two.data()] == [LIMITS.message_bytes, 5]
            counters = one.mesh.counters()["or-1"]
            assert (counters.messages_out, counters.dropped_messages) == (2, 1)
            assert counters.dropped_bytes == LIMITS.message_bytes + 1

    run(site, test)


def test_after_the_broker_comes_back_messages_flow_again_and_none_twice(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1", "or-2") as (one, two):
            one.mesh.broadcast(Channel.LIVE, b"before")
            await until(two.messages)
            await site.brokers["or-1"].stop()
            await until(lambda: not two.mesh.is_up("or-1") and isinstance(one.events[-1], OwnBrokerDown))
            assert not one.mesh.broadcast(Channel.LIVE, b"lost")
            assert not two.mesh.send_to("or-1", b"lost too")
            assert two.links() == [*two.links()[:-1], "down or-1"]
            await site.brokers["or-1"].start()
            await until(lambda: two.mesh.is_up("or-1") and isinstance(one.events[-1], OwnBrokerUp))
            one.mesh.broadcast(Channel.LIVE, b"again")
            two.mesh.send_to("or-1", b"asked")
            await until(lambda: len(two.messages()) == 2 and one.messages())
            assert two.data() == [b"before", b"again"]
            assert one.data() == [b"asked"]
            assert two.mesh.counters()["or-1"].dropped_messages == 1
            assert one.mesh.counters()["or-1"].dropped_messages == 1

    run(site, test)


def test_a_lost_peer_is_told_once_however_often_connecting_fails(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-2") as (two,):
            await site.brokers["or-1"].stop()
            await until(lambda: "down or-1" in two.links())
            attempts = two.mesh.counters()["or-1"].connections
            await until(lambda: two.mesh.counters()["or-1"].connections > attempts + 3)
            assert two.links().count("down or-1") == 1

    run(site, test)


def test_a_restarted_peer_gets_nothing_twice(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1") as (one,):
            async with running(site, "or-2") as (two,):
                one.mesh.broadcast(Channel.LIVE, b"first")
                await until(two.messages)
            one.mesh.broadcast(Channel.LIVE, b"while away")
            async with running(site, "or-2") as (again,):
                one.mesh.broadcast(Channel.LIVE, b"second")
                await until(again.messages)
                assert again.data() == [b"second"]

    run(site, test)


def test_a_peer_that_shows_another_certificate_is_not_talked_to(site: Site) -> None:
    async def test() -> None:
        node = site.node("or-2")
        wrong = PeerAddress(
            "or-1", "127.0.0.1", site.brokers["or-3"].port, site.identities["or-1"].certificate_der
        )  # or-3 answers where or-1 should
        await node.mesh.start()
        node.mesh.set_peers([wrong])
        await until(lambda: any(isinstance(event, PeerDown) for event in node.events))
        down = next(event for event in node.events if isinstance(event, PeerDown))
        assert (down.peer, down.reason.startswith("refused: not the pinned certificate")) == ("or-1", True)
        assert not node.mesh.is_up("or-1")
        await node.mesh.stop()

    run(site, test)


def test_a_broker_that_does_not_know_us_is_named_as_the_reason(site: Site, tmp_path: Path) -> None:
    async def test() -> None:
        stranger = Site("embedded", tmp_path, "or-9")
        address = PeerAddress("or-1", "127.0.0.1", site.brokers["or-1"].port, site.identities["or-1"].certificate_der)
        events: list[MeshEvent] = []
        mesh = Mesh(SITE, stranger.identities["or-9"], ("127.0.0.1", 1), [address], events.append)
        await mesh.start()
        await until(lambda: any(isinstance(event, PeerDown) for event in events))
        (down,) = (event for event in events if isinstance(event, PeerDown))
        assert "our certificate may be unknown there" in down.reason
        await mesh.stop()

    run(site, test)


def test_peers_can_be_taken_away_and_added_while_running(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1", "or-2") as (one, two):
            certificate = site.identities["or-1"].certificate_der
            two.mesh.set_peers([])
            assert not two.mesh.send_to("or-1", b"x")
            assert not two.mesh.reply_to("or-1", b"x")
            one.mesh.broadcast(Channel.LIVE, b"unheard")
            two.mesh.set_peers([PeerAddress("or-1", "127.0.0.1", site.brokers["or-1"].port, certificate)])
            await until(lambda: two.mesh.is_up("or-1"))
            one.mesh.broadcast(Channel.LIVE, b"heard")
            await until(two.messages)
            assert two.data() == [b"heard"]

    run(site, test)


def test_bulk_connection_closes_when_idle(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with running(site, "or-1", "or-2") as (one, two):
            assert "or-1/bulk" not in two.mesh.counters()
            two.mesh.send_to("or-1", b"pull", bulk=True)
            assert "or-1/bulk" in two.mesh.counters()
            await until(one.messages)
            entry = two.mesh._peers["or-1"]
            monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, call: call())
            entry.touch()
            monkeypatch.undo()
            assert "or-1/bulk" not in two.mesh.counters()
            two.mesh.send_to("or-1", b"pull again", bulk=True)
            await until(lambda: len(one.messages()) == 2)

    run(site, test)


def test_what_waits_for_an_opening_bulk_connection_is_bounded(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-2") as (two,):
            await site.brokers["or-1"].stop()
            accepted = [two.mesh.send_to("or-1", b"x", bulk=True) for _ in range(LIMITS.bulk_held_messages + 3)]
            assert accepted == [True] * LIMITS.bulk_held_messages + [False] * 3
            assert two.mesh.counters()["or-1/bulk"].dropped_messages == 3

    run(site, test)


def test_what_waits_for_a_stuck_socket_is_bounded(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1") as (one,):
            link = one.mesh._peers["or-2"].live.link
            assert isinstance(link, Link)
            connection = link._connection
            assert connection is not None
            connection._client._packet_write = lambda: paho.MQTT_ERR_AGAIN  # type: ignore[method-assign]
            sent = [one.mesh.send_to("or-2", b"x") for _ in range(LIMITS.peer_queue_messages + 5)]
            assert sent == [True] * LIMITS.peer_queue_messages + [False] * 5
            assert len(connection._client._out_packet) == LIMITS.peer_queue_messages

    run(site, test)


def test_links_have_the_socket_options_that_keep_latency_low(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1") as (one,):
            link = one.mesh._peers["or-2"].live.link
            assert isinstance(link, Link)
            assert link._connection is not None
            sock = link._connection._sock
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == LIMITS.tcp_user_timeout_ms

    run(site, test)


def test_stop_leaves_no_task_and_no_thread(site: Site) -> None:
    async def test() -> None:
        async with running(site, "or-1", "or-2") as (one, two):
            two.mesh.send_to("or-1", b"x", bulk=True)
            await until(one.messages)
        await site.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert one.mesh.counters() == {}
        assert not one.mesh.broadcast(Channel.LIVE, b"x")

    run(site, test)


def test_only_live_and_heads_are_broadcasts(tmp_path: Path) -> None:
    site = Site("embedded", tmp_path, "or-1")
    with pytest.raises(OurFault):
        site.node("or-1").mesh.broadcast(Channel.OUT, b"x")


def test_paho_still_keeps_the_packet_length_where_the_cap_looks() -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    assert client._in_packet["remaining_length"] == 0
    assert LIMITS.message_bytes < _PACKET_BYTES
