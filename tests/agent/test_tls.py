"""Certificates that are pinned, and nothing else trusted: real handshakes over socket pairs."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from agent import tls
from agent.tls import (
    TlsIdentity,
    certificate_box_id,
    client_context,
    create_identity,
    fingerprint,
    load_identity,
    server_context,
)
from ledger.errors import ConfigurationFault, NotPermitted, OperatorFault, PeerFault, StoreFault
from tests.conftest import require_tool


@pytest.fixture
def boxes(tmp_path: Path) -> dict[str, TlsIdentity]:
    return {name: create_identity(name, tmp_path / f"{name}.pem") for name in ("or-1", "or-2", "or-3")}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """One byte each way; returns the TLS version. With TLS 1.3 a refused client learns it only on reading."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    theirs.settimeout(60)

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as tls_sock:
                tls_sock.sendall(tls_sock.recv(1))
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours) as tls_sock:
            tls_sock.sendall(b"x")
            if tls_sock.recv(1) != b"x":
                raise ConnectionResetError
            return str(tls_sock.version())
    finally:
        ours.close()
        thread.join()


def certificate(**change: object) -> bytes:
    """A certificate like ours but for one trait."""
    key = change.get("key", Ed25519PrivateKey.generate())
    signer = change.get("signer", key)
    assert isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
    assert isinstance(signer, Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
    names = change.get("names", ["or-9"])
    assert isinstance(names, list)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    not_after = change.get("not_after", tls.NOT_AFTER)
    not_before = change.get("not_before", tls.NOT_BEFORE)
    assert isinstance(not_after, datetime)
    assert isinstance(not_before, datetime)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, not_before, not_after)
    if change.get("constraints", True):
        ca = bool(change.get("ca", False))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    algorithm = None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(serialization.Encoding.DER)


def test_both_sides_with_pinned_certificates_speak_tls_1_3(boxes: dict[str, TlsIdentity]) -> None:
    server = server_context(boxes["or-1"], [boxes["or-2"].certificate_der, boxes["or-3"].certificate_der])
    for peer in ("or-2", "or-3"):
        assert handshake(server, client_context(boxes[peer], boxes["or-1"].certificate_der)) == "TLSv1.3"


def test_a_client_with_an_unknown_certificate_is_refused(boxes: dict[str, TlsIdentity]) -> None:
    server = server_context(boxes["or-1"], [boxes["or-2"].certificate_der])
    with pytest.raises(OSError):  # noqa: PT011  # alert or reset, as the race goes
        handshake(server, client_context(boxes["or-3"], boxes["or-1"].certificate_der))


def test_a_client_without_a_certificate_is_refused(boxes: dict[str, TlsIdentity]) -> None:
    server = server_context(boxes["or-1"], [boxes["or-2"].certificate_der])
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(cadata=boxes["or-1"].certificate_der)
    with pytest.raises(OSError):  # noqa: PT011  # alert or reset, as the race goes
        handshake(server, nobody)


def test_nobody_is_let_in_when_nobody_is_pinned(boxes: dict[str, TlsIdentity]) -> None:
    with pytest.raises(OSError):  # noqa: PT011  # alert or reset, as the race goes
        handshake(server_context(boxes["or-1"], []), client_context(boxes["or-2"], boxes["or-1"].certificate_der))


def test_a_server_with_another_pinned_boxs_certificate_is_refused(boxes: dict[str, TlsIdentity]) -> None:
    server = server_context(boxes["or-3"], [boxes["or-2"].certificate_der])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(boxes["or-2"], boxes["or-1"].certificate_der))


def test_tls_1_2_is_refused_by_both_sides(boxes: dict[str, TlsIdentity]) -> None:
    old_client = client_context(boxes["or-2"], boxes["or-1"].certificate_der)
    old_client.minimum_version = old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):  # noqa: PT011  # alert or reset, as the race goes
        handshake(server_context(boxes["or-1"], [boxes["or-2"].certificate_der]), old_client)
    old_server = server_context(boxes["or-1"], [boxes["or-2"].certificate_der])
    old_server.minimum_version = old_server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):  # noqa: PT011  # alert or reset, as the race goes
        handshake(old_server, client_context(boxes["or-2"], boxes["or-1"].certificate_der))


def test_no_session_can_be_resumed_after_a_certificate_is_removed(boxes: dict[str, TlsIdentity]) -> None:
    assert server_context(boxes["or-1"], []).num_tickets == 0


@pytest.mark.parametrize("year", [1971, 2024, 2037, 2060, 9998])
def test_openssl_accepts_the_certificate_whatever_the_clock_says(boxes: dict[str, TlsIdentity], year: int) -> None:
    seconds = (datetime(year, 1, 2, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    pem = boxes["or-1"].pem_path
    command: list[str | Path] = [
        require_tool("openssl"),
        "verify",
        "-attime",
        str(seconds),
        "-x509_strict",
        "-CAfile",
        pem,
        pem,
    ]
    subprocess.run(command, check=True, capture_output=True)


def test_an_identity_is_loaded_as_it_was_made_and_is_for_its_owner_only(boxes: dict[str, TlsIdentity]) -> None:
    for name, made in boxes.items():
        assert load_identity(made.pem_path) == made
        assert certificate_box_id(made.certificate_der) == name
        assert stat.S_IMODE(made.pem_path.stat().st_mode) == 0o600
    assert sorted(path.name for path in made.pem_path.parent.iterdir()) == ["or-1.pem", "or-2.pem", "or-3.pem"]


def test_an_identity_is_never_overwritten(boxes: dict[str, TlsIdentity]) -> None:
    before = boxes["or-1"].pem_path.read_bytes()
    with pytest.raises(OperatorFault):
        create_identity("or-1", boxes["or-1"].pem_path)
    assert boxes["or-1"].pem_path.read_bytes() == before
    assert not boxes["or-1"].pem_path.with_name("or-1.pem.new").exists()


def test_a_half_written_file_of_an_earlier_try_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "box.pem.new").write_bytes(b"torn")
    assert load_identity(create_identity("or-1", tmp_path / "box.pem").pem_path).box_id == "or-1"


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFault):
        create_identity("or-1", tmp_path / "missing" / "box.pem")


def test_a_key_others_may_read_is_refused(boxes: dict[str, TlsIdentity]) -> None:
    boxes["or-1"].pem_path.chmod(0o640)
    with pytest.raises(NotPermitted):
        load_identity(boxes["or-1"].pem_path)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_identity_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "box.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationFault):
        load_identity(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"box\.pem"):
        load_identity(tmp_path / "box.pem")


def test_a_key_with_anothers_certificate_is_refused(boxes: dict[str, TlsIdentity], tmp_path: Path) -> None:
    key = boxes["or-1"].pem_path.read_text().split("-----BEGIN CERTIFICATE")[0]
    path = tmp_path / "mixed.pem"
    path.touch(0o600)
    path.write_text(key + ssl.DER_cert_to_PEM_cert(boxes["or-2"].certificate_der))
    with pytest.raises(ConfigurationFault, match="belong together"):
        load_identity(path)


def test_a_certificate_like_ours_is_fit() -> None:
    assert certificate_box_id(certificate()) == "or-9"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ca": True}, "CA"),
        ({"constraints": False}, "malformed"),
        ({"names": []}, "exactly one"),
        ({"names": ["or-1", "or-2"]}, "exactly one"),
        ({"not_after": datetime(2030, 1, 1, tzinfo=UTC)}, "9999"),
        ({"not_before": datetime(2020, 1, 1, tzinfo=UTC)}, "1970"),
        ({"signer": Ed25519PrivateKey.generate()}, "not signed by itself"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "Ed25519"),
    ],
)
def test_a_certificate_unfit_for_pinning_is_refused(
    boxes: dict[str, TlsIdentity], change: dict[str, object], why: str
) -> None:
    der = certificate(**change)
    with pytest.raises(PeerFault, match=why):
        certificate_box_id(der)
    with pytest.raises(PeerFault, match=why):
        client_context(boxes["or-1"], der)
    with pytest.raises(PeerFault, match=why):
        server_context(boxes["or-1"], [der])


def test_bytes_that_are_no_certificate_are_refused(boxes: dict[str, TlsIdentity]) -> None:
    der = boxes["or-1"].certificate_der
    for broken in (b"", b"\x30", der[:-1], der + b"\x00", bytes([der[0] ^ 1]) + der[1:]):
        with pytest.raises(PeerFault):
            certificate_box_id(broken)


def test_the_fingerprint_is_openssls(boxes: dict[str, TlsIdentity]) -> None:
    command: list[str | Path] = [
        require_tool("openssl"),
        "x509",
        "-noout",
        "-fingerprint",
        "-sha256",
        "-in",
        boxes["or-1"].pem_path,
    ]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.strip().partition("=")[2].replace(":", "").lower() == fingerprint(boxes["or-1"].certificate_der)
