"""Notices: each kind survives its encoding; unknown kinds, wrong counts and wrong types are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import pack, unpack
from ledger.errors import PeerFault
from ledger.notices import Head, Notice, notice_fields, notice_from_fields
from tests.ledger_strategies import heads, notices


@settings(max_examples=300)
@given(notices)
def test_every_notice_survives_its_encoding(notice: Notice) -> None:
    assert notice_from_fields(unpack(pack(notice_fields(notice)), 1 << 16, "notice")) == notice


@settings(max_examples=50)
@given(heads)
def test_a_head_survives_its_encoding(head: Head) -> None:
    assert Head.from_fields(unpack(pack(head.fields()), 1 << 16, "head"), "head") == head


@settings(max_examples=200)
@given(notices, st.data())
def test_a_missing_or_extra_field_is_refused(notice: Notice, data: st.DataObject) -> None:
    fields = notice_fields(notice)
    for wrong in (fields[:-1], [*fields, 0]):
        with pytest.raises(PeerFault):
            notice_from_fields(wrong)


@settings(max_examples=200)
@given(notices, st.data())
def test_a_field_of_a_wrong_type_is_refused(notice: Notice, data: st.DataObject) -> None:
    fields = notice_fields(notice)
    at = data.draw(st.integers(1, len(fields) - 1))
    fields[at] = 1.5
    with pytest.raises(PeerFault):
        notice_from_fields(fields)


@pytest.mark.parametrize("value", [None, [], 1, "1", [0], [10, 1], [True, 1, bytes(16)], ["1"], [1.0], {}, [[1]]])
def test_unknown_kinds_are_refused(value: Any) -> None:
    with pytest.raises(PeerFault):
        notice_from_fields(value)


@pytest.mark.parametrize(
    "value",
    [
        [2, 3, bytes(16)],
        [4, 3, bytes(16)],
        [1, bytes(16), [1], None, []],
        [1, bytes(16), [b""] * 65, None, []],
        [1, bytes(16), [], None, [None]],
        [6, "", True],
        [8, 1 << 63],
    ],
)
def test_values_out_of_bounds_are_refused(value: Any) -> None:
    with pytest.raises(PeerFault):
        notice_from_fields(value)
