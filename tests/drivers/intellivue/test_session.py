from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.session import (
    ABORT,
    ENUM,
    NU_1SEC,
    RELEASE_RESPONSE,
    RTSA,
    Kind,
    Profile,
    association_request,
    is_whole,
    kind_of,
    parse_accept,
)
from ledger.limits import S_NS
from tests.drivers.intellivue.building import MDS_CREATE_RESULT, REFUSE, accept


def test_the_request_has_the_form_of_the_guides_example() -> None:
    request = association_request(1_000)
    assert request.startswith(bytes.fromhex("0dec0508130100160102800014020002c1dc3180a08080010100"))
    user = request[request.index(bytes.fromhex("010281")) + 3 :]
    assert user[0] == 0x48
    assert user[1:21] == bytes.fromhex("8000000040000000000000008000000020000000")
    assert user[21:33] == bytes.fromhex("00000000 0001002c 00010028")
    assert user[33:57] == bytes.fromhex("80000000 00001f40 000003e8 000003e8 ffffffff 60000000")
    assert user[57:73] == bytes.fromhex("0001000c f0010008 8c000000 00000000")
    assert user[73:] == bytes(16)


def test_the_real_accepts_profile() -> None:
    profile = parse_accept(accept())
    assert profile == Profile(0x0FA0, 0x3E4, 0x3E4, 0x8E000000)
    assert profile.timeout_ns == 10 * S_NS
    assert profile.extensions & NU_1SEC
    assert profile.extensions & RTSA
    assert profile.extensions & ENUM


def test_other_session_bytes_do_not_hide_the_profile() -> None:
    assert parse_accept(accept(before=bytes.fromhex("3401c83503010203"))).max_mtu_tx == 0x3E4


@pytest.mark.parametrize(("period_s", "timeout_s"), [(0.5, 10), (3.3, 10), (4, 12), (43, 129), (44, 130), (500, 130)])
def test_the_time_out_follows_the_poll_period(period_s: float, timeout_s: float) -> None:
    assert Profile(round(period_s * 8_000)).timeout_ns == timeout_s * S_NS


@given(st.binary(max_size=120))
def test_an_accept_that_cannot_be_read_has_the_defaults(noise: bytes) -> None:
    assert parse_accept(b"\x0e" + noise).timeout_ns >= 10 * S_NS


@given(st.integers(1, 200))
def test_an_accept_cut_anywhere_raises_nothing(length: int) -> None:
    assert parse_accept(accept()[:length]).timeout_ns == 10 * S_NS


def test_kinds() -> None:
    messages = (association_request(300), accept(), REFUSE, RELEASE_RESPONSE, ABORT, MDS_CREATE_RESULT)
    kinds = (Kind.REQUEST, Kind.ACCEPT, Kind.REFUSE, Kind.RELEASE_RESPONSE, Kind.ABORT, Kind.DATA)
    assert tuple(map(kind_of, messages)) == kinds
    assert kind_of(b"") is None
    assert kind_of(b"\x55") is None
    for message in messages:
        assert is_whole(message)
        assert not is_whole(message[:-1])
        assert not is_whole(message + b"\0")
