"""systemd/mosquitto.conf and its access list, obeyed by a real mosquitto, against the rules of agent.topics."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion

from agent.tls import TlsIdentity, client_context, create_identity
from agent.topics import Channel, OwnerTopics
from ledger.limits import LIMITS
from tests.conftest import require_tool
from tests.processes.site import free_port

CONFIGURATION = Path(__file__).parents[2] / "systemd"
TOPICS = OwnerTopics("st-mary", "or-3")
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    port: int
    boxes: dict[str, TlsIdentity]

    def context(self, box_id: str) -> ssl.SSLContext:
        return client_context(self.boxes[box_id], self.boxes["or-3"].certificate_der)


def _settings(directory: Path, port: int) -> str:
    text = (CONFIGURATION / "mosquitto.conf").read_text()
    for installed, here in (
        ("listener 8883 10.20.3.13", f"listener {port} 127.0.0.1\nuser root"),
        ("/etc/orledger/tls", str(directory)),
        ("/etc/orledger/mosquitto/mosquitto.acl", str(CONFIGURATION / "mosquitto.acl")),
        ("/etc/orledger/mosquitto", str(directory)),
    ):
        assert installed in text
        text = text.replace(installed, here)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    program = require_tool("mosquitto")
    directory = tmp_path_factory.mktemp("tls")
    boxes = {box_id: create_identity(box_id, directory / f"{box_id}.pem") for box_id in ("or-1", "or-2", "or-3")}
    (directory / "or-3.pem").rename(directory / "box.pem")
    peers = "".join(ssl.DER_cert_to_PEM_cert(own.certificate_der) for own in boxes.values())
    (directory / "peers.pem").write_text(peers)
    boxes["or-3"] = dataclasses.replace(boxes["or-3"], pem_path=directory / "box.pem")
    port = free_port()
    (directory / "mosquitto.conf").write_text(_settings(directory, port))
    broker = subprocess.Popen([program, "-c", directory / "mosquitto.conf"], stderr=subprocess.PIPE, text=True)
    try:
        _until(lambda: broker.poll() is not None or _accepts(port))
        assert broker.poll() is None, broker.stderr and broker.stderr.read()
        yield Site(port, boxes)
    finally:
        broker.terminate()
        broker.communicate(timeout=PATIENCE_S)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Box:
    """One box's connection to or-3's broker."""

    def __init__(self, site: Site, box_id: str) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{box_id}/live")
        self.client.tls_set_context(site.context(box_id))
        self.client.on_connect = lambda *arguments: self._answers.put(not arguments[3].is_failure)
        self.client.on_subscribe = lambda *arguments: self._answers.put(not arguments[3][0].is_failure)
        self.client.on_message = lambda _client, _userdata, message: self.heard.put(
            (message.topic, bytes(message.payload))
        )
        self.client.connect("127.0.0.1", site.port)
        self.client.loop_start()
        assert self._answers.get(timeout=PATIENCE_S)

    def subscribe(self, topic_filter: str) -> bool:
        self.client.subscribe(topic_filter)
        return self._answers.get(timeout=PATIENCE_S)

    def publish(self, topic: str, payload: bytes = b"x") -> None:
        self.client.publish(topic, payload).wait_for_publish(PATIENCE_S)

    def heard_until(self, last: bytes) -> list[str]:
        topics: list[str] = []
        while True:
            topic, payload = self.heard.get(timeout=PATIENCE_S)
            if payload == last:
                return topics
            topics.append(topic)


@pytest.fixture
def connect(site: Site) -> Iterator[Callable[[str], Box]]:
    boxes: list[Box] = []

    def connected(box_id: str) -> Box:
        boxes.append(Box(site, box_id))
        return boxes[-1]

    yield connected
    for box in boxes:
        box.client.disconnect()
        box.client.loop_stop()


def _all_topics() -> list[str]:
    peers = ("or-1", "or-2")
    addressed = [
        TOPICS.topic(channel, peer) for channel in Channel if channel.value.endswith(("in", "out")) for peer in peers
    ]
    return [TOPICS.topic(Channel.LIVE), TOPICS.topic(Channel.HEADS), *addressed]


def test_a_peer_is_heard_only_under_its_own_name(connect: Callable[[str], Box]) -> None:
    owner, peer = connect("or-3"), connect("or-1")
    assert owner.subscribe(TOPICS.prefix + "#")
    tried = [*_all_topics(), TOPICS.prefix + "anything", "orledger/st-mary/or-1/live"]
    for topic in tried:
        peer.publish(topic)
    peer.publish(TOPICS.topic(Channel.IN, "or-1"), b"last")
    assert set(owner.heard_until(b"last")) == {topic for topic in tried if TOPICS.may_publish("or-1", topic)}


def test_a_peer_hears_what_is_for_all_and_for_itself(connect: Callable[[str], Box]) -> None:
    owner, peer = connect("or-3"), connect("or-1")
    for topic in [*_all_topics(), TOPICS.prefix + "#", "#"]:
        peer.subscribe(topic)  # mosquitto accepts a filter and holds back what may not be read
    for topic in _all_topics():
        owner.publish(topic)
    owner.publish(TOPICS.topic(Channel.LIVE), b"last")
    assert set(peer.heard_until(b"last")) == set(TOPICS.peer_subscriptions("or-1"))


def test_the_largest_message_passes(connect: Callable[[str], Box]) -> None:
    owner, peer = connect("or-3"), connect("or-2")
    assert peer.subscribe(TOPICS.topic(Channel.BULK_OUT, "or-2"))
    largest = b"\x5a" * LIMITS.message_bytes
    owner.publish(TOPICS.topic(Channel.BULK_OUT, "or-2"), largest)
    assert peer.heard.get(timeout=PATIENCE_S)[1] == largest


def _refused(site: Site, context: ssl.SSLContext) -> bool:
    """Whether the broker ends the connection instead of answering a byte sent to it."""
    try:
        with (
            socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) as raw,
            context.wrap_socket(raw) as secured,
        ):
            secured.sendall(bytes.fromhex("100e00044d5154540402000500027878"))  # CONNECT as "xx"
            return secured.recv(4) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_pinned_box_is_answered(site: Site) -> None:
    assert not _refused(site, site.context("or-1"))


def test_no_certificate_and_a_stranger_s_certificate_are_refused(site: Site, tmp_path: Path) -> None:
    assert _refused(site, _bare_context())
    stranger = create_identity("or-1", tmp_path / "stranger.pem")
    assert _refused(site, client_context(stranger, site.boxes["or-3"].certificate_der))


def test_tls_1_2_is_refused(site: Site) -> None:
    context = _bare_context()
    context.load_cert_chain(site.boxes["or-1"].pem_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert _refused(site, context)


def test_a_pinned_box_cannot_vouch_for_another(site: Site, tmp_path: Path) -> None:
    pem = site.boxes["or-1"].pem_path.read_bytes()
    issuer = x509.load_pem_x509_certificate(pem)
    issuer_key = serialization.load_pem_private_key(pem, None)
    assert isinstance(issuer_key, Ed25519PrivateKey)
    key = Ed25519PrivateKey.generate()
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "or-2")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .sign(issuer_key, None)
    )
    path = tmp_path / "forged.pem"
    path.write_bytes(
        forged.public_bytes(serialization.Encoding.PEM)
        + issuer.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = _bare_context()
    context.load_cert_chain(path)
    assert _refused(site, context)
