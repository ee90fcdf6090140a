"""TLS identities of the boxes: self-signed Ed25519 certificates, trusted only by pinning (no CA, no expiry).

A certificate is fit for pinning when it is the only possible chain to itself (not a CA), names one box, and is valid
from 1970-01-01 to 9999-12-31, so that neither a date nor a dead clock battery can stop replication (RFC 5280, 4.1.2.5).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from ledger.errors import ConfigurationFault, NotPermitted, OperatorFault, PeerFault, StoreFault

NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_ANEW = "put back the keys folder of this box; a box without its keys must be made and enrolled anew"


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A box's own certificate, and the file that holds it together with its private key."""

    box_id: str
    certificate_der: bytes
    pem_path: Path


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 over the certificate's DER bytes, lower-case hex."""
    return hashlib.sha256(certificate_der).hexdigest()


def create_identity(box_id: str, pem_path: Path) -> TlsIdentity:
    """Make key and certificate and store both in one new file (mode 0600, durable, all or nothing).

    Raises:
        OperatorFault: the file exists; identities are never overwritten.
        StoreFault: the disk refused.
    """
    key = Ed25519PrivateKey.generate()
    certificate_der = _self_signed(box_id, key)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + ssl.DER_cert_to_PEM_cert(certificate_der).encode("ascii")
    _write_new(pem_path, pem)
    return TlsIdentity(box_id, certificate_der, pem_path)


def load_identity(pem_path: Path) -> TlsIdentity:
    """Read what `create_identity` stored, and check that key and certificate belong together.

    Raises:
        ConfigurationFault: missing or unreadable, or not an identity of ours.
        NotPermitted: others than the owner may read the private key.
    """
    try:
        mode = stat.S_IMODE(pem_path.stat().st_mode)
        pem = pem_path.read_bytes()
    except OSError as error:
        raise ConfigurationFault("tls.unreadable", f"{pem_path}: {error.strerror}", _ANEW) from error
    if mode & 0o077:
        raise NotPermitted("tls.exposed", f"{pem_path} is open to others (mode {mode:o})", f"chmod 600 {pem_path}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError) as error:
        raise ConfigurationFault("tls.malformed", f"{pem_path} holds no key with its certificate", _ANEW) from error
    certificate_der = certificate.public_bytes(serialization.Encoding.DER)
    if key.public_key() != certificate.public_key():
        raise ConfigurationFault("tls.mismatch", f"{pem_path}: key and certificate do not belong together", _ANEW)
    return TlsIdentity(certificate_box_id(certificate_der), certificate_der, pem_path)


def certificate_box_id(certificate_der: bytes) -> str:
    """The box a certificate names, after checking that it is fit for pinning.

    Raises:
        PeerFault: malformed; not Ed25519, not signed by itself, a CA, without one common name, or it expires.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        public_key = certificate.public_key()
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise _unfit("it is malformed or not signed by itself") from error
    if not isinstance(public_key, Ed25519PublicKey):
        raise _unfit("its key is not Ed25519")
    if constraints.ca:  # could vouch for further certificates with any name
        raise _unfit("it is a CA's")
    if (certificate.not_valid_before_utc, certificate.not_valid_after_utc) != (NOT_BEFORE, NOT_AFTER):
        raise _unfit("it is not valid from 1970-01-01 to 9999-12-31")
    if len(names) != 1:
        raise _unfit("it does not name exactly one box")
    return str(names[0].value)


def client_context(own: TlsIdentity, server_certificate_der: bytes) -> ssl.SSLContext:
    """TLS 1.3 towards the one broker that holds exactly this certificate.

    The host name is not compared: the pin says more than a name could, and addresses change.
    """
    certificate_box_id(server_certificate_der)
    context = _context(ssl.PROTOCOL_TLS_CLIENT, own)
    context.check_hostname = False
    context.load_verify_locations(cadata=server_certificate_der)
    return context


def server_context(own: TlsIdentity, peer_certificate_ders: Iterable[bytes]) -> ssl.SSLContext:
    """TLS 1.3 for the own broker; only clients with one of exactly these certificates get in."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, own)
    context.num_tickets = 0  # a resumed session would outlive the removal of its certificate
    for der in peer_certificate_ders:
        certificate_box_id(der)
        context.load_verify_locations(cadata=der)
    return context


def _context(protocol: int, own: TlsIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(own.pem_path)
    except OSError as error:
        raise ConfigurationFault("tls.unreadable", f"{own.pem_path}: {error}", _ANEW) from error
    return context


def _self_signed(box_id: str, key: Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, box_id)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, None)
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def _write_new(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails when the name is taken, where a rename would overwrite
        temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        temporary.unlink(missing_ok=True)
        raise OperatorFault("tls.exists", f"{path} exists already", "Identities are never overwritten.") from error
    except OSError as error:
        raise StoreFault("tls.store", f"{path}: {error.strerror}", "Check the disk and the folder's rights.") from error


def _unfit(why: str) -> PeerFault:
    return PeerFault("tls.certificate", f"A certificate cannot be pinned: {why}.", _ANEW)
