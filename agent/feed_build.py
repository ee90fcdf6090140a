"""From a feed's checked configuration to the feed that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, cast

import msgspec

from agent.feed import Feed
from agent.feed_config import FeedSetup, TransportConfig
from agent.intake import Intake
from agent.object_intake import ObjectIntake
from agent.wake_timer import Schedule
from drivers.contract import Driver
from drivers.transports.addresses import TcpConfig, UdpConfig
from drivers.transports.commitment_service import CommitmentService
from drivers.transports.dicom_config import DicomConfig
from drivers.transports.links import Clock, LinkTransport
from drivers.transports.mllp_listener import MllpConfig
from drivers.transports.mqtt_config import MqttConfig
from drivers.transports.sdc_config import SdcLinkConfig
from drivers.transports.serial_config import SerialConfig
from drivers.transports.tls_listener import TlsConfig
from ledger.errors import OurFault
from ledger.limits import LIMITS

# What runs a transport, by its configuration: loaded once a feed wants it, for some take half a second, and few rooms
# have all of them.
_TRANSPORTS: Final[Mapping[type[TransportConfig], str]] = {
    SerialConfig: "drivers.transports.serial_port:SerialPort",
    MllpConfig: "drivers.transports.mllp_listener:MllpListener",
    TcpConfig: "drivers.transports.tcp_client:TcpClient",
    UdpConfig: "drivers.transports.udp_socket:UdpSocket",
    SdcLinkConfig: "drivers.transports.sdc_link:SdcTransport",
    TlsConfig: "drivers.transports.tls_listener:TlsListener",
    MqttConfig: "drivers.transports.mqtt_topic:MqttTopic",
    DicomConfig: "drivers.transports.dicom_listener:DicomListener",
}
_PACES_NS: Final[Mapping[type[TransportConfig], int]] = {
    SerialConfig: LIMITS.serial_pace_ns,
    TcpConfig: LIMITS.tcp_pace_ns,
}


def build_feed(
    setup: FeedSetup, intake: Intake, now: Clock, schedule: Schedule, *, keep_raw: bool = True,
    objects: ObjectIntake | None = None, commitments: CommitmentService | None = None,
) -> Feed:  # fmt: skip
    """The feed, not yet started. Its driver is made anew from ``setup.options`` whenever it fails."""
    new_driver = cast(Callable[[msgspec.Struct], Driver], setup.driver)  # every driver is made from its options
    transport = _transport(setup.transport, now, objects, commitments)
    may_record = objects.may_be_recorded if objects is not None else None
    return Feed(
        setup.name, lambda: new_driver(setup.options), transport, intake, now, schedule, keep_raw=keep_raw,
        may_record_object=may_record,
    )  # fmt: skip


def _transport(
    config: TransportConfig, now: Clock, objects: ObjectIntake | None, commitments: CommitmentService | None
) -> LinkTransport:  # fmt: skip
    kind = type(config)
    module, _, name = _TRANSPORTS[kind].partition(":")
    make: Callable[..., LinkTransport] = getattr(import_module(module), name)
    if isinstance(config, DicomConfig):
        if objects is None:
            raise OurFault("feed.objects", "a DICOM feed without an object store")
        return make(config, objects, now, commitments=commitments)
    paced: dict[str, Any] = {"pace_ns": _PACES_NS[kind]} if kind in _PACES_NS else {}
    return make(config, now, **paced)
