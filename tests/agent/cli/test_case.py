"""``orledger case`` and ``orledger status --patient`` against a real control socket; nobody is named unasked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.case_commands import case_document, facts_argument, who
from agent.cli.main import main
from agent.control import Handler, Reply, Request
from agent.status import Case
from ledger.errors import BadInput, OperatorFault
from ledger.records import CaseChange
from tests.agent.test_control import Agent
from tests.agent.test_status import GOOD

CASE = CaseChange(
    at_ns=1_700_000_060 * 10**9, case_id=bytes([0x5C]) * 16, phase="open", cause="operator", by="anna (uid 1000)",
    opened_ns=1_700_000_000 * 10**9, facts={"name": "Doe^Jane\x1b[31m", "patient_ids": "4711"},
)  # fmt: skip
ID = "5c" * 16


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Exit code, stdout and stderr of a command while an agent answers; what it was asked is in ``asked``."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[box]\nsite = "st-mary"\nid = "or-3"\nroom = "OR 3"\n'
        f'data_dir = "{tmp_path}"\nruntime_dir = "{tmp_path}/run"\n'
    )

    async def case_open(request: Request, reply: Reply) -> None:
        if request.arguments["next"] is not True:
            raise OperatorFault("case.already-open", "case 5c5c5c5c… is open", "orledger case open --next")
        assert request.arguments["facts"] == {"patient_ids": "4711", "name": "Doe^Jane"}
        await reply(case_document(CASE, 7, closed=CASE))

    async def case_show(request: Request, reply: Reply) -> None:
        await reply(case_document(CASE, None, with_facts=request.arguments["patient"]))

    async def case_close(request: Request, reply: Reply) -> None:
        await reply(case_document(None, 9, closed=CASE))

    async def status(_request: Request, reply: Reply) -> None:
        await reply(replace(GOOD, case=Case(ID, "2023-11-14T22:13:20.000Z", 60.0)))

    handlers: Mapping[str, Handler] = {
        "case_open": case_open, "case_show": case_show, "case_close": case_close, "status": status,
    }  # fmt: skip
    agent = Agent(tmp_path / "run" / "control.sock", dict(handlers))
    agent.run(agent.server.start())

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["--config", str(path), *words])
        return (code, *capsys.readouterr())

    try:
        yield run
    finally:
        agent.end()


def test_a_case_is_opened_and_closed_and_says_so(said: Callable[..., tuple[int, str, str]]) -> None:
    given = ("--patient-id", "4711", "--name", "Doe^Jane")
    code, out, _ = said("case", "open", "--next", *given)
    assert (code, out) == (0, f"case {ID} is closed\ncase {ID} is open (recorded in block 7)\n")
    code, _, err = said("case", "open", *given)
    assert code == 64
    assert "next: orledger case open --next" in err
    assert said("case", "close")[1] == f"case {ID} is closed (recorded in block 9)\n"


def test_whose_case_it_is_is_shown_only_when_asked(said: Callable[..., tuple[int, str, str]]) -> None:
    for words in (("case", "show"), ("case", "show", "--json"), ("status",), ("status", "--json")):
        out = said(*words)[1]
        assert ID[:8] in out
        assert "Doe" not in out
    assert "Doe^Jane�[31m\n" in said("case", "show", "--patient")[1]
    assert "patient  Doe^Jane�[31m  4711" in said("status", "--patient")[1]
    document: dict[str, Any] = json.loads(said("case", "show", "--patient", "--json")[1])
    assert (document["schema"], document["case"]["facts"]["patient_ids"]) == ("orledger.case/1", "4711")


@pytest.mark.parametrize(
    "facts", [{"place": "here"}, {"shoe_size": "44"}, {"name": 7}, {"name": "x" * 201}, {"name": "a\nb"}, "Doe"]
)
def test_what_no_case_has_is_refused(facts: object) -> None:
    with pytest.raises(BadInput):
        facts_argument({"facts": facts})


def test_the_asker_is_named_as_the_kernel_tells_it() -> None:
    assert who(Request("case_open", {}, 0, 1)) == "root (uid 0)"
    assert who(Request("case_open", {}, 987_654, 1)) == "uid 987654"
