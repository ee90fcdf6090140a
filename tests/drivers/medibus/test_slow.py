from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.medibus.slow import (
    Alarm,
    Device,
    parse_alarms,
    parse_date_time,
    parse_identity,
    parse_texts,
    parse_value,
    parse_values,
)
from firmware_sim.medibus import alarm_segment, field_of, text_segment
from ledger.errors import DeviceFault
from ledger.records import Quality

HEX = st.integers(0, 255).map("{:02X}".format)


def test_the_values_of_the_manual() -> None:
    assert parse_values(b"EB 98 E1 70 ", 4) == [("EB", " 98 "), ("E1", " 70 ")]


def test_blanks_in_codes_are_zeros() -> None:
    assert parse_values(b" 7 56 ", 4) == [("07", " 56 ")]


@pytest.mark.parametrize(
    ("text", "value", "quality"),
    [
        (" 98 ", Decimal(98), Quality.GOOD),
        ("0.48", Decimal("0.48"), Quality.GOOD),
        ("7.10", Decimal("7.10"), Quality.GOOD),
        ("-  3", Decimal(-3), Quality.GOOD),
        (" .5 ", Decimal("0.5"), Quality.GOOD),
        ("12. ", Decimal(12), Quality.GOOD),
        ("    ", None, Quality.UNAVAILABLE),
        ("----", None, Quality.UNAVAILABLE),
        ("****", None, Quality.UNAVAILABLE),
        (" -.-", None, Quality.UNAVAILABLE),
        ("HIGH", "HIGH", Quality.QUESTIONABLE),
    ],
)
def test_value_fields(text: str, value: object, quality: Quality) -> None:
    assert parse_value(text) == (value, quality)
    if isinstance(value, Decimal):
        assert str(parse_value(text)[0]) == str(value)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (17.2, "*XXX_", " 17 "),
        (5.31, "XX.X", " 5.3"),
        (0.481, "X.XX", "0.48"),
        (35, "_XX_", " 35 "),
        (56, "_XXX", "  56"),
    ],
)
def test_dragers_notation(value: float, form: str, text: str) -> None:
    assert field_of(value, form) == text
    assert parse_value(text)[0] == Decimal(text.replace(" ", ""))


@given(st.lists(st.builds(Alarm, HEX, st.integers(1, 31), st.text("ABC0? ", max_size=12).map(str.strip)), max_size=5))
def test_alarms(alarms: list[Alarm]) -> None:
    alarms = [Alarm(a.code, a.priority, " ".join(a.text.split())) for a in alarms]
    assert parse_alarms(b"".join(alarm_segment(a.code, a.priority, a.text) for a in alarms)) == alarms


@pytest.mark.parametrize(
    ("phrase", "text"),
    [("ET CO2 $&", "ET CO2 LOW"), ('SPO2 "#', "SPO2 HIGH"), ("TACHYPN'@OFF", "TACHYPN ALARM OFF")],
)
def test_phrases_with_abbreviations_of_the_manual(phrase: str, text: str) -> None:
    assert parse_alarms(alarm_segment("40", 1, phrase)) == [Alarm("40", 1, text)]


@given(st.lists(st.tuples(HEX, st.text("abcXYZ 09/-", min_size=1, max_size=32)), max_size=5))
def test_texts(texts: list[tuple[str, str]]) -> None:
    wire = b"".join(text_segment(*text) for text in texts)
    assert parse_texts(wire) == [(code, " ".join(text.split())) for code, text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11:11:1911-NOV-93", datetime(1993, 11, 11, 11, 11, 19, tzinfo=UTC)),
        (" 9: 5: 3 1-DEZ-26", datetime(2026, 12, 1, 9, 5, 3, tzinfo=UTC)),
        ("23:59:5931-MAI-07", datetime(2007, 5, 31, 23, 59, 59, tzinfo=UTC)),
        ("00:00:0029-FEB-24", datetime(2024, 2, 29, tzinfo=UTC)),
        ("10:00: 511-NOV-26", datetime(2026, 11, 11, 10, 0, 5, tzinfo=UTC)),
        # As real EvitaXL and V500 have sent them (mdpnp).
        (" 9:33:00 7-OKT-14", datetime(2014, 10, 7, 9, 33, tzinfo=UTC)),
        ("09:33:00 07-OKT-14", datetime(2014, 10, 7, 9, 33, tzinfo=UTC)),
    ],
)
def test_dates(text: str, expected: datetime) -> None:
    assert parse_date_time(text.encode()) == int(expected.timestamp())


@pytest.mark.parametrize("text", [" 9:33 7-OCT-14", " 9:33 07-OCT-14", "09:33 7-OKT-14"])
def test_a_clock_without_seconds_is_not_followed(text: str) -> None:
    assert parse_date_time(text.encode()) is None


@pytest.mark.parametrize(
    ("body", "device"),
    [
        (b"8210'Evita4'04.22:04.03", Device("8210", "Evita4", "04.22", "04.03")),
        (b"0161'My PC'01.00:03.00", Device("0161", "My PC", "01.00", "03.00")),
        (b"    'EvitaXL'06.10:04.03", Device("", "EvitaXL", "06.10", "04.03")),
        (b"8210", Device("8210", "", "", "")),
        (b"", None),
        (b"  ", None),
    ],
)
def test_identities(body: bytes, device: Device | None) -> None:
    assert parse_identity(body) == device


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (lambda body: parse_values(body, 4), b"EB 98"),
        (lambda body: parse_values(body, 4), b"EX 98 "),
        (parse_alarms, b"M10PAW HIGH"),
        (parse_alarms, b"MZZPAW HIGH    "),
        (parse_texts, b"06"),
        (parse_texts, b"065SIMV\x03"),
        (parse_texts, b"06\x2fSIMV\x03"),
        (parse_date_time, b"11:11:1931-FEB-93"),
        (parse_date_time, b"11:11:1911-NUV-93"),
        (parse_date_time, b"25:11:1911-NOV-93"),
    ],
)
def test_what_is_not_as_the_manual_says_is_refused(parse: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(DeviceFault):
        parse(body)


@given(st.binary(max_size=60))
def test_no_body_raises_anything_else(body: bytes) -> None:
    for parse in (lambda b: parse_values(b, 4), parse_alarms, parse_texts, parse_date_time, parse_identity):
        try:
            parse(body)
        except DeviceFault:
            continue
