"""Where an SDC device is, how it is found again, and the certificates on both sides."""

from __future__ import annotations

import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import ConfigurationFault

_EPR = re.compile(r"urn:[A-Za-z0-9:.\-]{3,250}|https?://[A-Za-z0-9.:/\-]{1,250}")


@dataclass(frozen=True, slots=True)
class SdcTlsFiles:
    """PEM files: this box's certificate and key for the device network, and whom it trusts.

    ``ca``: every device certified by it; ``pinned``: only devices with one of exactly these certificates.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    pinned: Path | None = None


@dataclass(frozen=True, slots=True)
class SdcLinkConfig:
    """``address``: the device's URL. ``epr``: its lasting name, by which it is found by WS-Discovery.

    ``interface``: this box's own address in the device's network, for discovery and for reports to come to.
    ``discovery``: where discovery asks, the multicast group or one host. ``listen_port``: 0 for any.
    """

    address: str
    epr: str
    interface: str
    discovery: tuple[str, int]
    listen_port: int = 0
    tls: SdcTlsFiles | None = None

    def __post_init__(self) -> None:
        """Raises ConfigurationFault ``sdc.link``."""
        if not self.address and not self.epr:
            raise _wrong("needs address or epr", "say where the device is, or its lasting name")
        if self.epr and not _EPR.fullmatch(self.epr):
            raise _wrong(f"{self.epr!r} is no endpoint reference", "write it like urn:uuid:8c26f673-…")
        if self.address and self.address.startswith("https:") is not (self.tls is not None):
            raise _wrong(f"{self.address!r} and tls do not fit", "give tls with https, and none with http")

    @property
    def scheme(self) -> str:
        """What addresses must begin with."""
        return "https" if self.tls is not None else "http"


@dataclass(frozen=True, slots=True)
class SdcTls:
    """The two sides of mutual TLS, ready to use. ``pins``: SHA-256 of the only certificates allowed, or empty."""

    client: ssl.SSLContext
    server: ssl.SSLContext
    pins: frozenset[bytes]

    def admits(self, connection: object) -> bool:
        """Whether the other side of a finished handshake is one that may be talked to."""
        if not self.pins:
            return True
        der = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLObject) else None
        return der is not None and hashlib.sha256(der).digest() in self.pins


def load_tls(files: SdcTlsFiles) -> SdcTls:
    """Read the files. Raises ConfigurationFault ``sdc.tls`` naming the file."""
    if (files.ca is None) is (files.pinned is None):
        raise ConfigurationFault("sdc.tls", "needs either ca or pinned", "say which devices are trusted")
    trusted = files.ca or files.pinned or Path()
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # device certificates name the device, not its address
        context.verify_mode = ssl.CERT_REQUIRED
        if files.pinned is not None:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(trusted)
        except OSError as fault:
            raise _unreadable(trusted, fault) from fault
        try:
            context.load_cert_chain(files.certificate, files.key, password=_no_password)
        except (OSError, ValueError) as fault:
            raise _unreadable(files.certificate, fault, f" with {files.key}") from fault
        contexts.append(context)
    return SdcTls(contexts[0], contexts[1], _pins(files.pinned) if files.pinned is not None else frozenset())


def _no_password() -> str:
    raise ValueError("the key is protected by a password; a box that starts by itself cannot give one")


def _pins(path: Path) -> frozenset[bytes]:
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", path.read_text("ascii", "replace"), re.DOTALL
    )
    return frozenset(hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).digest() for block in blocks)


def _unreadable(path: Path, fault: Exception, more: str = "") -> ConfigurationFault:
    why = getattr(fault, "reason", None) or getattr(fault, "strerror", None) or str(fault)
    return ConfigurationFault("sdc.tls", f"{path}{more}: {why}", "put PEM files there that the recorder may read")


def _wrong(what: str, next_step: str) -> ConfigurationFault:
    return ConfigurationFault("sdc.link", what, next_step)
