"""Who gets in and who may do what at a box's broker; the embedded one and mosquitto by the same rules."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.broker import EmbeddedBroker
from agent.broker_mqtt import MeshBroker
from agent.tls import TlsIdentity, client_context, create_identity
from ledger.errors import ConfigurationFault, OurFault, PeerFault
from ledger.limits import LIMITS
from tests.agent.mesh_site import DEADLINE_S, KINDS, SITE, Broker, Embedded, wait_until
from tests.agent.raw_client import CONNACK, RawClient, connect, packet, publish, subscribe, text
from tests.processes.site import free_port

OWNER = f"orledger/{SITE}/or-1"


class LoopThread:
    """An event loop on a thread of its own: the clients of these tests block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def do(self, call: Callable[[], Coroutine[None, None, None]]) -> None:
        """Wait for what is to be done on the loop."""
        asyncio.run_coroutine_threadsafe(call(), self._loop).result(DEADLINE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Bench:
    """The broker of or-1 with the peers or-2 and or-3; or-9 is a stranger."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.ids = {name: create_identity(name, folder / f"{name}.pem") for name in ("or-1", "or-2", "or-3", "or-9")}
        self.peers = {name: self.ids[name].certificate_der for name in ("or-2", "or-3")}
        self.broker: Broker = KINDS[kind](self.ids["or-1"], self.peers, folder)
        self.loop = LoopThread()
        self.start()

    def start(self) -> None:
        self.loop.do(self.broker.start)

    def stop(self) -> None:
        self.loop.do(self.broker.stop)

    def close(self) -> None:
        self.stop()
        self.loop.close()

    @property
    def embedded(self) -> EmbeddedBroker:
        assert isinstance(self.broker, Embedded)
        return self.broker.broker

    def set_peers(self, peers: dict[str, bytes]) -> None:
        async def call() -> None:
            self.embedded.set_peers(peers)

        self.loop.do(call)

    def tls(self, box: str) -> ssl.SSLContext:
        return client_context(self.ids[box], self.ids["or-1"].certificate_der)

    def client(self, box: str, receive_buffer: int | None = None) -> RawClient:
        return RawClient(self.broker.port, self.tls(box), receive_buffer)

    def box(self, box: str, purpose: str = "live", receive_buffer: int | None = None) -> RawClient:
        return self.client(box, receive_buffer).hello(f"{box}/{purpose}")


@pytest.fixture(params=sorted(KINDS))
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(request.param, tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench("embedded", tmp_path)
    yield made
    made.close()


# Both brokers


def test_a_stranger_and_a_client_without_a_certificate_are_refused(either: Bench) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(cadata=either.ids["or-1"].certificate_der)
    for tls in (either.tls("or-9"), nobody):
        with pytest.raises((EOFError, OSError)), RawClient(either.broker.port, tls) as client:
            client.hello("or-2/live")


def test_a_client_without_tls_is_refused(either: Bench) -> None:
    with socket.create_connection(("127.0.0.1", either.broker.port), timeout=60) as sock:
        sock.sendall(connect("or-2/live"))
        answer = b"?"
        while answer:
            try:
                answer = sock.recv(100)
            except ConnectionError:
                break
            assert not answer.startswith(bytes([CONNACK << 4]))


def test_what_the_owner_says_reaches_the_peers_it_is_for(either: Bench) -> None:
    with either.box("or-1") as owner, either.box("or-2") as two, either.box("or-3") as three:
        two.subscribed(f"{OWNER}/live", f"{OWNER}/heads", f"{OWNER}/out/or-2", f"{OWNER}/bulk-out/or-2")
        three.subscribed(f"{OWNER}/live", f"{OWNER}/out/or-3")
        for rest in ("live", "heads", "out/or-2", "bulk-out/or-2", "out/or-3"):
            owner.send(publish(f"{OWNER}/{rest}", rest.encode()))
        for rest in ("live", "heads", "out/or-2", "bulk-out/or-2"):
            assert two.message() == (f"{OWNER}/{rest}", rest.encode())
        for rest in ("live", "out/or-3"):
            assert three.message() == (f"{OWNER}/{rest}", rest.encode())


@pytest.mark.parametrize(
    "topic_filter",
    ["out/or-3", "bulk-out/or-3", "in/or-2", "in/or-3", "in/+", "out/+", "+", "#", "bulk-in/or-3"],
)
def test_a_peer_hears_nothing_that_is_not_for_it(either: Bench, topic_filter: str) -> None:
    with either.box("or-1") as owner, either.box("or-2") as two, either.box("or-3") as three:
        two.send(subscribe(f"{OWNER}/{topic_filter}"))
        two.receive()
        two.subscribed(f"{OWNER}/heads")
        for rest in ("out/or-3", "bulk-out/or-3"):
            owner.send(publish(f"{OWNER}/{rest}", b"secret"))
        for rest in ("in/or-3", "bulk-in/or-3"):
            three.send(publish(f"{OWNER}/{rest}", b"secret"))
        three.ping()
        owner.send(publish(f"{OWNER}/heads", b"the end"))
        while (heard := two.message()) != (f"{OWNER}/heads", b"the end"):
            assert heard[1] != b"secret"


@pytest.mark.parametrize("rest", ["live", "heads", "in/or-3", "bulk-in/or-3", "out/or-2", "out/or-3", "in/or-2/x"])
def test_a_peer_cannot_speak_as_another(either: Bench, rest: str) -> None:
    with either.box("or-1") as owner, either.box("or-2") as two, either.box("or-3") as three:
        owner.subscribed(f"{OWNER}/#")
        three.subscribed(f"{OWNER}/live", f"{OWNER}/heads", f"{OWNER}/out/or-3")
        two.send(publish(f"{OWNER}/{rest}", b"forged"))
        two.send(publish(f"{OWNER}/in/or-2", b"honest"))
        assert owner.message() == (f"{OWNER}/in/or-2", b"honest")
        owner.send(publish(f"{OWNER}/heads", b"the end"))
        assert three.message() == (f"{OWNER}/heads", b"the end")


def test_a_retained_message_is_refused(either: Bench) -> None:
    with either.box("or-1") as owner, either.box("or-2") as two:
        two.send(publish(f"{OWNER}/in/or-2", b"kept?", first=0x31))
        assert two.closed()
        owner.subscribed(f"{OWNER}/in/+")
        with either.box("or-2", "again") as again:
            again.send(publish(f"{OWNER}/in/or-2", b"new"))
            assert owner.message() == (f"{OWNER}/in/or-2", b"new")


def test_a_message_over_the_cap_closes_the_connection_before_it_is_read(either: Bench) -> None:
    with either.box("or-1") as owner, either.box("or-2") as two:
        owner.subscribed(f"{OWNER}/in/+")
        two.send(b"\x30\xff\xff\xff\x7f" + text(f"{OWNER}/in/or-2") + bytes(1000))  # says 256 MiB
        assert two.closed()
        owner.ping()


def test_a_slow_client_is_bounded_and_hinders_nobody(either: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = replace(LIMITS, tcp_user_timeout_ms=60_000)  # else this machine may be the slow one
    monkeypatch.setattr("agent.sockets.LIMITS", patient)
    messages = 4 * LIMITS.mqtt_client_bytes // LIMITS.message_bytes
    with either.box("or-1") as owner, either.box("or-2", receive_buffer=65536) as slow, either.box("or-3") as quick:
        slow.subscribed(f"{OWNER}/live")
        quick.subscribed(f"{OWNER}/live")
        data = bytes(LIMITS.message_bytes - 4)
        for number in range(messages):
            owner.send(publish(f"{OWNER}/live", number.to_bytes(4, "big") + data))
            assert quick.message()[1][:4] == number.to_bytes(4, "big")
        if isinstance(either.broker, Embedded):  # the rest was dropped
            taken_bytes = (either.embedded.counters.messages_out - messages) * LIMITS.message_bytes
            assert taken_bytes < LIMITS.mqtt_client_bytes + 4 * LIMITS.message_bytes  # socket buffers come on top


def test_nothing_is_kept_for_a_client_that_is_away(either: Bench) -> None:
    with either.box("or-1") as owner:
        with either.client("or-2") as two:
            two.send(connect("or-2/live", flags=0x00))  # wants a session that outlives the connection
            assert two.receive()[0] == CONNACK << 4
            two.subscribed(f"{OWNER}/live")
        owner.send(publish(f"{OWNER}/live", b"while away"))
        owner.ping()
        with either.box("or-2") as two:
            two.subscribed(f"{OWNER}/live")
            owner.send(publish(f"{OWNER}/live", b"now"))
            assert two.message()[1] == b"now"


# The embedded broker alone


@pytest.mark.parametrize("client_id", ["or-3/live", "or-2", "", "or-2/x/../y", "or-22/live", "or-2/" + "x" * 40])
def test_a_client_id_of_another_box_is_refused_and_ends_no_session(bench: Bench, client_id: str) -> None:
    with bench.box("or-3") as three, bench.box("or-1") as owner:
        three.subscribed(f"{OWNER}/live")
        with bench.client("or-2") as two:
            two.send(connect(client_id))
            assert two.receive() == (CONNACK << 4, b"\x00\x02")
            assert two.closed()
        owner.send(publish(f"{OWNER}/live", b"still here"))
        assert three.message()[1] == b"still here"
        assert bench.embedded.counters.clients_refused == 1


def test_a_will_is_refused(bench: Bench) -> None:
    with bench.client("or-2") as two:
        two.send(connect("or-2/live", flags=0x06, extra=text(f"{OWNER}/in/or-3") + text(b"forged")))
        assert two.receive() == (CONNACK << 4, b"\x00\x05")
        assert two.closed()


def test_refusals_are_answered_and_counted(bench: Bench) -> None:
    with bench.box("or-2") as two:
        assert two.subscribed(f"{OWNER}/out/or-3", f"{OWNER}/live", "#") == b"\x80\x00\x80"
        two.send(publish(f"{OWNER}/live", b"forged"))
        two.ping()
        counters = bench.embedded.counters
        assert (counters.subscriptions_refused, counters.publishes_refused, counters.messages_in) == (2, 1, 0)


def test_only_qos_0_is_granted(bench: Bench) -> None:
    with bench.box("or-2") as two:
        two.send(packet(0x82, b"\x00\x01" + text(f"{OWNER}/live") + b"\x02"))
        assert two.receive() == (0x90, b"\x00\x01\x00")


def test_the_same_client_id_again_ends_the_older_connection(bench: Bench) -> None:
    with bench.box("or-1") as owner, bench.box("or-2") as old:
        old.subscribed(f"{OWNER}/live")
        with bench.box("or-2") as new:
            assert old.closed()
            new.subscribed(f"{OWNER}/live")
            owner.send(publish(f"{OWNER}/live", b"once"))
            owner.send(publish(f"{OWNER}/live", b"twice"))
            assert [new.message()[1], new.message()[1]] == [b"once", b"twice"]


def test_one_box_cannot_use_up_all_connections(bench: Bench) -> None:
    clients = [bench.box("or-2", f"p{chr(97 + number)}") for number in range(LIMITS.mqtt_connections_per_box)]
    with bench.client("or-2") as one_more, bench.box("or-3") as three:
        assert one_more.closed()
        three.ping()
    for client in clients:
        client.ping()
        client.sock.close()
    wait_until(lambda: not bench.embedded._connections)
    with bench.box("or-2") as again:
        again.ping()


def test_connections_are_bounded_before_tls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.box("or-2") as two:
        monkeypatch.setattr("agent.broker.LIMITS", _Few())
        with socket.create_connection(("127.0.0.1", bench.broker.port), timeout=60) as sock:
            assert sock.recv(1) == b""
        two.ping()
        assert bench.embedded.counters.connections_refused == 1


class _Few:
    mqtt_connections = 1


MALFORMED = {
    "reserved type": b"\x00\x00",
    "second CONNECT": connect("or-2/live"),
    "CONNACK from a client": b"\x20\x02\x00\x00",
    "length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "publish without topic": packet(0x30, b""),
    "topic longer than the packet": packet(0x30, b"\x00\x09abc"),
    "topic over the cap": publish("x" * 300, b""),
    "topic not UTF-8": packet(0x30, b"\x00\x02\xff\xfe"),
    "QoS 1": publish(f"{OWNER}/in/or-2", b"x", first=0x32),
    "QoS 3": publish(f"{OWNER}/in/or-2", b"x", first=0x36),
    "empty subscribe": packet(0x82, b"\x00\x01\x00"),
    "subscribe cut short": packet(0x82, b"\x00\x01\x00\x20abc"),
    "huge subscribe": b"\x82\xff\xff\x7f" + bytes(100),
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_packets_close_only_the_connection_they_came_by(bench: Bench, name: str) -> None:
    with bench.box("or-3") as three, bench.box("or-2") as two:
        two.send(MALFORMED[name])
        assert two.closed()
        three.ping()
    assert bench.embedded.counters.protocol_errors == 1
    wait_until(lambda: not bench.embedded._connections)


FIRST = {
    "no CONNECT": b"\xc0\x00",
    "empty CONNECT": packet(0x10, b""),
    "CONNECT cut short": packet(0x10, text("MQTT") + b"\x04\x02\x00"),
    "CONNECT over the cap": b"\x10\xff\x7f" + bytes(100),
    "MQTT 5": connect("or-2/live", level=5),
    "user name missing": connect("or-2/live", flags=0x82),
}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_malformed_beginning_is_refused(bench: Bench, name: str) -> None:
    with bench.client("or-2") as two:
        two.send(FIRST[name])
        try:
            first, body = two.receive()
            assert first == CONNACK << 4
            assert body[1] != 0
            assert two.closed()
        except (EOFError, ConnectionError):
            pass  # closed without an answer: as good
    wait_until(lambda: not bench.embedded._connections)


def test_a_client_that_leaves_at_once_leaves_nothing_behind(bench: Bench) -> None:
    for _ in range(10):
        with bench.client("or-2") as two:
            two.send(connect("or-2/live") + subscribe(f"{OWNER}/live") + b"\xe0\x00")
    wait_until(lambda: not bench.embedded._connections)


def test_a_silent_client_is_disconnected_after_its_keepalive(bench: Bench) -> None:
    with bench.client("or-2") as two:
        two.send(connect("or-2/live", keepalive_s=1))
        two.receive()
        assert two.closed()


def test_peers_are_replaced_while_running(bench: Bench) -> None:
    with bench.box("or-2") as two, bench.box("or-3") as three:
        bench.set_peers({name: bench.ids[name].certificate_der for name in ("or-2", "or-9")})
        assert three.closed()
        with bench.box("or-9") as nine:
            nine.ping()
        with pytest.raises((EOFError, OSError)), bench.client("or-3") as back:
            back.hello("or-3/live")
        two.ping()


def test_a_box_with_a_new_certificate_is_disconnected(bench: Bench, tmp_path: Path) -> None:
    new = create_identity("or-2", tmp_path / "new.pem")
    with bench.box("or-2") as two:
        bench.set_peers({"or-2": new.certificate_der})
        assert two.closed()
    tls = client_context(new, bench.ids["or-1"].certificate_der)
    with RawClient(bench.broker.port, tls) as two:
        two.hello("or-2/live")


def test_a_certificate_under_another_name_is_refused(bench: Bench) -> None:
    with pytest.raises(PeerFault):
        bench.set_peers({"or-3": bench.ids["or-2"].certificate_der})
    with pytest.raises(PeerFault):
        bench.set_peers({"or-1": bench.ids["or-1"].certificate_der})


def test_a_port_in_use_is_the_operators_to_mend(bench: Bench) -> None:
    second = EmbeddedBroker(SITE, bench.ids["or-2"], "127.0.0.1", bench.broker.port, {})
    with pytest.raises(ConfigurationFault) as caught:
        bench.loop.do(second.start)
    assert str(bench.broker.port) in caught.value.text
    assert caught.value.next_step
    with bench.box("or-2") as two:
        two.ping()


def test_stop_frees_the_port_and_start_serves_again(bench: Bench) -> None:
    for _ in range(3):
        with bench.box("or-2") as two:
            two.ping()
            bench.stop()
            assert two.closed()
        socket.create_server(("127.0.0.1", bench.broker.port)).close()
        bench.start()
    with pytest.raises(OurFault):
        bench.start()


def test_stop_is_quick_while_a_client_reads_nothing(bench: Bench) -> None:
    with bench.box("or-1") as owner, bench.box("or-2", receive_buffer=65536) as slow:
        slow.subscribed(f"{OWNER}/live")
        for _ in range(6):
            owner.send(publish(f"{OWNER}/live", bytes(LIMITS.message_bytes)))
        owner.ping()
        bench.stop()
    assert not bench.embedded._connections


def test_a_broker_that_cannot_end_in_order_closes_its_connections_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = MeshBroker.shutdown
    brokers: list[MeshBroker] = []

    async def fails(self: MeshBroker) -> None:
        brokers.append(self)
        raise RuntimeError("a bug")

    with bench.box("or-2") as two, monkeypatch.context() as patch:
        two.ping()
        patch.setattr(MeshBroker, "shutdown", fails)
        bench.stop()
        assert two.closed()
    bench.loop.do(lambda: ended(brokers[0]))
    bench.start()
    with bench.box("or-2") as two:
        two.ping()


def test_sockets_have_the_options_that_keep_latency_low(bench: Bench) -> None:
    with bench.box("or-2") as two:
        two.ping()
        (task,) = bench.embedded._connections
        frame = task.get_coro().cr_frame  # type: ignore[union-attr]
        sock = frame.f_locals["transport"].get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == LIMITS.tcp_user_timeout_ms


def test_amqtt_says_nothing_below_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with bench.box("or-2") as two:
        two.subscribed(f"{OWNER}/live")
    wait_until(lambda: not bench.embedded._connections)
    assert [record for record in caplog.records if record.name.startswith(("amqtt", "transitions"))] == []
    assert logging.getLogger("amqtt").level == logging.ERROR


def test_amqtt_is_imported_only_when_a_broker_starts() -> None:
    program = "import sys, agent.broker, agent.mesh; print('amqtt' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert told.strip() == "False"


# What amqtt must keep for our overrides to hold: a later version that moved it would bypass them in silence.


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        ("Broker", "_initialize_client_session", ["self", "reader", "writer", "remote_address", "remote_port"]),
        ("Broker", "_authenticate", ["self", "session", "_"]),
        ("Broker", "_topic_filtering", ["self", "session", "topic", "action"]),
        ("Broker", "add_subscription", ["self", "subscription", "session"]),
        ("Broker", "_session_monitor", ["self"]),
        ("Broker", "_delete_session", ["self", "client_id"]),
        ("Broker", "_get_handler", ["self", "session"]),
        ("Broker", "_matches", ["self", "topic", "a_filter"]),
        ("Broker", "external_connected", ["self", "reader", "writer", "listener_name"]),
        ("Broker", "shutdown", ["self"]),
        ("BrokerProtocolHandler", "_reader_loop", ["self"]),
        ("BrokerProtocolHandler", "handle_connection_closed", ["self"]),
        ("BrokerProtocolHandler", "handle_disconnect", ["self", "disconnect"]),
    ],
)
def test_amqtt_still_has_what_is_overridden_or_called(owner: str, name: str, parameters: list[str]) -> None:
    import inspect

    from amqtt.broker import Broker
    from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

    base = Broker if owner == "Broker" else BrokerProtocolHandler
    assert list(inspect.signature(getattr(base, name)).parameters) == parameters


def test_every_override_is_really_called_by_amqtt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.broker_mqtt import ClientHandler, MeshBroker

    called = set()

    def spy(owner: type, name: str) -> None:
        original = getattr(owner, name)

        async def wrapped(*args: object, **kwargs: object) -> object:
            called.add(name)
            return await original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    overrides = [
        (MeshBroker, "_initialize_client_session"),
        (MeshBroker, "_authenticate"),
        (MeshBroker, "_topic_filtering"),
        (MeshBroker, "add_subscription"),
        (MeshBroker, "_handle_client_session"),
        (ClientHandler, "_reader_loop"),
        (ClientHandler, "start"),
    ]
    for owner, name in overrides:
        spy(owner, name)
    with bench.box("or-2") as two:
        two.subscribed(f"{OWNER}/live")
    assert called == {name for _owner, name in overrides}


def test_the_free_port_of_a_stopped_broker_is_unknown(tmp_path: Path) -> None:
    own: TlsIdentity = create_identity("or-1", tmp_path / "or-1.pem")
    broker = EmbeddedBroker(SITE, own, "127.0.0.1", 0, {})
    with pytest.raises(OurFault):
        _ = broker.port

    async def test() -> None:
        await broker.start()
        assert broker.port not in (0, free_port())
        await broker.stop()
        await broker.stop()  # harmless

    asyncio.run(test())
