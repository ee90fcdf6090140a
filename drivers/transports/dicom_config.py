"""Who may send DICOM to this box, and where it listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from drivers.transports.addresses import Network, is_within
from ledger.errors import ConfigurationFault
from ledger.limits import S_NS


@dataclass(frozen=True, slots=True)
class DicomPeer:
    """A modality or archive that may connect: its AE title, and the addresses it may come from. ``report_to``: host
    and port where it waits for reports on storage commitment; None: only on associations that it opens.
    """

    ae_title: str
    networks: tuple[Network, ...]
    report_to: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class DicomTls:
    """PEM files: our certificate and key, and the authorities (or certificates themselves) of those who may connect."""

    certificate: Path
    key: Path
    peers: Path


@dataclass(frozen=True, slots=True)
class DicomConfig:
    """Where to listen under which AE title; nobody may connect when ``peers`` is empty. ``commitment_wait_ns``: what is
    not witnessed so long after commitment was asked for is reported as failed; ``report_wait_ns``: how long a report is
    tried.
    """

    host: str
    port: int
    ae_title: str
    peers: tuple[DicomPeer, ...]
    tls: DicomTls | None = None
    commitment_wait_ns: int = 24 * 3_600 * S_NS
    report_wait_ns: int = 72 * 3_600 * S_NS

    def report_to(self, ae_title: str) -> tuple[str, int] | None:
        """Where the peer of this AE title waits for reports, if it is known."""
        known = (peer.report_to for peer in self.peers if peer.ae_title == ae_title)
        return next((address for address in known if address is not None), None)

    def admits_address(self, host: str) -> bool:
        """Whether any peer may come from this numeric address."""
        return any(is_within(host, peer.networks) for peer in self.peers)

    def admits(self, ae_title: str, host: str) -> bool:
        """Whether the peer of this AE title may come from this address."""
        return any(peer.ae_title == ae_title and is_within(host, peer.networks) for peer in self.peers)


def server_tls(tls: DicomTls) -> ssl.SSLContext:
    """TLS 1.2 or newer, a client certificate demanded (PS3.15 B.9, BCP 195). Raises ConfigurationFault."""
    return _with_files(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)


def client_tls(tls: DicomTls) -> ssl.SSLContext:
    """The same where this box connects. The certificate alone says who answers: modalities have no names in a DNS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _with_files(context, tls)


def _with_files(context: ssl.SSLContext, tls: DicomTls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.peers)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationFault(
            "dicom.tls", f"cannot use {tls.certificate}, {tls.key}, {tls.peers}: {fault}", "give three PEM files"
        ) from fault
    return context
