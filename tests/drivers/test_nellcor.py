from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Now
from drivers.nellcor import Nellcor, NellcorConfig, NellcorHeader, NellcorLine, parse_line, recognise
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting

LINK = LinkId(1)
# As the manuals print them.
HEADER = b"NPB-295 VERSION 2.0.0.0 CRC: XXXX SpO2 Limit: 70-100% PR Limit: 60-160BPM"
COLUMNS = b"TIME %SPO2 BPM PA Status"
LINE = b"12-NOV-98 14:00:05 100 120 50"
ALARM = b"12-NOV-98 14:00:07  69*  120   50  SL AS"
SEARCH = b"12-NOV-98 14:00:09 ---   ---   ---  PS"


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((1_790_000_000 + s) * S_NS))


class Bench:
    def __init__(self) -> None:
        self.driver = Nellcor(NellcorConfig())
        self.driver.link_up(LINK, "port", now(0))

    def line(self, line: bytes, s: float = 1) -> list[Record]:
        self.driver.receive(LINK, line + b"\r\n", now(s))
        self.driver.wake(now(s + 2))
        return [action.record for action in self.driver.drain() if isinstance(action, Emit)]


def test_the_manual_s_header_and_line() -> None:
    assert parse_line(HEADER) == NellcorHeader(
        "NPB-295", "2.0.0.0", (Decimal(70), Decimal(100)), (Decimal(60), Decimal(160))
    )
    assert parse_line(COLUMNS) is None
    told = parse_line(LINE)
    assert isinstance(told, NellcorLine)
    assert list(told.values.values()) == [100, 120, 50]
    assert told.time_s == 910_879_205


@pytest.mark.parametrize("noise", [b"\x11", b"\0", b"\0\x11"])
def test_flow_control_and_nul_before_a_line_are_no_part_of_it(noise: bytes) -> None:
    values = [record.value for record in Bench().line(noise + LINE) if isinstance(record, Numeric)]
    assert values == [100, 120, 50]


def test_limits_are_padded_with_blanks_as_an_n_595_prints_them() -> None:
    header = b"NPB-595   VERSION 1.0.0.0  CRC:A1B2  SpO2 Limit: 85- 99%   PR Limit:  40- 99BPM"
    told = parse_line(header)
    assert isinstance(told, NellcorHeader)
    assert (told.saturation_limits, told.rate_limits) == ((Decimal(85), Decimal(99)), (Decimal(40), Decimal(99)))


def test_the_second_line_of_a_page_tells_settings_and_the_instrument_s_information_is_no_fault() -> None:
    bench = Bench()
    records = bench.line(b"                    ADULT            25SAT-S   SPO2 RESP MODE: NORMAL")
    assert {r.code: r.value for r in records if isinstance(r, Setting)} == {
        "MDCX_NELLCOR_PATIENT_TYPE": "ADULT",
        "MDCX_NELLCOR_SATSECONDS": Decimal(25),
        "MDCX_NELLCOR_SPO2_RESPONSE": "NORMAL",
    }
    assert bench.line(b"          ADULT            25SAT-S   SPO2 RESP MODE: NORMAL") == []
    assert bench.line(b"NPB-595   VERSION 1.0.0.0   INFO   CRC:A1B2  SEC:1 2/3") == []


def test_a_date_without_its_zero_and_a_marked_amplitude() -> None:
    told = parse_line(b" 2-NOV-98  9:00:05    100    120     50* ")
    assert isinstance(told, NellcorLine)
    assert list(told.values.values()) == [100, 120, 50]
    assert told.outside == {"MDCX_NELLCOR_PA"}


def test_identity_and_limits_are_told_once_and_when_they_change() -> None:
    bench = Bench()
    records = bench.line(HEADER)
    assert [(r.model, r.software) for r in records if isinstance(r, Identity)] == [("NPB-295", "2.0.0.0")]
    assert [r.value for r in records if isinstance(r, Setting)] == [70, 100, 60, 160]
    assert bench.line(HEADER) == []
    (changed,) = bench.line(HEADER.replace(b"60-160", b"50-160"))
    assert isinstance(changed, Setting)
    assert (changed.code, changed.value, changed.unit) == ("MDCX_NELLCOR_PR_LIMIT_LOW", Decimal(50), "/min")


def test_values_marks_and_status() -> None:
    records = Bench().line(ALARM)
    values = {record.device_code: record for record in records if isinstance(record, Numeric)}
    assert (values["%SpO2"].code, values["%SpO2"].value) == ("MDC_PULS_OXIM_SAT_O2", Decimal(69))
    assert (values["BPM"].code, values["BPM"].value) == ("MDC_PULS_OXIM_PULS_RATE", Decimal(120))
    assert values["PA"].value == 50
    assert {record.quality for record in values.values()} == {Quality.UNCHECKED}
    events = {record.alarm_id: record for record in records if isinstance(record, Event)}
    assert {name: (event.kind, event.silence) for name, event in events.items()} == {
        "SL": ("physiological_alarm", "audio_paused"),
        "AS": ("mode", "audio_paused"),
        "SpO2*": ("physiological_alarm", "audio_paused"),
    }


def test_a_search_withdraws_the_values_once_and_a_motion_makes_them_doubtful() -> None:
    bench = Bench()
    bench.line(b"12-NOV-98 14:00:07  99   120    50")
    gone = [record for record in bench.line(SEARCH) if isinstance(record, Numeric)]
    assert [record.value for record in gone] == [None] * 3
    assert not [record for record in bench.line(SEARCH.replace(b":09", b":11"), 3) if isinstance(record, Numeric)]
    for second, status in enumerate((b"MO", b"LM", b"LP", b"PS"), 13):
        moved = bench.line(b"12-NOV-98 14:00:%d  97   120    50  %b" % (second, status), second - 8)
        assert {r.quality for r in moved if isinstance(r, Numeric)} == {Quality.UNCHECKED | Quality.QUESTIONABLE}


OF_AN_N_560 = """\
29-Dec-17 07:19:07    77*     70       8       SL       AS  \x20
N-560    VERSION 1.56.00    CRC:XXXX  SpO2 Limit: 90-100%    PR Limit: 60-170BPM
                             ADULT            0SAT-S\x20
TIME                 %SpO2   BPM     PA     Status
29-Dec-17 07:19:29   ---     ---     ---    SD          AS  \x20
29-Dec-17 07:20:27     0       0     ---    PS              \x20
29-Dec-17 07:20:43    94     119       5                    \x20
07-Jan-04 11:24:50   100     105      88                   AO"""
"""Lines that N-560s printed (public sources)."""


def test_what_n_560s_printed() -> None:
    bench, records = Bench(), list[Record]()
    for at, line in enumerate(OF_AN_N_560.splitlines()):
        records += bench.line(line.encode(), 2 * at)
    shown = [(r.device_code, r.value) for r in records if isinstance(r, Numeric) and r.device_code == "%SpO2"]
    assert shown == [("%SpO2", value) for value in (77, None, 94, 100)]  # 0 while it searches is no saturation
    assert [r.model for r in records if isinstance(r, Identity)] == ["N-560"]
    assert {r.cause for r in records if isinstance(r, Gap)} <= {"clock_jump"}


# A trend as the manual of the NPB-290 prints it, page 69.
TREND = (
    b"NPB-290 VERSION 1.0.0.1 TREND SpO2 Limit: 30-100% PR Limit: 100-180BPM",
    b"TIME %SPO2 BPM PA",
    b"12-NOV-98 02:00:05 100 120 150",
    b"12-NOV-98 02:00:07 100 121 154",
    b"12-NOV-98 02:00:09 100 120 150",
)


@pytest.mark.parametrize("end", [b"Output Complete", HEADER])
def test_a_trend_that_is_printed_is_not_live(end: bytes) -> None:
    bench = Bench()
    bench.line(LINE, 1)
    told = [record for n, line in enumerate(TREND * 3) for record in bench.line(line, 3 + n / 10)]
    assert not [record for record in told if not isinstance(record, Gap)]
    bench.driver.wake(now(12))
    gone = [a.record for a in bench.driver.drain() if isinstance(a, Emit) and isinstance(a.record, Numeric)]
    assert [record.value for record in gone] == [None, None, None]
    assert not [record for record in bench.line(end, 13) if isinstance(record, Gap)]
    live = bench.line(b"12-NOV-98 14:00:19 100 120 50", 15)
    assert [record.value for record in live if isinstance(record, Numeric)] == [100, 120, 50]
    assert not [record for record in live if isinstance(record, Gap)]


def test_a_trend_whose_end_went_by_unheard_does_not_hide_live_lines() -> None:
    bench = Bench()
    for n, line in enumerate(TREND):
        bench.line(line, 3 + n / 10)
    told = [bench.line(f"12-NOV-98 14:00:{10 + s} 100 120 50".encode("ascii"), 10 + s) for s in range(0, 10, 2)]
    values = [[record.value for record in records if isinstance(record, Numeric)] for records in told]
    assert values == [[], [], *[[100, 120, 50]] * 3]


def test_an_unknown_status_is_kept() -> None:
    (event,) = [r for r in Bench().line(LINE + b"  ZZ") if isinstance(r, Event)]
    assert (event.code, event.kind, event.text) == ("MDCX_NELLCOR_ZZ", "advisory", "")


@pytest.mark.parametrize(
    "damaged",
    [
        b"12-NOV-98 14:00:09  9   120    50",
        b"12-NOV-98 14:00:09  99   10    50",
        b"12-NOV-98 14:00:09  99   120\xb0   50",
        b"12-NOX-98 14:00:09  99   120    50",
        b"12-NOV-98 14:00:09 199   120    50",
        b"98 14:00:09  99   120    50",
    ],
)
def test_a_damaged_line_gives_no_value_and_a_gap(damaged: bytes) -> None:
    bench = Bench()
    assert [r for r in bench.line(b"12-NOV-98 14:00:07  99   120    50") if isinstance(r, Numeric)]
    (gap,) = bench.line(damaged, 5)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_bytes) == ("undecodable", len(damaged))


def test_it_recognises_its_own_lines_and_no_others() -> None:
    heard = recognise(b"8 14:00:05 100 120 50\r\n" + HEADER + b"\r\n" + COLUMNS + b"\r\n" + LINE + b"\r\n")
    assert heard is not None
    assert (heard.frames, heard.device) == (3, "Nellcor NPB-295")
    assert recognise(bytes(range(256)) * 4) is None


@given(st.binary(max_size=200) | st.lists(st.sampled_from(ALARM.split(b" ") + HEADER.split(b" "))).map(b" ".join))
def test_no_line_raises_anything_but_a_device_fault(line: bytes) -> None:
    try:
        parse_line(line)
    except DeviceFault as fault:
        assert fault.id.startswith("nellcor.")  # noqa: PT017 - either outcome is right
