from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.cli import main as cli_main
from agent.cli.context import Settings, common_options, pass_settings
from ledger.errors import DeviceFault


@click.command("probe")
@common_options
@click.argument("outcome")
@pass_settings
def probe(settings: Settings, outcome: str) -> int | None:
    """Ends as told."""
    match outcome:
        case "fault":
            raise DeviceFault("serial.gone", "the adapter is gone", "plug it in")
        case "bug":
            raise ZeroDivisionError("by zero")
        case "interrupt":
            raise KeyboardInterrupt
        case "pipe":
            raise BrokenPipeError
        case "settings":
            click.echo(f"{settings.config_path} {settings.json}")
            return None
    return int(outcome)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main, "COMMANDS", {"probe": (f"{__name__}:probe", "Ends as told.")})
    monkeypatch.delenv("ORLEDGER_CONFIG", raising=False)
    monkeypatch.delenv("ORLEDGER_TRACEBACK", raising=False)


@pytest.mark.parametrize("code", [0, 1, 2, 76])
def test_a_command_s_result_is_the_exit_code(code: int) -> None:
    assert cli_main.main(["probe", str(code)]) == code


def test_an_error_says_what_happened_who_is_at_fault_and_what_is_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["probe", "fault"]) == 65
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "orledger: the adapter is gone [serial.gone]\nat fault: the device or its cable\nnext: plug it in\n"
    )


@pytest.mark.parametrize("arguments", [["--json", "probe", "fault"], ["probe", "--json", "fault"]])
def test_an_error_is_json_when_json_is_wanted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(arguments) == 65
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out) == {
        "schema": "orledger.error/1",
        "v": 1,
        "error": {
            "id": "serial.gone",
            "kind": "DeviceFault",
            "party": "device",
            "text": "the adapter is gone",
            "next": "plug it in",
            "exit": 65,
        },
    }


@pytest.mark.parametrize(
    "arguments", [["erase"], ["probe"], ["probe", "0", "more"], ["probe", "--colour"], ["--colour"]]
)
def test_wrong_usage_is_64_and_points_to_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(arguments) == 64
    shown = capsys.readouterr().err
    assert "[cli.usage]" in shown
    assert "--help" in shown
    assert cli_main.main([*arguments, "--json"]) == 64
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 64


def test_a_bug_is_our_fault_and_its_traceback_is_for_the_asking(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli_main.main(["probe", "bug"]) == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: by zero at test_main.py:" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("ORLEDGER_TRACEBACK", "1")
    assert cli_main.main(["probe", "bug"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130() -> None:
    assert cli_main.main(["probe", "interrupt"]) == 130


def test_the_reader_of_our_output_may_leave() -> None:
    code = f"import sys; from {__name__} import cli_main; cli_main.COMMANDS = {{'probe': ('{__name__}:probe', '')}}; "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(cli_main.main(['probe', 'pipe']))"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "variable", "shown"),
    [
        (["probe", "settings"], None, "/etc/orledger/config.toml False"),
        (["probe", "settings"], "/b.toml", "/b.toml False"),
        (["--config", "/c.toml", "probe", "settings"], "/b.toml", "/c.toml False"),
        (["probe", "--config", "/d.toml", "settings", "--json"], None, "/d.toml True"),
        (["--config", "/c.toml", "--json", "probe", "--config", "/d.toml", "settings"], None, "/d.toml True"),
    ],
)
def test_the_common_options_hold_before_and_after_the_command(
    arguments: list[str],
    variable: str | None,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable is not None:
        monkeypatch.setenv("ORLEDGER_CONFIG", variable)
    assert cli_main.main(arguments) == 0
    assert capsys.readouterr().out.strip() == shown


def test_help_and_version_load_no_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main, "COMMANDS", {"gone": ("agent.cli.no_such_module:command", "Is not there.")})
    assert cli_main.main(["--help"]) == 0
    assert "gone  Is not there." in capsys.readouterr().out
    assert CliRunner().invoke(cli_main.cli, ["--help"]).exit_code == 0


def test_status_loads_neither_a_driver_nor_a_loop_nor_a_broker() -> None:
    code = "import sys, agent.cli.main, agent.cli.status; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "click" in loaded
    assert loaded.isdisjoint({"asyncio", "amqtt", "cryptography", "drivers", "lmdb", "nacl", "paho", "rich", "serial"})


def test_restoring_a_box_loads_dicom_only_where_objects_are_sent() -> None:
    code = (
        "import sys, agent.outgoing, agent.rebuild, agent.rebuild_target, agent.verifier, pathlib\n"
        "from agent.cli.context import Settings\n"
        "from agent.cli.delivery import DeliveryOptions\n"
        "assert DeliveryOptions().ways(Settings(), pathlib.Path()) == []\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "agent" in loaded
    assert loaded.isdisjoint({"amqtt", "numpy", "paho", "pydicom", "pynetdicom", "rich"})


REAL_COMMANDS = dict(importlib.import_module("agent.cli.main").COMMANDS)


@pytest.mark.parametrize("name", sorted(REAL_COMMANDS))
def test_every_listed_command_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_main, "COMMANDS", REAL_COMMANDS)
    command = cli_main.cli.get_command(click.Context(cli_main.cli), name)
    assert command is not None
    assert command.name == name
    assert command.help
