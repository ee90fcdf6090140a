"""What a feed's section means to its driver and transport: checked with the driver's own schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.config import Configuration, FeedSection, at_spot, convert, fault, host_port
from drivers.contract import Driver, Transport
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.serial_port import SerialConfig, SerialLine

Lookup = Callable[[str], type[Driver]]
TransportConfig = SerialConfig | MllpConfig


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
    serial, mllp = feed.serial, feed.mllp
    if serial is not None and mllp is None:
        if not serial.path.startswith("/") or "\0" in serial.path:
            raise fault(f"{spot}.serial.path", f"{serial.path!r} is not an absolute path", "use /dev/serial/by-path/…")
        line = at_spot(f"{spot}.serial.line", SerialLine.parse, serial.line)
        return Transport.SERIAL, SerialConfig(serial.path, line, serial.rtscts)
    if mllp is not None and serial is None:
        host_port(mllp.listen, f"{spot}.mllp.listen")
        return Transport.MLLP, at_spot(f"{spot}.mllp", MllpConfig.parse, mllp.listen, list(mllp.allow))
    raise fault(spot, "needs exactly one of serial and mllp", "say how the device is connected")
