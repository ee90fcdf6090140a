"""What a command did is told on the chain, or why it is not; it stays done either way."""

from __future__ import annotations

import pytest

from agent.cli.context import Settings
from ledger.errors import AgentUnreachable, OrledgerError, StoreFault


class Agent:
    """``ControlClient``: answers, or raises ``fault``."""

    def __init__(self, fault: OrledgerError | None = None) -> None:
        self.fault = fault

    def ask(self, _command: str, **_arguments: object) -> dict[str, int]:
        if self.fault is not None:
            raise self.fault
        return {"recorded_in_block": 7}


def settings(monkeypatch: pytest.MonkeyPatch, agent: Agent) -> Settings:
    monkeypatch.setattr(Settings, "client", lambda _self: agent)
    return Settings()


def test_the_block_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, Agent()).put_on_chain("delivered", delivered=1) == 7


@pytest.mark.parametrize("fault", [
    AgentUnreachable("control.unreachable", "no agent runs here", "start it"),
    StoreFault("store.io", "the disk is full", "free space"),
])  # fmt: skip
def test_what_was_done_stays_done_and_says_why_it_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: OrledgerError
) -> None:
    assert settings(monkeypatch, Agent(fault)).put_on_chain("delivered", delivered=1) is None
    assert capsys.readouterr().err == f"not recorded on a chain: {fault.text} Next: {fault.next_step}\n"
