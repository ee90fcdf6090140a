from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cdi500 import Cdi500, Cdi500Config, parse_line, recognise
from drivers.contract import Emit, Now
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record

LINK = LinkId(1)
ARTERIAL = ["7.41", "38", "210", "34.2", "99", "24", "-1"]
VENOUS = ["7.37", "44", "42", "34.0", "75", "26", "0"]
VALUES = [*ARTERIAL, "4.1", "180", *VENOUS, "28", "9.4"]


def line_of(values: list[str], statuses: dict[int, str] | None = None) -> bytes:
    fields = [f"{code:02x}{(statuses or {}).get(code, '00')}{value}" for code, value in enumerate(values)]
    return "\t".join(["\x02X2000A5A012:34:56", *fields, "1234\x03"]).encode("ascii")


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
    assert [record.serial for record in records if isinstance(record, Identity)] == ["X2000A5A0"]
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
        b"",
    ],
)
def test_a_damaged_line_gives_no_value_and_a_gap(damaged: bytes) -> None:
    records = Bench().line(damaged)
    assert not [record for record in records if isinstance(record, Numeric)]
    assert [r.lost_bytes for r in records if isinstance(r, Gap)] == ([len(damaged)] if damaged else [])


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
