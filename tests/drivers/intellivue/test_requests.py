from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue import IntelliVue
from drivers.intellivue.frame import encode
from drivers.intellivue.requests import (
    LAN_MTU,
    PROBE,
    RS232_MTU,
    Ask,
    get_wave_list,
    mds_create_result,
    poll,
    set_wave_list,
)
from drivers.intellivue.rose import MdsCreate
from drivers.intellivue.session import ABORT, RELEASE_RESPONSE, association_request
from tests.drivers.intellivue.building import MDS_CREATE_RESULT, RELEASE_REQUEST

MDS_HEAD = "0021 0000 0000 00000000"
NUMERICS_ONCE = bytes.fromhex(f"e1000002 0001 001c 0000 0007 0016 {MDS_HEAD} 0c16 0008 0007 0001 0006 0000")
NUMERICS = bytes.fromhex(
    f"e1000002 0001 0028 0003 0007 0022 {MDS_HEAD} f13b 0014 0001 0001 0006 0000 0001 0008 f13e 0004 00493e00"
)
GET_LIST = bytes.fromhex(f"e1000002 0001 0016 0000 0003 0010 {MDS_HEAD} 0001 0002 f23a")
SET_LIST = bytes.fromhex(f"e1000002 0001 0022 0001 0005 001c {MDS_HEAD} 0001 000e 0000 f23a 0008 0001 0004 00020102")
EVENT = MdsCreate((0x21, 0, 0), 0x000ABD00, [])


def allowed(message: bytes) -> bool:
    return IntelliVue.spec.may_send(message)


def test_polls_are_those_of_the_guide() -> None:
    assert poll(Ask.NUMERICS_ONCE, 0) == NUMERICS_ONCE
    assert poll(Ask.NUMERICS, 3) == NUMERICS
    assert poll(Ask.KEEP_ALIVE, 9)[-4:] == bytes.fromhex("00360811")
    assert poll(Ask.ALERTS, 9)[30:36] == bytes.fromhex("000100360801")


def test_wave_lists_and_the_answer_to_the_creation() -> None:
    assert get_wave_list(0) == GET_LIST
    assert set_wave_list([0x00020102], 1) == SET_LIST
    assert mds_create_result(1, EVENT) == MDS_CREATE_RESULT


@given(st.sampled_from(list(Ask)), st.integers(0, 0xFFFF))
def test_every_poll_is_allowed_bare_and_framed(ask: Ask, invoke_id: int) -> None:
    assert allowed(poll(ask, invoke_id))
    assert allowed(encode(poll(ask, invoke_id)))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=11), st.integers(0, 0xFFFF))
def test_every_wave_list_is_allowed(text_ids: list[int], invoke_id: int) -> None:
    assert allowed(set_wave_list(text_ids, invoke_id))
    assert allowed(encode(set_wave_list(text_ids, invoke_id)))


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1))
def test_every_answer_to_a_creation_is_allowed(invoke_id: int, context: int, handle: int, ticks: int) -> None:
    message = mds_create_result(invoke_id, MdsCreate((0x21, context, handle), ticks, []))
    assert allowed(message)
    assert allowed(encode(message))


def test_the_rest_that_is_allowed() -> None:
    for message in (association_request(LAN_MTU), association_request(RS232_MTU), ABORT, RELEASE_RESPONSE):
        assert allowed(message)
        assert allowed(encode(message))
    assert allowed(PROBE)


@pytest.mark.parametrize(
    "message",
    [
        SET_LIST.replace(b"\xf2\x3a", b"\xf2\x39"),  # the priority list of numerics
        SET_LIST.replace(b"\xf2\x3a", b"\x09\x24"),
        SET_LIST.replace(b"\0\x05\0\x1c", b"\0\x04\0\x1c"),  # a set without confirmation
        set_wave_list([1] * 12, 1),
        NUMERICS.replace(b"\0\0\xf2", b""),
        NUMERICS.replace(b"\0\x49\x3e\0", b"\xff\xff\xff\xff"),
        NUMERICS_ONCE.replace(b"\x0c\x16", b"\x0c\x17"),  # another action
        MDS_CREATE_RESULT.replace(b"\x0d\x06", b"\x0d\x07"),
        association_request(5_000),
        RELEASE_REQUEST,
        NUMERICS + NUMERICS,
        encode(NUMERICS)[:-1],
        encode(NUMERICS) + encode(NUMERICS),
        b"",
    ],
)
def test_other_messages_are_not_allowed(message: bytes) -> None:
    if message != NUMERICS:
        assert not allowed(message)
        assert message[:1] != b"\xe1" or not allowed(encode(message))


@given(st.sampled_from([NUMERICS_ONCE, NUMERICS, GET_LIST, SET_LIST, MDS_CREATE_RESULT]), st.data())
def test_no_byte_that_commands_may_change(message: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message) - 1))
    change = data.draw(st.integers(1, 255))
    other = message[:at] + bytes((message[at] ^ change,)) + message[at + 1 :]
    if allowed(other):
        # The invoke id, what answers an event, the label of a wave; or a poll of another of our own kinds.
        free = {8, 9, *range(16, 24)} if message is MDS_CREATE_RESULT else {8, 9}
        free |= set(range(len(message) - 4, len(message))) if message is SET_LIST else set()
        assert at in free or other[:8] + other[10:] in {poll(ask, 0)[:8] + poll(ask, 0)[10:] for ask in Ask}
