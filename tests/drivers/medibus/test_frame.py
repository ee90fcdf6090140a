from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.medibus.frame import (
    MAX_RESPONSE_BYTES,
    Command,
    Deframer,
    Fast,
    Fault,
    Flow,
    Item,
    Response,
    checksum,
    command,
    response,
)

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.encode)
CODE = st.integers(0x21, 0x7E)
COMMAND = st.builds(Command, CODE, TEXT)
RESPONSE = st.builds(Response, CODE, TEXT)
FAST = st.binary(min_size=1, max_size=6).map(lambda data: bytes(byte | 0x80 for byte in data))
PIECE = st.one_of(
    COMMAND.map(lambda c: command(c.code, c.argument)),
    RESPONSE.map(lambda r: response(r.code, r.data)),
    FAST,
    st.binary(max_size=12),
    st.sampled_from([b"\x11", b"\x13", b"\x18", b"\r", b"\x1b", b"\x01", b"\n"]),
)
WIRE = st.lists(PIECE, max_size=12).map(b"".join)


def joined(items: list[Item]) -> list[Item]:
    """Fast data in one piece, as its cutting means nothing."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, Fast) and found and isinstance(found[-1], Fast):
            found[-1] = Fast(found[-1].data + item.data)
        else:
            found.append(item)
    return found


@pytest.mark.parametrize(
    ("content", "check"),
    [
        (b"\x1bQ", b"6C"), (b"\x1bR", b"6D"), (b"\x1b0", b"4B"), (b"\x1b$", b"3F"), (b"\x1b(", b"43"),
        (b"\x1bI", b"64"),
        (b"\x1bS", b"6E"), (b"\x1bT00020603", b"FA"), (b"\x1bJ$EB", b"10"), (b"\x01Q", b"52"), (b"\x01R", b"53"),
        (b"\x01$", b"25"), (b"\x01J", b"4B"), (b"\x01I", b"4A"), (b"\x01T", b"55"), (b"\x01\x15", b"16"),
        (b"\x01R0161'My PC'01.00:03.00", b"FC"), (b"\x01$EB 98 E1 70 ", b"7A"), (b"\x01(11:11:1911-NOV-93", b"E6"),
        (b"\x01S00   16000-  10  10037006   16000-  20  100460", b"3B"),
    ],
)  # fmt: skip
def test_the_check_values_of_the_manual(content: bytes, check: bytes) -> None:
    assert checksum(content) == check
    (item,) = Deframer().feed(content + check + b"\r")
    assert isinstance(item, Command | Response)


def test_two_check_values_are_misprinted_in_the_manual() -> None:
    (item,) = Deframer().feed(b"\x01$EB 98 7A\r")
    assert item == Fault("checksum", 11, "response")


@given(st.lists(COMMAND | RESPONSE, max_size=6))
def test_what_is_framed_is_read(items: list[Command | Response]) -> None:
    wire = b"".join(
        command(item.code, item.argument) if isinstance(item, Command) else response(item.code, item.data)
        for item in items
    )
    assert Deframer().feed(wire) == items


@given(RESPONSE, COMMAND, st.data())
def test_a_command_may_lie_anywhere_in_a_response(outer: Response, inner: Command, data: st.DataObject) -> None:
    wire = response(outer.code, outer.data)
    at = data.draw(st.integers(1, len(wire) - 1))
    assert Deframer().feed(wire[:at] + command(inner.code, inner.argument) + wire[at:]) == [inner, outer]


@given(RESPONSE, RESPONSE, st.data())
def test_a_response_may_lie_in_a_response(outer: Response, inner: Response, data: st.DataObject) -> None:
    wire = response(outer.code, outer.data)
    at = data.draw(st.integers(1, len(wire) - 1))
    assert Deframer().feed(wire[:at] + response(inner.code, inner.data) + wire[at:]) == [inner, outer]


@given(RESPONSE, st.lists(RESPONSE, min_size=2, max_size=4), st.data())
def test_a_response_that_was_cut_off_costs_no_other(cut: Response, after: list[Response], data: st.DataObject) -> None:
    wire = response(cut.code, cut.data)
    at = data.draw(st.integers(1, len(wire) - 1))
    found = Deframer().feed(wire[:at] + b"".join(response(item.code, item.data) for item in after))
    assert [item for item in found if isinstance(item, Response)] == after
    assert [item for item in found if isinstance(item, Fault)] == [Fault("framing", at, "response")]


@given(RESPONSE, st.data())
def test_fast_data_may_lie_between_any_two_bytes(item: Response, data: st.DataObject) -> None:
    wire = b"".join(
        bytes((byte,)) + data.draw(st.just(b"") | FAST, label="fast") for byte in response(item.code, item.data)
    )
    found = Deframer().feed(wire)
    assert [one for one in found if not isinstance(one, Fast)] == [item]
    assert b"".join(one.data for one in found if isinstance(one, Fast)) == bytes(b for b in wire if b >= 0x80)


@given(RESPONSE, st.sampled_from(Flow), st.data())
def test_flow_control_may_come_anywhere(item: Response, flow: Flow, data: st.DataObject) -> None:
    wire = response(item.code, item.data)
    at = data.draw(st.integers(0, len(wire)))
    found = Deframer().feed(wire[:at] + bytes((flow,)) + wire[at:])
    assert sorted(map(repr, found)) == sorted(map(repr, [item, flow]))


@given(WIRE)
def test_byte_by_byte_is_all_at_once(wire: bytes) -> None:
    deframer = Deframer()
    single = [item for at in range(len(wire)) for item in deframer.feed(wire[at : at + 1])]
    assert joined(single) == joined(Deframer().feed(wire))


@given(WIRE, RESPONSE)
def test_after_any_noise_a_response_is_found(noise: bytes, item: Response) -> None:
    assert Deframer().feed(noise + b"\r\r" + response(item.code, item.data))[-1] == item


@given(WIRE)
def test_every_byte_is_accounted_for(wire: bytes) -> None:
    deframer = Deframer()
    told = 0
    for item in deframer.feed(wire):
        if isinstance(item, Command):
            told += 5 + len(item.argument)
        elif isinstance(item, Response):
            told += 5 + len(item.data)
        elif isinstance(item, Fast):
            told += len(item.data)
        elif isinstance(item, Flow):
            told += 1
        else:
            told += item.lost_bytes
    left = deframer.abandon()
    told += left.lost_bytes if left else 0
    blanks = wire.count(b"\r") + wire.count(b"\n")
    assert len(wire) - blanks <= told <= len(wire)


def test_a_response_without_end_is_given_up_and_the_next_is_found() -> None:
    deframer = Deframer()
    faults = [deframer.feed(b"\x01$" + b"A" * 1000) for _ in range(1)]
    faults += [deframer.feed(b"A" * 1000) for _ in range(5)]
    (fault,) = [item for items in faults for item in items]
    assert isinstance(fault, Fault)
    assert fault.cause == "oversize"
    assert MAX_RESPONSE_BYTES < fault.lost_bytes <= MAX_RESPONSE_BYTES + 1000
    assert deframer.feed(b"\r" + response(0x30))[-1] == Response(0x30)


def test_a_broken_command_inside_a_response_is_told_as_a_command() -> None:
    found = Deframer().feed(b"\x01$EB \x1b0FF\r98 " + b"\x11")
    assert found == [Fault("checksum", 5, "command"), Flow.SUSPEND]
