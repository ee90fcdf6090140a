from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.rose import Message, Observation, parse, parse_action_result, parse_event, parse_get_result
from ledger.errors import DeviceFault
from tests.drivers.intellivue.building import (
    MDS_CREATE_RESULT,
    NUMERIC,
    attributes,
    data,
    mds_create,
    numeric,
    poll_result,
    u16,
)


def test_a_linked_result() -> None:
    message = parse(data(5, 3, 7, b"body", (2, 9)))
    assert message == Message(5, 3, 7, b"body", (2, 9))


def test_an_error_has_its_value() -> None:
    message = parse(data(3, 8, 9, b""))
    assert (message.operation, message.invoke_id, message.code) == (3, 8, 9)


def test_what_stands_behind_the_lengths_is_ignored() -> None:
    assert parse(MDS_CREATE_RESULT + b"more") == parse(MDS_CREATE_RESULT)


def test_an_extended_poll_result() -> None:
    message = poll_result(
        NUMERIC, (0x10, (numeric(0x4182, 70),)), (0x11, ((0xF999, b"xy"),)), ticks=8_000, sequence=5, invoke_id=4
    )
    reply = parse_action_result(parse(message).body)
    assert reply is not None
    assert (reply.number, reply.sequence, reply.ticks, reply.object_class) == (1, 5, 8_000, NUMERIC)
    assert reply.observations == [
        Observation(0, 0x10, [numeric(0x4182, 70)]),
        Observation(0, 0x11, [(0xF999, b"xy")]),
    ]


def test_of_a_broken_end_the_beginning_is_kept() -> None:
    message = poll_result(NUMERIC, (0x10, (numeric(0x4182, 70),)), (0x11, ((0x0950, b"12"),)))
    broken = message[:-6] + u16(0x0950, 200) + b"12"
    reply = parse_action_result(parse(broken).body)
    assert reply is not None
    assert [observation.handle for observation in reply.observations] == [0x10]
    assert reply.lost_bytes == 12


def test_an_event_that_is_not_the_monitors_creation_is_none() -> None:
    assert parse_event(u16(0x21, 0, 0, 0, 0, 0x0D17, 0)) is None
    event = parse_event(parse(mds_create((0x0946, b"\x40\0"))).body)
    assert event is not None
    assert (event.managed_object, event.event_ticks, event.attributes) == ((0x21, 0, 0), 0xABD00, [(0x0946, b"\x40\0")])


def test_a_get_result() -> None:
    assert parse_get_result(u16(0x21, 0, 0) + attributes((0xF23A, b"1234"))) == [(0xF23A, b"1234")]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_devices_fault(noise: bytes) -> None:
    for function in (parse, parse_event, parse_get_result, parse_action_result):
        with contextlib.suppress(DeviceFault):
            function(noise)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_result_is_read_or_refused(position: int, value: int) -> None:
    message = bytearray(poll_result(NUMERIC, (0x10, (numeric(0x4182, 70), (0x0924, u16(2, 0x4182)))), sequence=1))
    message[position % len(message)] = value
    try:
        reply = parse_action_result(parse(bytes(message)).body)
    except DeviceFault:
        return
    assert reply is None or len(reply.observations) <= 1


@pytest.mark.parametrize("operation", [0, 4, 6, 255])
def test_other_operations_are_the_devices_fault(operation: int) -> None:
    with pytest.raises(DeviceFault):
        parse(data(operation, 1, 1, b""))
