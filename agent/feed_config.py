"""What a feed's section means to its driver and transport: checked with the driver's own schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from agent.config import (
    Configuration,
    FeedSection,
    MllpSection,
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
from drivers.transports.serial_port import SerialConfig, SerialLine

Lookup = Callable[[str], type[Driver]]
TransportConfig = SerialConfig | MllpConfig | TcpConfig | UdpConfig


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


_KINDS: Final[Mapping[Transport, Callable[[Any, str], TransportConfig]]] = {
    Transport.SERIAL: _serial,
    Transport.TCP: _tcp,
    Transport.UDP: _udp,
    Transport.MLLP: _mllp,
}
