from __future__ import annotations

import array
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.hl7v2 import waves
from drivers.hl7v2.waves import Quantised, SampleCount
from ledger.limits import S_NS
from ledger.records import DeviceTime

_KEY = ("", "MDC_ECG_ELEC_POTL_II", "")
_DECIMALS = st.decimals(-1_000, 1_000, places=6)


def _back(found: Quantised) -> list[float | None]:
    samples = array.array("h" if found.width == 2 else "i", found.encode(0, len(found.samples)))
    if sys.byteorder == "big":
        samples.byteswap()
    return [None if sample == found.invalid else found.scale * sample + found.offset for sample in samples]


@given(st.lists(st.one_of(st.none(), _DECIMALS), min_size=1, max_size=50).filter(any))
def test_decimals_come_back_as_sent(values: list[Decimal | None]) -> None:
    found = waves.quantise(values)
    assert found.exact
    assert [None if value is None else round(Decimal(value), 6) for value in _back(found)] == values


@given(st.lists(st.decimals(-(10**9), 10**9, places=9), min_size=1, max_size=50))
def test_what_does_not_fit_is_within_half_a_step(values: list[Decimal]) -> None:
    found = waves.quantise(values)
    for value, back in zip(values, _back(found), strict=True):
        assert back is not None
        # beside half a step there is only what a float of this size cannot hold
        assert abs(back - float(value)) <= found.scale * 0.5 + 1e-6


@pytest.mark.parametrize(
    ("values", "width"),
    [(["32.767", "-32.767"], 2), (["32.768"], 4), (["-32.768"], 4), (["2147483647"], 4), (["0"], 2), (["1E+2"], 2)],
)
def test_the_fewest_bytes_that_hold_all_are_taken(values: list[str], width: int) -> None:
    found = waves.quantise([Decimal(value) for value in values])
    assert found.width == width
    assert found.exact


def test_zeros_at_the_end_do_not_cost_exactness() -> None:
    found = waves.quantise([Decimal("3.000000000"), Decimal("-2.5000000000")])
    assert found.exact
    assert _back(found) == [3.0, -2.5]


def test_a_missing_sample_is_the_invalid_one() -> None:
    found = waves.quantise([Decimal("0.5"), None, Decimal("-0.5")])
    assert found.samples == (5, -32768, -5)
    assert found.invalid == -32768


def test_one_value_too_large_for_its_digits_is_its_own_middle() -> None:
    found = waves.quantise([Decimal("12345678.123456789")])
    assert not found.exact
    assert _back(found) == [12345678.123456789]


@pytest.mark.parametrize(
    ("hertz", "rate"),
    [
        ("150.0", (150, 1)),
        ("62.5", (125, 2)),
        ("0.2", (1, 5)),
        ("0", None),
        ("-1", None),
        ("1E+9", None),
        ("1E-9", None),
    ],
)
def test_rates(hertz: str, rate: tuple[int, int] | None) -> None:
    assert waves.rate_of(Decimal(hertz)) == rate


def _at(seconds: float, resolution_ns: int = 1_000_000) -> DeviceTime:
    return DeviceTime(int(seconds * S_NS), "utc", resolution_ns)


def test_the_index_counts_on() -> None:
    count = SampleCount()
    assert [count.place(_KEY, 500, (500, 1), _at(second)) for second in range(3)] == [0, 500, 1_000]
    assert count.place(("", "other", ""), 500, (500, 1), _at(3)) == 0


def test_a_lost_second_is_a_jump() -> None:
    count = SampleCount()
    count.place(_KEY, 500, (500, 1), _at(0))
    assert count.place(_KEY, 500, (500, 1), _at(2)) == 1_000


def test_jitter_and_coarse_clocks_are_no_jump() -> None:
    count = SampleCount()
    count.place(_KEY, 500, (500, 1), _at(0))
    assert count.place(_KEY, 500, (500, 1), _at(1.002)) == 500
    assert count.place(_KEY, 500, (500, 1), _at(3, resolution_ns=S_NS)) == 1_000
    assert count.place(_KEY, 500, (500, 1), _at(1)) == 1_500
    assert count.place(_KEY, 500, (500, 1), None) == 2_000


def test_signals_remembered_are_bounded() -> None:
    count = SampleCount()
    for number in range(waves.MAX_TRACKED + 50):
        count.place(("", str(number), ""), 1, (1, 1), None)
    assert len(count._signals) == waves.MAX_TRACKED
