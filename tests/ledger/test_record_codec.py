from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger.records as vocabulary
from ledger.payload import pack, unpack
from ledger.record_codec import records_of, rows_of
from ledger.records import (
    CaseChange,
    DeviceTime,
    Event,
    LinkId,
    Numeric,
    Object,
    PatientContext,
    Quality,
    Raw,
    Record,
    Wave,
)
from tests import record_strategies

AT_NS = 1_764_000_000_000_000_000
NUMERIC = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal("7.10"), unit="/min")
WAVE = Wave(
    at_ns=AT_NS, code="MDC_ECG_ELEC_POTL_II", unit="mV", rate=(300, 1), index=0, width=2, samples=b"\0\1\2\3",
    scale=0.01, offset=0.0,
)  # fmt: skip
EVENT = Event(at_ns=AT_NS, kind="advisory", alarm_id="a", phase="start", priority="low", code="MDC_EVT_LOW")


def through_bytes(*records: Record) -> tuple[Record, ...]:
    return records_of(unpack(pack(rows_of(records))))


def exact(record: Record) -> str:
    """Equality of decimals hides trailing zeros and the sign of zero; their text does not."""
    return repr(record)


def test_every_record_type_has_a_place_in_the_format() -> None:
    public = [cls for cls in vars(vocabulary).values() if isinstance(cls, type) and issubclass(cls, Record)]
    assert set(public) - {Record} == set(record_strategies.by_type)


@pytest.mark.parametrize("record_type", record_strategies.by_type, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_record_comes_back_exactly(record_type: type[Record], data: st.DataObject) -> None:
    record = data.draw(record_strategies.by_type[record_type])
    (back,) = through_bytes(record)
    if isinstance(back, Object | PatientContext | CaseChange):
        assert back == record  # its texts come back in order
    else:
        assert exact(back) == exact(record)


@given(st.lists(record_strategies.records, max_size=8))
def test_times_survive_being_written_as_differences(records: list[Record]) -> None:
    assert [record.at_ns for record in through_bytes(*records)] == [record.at_ns for record in records]


@pytest.mark.parametrize(
    "text", ["7.10", "-7.10", "0", "0.00", "-0", "-0.0", "1E+2", "1E-30", "0E+9", "9" * 18, "9" * 40]
)
def test_a_decimal_keeps_its_digits(text: str) -> None:
    (back,) = through_bytes(replace(NUMERIC, value=Decimal(text)))
    assert isinstance(back, Numeric)
    assert str(back.value) == text


@pytest.mark.parametrize(
    "record",
    [
        replace(NUMERIC, value=Decimal("NaN")),
        replace(NUMERIC, value=Decimal("-Infinity")),
        replace(NUMERIC, value=Decimal("9" * 65)),
        replace(NUMERIC, at_ns=True),
        replace(NUMERIC, at_ns=1 << 200),
        replace(NUMERIC, code="\udc80"),
        replace(NUMERIC, value=7.1),  # type: ignore[arg-type]
        replace(NUMERIC, unit=None),  # type: ignore[arg-type]
        replace(NUMERIC, quality=0),  # type: ignore[arg-type]
        replace(WAVE, rate=(0, 1)),
        replace(WAVE, rate=(1,)),  # type: ignore[arg-type]
        replace(WAVE, samples=b"\0"),
        replace(WAVE, width=3),  # type: ignore[arg-type]
        replace(WAVE, scale=float("nan")),
        replace(WAVE, marks=((1, 2),)),  # type: ignore[arg-type]
        replace(EVENT, phase="begin"),  # type: ignore[arg-type]
        replace(EVENT, limits=(None,)),  # type: ignore[arg-type]
        replace(EVENT, limits=(None, Decimal("NaN"))),
        replace(EVENT, latched=1),  # type: ignore[arg-type]
        Object(at_ns=1, sha256=b"", size=0, media_type="", name="", meta={"a": 1}),  # type: ignore[dict-item]
        Record(at_ns=AT_NS),
    ],
    ids=repr,
)
def test_what_no_driver_may_emit_is_refused_when_written(record: Record) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the room raises nothing else; its callers add whose fault it is
        pack(rows_of([record]))


GOOD_ROW: tuple[Any, ...] = (1, AT_NS, "", None, 0, "MDC_PULS_RATE", (710, -2), "/min", "", "")


def test_the_good_row_of_these_tests_is_good() -> None:
    assert exact(records_of([GOOD_ROW])[0]) == exact(NUMERIC)


def with_item(index: int, value: object) -> tuple[object, ...]:
    return (*GOOD_ROW[:index], value, *GOOD_ROW[index + 1 :])


@pytest.mark.parametrize(
    "row",
    [
        with_item(0, 99),
        with_item(0, True),
        with_item(0, "1"),
        with_item(1, None),
        with_item(2, 5),
        with_item(3, (1, "sidereal", 1)),
        with_item(3, (1, ["utc"], 1)),
        with_item(3, (1, "utc")),
        with_item(4, 16_384),
        with_item(4, -1),
        with_item(4, False),
        with_item(5, b"MDC_PULS_RATE"),
        with_item(6, (710, -2, 0)),
        with_item(6, (710, "-2")),
        with_item(6, (10**18, 0)),
        with_item(6, (1, 6_145)),
        with_item(6, 7.1),
        GOOD_ROW[:-1],
        (*GOOD_ROW, ""),
        (),
        None,
    ],
    ids=repr,
)
def test_a_row_that_is_never_written_is_refused(row: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        records_of([row])


@given(record_strategies.device_times)
def test_a_device_time_is_kept_as_sent(device_time: DeviceTime) -> None:
    (back,) = through_bytes(replace(NUMERIC, device_time=device_time))
    assert back.device_time == device_time


def test_flags_are_kept_together() -> None:
    flags = Quality.STALE | Quality.TIME_UNCERTAIN
    assert through_bytes(replace(NUMERIC, quality=flags))[0].quality == flags


def test_meta_is_written_in_order_of_its_keys() -> None:
    def reference(meta: dict[str, str]) -> Object:
        return Object(at_ns=1, sha256=bytes(32), size=1, media_type="text/plain", name="n", meta=meta)

    assert pack(rows_of([reference({"b": "1", "a": "2"})])) == pack(rows_of([reference({"a": "2", "b": "1"})]))
    (row,) = unpack(pack(rows_of([reference({"a": "2", "b": "1"})])))
    assert records_of([row])
    with pytest.raises(ValueError, match="order"):
        records_of([(*row[:-1], {"b": "1", "a": "2"})])


def test_a_raw_record_keeps_the_rhythm_of_arrival() -> None:
    raw = Raw(at_ns=AT_NS, link=LinkId(3), direction="<", data=b"abc", pieces=((0, 1), (250, 2)))
    assert through_bytes(raw) == (raw,)
