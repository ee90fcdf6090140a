from __future__ import annotations

import json
import struct
from dataclasses import replace
from decimal import Decimal

from hypothesis import given

from ledger.record_json import record_to_json, utc_text
from ledger.records import Clock, DeviceTime, Event, Gap, LinkId, Numeric, Quality, Raw, Record, Wave
from tests import record_strategies

AT_NS = 1_763_885_642_100_000_123
PULSE = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal("7.10"), unit="/min")


@given(record_strategies.records)
def test_every_record_can_be_written_as_json(record: Record) -> None:
    document = json.loads(json.dumps(record_to_json(record)))
    assert document["type"] == type(record).__name__.lower()


def test_a_decimal_keeps_its_zeros_and_the_time_its_nanoseconds() -> None:
    assert record_to_json(PULSE) == {
        "type": "numeric",
        "sub": "",
        "at": "2025-11-23T08:14:02.100000123Z",
        "code": "MDC_PULS_RATE",
        "value": "7.10",
        "unit": "/min",
        "device_code": "",
        "channel": "",
    }


def test_text_and_digits_are_told_apart() -> None:
    document = record_to_json(replace(PULSE, value="7.10"))
    assert (document["value"], document["text_value"]) == (None, "7.10")
    assert record_to_json(replace(PULSE, value=None))["value"] is None


def test_flags_have_names_and_device_times_their_kind() -> None:
    local = DeviceTime(AT_NS, "local", 10**9)
    document = record_to_json(replace(PULSE, quality=Quality.STALE | Quality.INVALID, device_time=local))
    assert document["quality"] == ["invalid", "stale"]
    assert document["device_time"] == {
        "at": "2025-11-23T08:14:02.100000123", "kind": "local", "resolution_ns": 10**9,
    }  # fmt: skip
    uptime = record_to_json(replace(PULSE, device_time=DeviceTime(1_500_000_000, "uptime", 10**6)))
    assert uptime["device_time"]["at"] == "1.500000000s"


def test_samples_are_numbers_and_bytes_are_hex() -> None:
    wave = Wave(
        at_ns=AT_NS, code="C", unit="mV", rate=(300, 1), index=0, width=2, samples=struct.pack("<3h", -1, 0, 258),
        scale=0.01, offset=0.0,
    )  # fmt: skip
    assert record_to_json(wave)["samples"] == [-1, 0, 258]
    wide = replace(wave, width=4, samples=struct.pack("<2i", -1, 1 << 20))
    assert record_to_json(wide)["samples"] == [-1, 1 << 20]
    raw = Raw(at_ns=AT_NS, link=LinkId(1), direction="<", data=b"\x1b!", pieces=((0, 2),))
    assert record_to_json(raw)["data"] == "1b21"
    assert record_to_json(raw)["pieces"] == [[0, 2]]


def test_instants_are_times_and_spans_stay_nanoseconds() -> None:
    gap = record_to_json(Gap(at_ns=AT_NS, cause="silence", since_ns=AT_NS, until_ns=AT_NS))
    assert gap["since"] == gap["until"] == gap["at"]
    clock = record_to_json(Clock(at_ns=AT_NS, offset_ns=-5, error_ns=7, drift_ppm=None, samples=2))
    assert (clock["offset_ns"], clock["error_ns"]) == (-5, 7)


def test_limits_are_digits_or_null() -> None:
    event = Event(
        at_ns=AT_NS, kind="advisory", alarm_id="a", phase="start", priority="low", code="C",
        limits=(None, Decimal("120.0")),
    )  # fmt: skip
    assert record_to_json(event)["limits"] == [None, "120.0"]


def test_times_outside_the_calendar_stay_numbers() -> None:
    assert utc_text(-1) == "-1ns"
    assert utc_text(253_402_300_799_999_999_999) == "9999-12-31T23:59:59.999999999Z"
    assert utc_text(253_402_300_800_000_000_000) == "253402300800000000000ns"
