from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.hl7v2 import datatypes
from drivers.hl7v2.er7 import STANDARD
from ledger.limits import S_NS
from ledger.records import DeviceTime


def _ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * S_NS  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("raw", "zone", "expected"),
    [
        ("20150617120000.000", "", DeviceTime(_ns(2015, 6, 17, 12), "local", 1_000_000)),
        ("20120109175426-0600", "", DeviceTime(_ns(2012, 1, 9, 23, 54, 26), "utc", S_NS)),
        ("20080101123456- 0600", "", DeviceTime(_ns(2008, 1, 1, 18, 34, 56), "utc", S_NS)),
        ("20260101000000+0530", "", DeviceTime(_ns(2025, 12, 31, 18, 30), "utc", S_NS)),
        ("20260101120000", "+0100", DeviceTime(_ns(2026, 1, 1, 11), "utc", S_NS)),
        ("20260101120000+0200", "+0100", DeviceTime(_ns(2026, 1, 1, 10), "utc", S_NS)),
        ("202601011200", "", DeviceTime(_ns(2026, 1, 1, 12), "local", 60 * S_NS)),
        ("20260101", "", DeviceTime(_ns(2026, 1, 1), "local", 86_400 * S_NS)),
        ("2026", "", DeviceTime(_ns(2026, 1, 1), "local", 365 * 86_400 * S_NS)),
        ("20260101120000.1234", "", DeviceTime(_ns(2026, 1, 1, 12) + 123_400_000, "local", 100_000)),
        (
            "20260124131540250+0800",
            "",
            DeviceTime(_ns(2026, 1, 24, 5, 15, 40) + 250_000_000, "utc", 1_000_000),
        ),  # Mindray
        ("20260101120000Z", "+0100", DeviceTime(_ns(2026, 1, 1, 12), "utc", S_NS)),
        ("20260101120000+01:00", "", DeviceTime(_ns(2026, 1, 1, 11), "utc", S_NS)),
        ("2026010112000000", "", None),
        ("18991230", "", None),
        ("20261301", "", None),
        ("20260101126000", "", None),
        ("yesterday", "", None),
        ("99999999", "", None),
        ("", "", None),
    ],
)
def test_device_time(raw: str, zone: str, expected: DeviceTime | None) -> None:
    assert datatypes.device_time(raw, zone) == expected


@given(st.integers(0, 4_102_444_800_000))
def test_dtm_round_trip(utc_ms: int) -> None:
    found = datatypes.device_time(datatypes.dtm(utc_ms * 1_000_000))
    assert found == DeviceTime(utc_ms * 1_000_000, "utc", 1_000_000)


@pytest.mark.parametrize(
    ("raw", "text"),
    [("7.10", "7.10"), ("+5", "5"), ("-.5", "-0.5"), ("3.", "3"), (" 88 ", "88"), ("1e3", "1E+3"), ("0.0", "0.0")],
)
def test_numbers_keep_their_digits(raw: str, text: str) -> None:
    assert str(datatypes.number(raw)) == text


@pytest.mark.parametrize("raw", ["", "---", ".", "1.2.3", "NaN", "Infinity", "1e999", "9" * 19, "٣", "0x10", "1_000"])
def test_what_is_no_number_is_none(raw: str) -> None:
    assert datatypes.number(raw) is None


@pytest.mark.parametrize(
    ("raw", "low", "high"),
    [
        ("90-160", "90", "160"),
        ("-10--5", "-10", "-5"),
        ("35.0 - 38.5", "35.0", "38.5"),
        ("<500", None, "500"),
        (">=5", "5", None),
        ("normal", None, None),
        ("", None, None),
        ("90-", None, None),
    ],
)
def test_limits(raw: str, low: str | None, high: str | None) -> None:
    expected = tuple(None if bound is None else Decimal(bound) for bound in (low, high))
    assert datatypes.limits(raw) == expected


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        (["", "5.3"], Decimal("5.3")),
        (["=", "5.3"], Decimal("5.3")),
        ([">", "100"], ">100"),
        (["", "1", ":", "128"], "1:128"),
        ([""], None),
    ],
)
def test_structured_numbers(parts: list[str], value: Decimal | str | None) -> None:
    assert datatypes.structured_number(parts) == value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("150456^MDC_PULS_OXIM_SAT_O2^MDC", "MDC_PULS_OXIM_SAT_O2"),
        ("150456^^MDC", "MDC_PULS_OXIM_SAT_O2"),
        ("8889-8^Heart Rate by Oximetry^LN^149530^MDC_PULS_OXIM_PULS_RATE^MDC", "MDC_PULS_OXIM_PULS_RATE"),
        ("684800^MDC_ATTR_ALERT_SOURCE^MDC ", "MDC_ATTR_ALERT_SOURCE"),
        ("68483^MDC_ATTR_ALARM_INACTIVATION_STATE", "MDC_ATTR_ALARM_INACTIVATION_STATE"),
        ("MDC_ATTR_EVENT_PHASE^68481^MDC", "MDC_ATTR_EVENT_PHASE"),
        ("0^MDCX_DOCUMENTATION_ERROR^MDC", "MDCX_DOCUMENTATION_ERROR"),
        ("8889-8^Heart Rate^LN", "MDCX_LOINC_8889_8"),
        ("HR^Pulse^L^8867-4^Heart Rate^LN", "MDCX_LOINC_8867_4"),
        ("150456^SpO2^99VND", "MDCX_HL7_150456"),
        ("^Only text", "MDCX_HL7_Only_text"),
        ("", "MDCX_HL7_NONE"),
        ("µ", "MDCX_HL7_NONE"),
    ],
)
def test_codes(raw: str, code: str) -> None:
    found = datatypes.coded(raw, STANDARD)
    assert found.code == code
    assert found.raw == raw
    assert found.standard is not code.startswith(("MDCX_HL7", "MDCX_LOINC"))


@pytest.mark.parametrize(
    ("raw", "value", "text"),
    [
        ("197288^MDC_EVT_PUMP_DELIV_START^MDC", "MDC_EVT_PUMP_DELIV_START", "MDC_EVT_PUMP_DELIV_START"),
        ("^pump-status-infusing", "pump-status-infusing", "pump-status-infusing"),
        ("196940^MDC_EVT_FLUID_LINE_OCCL^MDC^^^^^^Occlusion", "MDC_EVT_FLUID_LINE_OCCL", "Occlusion"),
        ("1234^Dopamine", "Dopamine", "Dopamine"),
        ("VOL", "VOL", "VOL"),
    ],
)
def test_coded_values(raw: str, value: str, text: str) -> None:
    found = datatypes.coded(raw, STANDARD)
    assert (found.value, found.text) == (value, text)


@pytest.mark.parametrize(
    ("raw", "ucum"),
    [
        ("266016^MDC_DIM_MMHG^MDC", "mm[Hg]"),
        ("mm[Hg]^mm[Hg]^UCUM", "mm[Hg]"),
        ("265266^MDC_DIM_MILLI_L_PER_HR^MDC^mL/h^mL/h^UCUM", "mL/h"),
        ("3475^ug/kg/min^UCUM^265619^MDC_DIM_MICRO_G_PER_KG_PER_MIN^MDC", "ug/kg/min"),
        ("^MDC_DIM_PERCENT^MDC", "%"),
        ("262656^MDC_DIM_DIMLESS^MDC", "1"),
        ("mmHg", "mm[Hg]"),
        ("mmHg^mmHg^UCUM", "mm[Hg]"),
        ("MM(HG)^^ISO+", "mm[Hg]"),
        ("bpm", "/min"),
        ("mm Hg", "mm[Hg]"),
        ("deg C", "Cel"),
        ("mcg/kg/hr", "ug/kg/h"),
        ("mg/hr", "mg/h"),
        ("units/hr", "units/h"),
        ("mEq/L", "meq/L"),
        ("{beats}/min^beats per minute^UCUM", "{beats}/min"),
        ("\N{DEGREE SIGN}C", "Cel"),
        ("C", "C"),  # degrees or coulombs: as sent
        ("arb. units", "arb. units"),
        ("1^MDC_DIM_UNHEARD_OF^MDC", "MDC_DIM_UNHEARD_OF"),
        ("", ""),
    ],
)
def test_units(raw: str, ucum: str) -> None:
    assert datatypes.unit(raw, STANDARD) == ucum


@pytest.mark.parametrize(
    ("sent", "code", "standard"),
    [
        ("0002-4bb8^SpO2^MDIL", "MDC_PULS_OXIM_SAT_O2", True),
        ("0002-F0C7^T1^MDIL", "MDCX_PHILIPS_0002F0C7", False),
        ("0002-f0c7^T1^MDIL^150344^MDC_TEMP^MDC", "MDC_TEMP", True),
        ("0002-4bb8^SpO2^L", "MDCX_HL7_0002_4bb8", False),
    ],
)
def test_the_codes_of_philips_information_centres_are_those_of_its_monitors(
    sent: str, code: str, standard: bool
) -> None:
    coded = datatypes.coded(sent, STANDARD)
    assert (coded.code, coded.standard) == (code, standard)


@pytest.mark.parametrize(
    ("sent", "ucum"),
    [
        ("0004-0f20^mmHg^MDIL", "mm[Hg]"),
        ("0004-17a0^°C^MDIL", "Cel"),
        ("0004-1140^F^MDIL", "[degF]"),
        ("0004-f123^bpm^MDIL", "/min"),
        ('""', ""),
    ],
)
def test_units_of_philips_information_centres_and_none(sent: str, ucum: str) -> None:
    assert datatypes.unit(sent, STANDARD) == ucum
