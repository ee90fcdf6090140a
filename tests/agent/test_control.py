from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control import ControlServer, Handler, Reply, Request, parse_line
from agent.control_client import ControlClient
from agent.control_errors import error_fields, error_from_fields
from ledger import errors
from ledger.errors import AgentUnreachable, BadInput, NoPeer, NotPermitted, OperatorFault, OrledgerError, OurFault
from ledger.limits import LIMITS, MS_NS, Limits

PATIENCE_S = 60.0


class Agent:
    """A control server on a loop of its own, as the agent's is."""

    def __init__(self, path: Path, handlers: dict[str, Handler], limits: Limits = LIMITS) -> None:
        self.server = ControlServer(path, handlers, limits)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def end(self) -> None:
        self.run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.close()


Start = Callable[..., Agent]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    agents: list[Agent] = []

    def started(handlers: dict[str, Handler], limits: Limits = LIMITS) -> Agent:
        agent = Agent(path, handlers, limits)
        agents.append(agent)
        agent.run(agent.server.start())
        return agent

    yield started
    for agent in agents:
        agent.end()


async def echo(request: Request, reply: Reply) -> None:
    await reply({"arguments": dict(request.arguments), "uid": request.uid, "pid": request.pid})


async def count(request: Request, reply: Reply) -> None:
    for number in range(request.arguments["to"]):
        await reply(number)


async def refuse(request: Request, reply: Reply) -> None:
    await reply("first")
    raise NoPeer("restore.alone", "no box answered", "check the cables")


async def fail(request: Request, reply: Reply) -> None:
    raise ZeroDivisionError


def raw(path: Path, sent: bytes) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(sent)
        with connection.makefile("rb") as answers:
            return [json.loads(line) for line in answers]


def test_a_request_is_answered_and_its_asker_known(start: Start, path: Path) -> None:
    start({"echo": echo})
    answer = ControlClient(path).ask("echo", box="or-2", depth=3)
    assert answer == {"arguments": {"box": "or-2", "depth": 3}, "uid": os.geteuid(), "pid": os.getpid()}


def test_answers_stream_in_order_and_end_with_done(start: Start, path: Path) -> None:
    start({"count": count})
    assert list(ControlClient(path).request("count", to=1_000)) == list(range(1_000))
    assert raw(path, b'{"cmd":"count","to":2}\n') == [{"item": 0}, {"item": 1}, {"done": True}]


def test_a_refusal_is_the_same_error_on_the_other_side(start: Start, path: Path) -> None:
    start({"refuse": refuse})
    answers = ControlClient(path).request("refuse")
    assert next(answers) == "first"
    with pytest.raises(NoPeer) as caught:
        next(answers)
    assert (caught.value.id, caught.value.text, caught.value.next_step, caught.value.exit_code) == (
        "restore.alone",
        "no box answered",
        "check the cables",
        69,
    )


def test_a_bug_in_a_command_is_our_fault_and_the_agent_lives(
    start: Start, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start({"fail": fail, "echo": echo})
    with pytest.raises(OurFault):
        ControlClient(path).ask("fail")
    assert "ZeroDivisionError" in caplog.text
    assert ControlClient(path).ask("echo")["uid"] == os.geteuid()


def test_an_unknown_command_is_refused(start: Start, path: Path) -> None:
    start({})
    with pytest.raises(OperatorFault, match="'erase'"):
        ControlClient(path).ask("erase")


@pytest.mark.parametrize(
    "sent", [b"\n", b"[1]\n", b"{}\n", b'{"cmd":7}\n', b"\xff\n", b'{"cmd":"echo"', b"[" * 9_999 + b"\n"]
)
def test_what_is_no_request_is_answered_with_an_error(start: Start, path: Path, sent: bytes) -> None:
    start({"echo": echo}, dataclasses.replace(LIMITS, control_request_ns=200 * MS_NS))
    (answer,) = raw(path, sent)
    assert answer["error"]["kind"] == "BadInput"


def test_an_endless_request_is_refused_at_the_bound(start: Start, path: Path) -> None:
    start({"echo": echo}, dataclasses.replace(LIMITS, control_line_bytes=1_000))
    (answer,) = raw(path, b"x" * 1_500)
    assert answer["error"]["id"] == "control.too-long"


def test_an_oversized_answer_becomes_an_error(start: Start, path: Path) -> None:
    start({"echo": echo}, dataclasses.replace(LIMITS, control_line_bytes=500))
    with pytest.raises(OurFault, match="too long"):
        ControlClient(path).ask("echo", text="x" * 450)


def test_one_asker_too_many_is_turned_away(start: Start, path: Path) -> None:
    entered = threading.Event()

    async def wait(request: Request, reply: Reply) -> None:
        entered.set()
        await asyncio.Event().wait()

    start({"wait": wait, "echo": echo}, dataclasses.replace(LIMITS, control_connections=1))
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        first.sendall(b'{"cmd":"wait"}\n')
        assert entered.wait(PATIENCE_S)
        with pytest.raises(OperatorFault, match="too many"):
            ControlClient(path).ask("echo")


def test_an_answer_given_before_the_request_is_still_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, agents = socket.socketpair(socket.AF_UNIX)
    agents.sendall(b'{"error":{"kind":"OperatorFault","id":"control.busy","text":"too many commands"}}\n')
    agents.close()
    client = ControlClient(path)
    monkeypatch.setattr(client, "_connect", lambda: ours)
    with pytest.raises(OperatorFault, match="too many"):
        client.ask("echo")


def test_hanging_up_cancels_the_command(start: Start, path: Path) -> None:
    entered, cancelled = threading.Event(), threading.Event()

    async def wait(request: Request, reply: Reply) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    start({"wait": wait})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"cmd":"wait"}\n')
        assert entered.wait(PATIENCE_S)
    assert cancelled.wait(PATIENCE_S)


def test_stopping_cancels_what_is_being_answered_and_removes_the_socket(path: Path) -> None:
    entered = threading.Event()

    async def wait(request: Request, reply: Reply) -> None:
        entered.set()
        await asyncio.Event().wait()

    agent = Agent(path, {"wait": wait})
    agent.run(agent.server.start())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(b'{"cmd":"wait"}\n')
        assert entered.wait(PATIENCE_S)
        agent.end()
        assert connection.recv(100) == b""
    assert not path.exists()


def test_the_socket_is_for_its_group_only(start: Start, path: Path) -> None:
    start({})
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_dead_agent_s_socket_is_replaced_a_living_one_s_is_not(start: Start, path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    agent = start({"echo": echo})
    second = ControlServer(path, {})
    with pytest.raises(OperatorFault, match="another agent"):
        agent.run(second.start())
    assert ControlClient(path).ask("echo")["uid"] == os.geteuid()


def test_a_path_that_cannot_be_a_socket_is_a_store_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StoreFault):
        asyncio.run(ControlServer(tmp_path / "file" / "control.sock", {}).start())


def test_without_an_agent_the_next_step_is_told(path: Path) -> None:
    with pytest.raises(AgentUnreachable) as caught:
        ControlClient(path).ask("status")
    assert caught.value.exit_code == 3
    assert "systemctl start orledger" in caught.value.next_step


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_stranger_is_not_permitted(start: Start, path: Path) -> None:
    start({})
    path.chmod(0)
    with pytest.raises(NotPermitted):
        ControlClient(path).ask("status")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"", AgentUnreachable),
        (b'{"item":1}\n', AgentUnreachable),
        (b'{"item":1', AgentUnreachable),
        (b"nonsense\n", OurFault),
        (b"{}\n", OurFault),
        (b'{"error":7}\n', OurFault),
        (b'{"done":true}\n', OurFault),
    ],
)
def test_what_is_no_answer_is_an_error(path: Path, answer: bytes, fault: type[OrledgerError]) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def agent() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as request:
                request.readline()
                connection.sendall(answer)

        thread = threading.Thread(target=agent)
        thread.start()
        with pytest.raises(fault):
            ControlClient(path, PATIENCE_S).ask("status")
        thread.join(PATIENCE_S)


def test_a_silent_agent_is_unreachable(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(AgentUnreachable, match="does not answer"):
            ControlClient(path, 0.05).ask("status")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_object_or_bad_input(line: bytes) -> None:
    try:
        parsed = parse_line(line)
    except BadInput:
        return
    assert isinstance(parsed, dict)


@given(
    st.sampled_from(
        [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OrledgerError)]
    ),
    st.text(),
    st.text(),
    st.text(),
)
def test_every_error_survives_the_socket(kind: type[OrledgerError], error_id: str, text: str, next_step: str) -> None:
    error = kind(error_id, text, next_step)
    again = error_from_fields(json.loads(json.dumps(error_fields(error))))
    assert type(again) is (kind if kind is not OrledgerError else OurFault)
    assert (again.id, again.text, again.next_step) == (error_id, text, next_step)
    assert again.exit_code == kind.exit_code
