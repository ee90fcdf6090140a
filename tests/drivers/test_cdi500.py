from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cdi500 import Cdi500, Cdi500Config
from drivers.cdi500.driver import parse_line, recognise
from drivers.checksums import crc8_cpip
from drivers.contract import Emit, Now
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record

LINK = LinkId(1)
ARTERIAL = ["7.41", "38", "210", "34.2", "99", "24", "-1"]
VENOUS = ["7.37", "44", "42", "34.0", "75", "26", "0"]
VALUES = [*ARTERIAL, "4.1", "180", *VENOUS, "28", "9.4"]


NIBBLES = bytes.fromhex("00cdd914f13c28e5a16c78b5509d8944")
"""The table in the manual of the CDI 550, page C-24."""


def line_of(values: list[str], statuses: dict[int, str] | None = None) -> bytes:
    """A packet whose check value is made in another way than the manual of the CDI 550 says."""
    fields = [f"{code:02x}{(statuses or {}).get(code, '00')}{value}" for code, value in enumerate(values)]
    return "\t".join(["\x02X2000A5A012:34:56", *fields, "1234\x03"]).encode("ascii")


def manual_check(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc >> 4) & 0x0F ^ NIBBLES[(crc ^ byte) & 0x0F]
        crc = (crc >> 4) & 0x0F ^ NIBBLES[(crc ^ (byte >> 4)) & 0x0F]
    return crc


def packet_of(data: str, command: str = "A0", sequence: int = 0x20) -> bytes:
    """As appendix C says: STX, device, sequence, length of all of it, command, data, check value, ETX."""
    packet = f"\x02X{sequence:02X}{len(data) + 13:04X}{command}{data}".encode("ascii")
    return packet + f"{manual_check(packet):02X}\x03".encode("ascii")


def values_packet(values: list[str], sequence: int = 0x20, command: str = "A0") -> bytes:
    fields = [f"{code:02x}00{value}" for code, value in enumerate(values)]
    return packet_of("\t".join(["12:34:56", *fields, ""]), command, sequence)


def now(s: float) -> Now:
    return Now(round(s * S_NS), round((1_790_000_000 + s) * S_NS))


class Bench:
    def __init__(self, config: Cdi500Config | None = None) -> None:
        self.driver = Cdi500(config or Cdi500Config())
        self.driver.link_up(LINK, "port", now(0))

    def line(self, line: bytes, s: float = 1) -> list[Record]:
        self.driver.receive(LINK, line + b"\r\n", now(s))
        self.driver.wake(now(s + 2))
        return [action.record for action in self.driver.drain() if isinstance(action, Emit)]


def test_every_parameter_has_its_code_unit_and_side() -> None:
    records = Bench().line(line_of(VALUES))
    values = {record.device_code: record for record in records if isinstance(record, Numeric)}
    assert len(values) == 18
    told = {name: (numeric.code, numeric.value, numeric.unit, numeric.channel) for name, numeric in values.items()}
    assert told["00 pH"] == ("MDC_CONC_PH_ART", Decimal("7.41"), "[pH]", "arterial")
    assert told["01 pCO2"] == ("MDC_CONC_PCO2_ART", Decimal(38), "mm[Hg]", "arterial")
    assert told["06 BE"] == ("MDC_BASE_EXCESS_BLD_ART", Decimal(-1), "mmol/L", "arterial")
    assert told["0D SO2"] == ("MDC_SAT_O2_VEN", Decimal(75), "%", "venous")
    assert told["10 Hct"] == ("MDC_CONC_HCT_GEN", Decimal(28), "%", "")
    assert told["11 Hgb"] == ("MDCX_TERUMO_11", Decimal("9.4"), "g/dL", "")
    assert [(r.make, r.serial) for r in records if isinstance(r, Identity)] == [("Terumo", "")]
    assert values["00 pH"].device_time is not None
    assert values["00 pH"].device_time.value_ns // S_NS == 12 * 3600 + 34 * 60 + 56


def test_a_parameter_of_a_later_monitor_is_kept_under_its_number() -> None:
    records = Bench().line(line_of([*VALUES, "5.5"]))
    values = {record.device_code: record for record in records if isinstance(record, Numeric)}
    assert len(values) == 19
    assert (values["12"].code, values["12"].value, values["12"].unit) == ("MDCX_TERUMO_12", Decimal("5.5"), "")


def test_kilopascals_where_the_monitor_is_set_to_them() -> None:
    records = Bench(Cdi500Config(pressure_unit="kPa")).line(line_of(VALUES))
    assert {r.unit for r in records if isinstance(r, Numeric) and "pO2" in r.device_code} == {"kPa"}


def test_what_is_out_of_range_is_no_value_and_its_status_is_kept() -> None:
    bench = Bench()
    bench.line(line_of(VALUES))
    records = bench.line(line_of([*VALUES[:2], "-----", *VALUES[3:]], {2: "01"}), 7)
    (gone,) = [r for r in records if isinstance(r, Numeric) and r.device_code == "02 pO2"]
    assert (gone.value, gone.quality) == (None, Quality.UNAVAILABLE | Quality.UNCHECKED)
    (event,) = [r for r in records if isinstance(r, Event)]
    assert (event.phase, event.code, event.source) == ("start", "MDCX_TERUMO_STATUS_02", "MDC_CONC_PO2_ART")
    assert [r.phase for r in bench.line(line_of(VALUES), 13) if isinstance(r, Event)] == ["end"]


@pytest.mark.parametrize(
    "damaged",
    [
        line_of(VALUES).replace(b"\t0400", b"0400"),
        line_of(VALUES).replace(b"\t0400", b"\t0500"),
        line_of(VALUES).replace(b"\t0400", b"\t\xff400"),
        line_of(VALUES)[20:],
        line_of(VALUES).replace(b"12:34", b"77:34"),
        line_of(VALUES).replace(b"12:34", b"12:74"),
        b"",
    ],
)
def test_a_damaged_line_gives_no_value_and_a_gap(damaged: bytes) -> None:
    records = Bench().line(damaged)
    assert not [record for record in records if isinstance(record, Numeric)]
    assert [r.lost_bytes for r in records if isinstance(r, Gap)] == ([len(damaged) - 1] if damaged else [])


def test_it_recognises_its_own_lines_and_no_others() -> None:
    heard = recognise(b"junk\r\n" + line_of(VALUES) + b"\r\n")
    assert heard is not None
    assert heard.frames == 1
    assert recognise(bytes(range(256)) * 4) is None


@given(st.binary(max_size=300) | st.lists(st.sampled_from(line_of(VALUES).split(b"\t"))).map(b"\t".join))
def test_no_line_raises_anything_but_a_device_fault(line: bytes) -> None:
    try:
        parse_line(line)
    except DeviceFault as fault:
        assert fault.id == "cdi500.line"  # noqa: PT017 - either outcome is right


def test_the_check_value_is_that_of_the_manual() -> None:
    data = bytes(range(256))
    assert crc8_cpip(data) == manual_check(data)


def test_the_head_is_no_serial_number_and_its_sequence_no_change_of_the_device() -> None:
    bench = Bench()
    told = [record for n in range(4) for record in bench.line(values_packet(VALUES, n), 1 + 6 * n)]
    assert len([record for record in told if isinstance(record, Identity)]) == 1


def test_a_packet_is_sure_once_the_check_value_was_right_three_times_and_damage_is_refused_then() -> None:
    bench = Bench()
    for n in range(3):
        told = [r.quality for r in bench.line(values_packet(VALUES, n), 1 + 6 * n) if isinstance(r, Numeric)]
        assert set(told) == {Quality.GOOD if n == 2 else Quality.UNCHECKED}
    damaged = values_packet(VALUES, 3).replace(b"7.41", b"7.51")
    records = bench.line(damaged, 19)
    assert not [record for record in records if isinstance(record, Numeric)]
    assert [gap.lost_bytes for gap in records if isinstance(gap, Gap)] == [len(damaged) - 1]
    assert {r.quality for r in bench.line(values_packet(VALUES, 4), 25) if isinstance(r, Numeric)} == {Quality.GOOD}


def test_another_monitor_that_makes_its_check_value_in_another_way_is_read_after_a_while() -> None:
    bench = Bench()
    for n in range(4):
        bench.line(values_packet(VALUES, n), 6 * n)
    told = [bench.line(line_of(VALUES), 60 + 6 * n) for n in range(3)]
    assert [{r.quality for r in records if isinstance(r, Numeric)} for records in told] == [{Quality.UNCHECKED}] * 3


def test_packets_need_no_end_of_line() -> None:
    bench = Bench()
    bench.driver.receive(LINK, values_packet(VALUES) + values_packet(VALUES, 0x21), now(1))
    bench.driver.wake(now(3))
    actions = bench.driver.drain()
    assert len([a for a in actions if isinstance(a, Emit) and isinstance(a.record, Numeric)]) == 36
    assert not [a for a in actions if isinstance(a, Emit) and isinstance(a.record, Gap)]


@pytest.mark.parametrize(("command", "alarm_id"), [("A1", "mark"), ("A2", "store"), ("A3", "recalibration")])
def test_a_key_at_the_monitor_is_a_marker(command: str, alarm_id: str) -> None:
    records = Bench().line(values_packet(VALUES, command=command))
    assert len([record for record in records if isinstance(record, Numeric)]) == 18
    (event,) = [record for record in records if isinstance(record, Event)]
    assert (event.kind, event.alarm_id, event.phase, event.device_code) == ("marker", alarm_id, "once", command)


def test_an_error_is_told_and_answers_of_the_protocol_are_not() -> None:
    bench = Bench()
    (error,) = [record for record in bench.line(packet_of("123", "E0")) if isinstance(record, Event)]
    assert (error.kind, error.code, error.device_code) == ("technical_alarm", "MDCX_TERUMO_ERROR", "123")
    assert bench.line(packet_of("6", "S7"), 7) == []
    damaged = packet_of("123", "E0").replace(b"123", b"124")
    assert [type(record) for record in bench.line(damaged, 13)] == [Gap]


TEXT_COLUMNS = "7.41|  38| 210|34.2|  24|  -1|----| 4.1| 180| 4.5|1.90|7.37|  44|  42|34.0|  75|  28| 9.4"
TEXT = "12:34:56\t" + TEXT_COLUMNS.replace("|", "\t")
"""A line of the ASCII output: a character, the time and 18 columns of four characters: 99 bytes without its end."""


def test_the_ascii_output_is_read_too() -> None:
    line = b" " + TEXT.encode("ascii")
    assert len(line) == 99
    records = Bench().line(line)
    values = {record.device_code: record for record in records if isinstance(record, Numeric)}
    assert len(values) == 18
    assert {record.quality & ~Quality.UNAVAILABLE for record in values.values()} == {Quality.UNCHECKED}
    told = {name: (numeric.code, numeric.value, numeric.unit, numeric.channel) for name, numeric in values.items()}
    assert told["00 pH"] == ("MDC_CONC_PH_ART", Decimal("7.41"), "[pH]", "arterial")
    assert told["05 HCO3"] == ("MDC_CONC_HCO3_GEN", Decimal(24), "mmol/L", "arterial")
    assert told["06 BE"] == ("MDC_BASE_EXCESS_BLD_ART", Decimal(-1), "mmol/L", "arterial")
    assert told["SO2 calculated"] == ("MDC_SAT_O2_ART", None, "%", "arterial")
    assert told["07 K"] == ("MDC_CONC_K_GEN", Decimal("4.1"), "mmol/L", "")
    assert told["Q"] == ("MDCX_TERUMO_Q", Decimal("4.5"), "L/min", "")
    assert told["BSA"] == ("MDCX_TERUMO_BSA", Decimal("1.90"), "m2", "")
    assert told["09 pH"] == ("MDC_CONC_PH_VEN", Decimal("7.37"), "[pH]", "venous")
    assert told["SO2 measured"] == ("MDC_SAT_O2", Decimal(75), "%", "")
    assert told["11 Hgb"] == ("MDCX_TERUMO_11", Decimal("9.4"), "g/dL", "")
    assert not [record for record in records if isinstance(record, Gap)]


@pytest.mark.parametrize("line", [TEXT.rpartition("\t")[0], TEXT.replace("7.41", "7x41"), TEXT.replace("12:", "99:")])
def test_a_damaged_line_of_the_ascii_output_is_refused(line: str) -> None:
    assert [type(record) for record in Bench().line(line.encode("ascii"))] == [Gap]


def test_titles_and_the_temperature_of_the_ascii_output_are_no_damage() -> None:
    bench = Bench()
    assert (
        bench.line(b"Time\tpH\tpCO2\tpO2\tTemp\tHCO3\tBE\tSO2\tK+\tVO2\tQ\tBSA\tpH\tpCO2\tpO2\tTemp\tSO2\tHct\tHgb")
        == []
    )
    (mode,) = bench.line(b"37C Temp Data", 7)
    assert isinstance(mode, Event)
    assert (mode.kind, mode.phase, mode.alarm_id) == ("mode", "start", "37C")
    assert [r.phase for r in bench.line(b"@ Temp Data", 13) if isinstance(r, Event)] == ["end", "start"]
    assert not [r for r in bench.line(TEXT.encode("ascii"), 19) if isinstance(r, Event)]
    bench.driver.case_changed({})
    assert [r.phase for r in bench.line(TEXT.encode("ascii"), 25) if isinstance(r, Event)] == ["continue"]


def test_values_of_a_monitor_that_prints_every_two_minutes_hold_until_the_next() -> None:
    bench = Bench()
    bench.line(line_of(VALUES), 0)
    bench.line(line_of(VALUES), 120)
    bench.driver.wake(now(300))
    assert bench.driver.drain() == []
    bench.driver.wake(now(421))
    withdrawn = [a.record for a in bench.driver.drain() if isinstance(a, Emit) and isinstance(a.record, Numeric)]
    assert {record.value for record in withdrawn} == {None}


@pytest.mark.parametrize("between", [values_packet(VALUES, command="A1"), b"37C Temp Data"], ids=["mark", "mode"])
def test_what_comes_between_says_nothing_of_the_interval(between: bytes) -> None:
    bench = Bench()
    line = values_packet(VALUES) if between.startswith(b"\x02") else TEXT.encode("ascii")
    bench.line(line, 0)
    bench.line(line, 120)
    bench.line(between, 237)
    bench.line(line, 240)
    bench.driver.wake(now(359))
    assert bench.driver.drain() == []
