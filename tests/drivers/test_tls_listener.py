"""The TLS listener on real sockets, with certificates made for the test; the published example client against it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.feed import Feed
from agent.intake import Intake
from agent.wake_timer import loop_schedule
from drivers.contract import Now
from drivers.push import Push, PushConfig
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.tls_listener import TlsConfig, TlsListener
from ledger.errors import ConfigurationFault
from ledger.records import Event, Identity, LinkId, Numeric, Record, Setting, Wave
from tests.drivers.transport_log import Log, until

CLIENT = Path(__file__).parents[2] / "docs" / "examples" / "push_client.py"
LISTEN = MllpConfig("127.0.0.1", 0, (ip_network("127.0.0.1"),))


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class Maker:
    """Certificates in a folder; each file holds certificate and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority_key = ec.generate_private_key(ec.SECP256R1())

    def make(self, name: str, *, signed: bool = False, ca: bool = False) -> str:
        key = self.authority_key if ca else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital")]) if signed else subject
        today = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=9))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.authority_key if signed else key, hashes.SHA256())
        )  # fmt: skip
        path = self.folder / f"{name.replace(' ', '-')}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(path)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = Maker(tmp_path_factory.mktemp("certificates"))
    for name in ("box", "console-1", "console-2", "has spaces"):
        made.make(name)
    made.make("hospital", ca=True)
    made.make("robot-9", signed=True)
    made.make("robot-8", signed=True)
    return made


def at(maker: Maker, name: str) -> str:
    return str(maker.folder / f"{name}.pem")


def client_context(maker: Maker, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=at(maker, "box"))
    context.check_hostname = False
    if name is not None:
        context.load_cert_chain(at(maker, name))
    return context


def run(config: TlsConfig, scene: Callable[[TlsListener, Log, int], object]) -> Log:
    log = Log()

    async def play() -> None:
        listener = TlsListener(config, now)
        listener.start(log)
        await until(lambda: listener.address is not None)
        assert listener.address is not None
        await scene(listener, log, listener.address[1])  # type: ignore[misc]
        await listener.stop()

    asyncio.run(play())
    return log


def test_a_pinned_client_speaks_under_its_name(maker: Maker) -> None:
    async def scene(listener: TlsListener, log: Log, port: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(maker, "console-1"), server_hostname="box"
        )
        writer.write(b"hello\n")
        await until(lambda: log.data.get(1) == b"hello\n")
        assert listener.send(LinkId(1), b"answer\n")
        assert await reader.readline() == b"answer\n"
        writer.close()
        await until(lambda: log.count("down") == 1)

    log = run(TlsConfig.pinning(LISTEN, Path(at(maker, "box")), (at(maker, "console-1"),)), scene)
    assert str(log.events[0][2]).startswith("console-1@127.0.0.1:")


@pytest.mark.parametrize(
    ("pinned", "caller", "reason"),
    [
        ("console-1", "console-2", "self-signed certificate"),
        ("console-1", None, "peer did not return a certificate"),
        ("hospital", "robot-9", "not one of those configured"),
        ("has-spaces", "has-spaces", "no common name"),
    ],
)
def test_who_is_not_let_in_is_told_why(maker: Maker, pinned: str, caller: str | None, reason: str) -> None:
    async def scene(_listener: TlsListener, log: Log, port: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(maker, caller), server_hostname="box"
            )
            writer.write(b"hello\n")
            await reader.read()
        except (OSError, ssl.SSLError):
            pass
        await until(lambda: log.count("refused") == 1)

    log = run(TlsConfig.pinning(LISTEN, Path(at(maker, "box")), (at(maker, pinned),)), scene)
    assert [event[0] for event in log.events] == ["refused"]
    assert reason in str(log.events[0][2])


def test_an_authority_lets_in_only_the_names_configured(maker: Maker) -> None:
    config = TlsConfig.trusting(LISTEN, Path(at(maker, "box")), at(maker, "hospital"), ("robot-9",))

    async def scene(_listener: TlsListener, log: Log, port: int) -> None:
        for name in ("robot-8", "robot-9"):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(maker, name), server_hostname="box"
            )
            await until(lambda: log.count("up") + log.count("refused") >= (1 if name == "robot-8" else 2))  # noqa: B023
            writer.close()

    log = run(config, scene)
    assert [event[0] for event in log.events[:2]] == ["refused", "up"]
    assert "robot-8" in str(log.events[0][2])


def test_bad_files_are_named(maker: Maker, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing", encoding="ascii")
    for path in (str(bad), str(tmp_path / "missing.pem")):
        with pytest.raises(ConfigurationFault, match=path):
            TlsConfig.pinning(LISTEN, bad, (path,))
    with pytest.raises(ConfigurationFault, match=str(bad)):
        TlsListener(TlsConfig.pinning(LISTEN, bad, (at(maker, "console-1"),)), now)


def test_the_example_client_is_acknowledged_once_its_lines_are_durable(maker: Maker) -> None:
    records: list[Record] = []

    async def play() -> tuple[int | None, str]:
        intake = Intake()
        config = TlsConfig.pinning(LISTEN, Path(at(maker, "box")), (at(maker, "console-1"),))
        listener = TlsListener(config, now)
        feed = Feed("console", lambda: Push(PushConfig()), listener, intake, now,
                    loop_schedule(asyncio.get_running_loop()))  # fmt: skip
        feed.start()
        await until(lambda: listener.address is not None)
        assert listener.address is not None
        arguments = (
            f"127.0.0.1:{listener.address[1]}",
            "--certificate",
            at(maker, "console-1"),
            "--box",
            at(maker, "box"),
        )
        client = await asyncio.create_subprocess_exec(sys.executable, str(CLIENT), *arguments, stdout=subprocess.PIPE)
        await until(lambda: intake.waiting_records >= 8)
        batch = intake.take()
        records.extend(batch.groups["console"])
        assert client.stdout is not None
        assert b"welcome" in await client.stdout.readline()
        await asyncio.sleep(0.05)
        assert client.returncode is None
        intake.durable(batch.last_position)
        out, _ = await client.communicate()
        await feed.stop()
        return client.returncode, out.decode()

    code, out = asyncio.run(play())
    assert code == 0
    assert out.count('"ack"') == 5
    assert "all on the box's disk" in out
    told = [type(record) for record in records if isinstance(record, Identity | Numeric | Setting | Wave | Event)]
    assert told == [Identity, Setting, Numeric, Numeric, Wave, Event]
    assert {record.sub for record in records if isinstance(record, Wave)} == {"console-1"}
