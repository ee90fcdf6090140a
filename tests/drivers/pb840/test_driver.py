from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Emit, Now, Send
from drivers.pb840 import Pb840, Pb840Config
from drivers.pb840.driver import recognise
from drivers.pb840.message import field_of, is_named, parse_minute, parse_report, parse_value
from drivers.pb840.waves import BreathEnd, BreathStart, Sample, parse_wave_line
from firmware_sim.patient import Patient
from firmware_sim.pb840 import Pb840 as Device
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Clock, Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting, Wave

R = TypeVar("R", bound=Record)
LINK = LinkId(1)
TABLE = Path(__file__).parents[4] / "shared/tables/pb840_fields.csv"
WIDE = {6: 18, 7: 12, 8: 9, 50: 9, 53: 18, 55: 9, 66: 9}
STARTED_UNIX_S = 1_790_000_000

REPORT_OF_A_980 = (
    b"MISCF,1225,169 ,\x0210:40 ,980 35B1500404    ,APR 24 2023 ,INVASIVE ,SIMV  ,VC    ,PS    ,V-Trig,"
    b"15.0  ,0.245 ,27.0  ,40    ,      ,5.0   ,0.0   ,20    ,0.365 ,10.0  ,53.0  ,100   ,      ,      ,"
    b"RAMP  ,VC    ,      ,      ,10    ,SQUARE,OFF   ,47    ,      ,18.500,2.500 ,480   ,150   ,480   ,"
    b"255   ,OFF   ,      ,3.5   ,2.0   ,      ,      ,      ,      ,         ,      ,      ,"
    b"HME               ,      ,Disabled ,75    ,70    ,      ,25.0  ,61.0  ,"
    + b"      ," * 5
    + b"ADULT    ,      ,      ,16.0  ,15.0  ,0.252 ,3.780 ,16.0  ,6.4   ,6.40  ,1:6.40,      ,0.115 ,"
    + b"      ," * 8
    + b"5.0   ,0.35  ,0.00  ,0.0   ,0.0   ,28.0  ,4.8   ,14.0  ,      ,28.0  ,4.9   ,26.0  ,42.0  ,0.0   ,"
    b"      ,0.0   ,0.0   ,0.000 ,OFF   ,"
    + b"NORMAL," * 11
    + b"RESET ,"
    + b"NORMAL," * 28
    + b"      ," * 8
    + b"0.045 ,      ,OFF   ,      ,      ,      ,NORMAL,      ,      ,0.400 ,1.900 ,"
    + b"      ," * 7
    + b"BREATH,      ,\x03\r"
)
"""As a public reader of real ventilators (RTA-node-python) has it."""


def now(s: float = 0.0) -> Now:
    return Now(round(s * S_NS), round((STARTED_UNIX_S + s) * S_NS))


def report(**fields: str) -> bytes:
    texts = {6: "840 3510053249", 5: "14:51", 7: "NOV 22 2011"} | {int(key[1:]): text for key, text in fields.items()}
    body = "".join(texts.get(number, "").ljust(WIDE.get(number, 6)) + "," for number in range(5, 174))
    return f"MISCF,{len(body)},169 ,\x02{body}\x03\r".encode("ascii")


class Line:
    def __init__(self, **options: Any) -> None:
        self.driver = Pb840(Pb840Config(**options))
        self.sent: list[bytes] = []
        self.records: list[Record] = []
        self.driver.link_up(LINK, "port", now())
        self._drain()

    def _drain(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                self.sent.append(action.data)

    def hear(self, data: bytes, s: float = 1.0) -> None:
        self.driver.receive(LINK, data, now(s))
        self._drain()

    def wake(self, s: float) -> None:
        self.driver.wake(now(s))
        self._drain()

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if type(record) is kind]


def test_a_rate_is_a_rate_in_either_report() -> None:
    assert {field_of("MISCA", 10).unit, field_of("MISCF", 13).unit} == {"/min"}


@pytest.mark.parametrize("line", [b"  -0.42,   5.10", b"-0.42 ,5.10,", b"-0.42, +5.10"])
def test_blanks_and_signs_in_a_line_of_waves_are_padding(line: bytes) -> None:
    assert parse_wave_line(line) == Sample(-42, 510)
    assert parse_wave_line(b"BS,  S: 017 ,") == BreathStart(17)


def test_a_comma_behind_stx_is_no_field() -> None:
    assert parse_report(report().rstrip(b"\r").replace(b"\x02", b"\x02,")) == parse_report(report().rstrip(b"\r"))


def test_the_form_is_that_of_the_manual() -> None:
    assert report().startswith(b"MISCF,1225,169 ,\x02")
    assert Device(Patient(1), 0.0).report("MISCA", 1.0).startswith(b"MISCA,706,97,\x02")


def test_a_report() -> None:
    line = Line()
    line.hear(report(f70="24.0", f71="0.378", f77="21", f78="", f13="14.0", f9="A/C", f41="OFF", f76="1:5.00"))
    values = {record.device_code: record for record in line.of(Numeric)}
    rate, tidal = values["MISCF:70"], values["MISCF:71"]
    assert (rate.code, str(rate.value), rate.unit) == ("MDC_AWAY_RESP_RATE", "24.0", "/min")
    assert (tidal.code, str(tidal.value), tidal.unit) == ("MDC_VOL_AWAY_TIDAL_EXP", "0.378", "L")
    assert values["MISCF:78"].value is None
    assert values["MISCF:78"].quality == Quality.UNCHECKED | Quality.UNAVAILABLE
    assert values["MISCF:76"].value == "1:5.00"
    settings = {record.device_code: record for record in line.of(Setting)}
    assert (settings["MISCF:13"].value, settings["MISCF:13"].unit) == (Decimal("14.0"), "/min")
    assert settings["MISCF:9"].value == "A/C"
    assert settings["MISCF:41"].value == "OFF"
    time = rate.device_time
    assert time is not None
    assert (time.kind, time.resolution_ns) == ("local", 60 * S_NS)
    assert [(who.model, who.serial, who.protocol) for who in line.of(Identity)] == [("840", "3510053249", "MISCF")]


def test_settings_are_told_when_they_change_and_values_each_time() -> None:
    line = Line()
    line.hear(report(f70="24.0", f13="14.0"))
    line.hear(report(f70="24.0", f13="14.0"), 3)
    line.hear(report(f70="24.0", f13="16.0"), 5)
    assert len([record for record in line.of(Numeric) if record.device_code == "MISCF:70"]) == 3
    assert [str(record.value) for record in line.of(Setting) if record.device_code == "MISCF:13"] == ["14.0", "16.0"]


def test_alarms_from_start_to_end() -> None:
    line = Line()
    line.hear(report(f110="HIGH", f114="NORMAL", f105="OFF"))
    line.hear(report(f110="MEDIUM", f114="LOW", f105="ON"), 3)
    line.hear(report(f110="RESET", f114="NORMAL", f105="OFF"), 5)
    told = [(event.device_code, event.kind, event.phase, event.priority) for event in line.of(Event)]
    assert told == [
        ("MISCF:110", "physiological_alarm", "start", "high"),
        ("MISCF:105", "mode", "start", "none"),
        ("MISCF:110", "physiological_alarm", "change", "medium"),
        ("MISCF:114", "technical_alarm", "start", "low"),
        ("MISCF:105", "mode", "end", "none"),
        ("MISCF:110", "physiological_alarm", "end", "medium"),
        ("MISCF:114", "technical_alarm", "end", "low"),
    ]


@pytest.mark.parametrize("damage", [{"f110": "NOQMAL"}, {"f70": "2?.0"}])
def test_a_word_or_sign_that_damage_may_have_made_counts_from_its_second_report(damage: dict[str, str]) -> None:
    quiet = report(f70="24.0", f110="NORMAL")
    line = Line()
    line.hear(quiet)
    line.hear(report(**{"f70": "24.0", "f110": "NORMAL"} | damage), 3)
    line.hear(quiet, 5)
    line.wake(20)
    assert line.of(Event) == []
    assert [gap.cause for gap in line.of(Gap)] == ["undecodable"]
    assert {record.value for record in line.of(Numeric) if record.device_code == "MISCF:70"} <= {Decimal("24.0"), None}
    line.hear(report(f70="24.0", f110="SEVERE"), 21)
    line.hear(report(f70="24.0", f110="SEVERE"), 23)
    assert [(event.phase, event.priority) for event in line.of(Event)] == [("start", "unknown")]


def test_a_value_that_always_bears_an_odd_sign_is_recorded_as_it_changes() -> None:
    line = Line()
    for n in range(4):
        line.hear(report(f70=f"<{n}.0"), 1 + 2 * n)
    assert [record.value for record in line.of(Numeric) if record.device_code == "MISCF:70"][-3:] == [
        "<1.0",
        "<2.0",
        "<3.0",
    ]


def test_a_field_that_the_manual_does_not_name_is_kept_with_its_number() -> None:
    line = Line()
    line.hear(report(f172="BREATH"))
    assert [(record.code, record.value) for record in line.of(Numeric) if record.device_code == "MISCF:172"] == [
        ("MDCX_PURITAN_BENNETT_MISCF_172", "BREATH")
    ]


REPORT_OF_AN_OLDER_840 = (
    b"MISCA,706,97,\x0214:47 ,840 3510053249    ,      ,NOV 22 2011 ,CMV   ,14.0  ,0.36  ,55    ,21    ,0.0   ,5.0   ,"
    b"0.0   ,      ,      ,      ,      ,20    ,0.50  ,20.0  ,55    ,100   ,0     ,RAMP  ,      ,      ,OFF   ,      ,"
    b"      ,      ,14    ,0.38  ,5.29  ,0.0   ,24.0  ,8.6   ,24.0  ,5.00  ,50    ,      ,      ,0.35  ,4.5   ,40    ,"
    b"NORMAL,      ,      ,NORMAL,NORMAL,NORMAL,NORMAL,NORMAL,NORMAL,NORMAL,      ,      ,14:47 ,      ,NOV 22 2011 ,"
    b"0.0   ,0.0   ,20.0  ,5.10  ,0     ,0.000 ,0     ,4     ,3     ,"
    + b"      ,"
    * 11
    + b"NOOP C,24.00 ,0     ,0.00  ,20    ,"
    b"0     ,20.0  ,0.00  ,100   ,50    ,OFF   ,NORMAL,NORMAL,0.00  ,0.00  ,0.00  ,0.00  ,         ,1:5.00,\x03\r"
)
"""As MD PnP's older C++ adapter (pb840.cpp) has it, from a ventilator in 2011; it says 706 bytes and 97 fields."""


def test_a_report_of_a_real_840_with_older_software() -> None:
    line = Line(report="MISCA")
    line.hear(REPORT_OF_AN_OLDER_840)
    assert line.of(Gap) == []
    assert line.of(Event) == []
    assert [(who.model, who.serial, who.protocol) for who in line.of(Identity)] == [("840", "3510053249", "MISCA")]
    told = {record.device_code: (str(record.value), record.unit) for record in line.of(Numeric) + line.of(Setting)}
    assert told["MISCA:36"] == ("5.29", "L/min")
    assert told["MISCA:65"] == ("20.0", "mL/cm[H2O]")
    assert told["MISCA:42"] == ("50", "cm[H2O]")
    assert told["MISCA:101"] == ("1:5.00", "")


def test_the_alarm_that_a_980_has_of_its_own() -> None:
    line = Line()
    line.hear(REPORT_OF_A_980)
    line.hear(REPORT_OF_A_980.replace(b",      ,NORMAL,      ,      ,0.400", b",      ,LOW   ,      ,      ,0.400"), 3)
    assert [(event.device_code, event.kind, event.text) for event in line.of(Event)] == [
        ("MISCF:160", "technical_alarm", "proximal flow sensor inoperative")
    ]
    assert "MISCF:160" not in {record.device_code for record in line.of(Numeric)}


def test_leaks_have_the_units_they_are_shown_in() -> None:
    assert [field_of("MISCF", number).unit for number in (157, 158, 159)] == ["%", "L/min", "mL"]


def test_nulls_around_a_line_of_waves_are_noise() -> None:
    """Files of ventMAP's recorders hold them."""
    assert parse_wave_line(b"\x00\x00-0.42, 5.10\x00") == Sample(-42, 510)


def test_a_report_with_one_field_more_than_it_says() -> None:
    line = Line()
    line.hear(report(f70="9.0").replace(b"\x03", b"      ,\x03"))
    assert [str(record.value) for record in line.of(Numeric) if record.device_code == "MISCF:70"] == ["9.0"]
    assert line.of(Gap) == []


def test_a_report_of_a_real_980() -> None:
    line = Line()
    line.hear(REPORT_OF_A_980)
    assert line.of(Gap) == []
    assert [(who.model, who.serial, who.protocol) for who in line.of(Identity)] == [("980", "35B1500404", "MISCF")]
    values = {record.device_code: str(record.value) for record in line.of(Numeric) if record.value is not None}
    shown = {"MISCF:70": "15.0", "MISCF:71": "0.252", "MISCF:76": "1:6.40", "MISCF:154": "0.045", "MISCF:172": "BREATH"}
    assert {field: values[field] for field in shown} == shown
    assert line.of(Event) == []


def test_a_report_with_a_field_less_than_it_says_is_refused() -> None:
    line = Line()
    line.hear(report(f70="9.0").replace(b"      ,\x03", b"\x03"))
    line.wake(9)
    assert [gap.cause for gap in line.of(Gap)] == ["undecodable"]


def test_a_report_of_a_port_that_is_set_to_philips() -> None:
    """1,229 bytes where others have 1,225; whether more fields or behind them, the values stand where they stand."""
    for longer in (report(f70="9.0").replace(b"\x03", b"\x031A2B"), report(f70="9.0").replace(b"\x03", b"1A2,\x03")):
        line = Line()
        line.hear(longer.replace(b"1225", b"1229"))
        assert [str(record.value) for record in line.of(Numeric) if record.device_code == "MISCF:70"] == ["9.0"]
        assert line.of(Gap) == []


def test_a_report_with_a_byte_too_many_is_refused() -> None:
    line = Line()
    line.hear(report(f70="24.0"))
    before = len(line.of(Numeric))
    line.hear(report(f70="24.0").replace(b"24.0", b"244.0"), 3)
    line.wake(9)
    assert len(line.of(Numeric)) == before
    assert [gap.cause for gap in line.of(Gap)] == ["undecodable"]


def test_it_asks_again_two_seconds_after_a_report() -> None:
    line = Line(poll_s=2.0)
    line.hear(report(), 1.0)
    line.wake(2.9)
    assert line.sent == [b"SNDF\r"]
    line.wake(3.0)
    assert line.sent == [b"SNDF\r", b"SNDF\r"]


def test_the_other_report_is_tried_when_none_comes() -> None:
    line = Line()
    for second in (4.0, 8.0, 12.0, 16.0):
        line.wake(second)
    assert line.sent == [b"SNDF\r", b"SNDF\r", b"SNDA\r", b"SNDA\r", b"SNDF\r"]


def test_the_other_report_is_not_tried_once_one_was_read_nor_when_answers_are_damaged() -> None:
    read, damaged = Line(), Line()
    read.hear(report(), 1.0)
    for second in range(3, 60):
        read.wake(second)
        damaged.hear(report().replace(b",169 ,", b",168 ,"), second)
        damaged.wake(second + 0.5)
    assert set(read.sent) == set(damaged.sent) == {b"SNDF\r"}


def test_the_clock_is_followed_where_a_minute_begins() -> None:
    line = Line()
    for second in range(0, 300, 2):
        minute = 51 + (second + 10) // 60
        line.hear(report(f5=f"14:{minute}"), second)
    clocks = line.of(Clock)
    assert clocks
    assert clocks[0].error_ns == 2 * S_NS
    assert not [gap for gap in line.of(Gap) if gap.cause == "clock_jump"]


def test_waves() -> None:
    line = Line(port="waves")
    assert line.sent == []
    breath = b"BS, S:7,\r\n" + b"12.34, 5.00\r\n" * 30 + b"-20.10, 4.55\r\n" * 6 + b"BE\r\n"
    for at in range(0, len(breath), 7):
        line.hear(breath[at : at + 7], 1 + at * 0.0017)
    line.driver.link_down(LINK, "unplugged", now(4))
    line._drain()
    waves = line.of(Wave)
    flow = [wave for wave in waves if wave.channel == "flow"]
    assert [(wave.code, wave.unit) for wave in waves[:2]] == [
        ("MDC_FLOW_AWAY", "L/min"), ("MDC_PRESS_AWAY", "cm[H2O]")
    ]  # fmt: skip
    assert [wave.index for wave in flow] == [0, 12, 24]
    assert flow[0].marks == ((0, "inspiration"),)
    first = int.from_bytes(flow[0].samples[:2], "little", signed=True)
    last = int.from_bytes(flow[-1].samples[-2:], "little", signed=True)
    assert (round(first * flow[0].scale, 2), round(last * flow[0].scale, 2)) == (12.34, -20.1)
    assert line.of(Gap) == []


def test_missing_breaths_are_a_gap() -> None:
    line = Line(port="waves")
    line.hear(b"BS, S:7,\r\nBE\r\nBS, S:8,\r\nBE\r\nBS, S:11,\r\n")
    line.wake(9)
    assert [(gap.cause, gap.detail) for gap in line.of(Gap)] == [("sequence", "2 breaths between 8 and 11 are missing")]


def test_a_line_that_is_lost_leaves_its_place() -> None:
    line = Line(port="waves")
    line.hear(b"BS, S:7,\n" + b"1.00, 5.00\n" * 12 + b"1.0x, 5.00\n" + b"1.00, 5.00\n" * 12)
    assert [wave.index for wave in line.of(Wave) if wave.channel == "flow"] == [0, 13]


def test_lines_of_waves() -> None:
    assert parse_wave_line(b"BS, S:52335,") == BreathStart(52335)
    assert parse_wave_line(b"BE") == BreathEnd()
    assert parse_wave_line(b"-0.20, 9.85") == Sample(-20, 985)
    assert parse_wave_line(b"1.2, 3") is None


def test_minutes_and_values() -> None:
    assert parse_minute("NOV 22 2011", "14:51") == 1_321_973_460 * S_NS
    assert parse_minute("FEB 30 2011", "14:51") is parse_minute("", "14:51") is None
    assert (str(parse_value("7.10")), parse_value(""), parse_value("OFF")) == ("7.10", None, "OFF")


@pytest.mark.skipif(not TABLE.exists(), reason="the table of the manual is not here")
def test_every_field_of_the_manual_is_named() -> None:
    message = ""
    with TABLE.open() as file:
        for row in csv.DictReader(file):
            if row["Type"] in ("MISCF", "MISCA"):
                message = row["Type"]
                continue
            for column in ("Field1", "Field2"):
                number = int(row[column] or -1)
                assert number < 0 or is_named(message, number), (message, number)
                if "PB_SETTING" in row["Name"] and number > 0:
                    assert field_of(message, number).kind == "setting"


def test_it_is_recognised() -> None:
    heard = recognise(report() + report()[:100])
    assert heard is not None
    assert (heard.frames, heard.device) == (1, "Puritan Bennett 840")
    assert recognise(b"BS, S:7,\r\n1.00, 2.00\r\nBE\r\n") is not None
    assert recognise(b"BE cautious\r\n") is None


def test_nothing_but_questions_is_allowed() -> None:
    for data in (b"RSET\r", b"SNDX\r", b"SNDF", b"SNDF\rSNDF\r"):
        assert not Pb840.spec.may_send(data)


def test_an_option_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"^poll_s:"):
        Pb840Config(poll_s=0.1)


@settings(max_examples=30)
@given(st.lists(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-/ ", max_size=6), min_size=169, max_size=169))
def test_any_report_reads_as_written(texts: list[str]) -> None:
    fields = {f"f{number}": text for number, text in enumerate(texts, 5)}
    read = parse_report(report(**fields)[:-1])
    assert list(read.texts) == [text.strip() for text in texts]


@given(st.binary(max_size=200))
def test_no_line_raises_anything_else(line: bytes) -> None:
    parse_wave_line(line)
    try:
        parse_report(line)
    except DeviceFault:
        return
