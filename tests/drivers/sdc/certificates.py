"""Throw-away certificates of a device network: a CA, a device, this box, and a stranger's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, ca: bool
) -> bytes:
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: bytes, ca: bytes) -> None:
    folder.mkdir()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "userkey.pem").write_bytes(pem)
    (folder / "usercert.pem").write_bytes(certificate)
    (folder / "cacert.pem").write_bytes(ca)


def make_certificates(folder: Path) -> Path:
    """Folders ``device``, ``box`` and ``stranger`` (of another CA), each with userkey, usercert and cacert."""
    for authority, names in (("hospital", ("device", "box")), ("elsewhere", ("stranger",))):
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate(authority, ca_key, authority, ca_key, ca=True)
        for name in names:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(folder / name, name, key, _certificate(name, key, authority, ca_key, ca=False), ca)
    return folder
