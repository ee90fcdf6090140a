from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.values import absolute_time_ns, attributes, float_value, state_quality, text
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Quality
from tests.drivers.intellivue import building
from tests.drivers.intellivue.building import fixed


@pytest.mark.parametrize(
    ("raw", "value"),
    [(0xFD007D00, "32.000"), (fixed(710, -2), "7.10"), (fixed(-5, -1), "-0.5"), (fixed(12, 1), "120"), (0, "0")],
)
def test_floats_keep_their_digits(raw: int, value: str) -> None:
    number, quality = float_value(raw)
    assert str(number) == value
    assert quality == Quality.GOOD


@pytest.mark.parametrize(
    ("mantissa", "quality"),
    [
        (0x7FFFFF, Quality.UNAVAILABLE),
        (0x800000, Quality.INVALID),
        (0x7FFFFE, Quality.OVER_RANGE),
        (0x800002, Quality.UNDER_RANGE),
    ],
)
def test_special_floats_are_no_values(mantissa: int, quality: Quality) -> None:
    assert float_value(0xFE000000 | mantissa) == (None, quality)


@given(st.integers(-0x7FFFFD, 0x7FFFFD), st.integers(-128, 127))
def test_a_float_is_mantissa_times_ten_to_its_exponent(mantissa: int, exponent: int) -> None:
    number, _ = float_value(fixed(mantissa, exponent))
    assert number == Decimal(mantissa).scaleb(exponent)


def test_state_bits() -> None:
    assert state_quality(0x8000) == Quality.INVALID
    assert state_quality(0x6000) == Quality.QUESTIONABLE | Quality.UNAVAILABLE
    assert state_quality(0x1C00) == Quality.CALIBRATING | Quality.TEST | Quality.DEMO
    assert state_quality(0x00E0) == Quality.VALIDATED | Quality.EARLY | Quality.ONGOING
    assert state_quality(0x0003) == Quality.GOOD


def test_absolute_time() -> None:
    moment = absolute_time_ns(bytes.fromhex("2026112308140250"))
    assert moment == 1_795_421_642 * S_NS + 500_000_000
    for none in ("ffffffffffffffff", "0000000000000000", "2026133208140200", "2026022908140200", "20261123"):
        assert absolute_time_ns(bytes.fromhex(none)) is None


@given(st.binary(max_size=10))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    assert absolute_time_ns(value) is None or len(value) >= 8


@given(st.text(st.characters(codec="utf-16", exclude_characters="\0"), max_size=20))
def test_texts(words: str) -> None:
    assert text(building.string(words)) == words.strip()


@given(st.binary(max_size=20))
def test_any_bytes_are_a_text(value: bytes) -> None:
    assert len(text(value)) <= 20


ATTRIBUTES = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=12)), max_size=6)


@given(ATTRIBUTES, st.binary(max_size=5))
def test_what_is_listed_is_found(items: list[tuple[int, bytes]], behind: bytes) -> None:
    data = building.attributes(*items)
    assert attributes(data + behind) == (items, len(data))


@given(st.binary(max_size=60))
def test_other_bytes_are_a_list_or_the_devices_fault(data: bytes) -> None:
    try:
        found, end = attributes(data)
    except DeviceFault:
        return
    assert end <= len(data)
    assert sum(4 + len(value) for _, value in found) <= end


def test_a_count_larger_than_the_list_is_not_believed() -> None:
    assert attributes(building.u16(9, 6, 0x0921, 2, 5)) == ([(0x0921, b"\0\5")], 10)
