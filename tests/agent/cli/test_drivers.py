from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agent.cli.main import main
from drivers import registry
from drivers.built_in import BUILT_IN
from drivers.description import options
from ledger.errors import OperatorFault


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    return capsys.readouterr().out


def test_the_list_names_every_driver_and_its_devices(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "drivers", "list").splitlines()
    assert [line.split()[0] for line in lines] == sorted(BUILT_IN)
    document = json.loads(said(capsys, "drivers", "list", "--json"))
    assert document["schema"] == "orledger.drivers/1"
    assert [driver["name"] for driver in document["drivers"]] == sorted(BUILT_IN)
    assert document["broken"] == []


def test_a_broken_plug_in_is_named_and_the_others_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("acme", "no_such_module_anywhere:Acme", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: (broken,))
    assert main(["drivers", "list"]) == 1
    told = capsys.readouterr()
    assert "ge-dri" in told.out
    assert "acme" in told.err
    assert "no_such_module_anywhere" in told.err
    document = json.loads(said(capsys, "drivers", "list", "--json", code=1))
    assert document["broken"][0]["name"] == "acme"


def test_a_driver_is_shown_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "drivers", "show", "ge-dri")
    for words in ("CARESCAPE", "19200 8E1", "numerics_s  whole number; default 5", "5 to 10", "M1017617"):
        assert words in shown
    nested = said(capsys, "drivers", "show", "hl7")
    assert "beds[].match    text; must be given" in nested
    assert "Raises" not in shown + nested


@pytest.mark.parametrize("name", BUILT_IN)
def test_all_that_a_driver_may_send_is_shown_with_its_meaning(capsys: pytest.CaptureFixture[str], name: str) -> None:
    shown = said(capsys, "drivers", "show", name, "--tx")
    sendable = registry.get(name).spec.tx_allowed
    assert all(item.meaning in shown for item in sendable)
    assert sendable or "never sends anything" in shown
    document = json.loads(said(capsys, "drivers", "show", name, "--tx", "--json"))["driver"]
    assert [item["meaning"] for item in document["may_send"]] == [item.meaning for item in sendable]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_says_what_it_means(name: str) -> None:
    assert [option.name for option in options(registry.get(name).spec) if not option.help] == []


def test_an_unknown_driver_is_an_error_with_a_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drivers", "show", "ge-drl"]) == 78
    assert "ge-dri" in capsys.readouterr().err


def test_the_schema_that_is_published_can_be_read_on_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    published = Path(__file__).parents[3] / "docs" / "push-v1.schema.json"
    assert said(capsys, "drivers", "show", "push", "--schema") == published.read_text(encoding="utf-8")
    assert "--schema" in said(capsys, "drivers", "show", "push")
    assert main(["drivers", "show", "masimo", "--schema"]) == OperatorFault.exit_code
    assert "masimo reads its devices' own protocol" in capsys.readouterr().err
