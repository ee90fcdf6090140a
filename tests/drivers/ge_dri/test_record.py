from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ge_dri.record import MainType, Subrecord, build, parse
from ledger.errors import DeviceFault
from tests.drivers.ge_dri.building import record, shared_record


@given(
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(0, 254), st.binary(max_size=40)), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_what_is_listed_is_found(main_type: int, parts: list[tuple[int, bytes]], time_s: int) -> None:
    found = parse(record(main_type, parts, time_s))
    assert (found.main_type, found.time_s, found.plug_id, found.dri_level) == (main_type, time_s, 4711, 9)
    assert [(part.kind, part.data) for part in found.subrecords] == parts


@given(st.binary(max_size=1500))
def test_anything_else_is_the_devices_fault(data: bytes) -> None:
    with pytest.raises(DeviceFault):
        parse(data)


@given(st.integers(0, 100), st.integers(0, 255))
def test_a_changed_header_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(record(1, [(1, b"abcd"), (8, bytes(100))]))
    data[position] = value
    try:
        parts = parse(bytes(data)).subrecords
    except DeviceFault:
        return
    assert sum(len(part.data) for part in parts) <= 104


def test_a_command_is_one_subrecord_of_kind_zero() -> None:
    assert parse(build(MainType.ALARM, b"body")).subrecords == (Subrecord(0, b"body"),)


def test_real_records() -> None:
    wave = parse(shared_record("ge_s5_wave.hex"))
    assert (wave.main_type, wave.plug_id, len(wave.subrecords)) == (MainType.WAVEFORM, 35537, 8)
    trend = parse(shared_record("ge_s5_trend.hex"))
    assert (trend.main_type, trend.plug_id, trend.time_s) == (MainType.PHYSIOLOGICAL, 35588, 1251973827)
    assert [part.kind for part in trend.subrecords] == [1, 1, 1, 1]
