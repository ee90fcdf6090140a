from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from agent import config
from agent.feed_config import feed_setups
from drivers import registry
from drivers.contract import Driver, Message, Now, Outbox, Spec, Transport
from drivers.transports.addresses import TcpConfig, UdpConfig
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.mqtt_config import MqttConfig
from drivers.transports.serial_config import SerialConfig, SerialLine
from drivers.transports.tls_listener import TlsConfig
from ledger.errors import ConfigurationFault, OperatorFault
from ledger.records import LinkId
from tests.agent.test_config import WHOLE


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    numerics_s: int = 10
    waves: tuple[str, ...] = ()


class Monitor(Outbox):
    spec: ClassVar[Spec[Any]] = Spec("ge-dri", (), (Transport.SERIAL,), Options)

    def link_up(self, link: LinkId, peer: str, now: Now) -> None: ...
    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None: ...
    def link_down(self, link: LinkId, reason: str, now: Now) -> None: ...


class Gateway(Monitor):
    spec: ClassVar[Spec[Any]] = Spec("hl7", (), (Transport.MLLP,), Options)


def lookup(name: str) -> type[Driver]:
    known: dict[str, type[Driver]] = {"ge-dri": Monitor, "hl7": Gateway}
    if name not in known:
        raise OperatorFault("driver.unknown", f"no driver {name!r}", f"one of {sorted(known)}")
    return known[name]


MLLP = 'mllp = { listen = "10.20.3.13:2575", allow = ["10.20.1.7"] }'


def fault_of(old: str, new: str) -> ConfigurationFault:
    assert WHOLE.count(old) == 1
    with pytest.raises(ConfigurationFault) as caught:
        feed_setups(config.parse(WHOLE.replace(old, new).encode()), lookup)
    return caught.value


def test_a_feed_gets_its_driver_its_transport_and_its_driver_s_options() -> None:
    monitor, gateway = feed_setups(config.parse(WHOLE.encode()), lookup)
    assert (monitor.name, monitor.driver) == ("monitor", Monitor)
    assert monitor.transport == SerialConfig("/dev/serial/by-path/pci-0-port0", SerialLine(19200, 8, "E", 1.0), True)
    assert monitor.options == Options(5, ("ECG1", "INVP1"))
    assert gateway.transport == MllpConfig.parse("10.20.3.13:2575", ["10.20.1.7"])
    assert gateway.options == Options()


@pytest.mark.parametrize(
    ("old", "new", "spot"),
    [
        ('driver = "ge-dri"', 'driver = "ge-dry"', "$.feed[0].driver: "),
        ("19200 8E1", "19200", "$.feed[0].serial.line: "),
        ('path = "/dev', 'path = "dev', "$.feed[0].serial.path: "),
        ("numerics_s = 5", 'numerics_s = "5"', "$.feed[0].options.numerics_s: "),
        ("numerics_s = 5", "numeric_s = 5", "$.feed[0].options: "),
        ('waves = ["ECG1", "INVP1"]', 'waves = ["ECG1", 1]', "$.feed[0].options.waves[1]: "),
        ('driver = "hl7"', 'driver = "ge-dri"', "$.feed[1].mllp: "),
        ("10.20.3.13:2575", "10.20.3.13", "$.feed[1].mllp.listen: "),
        ('"10.20.1.7"', '"gateway-host"', "$.feed[1].mllp: "),
        (MLLP, 'tcp = { host = "pump 1", port = 4001 }', "$.feed[1].tcp.host: "),
        (MLLP, 'tcp = { host = "10.20.3.40", port = 0 }', "$.feed[1].tcp.port: "),
        (MLLP, 'tcp = { host = "10.20.3.40", port = "4001" }', "$.feed[1].tcp.port: "),
        (MLLP, 'tcp = { host = "10.20.3.40" }', "$.feed[1].tcp: "),
        (MLLP, 'tcp = { host = "10.20.3.40", port = 4001, allow = ["10.20.3.40"] }', "$.feed[1].tcp: "),
        (MLLP, 'tcp = { listen = "10.20.3.40" }', "$.feed[1].tcp.listen: "),
        (MLLP, 'tcp = { host = "10.20.3.40", port = 4001 }', "$.feed[1].tcp: "),
        (MLLP, 'udp = { host = "10.20.3", port = 24105 }', "$.feed[1].udp.host: "),
        (MLLP, 'udp = { host = "10.20.3.40", port = 24105 }', "$.feed[1].udp: "),
        ('mllp = { listen = "10.20.3.13:2575", allow = ["10.20.1.7"] }', "", "$.feed[1]: "),
        ("mllp = {", 'serial = { path = "/dev/ttyS9", line = "9600 8N1" }\nmllp = {', "$.feed[1]: "),
    ],
)
def test_an_error_names_its_spot_and_the_next_step(old: str, new: str, spot: str) -> None:
    error = fault_of(old, new)
    assert error.text.startswith(spot)
    assert error.next_step


class Networked(Monitor):
    spec: ClassVar[Spec[Any]] = Spec("net", (), (Transport.TCP, Transport.UDP), Options)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ('tcp = { host = "10.20.3.40", port = 4001 }', TcpConfig("10.20.3.40", 4001)),
        ('tcp = { host = "fd00::40", port = 4001 }', TcpConfig("fd00::40", 4001)),
        ('tcp = { listen = "10.20.3.13:4001", allow = ["10.20.3.40"] }',
         MllpConfig.parse("10.20.3.13:4001", ["10.20.3.40"])),
        ('udp = { host = "monitor.or-3", port = 24105 }', UdpConfig("monitor.or-3", 24105)),
    ],
)  # fmt: skip
def test_a_device_on_the_network(section: str, expected: object) -> None:
    text = WHOLE.replace(MLLP, section).replace('driver = "hl7"', 'driver = "net"')
    known: dict[str, type[Driver]] = {"ge-dri": Monitor, "net": Networked}
    _, feed = feed_setups(config.parse(text.encode()), known.__getitem__)
    assert feed.transport == expected


EXAMPLE = Path(__file__).parents[2] / "systemd" / "config.example.toml"


def test_the_example_we_ship_is_valid_with_the_real_drivers() -> None:
    setups = feed_setups(config.read(EXAMPLE), registry.get)
    assert [(setup.name, setup.driver.spec.name) for setup in setups] == [("monitor", "ge-dri"), ("gateway", "hl7")]


@pytest.mark.parametrize(
    ("old", "new", "spot"),
    [
        ("ge-dri", "ge-dry", "$.feed[0].driver: there is no driver 'ge-dry'"),
        ("numerics_s = 5", "numerics_s = 50", "$.feed[0].options: numerics_s: 50"),
        ('"PLETH"', '"PULS"', "$.feed[0].options: "),
        ('other_beds = "reject"', 'other_beds = "no"', "$.feed[1].options.other_beds: "),
        ('feed = "anaesthesia"', 'fed = "anaesthesia"', "$.feed[1].options.beds[0]: "),
    ],
)
def test_the_real_drivers_say_what_is_wrong_and_where(old: str, new: str, spot: str) -> None:
    text = EXAMPLE.read_text()
    assert text.count(old) == 1
    with pytest.raises(ConfigurationFault) as caught:
        feed_setups(config.parse(text.replace(old, new).encode()), registry.get)
    assert caught.value.text.startswith(spot)


class Intake(Monitor):
    spec: ClassVar[Spec[Any]] = Spec("ge-dri", (), (Transport.TLS,), Options)


CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIHWMIGJoAMCAQICAQEwBQYDK2VwMBQxEjAQBgNVBAMMCWNvbnNvbGUtMTAgFw0y
MDAxMDEwMDAwMDBaGA85OTk5MTIzMTAwMDAwMFowFDESMBAGA1UEAwwJY29uc29s
ZS0xMCowBQYDK2VwAyEAgXRZBcwm+91Fp/y0S/246TxGBxGEUODhGEkSD585IM4w
BQYDK2VwA0EAEXsDlJ+Y9acMwOPH8ENz1t382E7i1/yCWMrBpzS3+x5lT14txQIM
wZalUQQmVpTerbZ6oRAj7Z/2JSNLi04vBw==
-----END CERTIFICATE-----
"""
TLS = '[box]\nsite="s"\nid="b"\nroom="r"\ndata_dir="/d"\n[[feed]]\nname="console"\ndriver="push"\n[feed.tls]\n'


def tls_of(section: str) -> TlsConfig:
    (setup,) = feed_setups(config.parse((TLS + section).encode()), lambda name: Intake)
    assert isinstance(setup.transport, TlsConfig)
    return setup.transport


def test_a_tls_feed_pins_its_clients_and_shows_the_box_s_certificate(tmp_path: Path) -> None:
    pem = tmp_path / "console.crt"
    pem.write_text(CERTIFICATE, encoding="ascii")
    found = tls_of(f'listen="10.20.3.13:8444"\nallow=["10.20.1.9"]\nclients=["{pem}"]')
    assert (found.own_pem, len(found.pinned), found.names) == (Path("/d/keys/tls.pem"), 1, frozenset())
    found = tls_of(f'listen="10.20.3.13:8444"\nallow=[]\ncertificate="/own"\nclient_ca="{pem}"\nclient_names=["a"]')
    assert (found.own_pem, found.pinned, found.names) == (Path("/own"), frozenset(), frozenset(["a"]))


@pytest.mark.parametrize(
    ("section", "spot"),
    [
        ("allow=[]", "$.feed[0].tls"),
        ('allow=[]\nclients=["/no/such.crt"]', "$.feed[0].tls.clients"),
        ('allow=[]\nclient_ca="ca.crt"\nclient_names=["a"]', "$.feed[0].tls.client_ca"),
        ('allow=[]\nclient_ca="/ca.crt"', "$.feed[0].tls"),
        ('allow=["x"]\nclients=["/no/such.crt"]', "$.feed[0].tls"),
    ],
)
def test_a_tls_feed_that_lets_in_nobody_known_is_refused(section: str, spot: str) -> None:
    with pytest.raises(ConfigurationFault, match=re.escape(spot)):
        tls_of(f'listen="10.20.3.13:8444"\n{section}')


class OnBroker(Monitor):
    spec: ClassVar[Spec[Any]] = Spec("ge-dri", (), (Transport.MQTT,), Options)


def mqtt_of(section: str) -> object:
    text = TLS.replace("[feed.tls]", "[feed.mqtt]") + section
    (setup,) = feed_setups(config.parse(text.encode()), lambda name: OnBroker)
    return setup.transport


def test_a_feed_on_a_broker_is_encrypted_unless_it_is_on_this_machine() -> None:
    local = mqtt_of('host="127.0.0.1"\nport=1883')
    assert local == MqttConfig("127.0.0.1", 1883, "orledger/push", client_id="orledger-b-console")
    found = mqtt_of('host="broker"\nport=8883\ntopic="or-3/push"\nca_file="/ca"\ncertificate="/own"\nclient_id="c"')
    assert found == MqttConfig("broker", 8883, "or-3/push", Path("/ca"), Path("/own"), client_id="c")
    named = mqtt_of('host="broker"\nport=8883\nca_file="/ca"\nusername="u"\npassword_file="/p"\nclient_id="c"')
    assert named == MqttConfig("broker", 8883, "orledger/push", Path("/ca"), None, "u", Path("/p"), "c")


@pytest.mark.parametrize(
    ("section", "spot"),
    [
        ('host="broker"\nport=1883', "$.feed[0].mqtt: broker is another machine"),
        ('host="broker"\nport=8883\nca_file="/ca"', "$.feed[0].mqtt: the broker must know us"),
        ('host="127.0.0.1"\nport=8883\ncertificate="/own"', "$.feed[0].mqtt: a certificate is shown"),
        ('host="127.0.0.1"\nport=8883\npassword_file="/p"', "$.feed[0].mqtt: a password without a user"),
        ('host="127.0.0.1"\nport=0', "$.feed[0].mqtt.port"),
        ('host="127.0.0.1"\nport=1883\ntopic="a/+"', "$.feed[0].mqtt.topic"),
        ('host="127.0.0.1"\nport=1883\ntopic="a//b"', "$.feed[0].mqtt.topic"),
    ],
)
def test_a_broker_that_cannot_be_is_refused(section: str, spot: str) -> None:
    with pytest.raises(ConfigurationFault, match=re.escape(spot)):
        mqtt_of(section)
