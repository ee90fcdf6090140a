from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers import registry
from drivers.built_in import BUILT_IN
from drivers.contract import Outbox, Spec, Transport
from drivers.ge_dri import GeDri
from ledger.errors import ConfigurationFault
from ledger.records import Record, Setting

RECORD_NAMES = {kind.__name__.lower() for kind in (*Record.__subclasses__(), Setting)}


def _plug_ins(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else ())


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_our_own_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_ins(monkeypatch)
    assert registry.names() == tuple(sorted(BUILT_IN))
    assert registry.get("ge-dri") is GeDri


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_of_our_own_declares_what_it_is(name: str) -> None:
    spec = registry.get(name).spec
    assert spec.devices
    assert spec.transports
    assert spec.source
    assert spec.longest_frame_bytes > 0
    assert bool(spec.serial_lines) == (Transport.SERIAL in spec.transports)
    assert spec.records <= RECORD_NAMES
    assert all(sendable.meaning for sendable in spec.tx_allowed)
    assert all(spec.may_send(request) for request in spec.probe_requests)


def test_a_third_party_driver_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Pump=type("Pump", (GeDri,), {"spec": _named("acme-pump")}))
    monkeypatch.setitem(sys.modules, "acme", module)
    _plug_ins(monkeypatch, _point("acme-pump", "acme:Pump"))
    assert "acme-pump" in registry.names()
    assert registry.get("acme-pump") is module.Pump


def _named(name: str) -> Spec[object]:
    return Spec(name=name, devices=(), transports=(), config=object)


def test_unknown_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_ins(monkeypatch)
    with pytest.raises(ConfigurationFault, match="ge-drl") as caught:
        registry.get("ge-drl")
    assert caught.value.id == "driver.unknown"
    assert "ge-dri" in caught.value.next_step


def test_a_broken_plug_in_is_named_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_ins(monkeypatch, _point("acme", "no_such_module_anywhere:Acme"))
    assert registry.names() == tuple(sorted({*BUILT_IN, "acme"}))
    assert registry.get("ge-dri") is GeDri
    with pytest.raises(ConfigurationFault, match="no_such_module_anywhere") as caught:
        registry.get("acme")
    assert caught.value.id == "driver.broken"


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        (object(), "not a class"),
        (type("Bare", (Outbox,), {}), "not a class with a spec"),
        (type("Liar", (GeDri,), {}), "calls itself 'ge-dri'"),
        (type("Deaf", (Outbox,), {"spec": _named("acme")}), "lacks link_up, receive, link_down"),
    ],
)
def test_what_is_no_driver_is_refused(monkeypatch: pytest.MonkeyPatch, thing: object, why: str) -> None:
    monkeypatch.setitem(sys.modules, "acme", SimpleNamespace(Acme=thing))
    _plug_ins(monkeypatch, _point("acme", "acme:Acme"))
    with pytest.raises(ConfigurationFault, match=why):
        registry.get("acme")


def test_two_claims_to_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_ins(monkeypatch, _point("ge-dri", "acme:Monitor"))
    with pytest.raises(ConfigurationFault, match="both claim") as caught:
        registry.get("ge-dri")
    assert caught.value.id == "driver.ambiguous"


def test_naming_the_drivers_imports_none() -> None:
    code = "import sys, drivers.registry as r; r.names(); sys.exit('drivers.ge_dri' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
