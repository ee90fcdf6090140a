"""What a feed's section means to its driver and transport: checked with the driver's own schema."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.box_files import BoxFolder
from agent.config import BoxSection, Configuration, at_spot, convert, fault, host_and_port, host_port
from agent.feed_sections import (
    DicomPeerSection,
    DicomSection,
    FeedSection,
    MllpSection,
    MqttSection,
    SdcSection,
    SerialSection,
    TcpSection,
    TlsSection,
    UdpSection,
)
from drivers.contract import Driver, Transport
from drivers.transports.addresses import TcpConfig, UdpConfig, networks_of
from drivers.transports.dicom_config import DicomConfig, DicomPeer, DicomTls
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.mqtt_config import MqttConfig
from drivers.transports.sdc_config import SdcLinkConfig, SdcTlsFiles
from drivers.transports.serial_config import SerialConfig, SerialLine
from drivers.transports.tls_listener import TlsConfig
from drivers.urls import is_url
from ledger.limits import S_NS

_LONGEST_TOPIC: Final = 128
_LONGEST_WAIT_S: Final = 30 * 86_400
_THIS_MACHINE: Final = frozenset(("127.0.0.1", "::1", "localhost"))
Lookup = Callable[[str], type[Driver]]
TransportConfig = (
    SerialConfig | MllpConfig | TcpConfig | UdpConfig | SdcLinkConfig | TlsConfig | MqttConfig | DicomConfig
)


@dataclass(frozen=True, slots=True)
class FeedSetup:
    """A feed ready to be started: ``options`` is an instance of the driver's ``spec.config``."""

    name: str
    driver: type[Driver]
    transport: TransportConfig
    options: msgspec.Struct


def feed_setups(configuration: Configuration, lookup: Lookup) -> tuple[FeedSetup, ...]:
    """Every configured feed, in order; ``lookup`` is ``drivers.registry.get``. Raises ConfigurationFault."""
    box = configuration.box
    return tuple(_setup(feed, f"$.feed[{index}]", lookup, box) for index, feed in enumerate(configuration.feed))


def _setup(feed: FeedSection, spot: str, lookup: Lookup, box: BoxSection) -> FeedSetup:
    driver = at_spot(f"{spot}.driver", lookup, feed.driver)
    kind, transport = _transport(feed, spot, box)
    spec = driver.spec
    if kind not in spec.transports:
        allowed = " or ".join(spec.transports)
        raise fault(f"{spot}.{kind}", f"driver {feed.driver!r} does not speak over {kind}", f"give it {allowed}")
    config: type[Any] = spec.config
    return FeedSetup(feed.name, driver, transport, convert(feed.options, config, f"{spot}.options"))


def _transport(feed: FeedSection, spot: str, box: BoxSection) -> tuple[Transport, TransportConfig]:
    kinds = (*_KINDS, Transport.TLS, Transport.MQTT)
    given = [kind for kind in kinds if getattr(feed, kind) is not None]
    if len(given) != 1:
        raise fault(spot, f"needs exactly one of {', '.join(kinds)}", "say how the device is connected")
    kind = given[0]
    if feed.tls is not None:
        return kind, _tls(feed.tls, f"{spot}.tls", BoxFolder(Path(box.data_dir)).tls)
    if feed.mqtt is not None:
        return kind, _mqtt(feed.mqtt, f"{spot}.mqtt", f"orledger-{box.id}-{feed.name}")
    return kind, _KINDS[kind](getattr(feed, kind), f"{spot}.{kind}")


def _serial(section: SerialSection, spot: str) -> SerialConfig:
    if not section.path.startswith("/") or "\0" in section.path:
        raise fault(f"{spot}.path", f"{section.path!r} is not an absolute path", "use /dev/serial/by-path/…")
    line = at_spot(f"{spot}.line", SerialLine.parse, section.line)
    return SerialConfig(section.path, line, section.rtscts)


def _listener(listen: str, allow: tuple[str, ...], spot: str) -> MllpConfig:
    host_port(listen, f"{spot}.listen")
    return at_spot(spot, MllpConfig.parse, listen, list(allow))


def _mllp(section: MllpSection, spot: str) -> MllpConfig:
    return _listener(section.listen, section.allow, spot)


def _tcp(section: TcpSection, spot: str) -> TcpConfig | MllpConfig:
    out = section.host is not None and section.port is not None
    if section.listen is not None and section.host is None and section.port is None:
        return _listener(section.listen, section.allow, spot)
    if not out or section.listen is not None or section.allow:
        raise fault(spot, "needs host and port, or listen and allow", "say who connects to whom")
    return TcpConfig(*host_and_port(section.host or "", section.port or 0, spot))


def _tls(section: TlsSection, spot: str, own_certificate: Path) -> TlsConfig:
    listener = _listener(section.listen, section.allow, spot)
    for key in ("certificate", "client_ca"):
        path = getattr(section, key)
        if path is not None and (not path.startswith("/") or "\0" in path):
            raise fault(f"{spot}.{key}", f"{path!r} is not an absolute path")
    own = Path(section.certificate) if section.certificate is not None else own_certificate
    if section.client_ca is None:
        if not section.clients or section.client_names:
            raise fault(spot, "needs clients, or client_ca and client_names", "say whose certificates are let in")
        return at_spot(f"{spot}.clients", TlsConfig.pinning, listener, own, section.clients)
    if section.clients or not section.client_names:
        raise fault(spot, "needs clients, or client_ca and client_names", "say whose certificates are let in")
    return at_spot(f"{spot}.client_ca", TlsConfig.trusting, listener, own, section.client_ca, section.client_names)


def _mqtt(section: MqttSection, spot: str, client_id: str) -> MqttConfig:
    host, port = host_and_port(section.host, section.port, spot)
    levels = section.topic.split("/")
    plain = section.topic.isprintable() and not {"#", "+"} & set(section.topic)
    if not plain or not all(levels) or len(section.topic) > _LONGEST_TOPIC:
        raise fault(f"{spot}.topic", f"{section.topic!r} is no topic", "write it like orledger/push")
    if section.ca_file is None and (section.certificate is not None or host not in _THIS_MACHINE):
        why = "a certificate is shown" if section.certificate is not None else f"{host} is another machine"
        raise fault(spot, f"{why}: what is sent must be encrypted", "give ca_file")
    if section.ca_file is not None and section.certificate is None and section.username is None:
        raise fault(spot, "the broker must know us", "give certificate, or username and password_file")
    if section.password_file is not None and section.username is None:
        raise fault(spot, "a password without a user", "give username")
    files = {
        name: _file(getattr(section, name), f"{spot}.{name}") for name in ("ca_file", "certificate", "password_file")
    }
    return MqttConfig(
        host, port, section.topic, files["ca_file"], files["certificate"], section.username, files["password_file"],
        section.client_id or client_id,
    )  # fmt: skip


def _udp(section: UdpSection, spot: str) -> UdpConfig:
    return UdpConfig(*host_and_port(section.host, section.port, spot))


def _sdc(section: SdcSection, spot: str) -> SdcLinkConfig:
    if section.address and not is_url(section.address):
        raise fault(f"{spot}.address", f"{section.address!r} is no URL", "write it like https://10.20.1.7:6464/8c26…")
    if section.interface and not _is_ipv4(section.interface):
        raise fault(f"{spot}.interface", f"{section.interface!r} is no IPv4 address", "write it like 10.20.3.13")
    if not 0 <= section.listen_port < 65_536:
        raise fault(f"{spot}.listen_port", "must be 0 to 65535")
    discovery = host_port(section.discovery, f"{spot}.discovery")
    if section.epr and not section.interface and discovery[0].startswith("239."):
        raise fault(f"{spot}.interface", "is needed to look for a device by its epr", "give this box's own address")
    files = {name: _file(getattr(section.tls, name), f"{spot}.tls.{name}")
             for name in ("certificate", "key", "ca", "pinned")} if section.tls is not None else None  # fmt: skip
    tls = SdcTlsFiles(**files) if files is not None else None
    return at_spot(
        spot, SdcLinkConfig, section.address, section.epr, section.interface, discovery, section.listen_port, tls
    )


def _file(path: str | None, spot: str) -> Any:
    if path is not None and (not path.startswith("/") or "\0" in path):
        raise fault(spot, f"{path!r} is not an absolute path", "use the whole path of the PEM file")
    return None if path is None else Path(path)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _dicom(section: DicomSection, spot: str) -> DicomConfig:
    host, port = host_port(section.listen, f"{spot}.listen")
    title = _ae_title(section.ae_title, f"{spot}.ae_title")
    peers = tuple(_dicom_peer(peer, f"{spot}.peers[{index}]") for index, peer in enumerate(section.peers))
    tls = None
    if section.tls is not None:
        tls = DicomTls(Path(section.tls.certificate), Path(section.tls.key), Path(section.tls.client_ca))
    waits_ns = {}
    for key in ("commitment_wait_s", "report_wait_s"):
        if not 1 <= getattr(section, key) <= _LONGEST_WAIT_S:
            raise fault(f"{spot}.{key}", f"must be 1 to {_LONGEST_WAIT_S}", "give seconds; a day has 86400")
        waits_ns[f"{key.removesuffix('_s')}_ns"] = getattr(section, key) * S_NS
    return DicomConfig(host, port, title, peers, tls, **waits_ns)


def _dicom_peer(peer: DicomPeerSection, spot: str) -> DicomPeer:
    networks = at_spot(f"{spot}.allow", networks_of, peer.allow)
    report_to = None if peer.report_to is None else host_port(peer.report_to, f"{spot}.report_to")
    return DicomPeer(_ae_title(peer.ae_title, f"{spot}.ae_title"), networks, report_to)


def _ae_title(title: str, spot: str) -> str:
    """PS3.5 table 6.2-1, AE: up to 16 characters, no backslash, no control character, not blanks alone."""
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title) or title != title.strip():
        raise fault(spot, f"{title!r} is no AE title", "give 1 to 16 characters as the modality is set to call them")
    return title


_KINDS: Final[Mapping[Transport, Callable[[Any, str], TransportConfig]]] = {
    Transport.SERIAL: _serial,
    Transport.TCP: _tcp,
    Transport.UDP: _udp,
    Transport.MLLP: _mllp,
    Transport.SDC: _sdc,
    Transport.DICOM: _dicom,
}
