"""From a feed's checked configuration to the feed that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

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
from drivers.transports.mllp_listener import MllpListener
from drivers.transports.mqtt_topic import MqttConfig, MqttTopic
from drivers.transports.sdc_config import SdcLinkConfig
from drivers.transports.serial_port import SerialConfig, SerialPort
from drivers.transports.tcp_client import TcpClient
from drivers.transports.tls_listener import TlsConfig, TlsListener
from drivers.transports.udp_socket import UdpSocket
from ledger.errors import OurFault
from ledger.limits import LIMITS


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
    if isinstance(config, DicomConfig):
        from drivers.transports.dicom_listener import DicomListener  # noqa: PLC0415 - half a second that few rooms need

        if objects is None:
            raise OurFault("feed.objects", "a DICOM feed without an object store")
        return DicomListener(config, objects, now, commitments=commitments)
    if isinstance(config, SerialConfig):
        return SerialPort(config, now, pace_ns=LIMITS.serial_pace_ns)
    if isinstance(config, TcpConfig):
        return TcpClient(config, now, pace_ns=LIMITS.tcp_pace_ns)
    if isinstance(config, UdpConfig):
        return UdpSocket(config, now)
    if isinstance(config, SdcLinkConfig):
        from drivers.transports.sdc_link import SdcTransport  # noqa: PLC0415 - loaded only if a feed needs it

        return SdcTransport(config, now)
    if isinstance(config, MqttConfig):
        return MqttTopic(config, now)
    if isinstance(config, TlsConfig):
        return TlsListener(config, now)
    return MllpListener(config, now)
