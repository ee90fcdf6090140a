"""``orledger status`` against a real control socket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agent.cli.main import main
from agent.control import Handler, Reply, Request
from agent.status import StatusDocument
from tests.agent.cli.test_status_text import ALL_IS_WELL, FORK
from tests.agent.test_control import Agent
from tests.agent.test_status import GOOD

TROUBLED = replace(GOOD, state="critical", exit=2, alerts=(FORK,))


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        '[box]\nsite = "st-mary"\nid = "or-3"\nroom = "OR 3"\n'
        f'data_dir = "{tmp_path}"\nruntime_dir = "{tmp_path}/run"\n'
    )
    return path


@pytest.fixture
def status_of(config_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of ``orledger status`` while the agent gives this answer."""

    def run(answer: object, *options: str) -> tuple[int, str, str]:
        async def status(request: Request, reply: Reply) -> None:
            await reply(answer)

        handlers: dict[str, Handler] = {"status": status}
        agent = Agent(config_path.parent / "run" / "control.sock", handlers)
        agent.run(agent.server.start())
        try:
            code = main(["--config", str(config_path), "status", *options])
        finally:
            agent.end()
        return (code, *capsys.readouterr())

    return run


def test_all_is_well_is_0(status_of: Callable[..., tuple[int, str, str]]) -> None:
    assert status_of(GOOD) == (0, ALL_IS_WELL, "")


def test_on_a_terminal_it_has_colour_and_the_same_words(config_path: Path) -> None:
    async def status(request: Request, reply: Reply) -> None:
        await reply(GOOD)

    agent = Agent(config_path.parent / "run" / "control.sock", {"status": status})
    agent.run(agent.server.start())
    ours, theirs = os.openpty()
    try:
        code = "import sys; from agent.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "--config", str(config_path), "status"]
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        done = subprocess.run(command, stdout=theirs, env=environment, cwd=Path(__file__).parents[3], check=False)
        shown = os.read(ours, 65_536).decode().replace("\r\n", "\n")
    finally:
        os.close(theirs)
        os.close(ours)
        agent.end()
    assert done.returncode == 0
    assert "\x1b[1;32mRECORDING" in shown
    assert re.sub("\x1b\\[[0-9;]*m", "", shown) == ALL_IS_WELL


def test_something_critical_is_2(status_of: Callable[..., tuple[int, str, str]]) -> None:
    code, shown, _ = status_of(TROUBLED)
    assert code == 2
    assert "CRITICAL fork  or-2 signed two blocks" in shown


def test_json_is_the_document(status_of: Callable[..., tuple[int, str, str]]) -> None:
    code, shown, _ = status_of(TROUBLED, "--json")
    assert code == 2
    assert msgspec.json.decode(shown, type=StatusDocument) == TROUBLED


def test_an_answer_that_is_no_status_is_our_fault(status_of: Callable[..., tuple[int, str, str]]) -> None:
    code, _, error = status_of({"v": 2})
    assert code == 70
    assert "[status.document]" in error


def test_without_an_agent_it_is_3(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config_path), "status"]) == 3
    assert "next: start it: systemctl start orledger" in capsys.readouterr().err
    assert main(["--config", str(config_path), "status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["id"] == "agent.unreachable"


def test_a_wrong_configuration_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml"), "status"]) == 78
    assert f"{tmp_path / 'none.toml'}: No such file" in capsys.readouterr().err
