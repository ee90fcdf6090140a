"""A TCP listener with TLS 1.3 both ways: whoever calls shows a certificate that the configuration lets in.

A caller's name, which its records bear, is the common name of its certificate. The handshake is watched here, not left
to the server, so that one that fails is reported with its reason.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from drivers.transports.links import Clock
from drivers.transports.mllp_listener import Connection, MllpConfig, MllpListener
from ledger.errors import ConfigurationFault
from ledger.limits import KIB, LIMITS, Limits

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_MOST_FILE_BYTES: Final = 64 * KIB
_MOST_EARLY_BYTES: Final = LIMITS.frame_bytes


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Where to listen, with which certificate, and whose are let in: ``pinned`` ones, or those of ``names``."""

    listener: MllpConfig
    own_pem: Path
    trusted_pem: str
    pinned: frozenset[bytes]
    names: frozenset[str]

    @classmethod
    def pinning(cls, listener: MllpConfig, own_pem: Path, client_files: tuple[str, ...]) -> Self:
        """Exactly these certificates. Raises ConfigurationFault ``tls.client-certificate``."""
        pems = [_read(path) for path in client_files]
        pinned = frozenset(_der(pem, path) for pem, path in zip(pems, client_files, strict=True))
        return cls(listener, own_pem, "\n".join(pems), pinned, frozenset())

    @classmethod
    def trusting(cls, listener: MllpConfig, own_pem: Path, ca_file: str, names: tuple[str, ...]) -> Self:
        """What this authority signed for these names. Raises ConfigurationFault ``tls.client-certificate``."""
        pem = _read(ca_file)
        _der(pem, ca_file)
        return cls(listener, own_pem, pem, frozenset(), frozenset(names))

    def context(self) -> ssl.SSLContext:
        """Raises ConfigurationFault ``tls.own-certificate``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a pinned certificate need not be an authority's
        context.num_tickets = 0  # a resumed session would outlive its certificate's removal
        context.load_verify_locations(cadata=self.trusted_pem)
        try:
            context.load_cert_chain(self.own_pem)
        except OSError as fault:
            text = f"{self.own_pem}: {fault.strerror or fault}"
            raise ConfigurationFault("tls.own-certificate", text, "give a PEM file with certificate and key") from fault
        return context

    def name_of(self, tls: ssl.SSLObject) -> str:
        """Who calls. Raises ValueError saying why nobody who is let in."""
        if self.pinned and tls.getpeercert(binary_form=True) not in self.pinned:
            raise ValueError("the certificate is not one of those configured")
        subject: tuple[tuple[tuple[str, str], ...], ...] = (tls.getpeercert() or {}).get("subject", ())  # type: ignore[assignment]
        names = [value for part in subject for key, value in part if key == "commonName"]
        if len(names) != 1 or not _NAME.fullmatch(names[0]):
            raise ValueError("the certificate has no common name of 1 to 64 letters, digits, dots and hyphens")
        if self.names and names[0] not in self.names:
            raise ValueError(f"the certificate's name {names[0]} is not one of those configured")
        return names[0]


class TlsListener(MllpListener):
    """The ``LinkTransport`` for clients with certificates, up to ``mllp_connections`` at a time."""

    def __init__(
        self, config: TlsConfig, now: Clock, links: Iterator[int] | None = None, limits: Limits = LIMITS
    ) -> None:
        """Raises ConfigurationFault if the own certificate cannot be used."""
        super().__init__(config.listener, now, links, limits)
        self.tls_config = config
        self.context = config.context()
        self.handshakes: set[asyncio.Task[None]] = set()

    def caller(self) -> asyncio.Protocol:
        """A handshake comes first."""
        return _Caller(self)

    async def stop(self) -> None:
        """Stop listening, cut every connection, and every handshake."""
        await super().stop()
        for task in self.handshakes:
            task.cancel()
        if self.handshakes:
            await asyncio.wait(self.handshakes)

    def refuse(self, host: str, reason: str) -> None:
        """Somebody was not let in."""
        if self.events is not None:
            self.events.on_refused(host, reason, self.now())


class _Caller(asyncio.Protocol):
    """A connection before and during its handshake."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the address, then shake hands."""
        if not isinstance(transport, asyncio.Transport):  # pragma: no cover - create_server gives nothing else
            raise TypeError(type(transport).__name__)
        listener = self._listener
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if peer else ""
        if not peer or not listener.config.admits(host):
            listener.refuse(host, "the address is not on the allow-list")
        elif len(listener.handshakes) >= listener.limits.mllp_connections:
            listener.refuse(host, f"{listener.limits.mllp_connections} handshakes are under way")
        else:
            transport.pause_reading()
            task = asyncio.get_running_loop().create_task(self._shake(transport, host), name="tls-handshake")
            listener.handshakes.add(task)
            task.add_done_callback(listener.handshakes.discard)
            return
        transport.abort()

    async def _shake(self, transport: asyncio.Transport, host: str) -> None:
        listener, connection = self._listener, _TlsConnection(self._listener)
        try:
            tls = await asyncio.get_running_loop().start_tls(
                transport, connection, listener.context, server_side=True,
                ssl_handshake_timeout=listener.limits.tls_handshake_s,
            )  # fmt: skip
            if tls is None:  # pragma: no cover - the typeshed allows for it
                raise ConnectionError("the connection is gone")
            connection.name = listener.tls_config.name_of(tls.get_extra_info("ssl_object"))
        except (OSError, ValueError, TimeoutError) as fault:
            reason = fault.verify_message if isinstance(fault, ssl.SSLCertVerificationError) else str(fault)
            listener.refuse(host, f"not let in: {reason or type(fault).__name__}")
            transport.abort()
        else:
            connection.begin(tls)


class _TlsConnection(Connection):
    """One client; what it says before its certificate was looked at waits."""

    def __init__(self, listener: MllpListener) -> None:
        super().__init__(listener)
        self.name = ""
        self._early: list[bytes] | None = []

    def begin(self, transport: asyncio.Transport) -> None:
        """It is let in."""
        self.connection_made(transport)
        early, self._early = self._early or [], None
        for data in early:
            super().data_received(data)

    def peer_text(self, transport: asyncio.Transport) -> str:
        """Its name, then its address."""
        return f"{self.name}@{super().peer_text(transport)}"

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._early is None:
            super().data_received(data)
        elif sum(map(len, self._early)) < _MOST_EARLY_BYTES:
            self._early.append(data)  # asyncio gives at most 256 KiB at once


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="ascii") as file:
            return file.read(_MOST_FILE_BYTES)
    except (OSError, ValueError) as fault:
        raise ConfigurationFault(
            "tls.client-certificate", f"{path}: {fault}", "give a PEM file of a certificate"
        ) from fault


def _der(pem: str, path: str) -> bytes:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=pem)
        (certificate,) = _CERTIFICATE.findall(pem)
        return ssl.PEM_cert_to_DER_cert(certificate)
    except (ssl.SSLError, ValueError) as fault:
        raise ConfigurationFault(
            "tls.client-certificate", f"{path}: does not hold one certificate", "give a PEM file with one certificate"
        ) from fault
