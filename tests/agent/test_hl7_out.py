from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from agent.hl7_out import parse_target, restored_message, restored_values, send_until_accepted
from ledger.errors import DeviceFault, OperatorFault
from ledger.records import Numeric, Quality
from ledger.state import RoomState
from ledger.state_document import state_document

AT_NS = 1_700_000_000_123_456_789


def document() -> dict[str, object]:
    state = RoomState()
    state.fold("monitor", Numeric(at_ns=AT_NS, code="MDC_TEMP", value=Decimal("36.20"), unit="Cel", channel="T1"))
    state.fold("monitor", Numeric(at_ns=AT_NS, code="MDC_TEMP", value=None, unit="Cel", channel="T2",
                                  quality=Quality.UNAVAILABLE))  # fmt: skip
    return state_document(state, AT_NS + 10**9)


@contextmanager
def console(answers: list[Callable[[bytes], bytes]]) -> Iterator[tuple[str, int, list[bytes]]]:
    """A console's HL7 receiver: one connection an answer; an empty answer hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                data = b""
                while not data.endswith(b"\x1c\r"):
                    data += connection.recv(65_536)
                received.append(data)
                reply = answer(data)
                for at in range(len(reply)):
                    connection.sendall(reply[at : at + 1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", listener.getsockname()[1], received
    finally:
        thread.join(60)
        listener.close()


def ack(code: str, control_id: str) -> bytes:
    return f"\x0bMSH|^~\\&|||||20231114221320||ACK|1|P|2.6\rMSA|{code}|{control_id}\r\x1c\r".encode()


def test_a_state_document_becomes_the_values_it_holds() -> None:
    values = {value.channel: value for value in restored_values(document())}
    assert values["T1"].value == Decimal("36.20")
    assert abs(values["T1"].at_ns - AT_NS) < 1_000_000
    assert values["T2"].value is None
    assert Quality.UNAVAILABLE in values["T2"].quality


def test_it_is_sent_again_until_it_is_accepted_and_says_that_it_is_not_live() -> None:
    control_id, framed = restored_message(restored_values(document()), "lab", "or-2", "OR 2", AT_NS)
    with console([lambda _: b"", lambda _: ack("CA", "another"), lambda _: ack("AA", control_id)]) as (host, port, got):
        assert send_until_accepted(framed, control_id, host, port).accepted
    assert got == [framed, framed, framed]
    assert b"NOT LIVE" in framed
    assert b"36.20" in framed


def test_a_refusal_is_final_and_says_what_the_console_said() -> None:
    control_id, framed = restored_message([], "lab", "or-2", "OR 2", AT_NS)
    with (
        console([lambda _: ack("AR", control_id)]) as (host, port, _),
        pytest.raises(DeviceFault, match="answered AR"),
    ):
        send_until_accepted(framed, control_id, host, port)


def test_a_console_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(DeviceFault, match=f"127.0.0.1:{port} did not accept"):
        send_until_accepted(b"\x0bx\x1c\r", "1", "127.0.0.1", port)


@pytest.mark.parametrize("target", ["mllp://", "mllp://host", "host:2575", "mllp://host:0", "mllp://host:99999"])
def test_a_wrong_target_is_refused(target: str) -> None:
    with pytest.raises(OperatorFault, match="no HL7 receiver"):
        parse_target(target)


def test_an_ipv6_target_is_understood() -> None:
    assert parse_target("mllp://[::1]:2575") == ("::1", 2575)
