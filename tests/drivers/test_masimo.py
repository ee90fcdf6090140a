from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Now
from drivers.masimo import Masimo, MasimoConfig, parse_line, recognise
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record

LINK = LinkId(1)
# Lines of real oximeters, as published: a Rad-8 without a sensor, a Radical-7 and a Rad-57 board.
NO_SENSOR = b"03/19/16 13:37:12 SN=0000093112 SPO2=---% BPM=--- DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000001"
RAINBOW = (
    b"03/17/16 19:19:36 SN=---------- SPO2=098% BPM=123 PI=00.55 SPCO=--% SPMET=--.-% SPHB=--.- SPOC=-- RESVD=--- "
    b"DESAT=-- PIDELTA=+-- PVI=--- ALARM=000000 EXC=0000C00 EXC1=00000000"
)
OLDER = (
    b"05/15/07 08:12:21 SN=0000070986 SPO2=---% BPM=--- PI=--.--% SPCO=--.-% SPMET=--.-% DESAT=-- PIDELTA=+-- PVI=--- "
    b"ALARM=0000 EXC=000000"
)
# MD PnP's examples of a Radical-5 and of a Radical-7 with a blue board (poxrad_discrete.h); a Rad-8 with alarms.
RADICAL_5 = b"09/15/10 15:10:29 SPO2=097% BPM=064 PI=11.82% ALARM=20 EXC=800"
RADICAL_7_BLUE = (
    b"12/01/05 11:56:29 SN=0123456789 SPO2=098% BPM=240 PI=20.00% SPCO=01.0% SPMET=00.5% DESAT=01 PIDELTA=-02 PVI=027 "
    b"ALARM=0000 EXC=000820"
)
RAD_8_IN_ALARM = (
    b"03/06/05 21:11:30 SN=0000066575 SPO2=098% BPM=057 PI=07.02% SPCO=--.-% SPMET=--.-% DESAT=-- PIDELTA=+-- "
    b"ALARM=0038 EXC=000800"
)
TREND = b"09/21/08 09:56:12 SpO2=097 PR=069 PI=04.69 EXC=800:SET"
RAD_8 = b"03/19/16 13:37:%02d SN=0000093112 SPO2=%03d%% BPM=%03d PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=%04X EXC=%06X"


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((1_790_000_000 + s) * S_NS))


class Bench:
    def __init__(self) -> None:
        self.driver = Masimo(MasimoConfig())
        self.driver.link_up(LINK, "port", now(0))

    def line(self, line: bytes, s: float = 1) -> list[Record]:
        self.driver.receive(LINK, line + b"\r\n", now(s))
        self.driver.wake(now(s + 2))
        return [action.record for action in self.driver.drain() if isinstance(action, Emit)]

    def values(self, line: bytes, s: float = 1) -> dict[str, Numeric]:
        return {record.device_code: record for record in self.line(line, s) if isinstance(record, Numeric)}


def test_a_line_of_a_rainbow_oximeter() -> None:
    records = Bench().line(RAINBOW)
    values = {record.device_code: record for record in records if isinstance(record, Numeric)}
    assert (values["SPO2"].code, values["SPO2"].value, values["SPO2"].unit) == (
        "MDC_PULS_OXIM_SAT_O2",
        Decimal(98),
        "%",
    )
    assert (values["BPM"].code, values["BPM"].value) == ("MDC_PULS_OXIM_PULS_RATE", Decimal(123))
    assert (values["PI"].code, values["PI"].value) == ("MDC_BLD_PERF_INDEX", Decimal("0.55"))
    assert values["SPHB"].value is None
    assert values["SPO2"].quality == Quality.UNCHECKED | Quality.QUESTIONABLE  # low signal IQ
    assert values["SPO2"].device_time is not None
    assert (values["SPO2"].device_time.value_ns // S_NS, values["SPO2"].device_time.kind) == (1_458_242_376, "local")
    events = [record for record in records if isinstance(record, Event)]
    assert [(event.phase, event.text, event.device_code) for event in events] == [("start", "low signal IQ", "EXC.400")]


def test_other_boards_and_an_absent_sensor() -> None:
    records = Bench().line(NO_SENSOR)
    assert {record.value for record in records if isinstance(record, Numeric)} == {None}
    (event,) = [record for record in records if isinstance(record, Event)]
    assert (event.kind, event.text) == ("technical_alarm", "no sensor")
    assert [record.serial for record in records if isinstance(record, Identity)] == ["0000093112"]
    assert parse_line(OLDER).values["SPCO"] is None


def test_a_radical_5_with_two_digits_of_alarms_and_no_serial_number() -> None:
    records = Bench().line(RADICAL_5)
    values = {record.device_code: record.value for record in records if isinstance(record, Numeric)}
    assert values == {"SPO2": 97, "BPM": 64, "PI": Decimal("11.82")}
    assert [(event.kind, event.text) for event in records if isinstance(event, Event)] == [("mode", "alarms are muted")]


def test_published_lines_of_other_instruments() -> None:
    values = Bench().values(RADICAL_7_BLUE)
    told = [values[key].value for key in ("PIDELTA", "SPCO", "PVI")]
    assert told == [Decimal(-2), Decimal(1), Decimal(27)]
    assert values["SPO2"].quality == Quality.UNCHECKED | Quality.QUESTIONABLE  # sensor off
    texts = {event.text for event in Bench().line(RAD_8_IN_ALARM) if isinstance(event, Event)}
    assert texts == {"pulse rate low", "an alarm is active", "alarms are muted"}


def test_low_confidence_in_one_value_and_a_sensor_that_calibrates() -> None:
    values = Bench().values(RADICAL_7_BLUE.replace(b"EXC=000820", b"EXC=200800"))
    assert values["SPCO"].quality == Quality.UNCHECKED | Quality.QUESTIONABLE
    assert values["SPO2"].quality == Quality.UNCHECKED
    values = Bench().values(RADICAL_7_BLUE.replace(b"EXC=000820", b"EXC=060800"))
    assert values["SPO2"].quality == Quality.UNCHECKED | Quality.CALIBRATING


def test_unknown_fields_and_bits_are_kept_with_their_names() -> None:
    line = RAINBOW.replace(b"RESVD=---", b"ORI=0.31").replace(b"EXC1=00000000", b"EXC1=00000100")
    records = Bench().line(line)
    assert ("MDCX_MASIMO_ORI", Decimal("0.31")) in [(r.code, r.value) for r in records if isinstance(r, Numeric)]
    assert "MDCX_MASIMO_EXC1_100" in [record.code for record in records if isinstance(record, Event)]


def test_a_field_whose_value_is_no_number_is_kept_as_text() -> None:
    values = Bench().values(RAINBOW.replace(b"RESVD=---", b"MODE=APOD RESVD="))
    assert (values["MODE"].value, values["MODE"].code) == ("APOD", "MDCX_MASIMO_MODE")
    assert values["RESVD"].value is None
    assert values["SPO2"].value == 98


def test_an_alarm_starts_once_and_ends() -> None:
    bench = Bench()
    story = [0x000, 0x012, 0x012, 0x000]
    phases = [
        (second, record.phase, record.source)
        for second, alarm in enumerate(story)
        for record in bench.line(RAD_8 % (second, 88, 70, alarm, 0x800), second)
        if isinstance(record, Event) and record.device_code == "ALARM.2"
    ]
    assert phases == [(1, "start", "MDC_PULS_OXIM_SAT_O2"), (3, "end", "MDC_PULS_OXIM_SAT_O2")]


@pytest.mark.parametrize(
    "damaged",
    [
        b"03/19/16 13:37:13 SN=0000093112 SPO2=098% BPM=7 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=098% PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=0\xb98% BPM=070 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=198% BPM=070 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=098% BPM=070 BPM=070 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"13/19/16 13:37:13 SN=0000093112 SPO2=098% BPM=070 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=000800",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=098% BPM=070 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=0000 EXC=------",
        b"03/19/16 13:37:13 SN=0000093112 SPO2=098% BPM=070 PI=02.31 DESAT=-- # PIDELTA=+-- ALARM=---- EXC=000800",
        TREND,
    ],
)
def test_a_damaged_or_foreign_line_gives_no_value_and_a_gap(damaged: bytes) -> None:
    bench = Bench()
    assert bench.values(RAD_8 % (12, 98, 70, 0, 0x800))
    (gap,) = bench.line(damaged, 3)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_bytes) == ("undecodable", len(damaged))
    assert bench.values(RAD_8 % (14, 98, 70, 0, 0x800), 9)["SPO2"].value == 98


@pytest.mark.parametrize("exceptions", [b"------", b"01", b"0.5"])
def test_exceptions_that_are_no_word_make_a_line_unreadable_though_it_is_the_first(exceptions: bytes) -> None:
    (gap,) = Bench().line(RAINBOW.replace(b"EXC=0000C00", b"EXC=" + exceptions))
    assert isinstance(gap, Gap)


@pytest.mark.parametrize(
    "bit",
    [1 << n for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 19, 20)],
)
def test_a_value_beside_an_exception_is_doubted(bit: int) -> None:
    told = Bench().values(RAD_8 % (12, 98, 70, 0, 0x800 | bit))
    assert told["SPO2"].quality == Quality.UNCHECKED | Quality.QUESTIONABLE


def test_another_sensor_s_fields_count_from_their_second_line() -> None:
    bench = Bench()
    bench.line(RAD_8 % (12, 98, 70, 0, 0x800))
    assert not bench.values(RAINBOW, 3)
    told = bench.values(RAINBOW, 9)
    assert told["SPO2"].value == 98
    assert bench.values(RAINBOW, 13)["SPO2"].value == 98


def test_a_trend_dump_is_named_as_one() -> None:
    with pytest.raises(DeviceFault, match="trend"):
        parse_line(TREND)


def test_it_recognises_its_own_lines_and_no_others() -> None:
    heard = recognise(b"x" + RAINBOW[7:] + b"\r\n" + RAINBOW + b"\r\n" + NO_SENSOR + b"\r\n")
    assert heard is not None
    assert heard.frames == 2
    assert recognise(bytes(range(256)) * 4) is None


@given(st.integers(0, 100), st.integers(0, 300), st.integers(0, 0x3F), st.integers(0, 0xFFF))
def test_what_is_printed_is_read(spo2: int, bpm: int, alarm: int, exceptions: int) -> None:
    told = parse_line(RAD_8 % (59, spo2, bpm, alarm, exceptions))
    assert (told.values["SPO2"], told.values["BPM"]) == (Decimal(spo2), Decimal(bpm))
    assert (told.words["ALARM"], told.words["EXC"]) == (alarm, exceptions)


@given(st.binary(max_size=300) | st.lists(st.sampled_from(RAINBOW.split(b" "))).map(b" ".join))
def test_no_line_raises_anything_but_a_device_fault(line: bytes) -> None:
    try:
        parse_line(line)
    except DeviceFault as fault:
        assert fault.id.startswith("masimo.")  # noqa: PT017 - either outcome is right
