"""The rendered mosquitto files; that they work is proved by test_broker.py and test_mesh.py, which run with them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from agent.mosquitto import render_acl, render_config, render_peers
from agent.tls import create_identity
from ledger.errors import ConfigurationFault, PeerFault

SYSTEMD = Path(__file__).parents[2] / "systemd"


def directives(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_files_we_ship_say_what_we_render() -> None:
    config = render_config("10.20.3.13", 8883, Path("/etc/orledger/tls/box.pem"), Path("/etc/orledger/mosquitto"))
    assert directives((SYSTEMD / "mosquitto.conf").read_text()) == directives(config)
    acl = render_acl("st-mary", "or-3")
    assert directives((SYSTEMD / "mosquitto.acl").read_text()) == directives(acl)


def test_every_peer_is_pinned_by_its_certificate(tmp_path: Path) -> None:
    ders = [create_identity(name, tmp_path / f"{name}.pem").certificate_der for name in ("or-1", "or-2")]
    (tmp_path / "peers.pem").write_text(render_peers(ders))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cafile=tmp_path / "peers.pem")
    assert context.cert_store_stats() == {"x509": 2, "crl": 0, "x509_ca": 0}


def test_what_could_be_read_as_another_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault):
        render_acl("st-mary", "or-1\ntopic readwrite #")
    with pytest.raises(ConfigurationFault):
        render_peers([create_identity("+", tmp_path / "plus.pem").certificate_der])
    with pytest.raises(PeerFault):
        render_peers([b"not a certificate"])
