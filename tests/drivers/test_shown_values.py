from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from drivers.shown_values import ShownValues
from ledger.records import Numeric, Quality


def shown(value: Decimal | None, at_ns: int = 0, code: str = "MDC_PULS_OXIM_SAT_O2", quality: Quality = Quality.GOOD,
          device_code: str = "SPO2") -> Numeric:  # fmt: skip
    return Numeric(at_ns=at_ns, code=code, value=value, unit="%", quality=quality, device_code=device_code)


def test_a_value_is_recorded_each_time() -> None:
    values = ShownValues()
    told = [record for at in range(3) for record in values.show("spo2", shown(Decimal(98), at))]
    assert [record.at_ns for record in told] == [0, 1, 2]


def test_the_lack_of_a_value_is_recorded_once_for_each_reason() -> None:
    values = ShownValues()
    qualities = [Quality.UNAVAILABLE, Quality.UNAVAILABLE, Quality.INVALID, Quality.INVALID, Quality.UNAVAILABLE]
    told = [record for quality in qualities for record in values.show("spo2", shown(None, quality=quality))]
    assert [record.quality for record in told] == [Quality.UNAVAILABLE, Quality.INVALID, Quality.UNAVAILABLE]


def test_a_place_that_gets_another_name_withdraws_the_old_one() -> None:
    values = ShownValues()
    list(values.show("p1", shown(Decimal(80), code="MDC_PRESS_BLD_ART")))
    told = list(values.show("p1", shown(Decimal(9), 7, code="MDC_PRESS_BLD_VEN_CENT")))
    assert [(record.code, record.value, record.at_ns) for record in told] == [
        ("MDC_PRESS_BLD_ART", None, 7),
        ("MDC_PRESS_BLD_VEN_CENT", Decimal(9), 7),
    ]
    assert told[0].quality == Quality.UNAVAILABLE


def test_what_is_no_longer_shown_is_withdrawn_once() -> None:
    values = ShownValues()
    list(values.show("a.1", shown(Decimal(1), device_code="1")))
    list(values.show("b.1", shown(Decimal(2), device_code="2")))
    assert [record.device_code for record in values.withdraw(5, lambda slot: slot.startswith("a."))] == ["1"]
    assert "a.1" not in values
    assert [record.device_code for record in values.withdraw(6)] == ["2"]
    assert list(values.withdraw(7)) == []


@given(st.lists(st.none() | st.integers(0, 3).map(Decimal)))
def test_whoever_reads_the_records_knows_what_is_shown(values: list[Decimal | None]) -> None:
    tracker, known = ShownValues(), Decimal(-1)
    reader: Decimal | None = known
    for value in values:
        quality = Quality.GOOD if value is not None else Quality.UNAVAILABLE
        for record in tracker.show("spo2", shown(value, quality=quality)):
            assert not isinstance(record.value, str)
            reader = record.value
        assert reader == value
