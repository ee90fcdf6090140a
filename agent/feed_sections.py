"""The shape of a feed's section in the configuration file: its transports, each a structure of its own."""

from __future__ import annotations

from typing import Any

import msgspec


class SerialSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A serial port; ``line`` is rate, data bits, parity, stop bits: ``19200 8E1``."""

    path: str
    line: str
    rtscts: bool = False


class MllpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HL7 listener: address and port, and who may connect."""

    listen: str
    allow: tuple[str, ...]


class TcpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device we connect to (``host``, ``port``), or devices that connect to us (``listen``, ``allow``)."""

    host: str | None = None
    port: int | None = None
    listen: str | None = None
    allow: tuple[str, ...] = ()


class TlsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clients that connect to us with a certificate: that in a file of ``clients``, or one of ``client_names`` that
    the authority in ``client_ca`` signed. ``certificate``: a file with our own and its key, by default the box's.
    """

    listen: str
    allow: tuple[str, ...]
    clients: tuple[str, ...] = ()
    client_ca: str | None = None
    client_names: tuple[str, ...] = ()
    certificate: str | None = None


class MqttSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clients on a broker: each publishes to ``<topic>/<client>/in``, and hears on ``<topic>/<client>/out``. TLS by
    ``ca_file``, without it only to this machine; the broker knows us by our ``certificate`` (with its key), by user and
    password, or both. ``client_id``: the session that it keeps for us; else ``orledger-<box>-<feed>``.
    """

    host: str
    port: int
    topic: str = "orledger/push"
    ca_file: str | None = None
    certificate: str | None = None
    username: str | None = None
    password_file: str | None = None
    client_id: str | None = None


class UdpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device that is asked by datagram."""

    host: str
    port: int


class SdcTlsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files for mutual TLS: this box's certificate and key in the device network, and either the CA or the devices'
    certificates that it trusts.
    """

    certificate: str
    key: str
    ca: str | None = None
    pinned: str | None = None


class SdcSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SDC device: its ``address`` (URL), or its lasting name ``epr`` by which ``discovery`` finds it, or both.

    ``interface`` is this box's own address in the device's network; reports come to it, at ``listen_port``.
    """

    address: str = ""
    epr: str = ""
    interface: str = ""
    discovery: str = "239.255.255.250:3702"
    listen_port: int = 0
    tls: SdcTlsSection | None = None


class DicomPeerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A modality or archive that may store: its AE title, and the addresses or networks it may come from.

    ``report_to``: "host:port" where it waits for reports on storage commitment.
    """

    ae_title: str
    allow: tuple[str, ...]
    report_to: str | None = None


class DicomTlsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files: this box's ``certificate`` and ``key``; ``client_ca`` signs, or is, the certificates of the peers."""

    certificate: str
    key: str
    client_ca: str


class DicomSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A DICOM storage provider: address and port, the AE title it is called by, who may store, TLS or not.

    ``commitment_wait_s``: what is not witnessed so long after commitment was asked for is reported as failed;
    ``report_wait_s``: how long that report is tried.
    """

    listen: str
    peers: tuple[DicomPeerSection, ...]
    ae_title: str = "ORLEDGER"
    tls: DicomTlsSection | None = None
    commitment_wait_s: int = 24 * 3_600
    report_wait_s: int = 72 * 3_600


class FeedSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One connected device or system, its driver, one transport, and the driver's own options."""

    name: str
    driver: str
    serial: SerialSection | None = None
    mllp: MllpSection | None = None
    tcp: TcpSection | None = None
    udp: UdpSection | None = None
    sdc: SdcSection | None = None
    tls: TlsSection | None = None
    mqtt: MqttSection | None = None
    dicom: DicomSection | None = None
    options: dict[str, Any] = {}
