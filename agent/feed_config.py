"""What a feed's section means to its driver and transport: checked with the driver's own schema."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.config import (
    Configuration,
    FeedSection,
    MllpSection,
    SdcSection,
    SerialSection,
    TcpSection,
    UdpSection,
    at_spot,
    convert,
    fault,
    host_and_port,
    host_port,
)
from drivers.contract import Driver, Transport
from drivers.transports.addresses import TcpConfig, UdpConfig
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.sdc_config import SdcLinkConfig, SdcTlsFiles
from drivers.transports.serial_port import SerialConfig, SerialLine
from drivers.urls import is_url

Lookup = Callable[[str], type[Driver]]
TransportConfig = SerialConfig | MllpConfig | TcpConfig | UdpConfig | SdcLinkConfig


@dataclass(frozen=True, slots=True)
class FeedSetup:
    """A feed ready to be started: ``options`` is an instance of the driver's ``spec.config``."""

    name: str
    driver: type[Driver]
    transport: TransportConfig
    options: msgspec.Struct


def feed_setups(configuration: Configuration, lookup: Lookup) -> tuple[FeedSetup, ...]:
    """Every configured feed, in order; ``lookup`` is ``drivers.registry.get``. Raises ConfigurationFault."""
    return tuple(_setup(feed, f"$.feed[{index}]", lookup) for index, feed in enumerate(configuration.feed))


def _setup(feed: FeedSection, spot: str, lookup: Lookup) -> FeedSetup:
    driver = at_spot(f"{spot}.driver", lookup, feed.driver)
    kind, transport = _transport(feed, spot)
    spec = driver.spec
    if kind not in spec.transports:
        allowed = " or ".join(spec.transports)
        raise fault(f"{spot}.{kind}", f"driver {feed.driver!r} does not speak over {kind}", f"give it {allowed}")
    config: type[Any] = spec.config
    return FeedSetup(feed.name, driver, transport, convert(feed.options, config, f"{spot}.options"))


def _transport(feed: FeedSection, spot: str) -> tuple[Transport, TransportConfig]:
    given = [kind for kind in _KINDS if getattr(feed, kind) is not None]
    if len(given) != 1:
        raise fault(spot, f"needs exactly one of {', '.join(_KINDS)}", "say how the device is connected")
    kind = given[0]
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


_KINDS: Final[Mapping[Transport, Callable[[Any, str], TransportConfig]]] = {
    Transport.SERIAL: _serial,
    Transport.TCP: _tcp,
    Transport.UDP: _udp,
    Transport.MLLP: _mllp,
    Transport.SDC: _sdc,
}
