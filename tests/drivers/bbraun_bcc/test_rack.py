"""Pumps: named by serial number, followed through the rack, withdrawn once when they go."""

from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.bbraun_bcc import BBraunBccConfig
from drivers.bbraun_bcc.quadruple import Quadruple
from drivers.bbraun_bcc.rack import MAX_ADDRESSES, Rack
from drivers.contract import Now
from ledger.records import Event, Gap, Identity, Numeric, Quality, Record, Setting
from tests.drivers.bbraun_bcc.feeding import Line, block, frame, phases, pump, shown, talking

RATE = "MDC_FLOW_FLUID_PUMP"
QUIET = BBraunBccConfig(listen_only=True)


def rates(records: list[Record]) -> list[tuple[str, object, Quality]]:
    return [(r.sub, r.value, r.quality) for r in records if isinstance(r, Numeric) and r.code == RATE]


def identities(records: list[Record]) -> list[tuple[str, str]]:
    return [(r.sub, r.position) for r in records if isinstance(r, Identity) and r.sub]


def tell(rack: Rack, address: str, parameter: str, value: str) -> list[Record]:
    return list(rack.take([Quadruple(1, address, parameter, value)], Now(0, 0), last=False))


def test_each_pump_is_a_device_of_its_own() -> None:
    line = Line(QUIET)
    line.hear(block("9,50100,FMNOR,1", *pump("11", INRT="1.50"), last=False))
    line.hear(block(*pump("12", GNMODEL="686N030004", INRT="0"), last=False))
    line.hear(block(*pump("2A", GNMODEL="XY12", INRT="7", INA3="1")))
    assert rates(line.records) == [
        ("pump-7711", Decimal("1.50"), Quality.GOOD),
        ("pump-7712", Decimal(0), Quality.GOOD),
        ("pump-772A", Decimal(7), Quality.GOOD),
    ]
    assert identities(line.records) == [
        ("pump-7711", "pillar 1 slot 1"),
        ("pump-7712", "pillar 1 slot 2"),
        ("pump-772A", "pillar 2 slot A"),
    ]
    models = [r.model for r in line.records if isinstance(r, Identity)]
    assert models == ["ComDevice", "", "Infusomat Space", "XY12"]
    assert phases(line.records, "INA3") == [("pump-772A", "start")]
    assert shown(line.records, "MDCX_BBRAUN_FMNOR") == [Decimal(1)]


def test_a_removed_pump_is_withdrawn_once() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", INRT="1.50", INSOL="Propofol", INA3="1", INM3="1")))
    gone = line.hear(block("310,50111,GNERR,39"))
    assert rates(gone) == [("pump-7711", None, Quality.UNAVAILABLE)]
    assert shown(gone, "MDC_DRUG_NAME_LABEL") == [None]
    assert phases(gone, "INA3") == phases(gone, "INM3") == [("pump-7711", "end")]
    assert identities(gone) == [("pump-7711", "")]
    assert [r.text for r in gone if isinstance(r, Event) and r.code == "MDCX_BBRAUN_GNERR"] == ["pump removed"]
    again = line.hear(block("315,50111,GNERR,39"))
    assert [type(record) for record in again] == [Event]


def test_in_a_new_case_a_running_pump_tells_its_drug_settings_and_alarms_again() -> None:
    line = Line(QUIET)
    running = pump("11", INRT="1.50", INSOL="Propofol", INA3="1", INM3="1")
    line.hear(block(*running))
    assert shown(line.hear(block(*running)), "MDC_DRUG_NAME_LABEL") == []  # it did not change
    line.hear(block(*running[:1], last=False))
    line.driver.case_changed({"name": "Doe^Jane"})
    told = line.hear(block(*running[1:])) + line.hear(block(*running))
    assert shown(told, "MDC_DRUG_NAME_LABEL") == ["Propofol"]
    assert len(phases(told, "INA3")) == len(phases(told, "INM3")) == 1
    assert {quality for _, _, quality in rates(told)} == {Quality.GOOD}  # nothing was withdrawn meanwhile
    assert shown(line.hear(block(*running)), "MDC_DRUG_NAME_LABEL") == []


def test_a_moved_pump_keeps_its_name() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("13", serial="5", INRT="1"), last=False), block(*pump("14", serial="6", INRT="2")))
    moved = line.hear(block(*pump("11", serial="5", INRT="1"), last=False), block("310,50113,GNERR,39", last=False))
    moved += line.hear(block(*pump("14", serial="6", INRT="2")))
    assert identities(moved) == [("pump-5", "pillar 1 slot 1")]
    assert rates(moved) == [("pump-5", Decimal(1), Quality.GOOD), ("pump-6", Decimal(2), Quality.GOOD)]


def test_another_pump_in_the_slot_displaces_it() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", serial="5", INRT="1", INA2="1")))
    changed = line.hear(block(*pump("11", serial="6", INRT="2")))
    assert rates(changed) == [("pump-5", None, Quality.UNAVAILABLE), ("pump-6", Decimal(2), Quality.GOOD)]
    assert phases(changed, "INA2") == [("pump-5", "end")]


@pytest.mark.parametrize("last", [True, False])
def test_a_pump_that_two_rounds_do_not_name_is_gone(last: bool) -> None:
    """Whether the pumps come as blocks of one answer or each in an answer of its own."""
    line = Line(QUIET)
    slots = ["11", "12", "13"]
    for _ in range(3):
        for slot in slots:
            line.hear(block(*pump(slot, INRT="1"), last=last or slot == slots[-1]))
    assert all(value is not None for _, value, _ in rates(line.records))
    withdrawn = []
    for _ in range(4):
        for slot in ("11", "13"):
            withdrawn += line.hear(block(*pump(slot, INRT="1"), last=last or slot == slots[-1]))
    assert [sub for sub, value, _ in rates(withdrawn) if value is None] == ["pump-7712"]


def test_after_a_damaged_block_nothing_is_taken_for_gone() -> None:
    line = Line(QUIET)
    damaged = bytearray(block(*pump("12", INRT="1"), last=False))
    damaged[20] ^= 1
    for _ in range(8):
        line.hear(block(*pump("11", INRT="1"), last=False), bytes(damaged), block(*pump("13", INRT="1")))
        line.hear(block(*pump("11", INRT="1"), last=False), block(*pump("12", INRT="1"), last=False))
        line.hear(bytes(damaged), block(*pump("13", INRT="1")))
    assert all(value is not None for _, value, _ in rates(line.records))


def test_what_a_report_leaves_out_is_withdrawn() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", INRT="1", TCITAR="3.0", TCIUT="32", INA3="1")))
    shorter = line.hear(block(*pump("11", INRT="1")))
    assert shown(shorter, "MDCX_BBRAUN_TCITAR") == [None]
    assert phases(shorter, "INA3") == [("pump-7711", "end")]
    assert shown(line.hear(block(*pump("11", INRT="1"))), "MDCX_BBRAUN_TCITAR") == []


def test_a_pump_in_two_blocks_is_one() -> None:
    line = Line(QUIET)
    for _ in range(3):
        line.hear(block("9,50111,INRT,3", "9,50111,INA3,1", last=False), block(*pump("11", INVI="4"), last=False))
        line.hear(block("9,50112,INRT,5", last=False), block(*pump("12", INVI="6")))
    assert {sub for sub, _, _ in rates(line.records)} == {"pump-7711", "pump-7712"}
    assert all(value is not None for _, value, _ in rates(line.records))
    assert phases(line.records, "INA3") == [("pump-7711", "start")]


def test_nothing_is_told_of_a_pump_without_a_name() -> None:
    line = talking()
    nameless = line.hear(block(*pump("11", serial="", INRT="1", INNR="60008D98")))
    assert rates(nameless) == []
    assert line.wait(0.6)[-1] == frame("MEM:GETSLOT#11")
    told = line.hear(block(*pump("11", serial="36248", INRT="1")))
    assert rates(told) == [("pump-36248", Decimal(1), Quality.GOOD)]


def test_a_pump_that_never_tells_its_number_goes_by_the_next_best() -> None:
    line = talking()
    for _ in range(2):
        line.hear(block(*pump("11", serial="", INRT="1", INNR="60008D98"), *pump("12", serial="0", INRT="2")))
    assert [sub for sub, _, _ in rates(line.records)] == ["pump-innr-60008D98", "slot-12"]


def test_two_pumps_of_one_number_are_two() -> None:
    line = Line(QUIET)
    for _ in range(3):
        line.hear(block(*pump("11", serial="5", INRT="1"), last=False), block(*pump("12", serial="5", INRT="2")))
    assert rates(line.records)[:2] == [
        ("pump-5", Decimal(1), Quality.GOOD),
        ("pump-5-slot-12", Decimal(2), Quality.GOOD),
    ]
    assert all(value is not None for _, value, _ in rates(line.records))


def test_zeros_and_a_sign_in_front_of_a_measured_number_say_nothing() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", INRT="012.50", INVI="+3", INRMT="00000", DSSTATUS="00051", INDCON="04.0")))
    values = {r.device_code: (r.value, r.quality) for r in line.records if isinstance(r, Numeric)}
    assert values["INRT"] == (Decimal("12.50"), Quality.GOOD)
    assert values["INVI"] == (Decimal(3), Quality.GOOD)
    assert values["INRMT"] == (Decimal(0), Quality.GOOD)
    assert values["INDCON"][0] == Decimal("4.0")
    assert values["DSSTATUS"][0] == "00051"


def test_values_keep_what_the_device_said() -> None:
    line = Line(QUIET)
    line.hear(
        block(
            *pump(
                "11", INRT="12.50", INRMT="65535", INDOCAL="1", INDCON="4.00", INDCONU="32", INDORT="0.150",
                INDORTU="71", INSOLSN="Arteren\ue021", INSOLID="33~4mg/5002", DSSTATUS="00051", XNEW="17", YNEW="0017",
                INVI="_NV", INVTB="abc",
            )
        )
    )  # fmt: skip
    values = {r.device_code: r for r in line.records if isinstance(r, Numeric)}
    assert (values["INDORT"].value, values["INDORT"].unit) == (Decimal("0.150"), "ug/kg/min")
    assert (values["INDCON"].value, values["INDCON"].unit, values["INDCON"].code) == (
        Decimal("4.00"), "ug/mL", "MDC_CONC_DRUG",
    )  # fmt: skip
    assert str(values["INRT"].value) == "12.50"
    assert (values["INRMT"].value, values["INRMT"].quality) == (None, Quality.UNAVAILABLE)
    assert (values["INVI"].value, values["INVI"].quality) == (None, Quality.UNAVAILABLE)
    assert (values["INVTB"].value, values["INVTB"].quality) == ("abc", Quality.QUESTIONABLE)
    assert values["INSOLSN"].value == "Arteren\ue021"
    assert values["DSSTATUS"].value == "00051"
    assert (values["XNEW"].code, values["XNEW"].value) == ("MDCX_BBRAUN_XNEW", Decimal(17))
    assert values["YNEW"].value == "0017"
    device_time = values["INRT"].device_time
    assert device_time is not None
    assert (device_time.value_ns, device_time.kind) == (300_000_000_000, "uptime")
    assert isinstance(values["INDCON"], Setting)
    assert not isinstance(values["INDORT"], Setting)


def test_no_dose_mode_is_no_dose_of_zero() -> None:
    line = Line(QUIET)
    for slot, dose_mode in (("11", "0"), ("12", "1")):
        line.hear(block(*pump(slot, INDOCAL=dose_mode, INDCON="0", INDCONU="32", INDORT="0", INDORTU="50")))
    doses = [r.quality for r in line.records if isinstance(r, Numeric) and r.device_code == "INDORT"]
    assert doses == [Quality.INVALID, Quality.GOOD]


def test_a_dose_without_a_known_unit_is_doubted() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", INDOCAL="1", INDORT="3", INDORTU="92"), *pump("12", INDOCAL="1", INDORT="3")))
    doses = [(r.unit, r.quality) for r in line.records if isinstance(r, Numeric) and r.device_code == "INDORT"]
    assert doses == [("", Quality.QUESTIONABLE)] * 2


def test_identifiers_are_recorded_only_if_wanted() -> None:
    told = pump("11", PATID="4711", PATW="75", NURSEID="n")
    for wanted, names in (("none", []), ("measures", ["PATW"]), ("all", ["PATID", "PATW", "NURSEID"])):
        line = Line(BBraunBccConfig(listen_only=True, demographics=wanted))  # type: ignore[arg-type]
        line.hear(block(*told))
        assert [r.device_code for r in line.records if isinstance(r, Setting)] == names


def test_settings_alarms_and_identity_are_told_anew_with_a_connection() -> None:
    line = Line(QUIET)
    report = block(*pump("11", GNMODEL="688N030003", INSOL="Propofol", INSYR="_NV", INA3="1", INA2="1"))
    line.hear(report)
    assert shown(line.hear(report), "MDC_DRUG_NAME_LABEL") == []
    line.cut()
    told = line.hear(block(*pump("11", GNMODEL="688N030003", INSOL="Propofol", INSYR="_NV", INA3="1")))
    assert shown(told, "MDC_DRUG_NAME_LABEL") == ["Propofol"]
    assert shown(told, "MDCX_BBRAUN_INSYR") == [None]
    assert phases(told, "INA3") == [("pump-7711", "continue")]
    assert phases(told, "INA2") == [("pump-7711", "end")]
    assert identities(told) == [("pump-7711", "pillar 1 slot 1")]


def test_what_finds_no_room_is_told() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11"), *(f"9,50111,X{number},1" for number in range(250))))
    line.cut()
    (gap,) = [record for record in line.records if isinstance(record, Gap)]
    assert gap.cause == "overflow"


def test_an_infusomat_as_one_was_seen() -> None:
    """Parameters, order and values that a real Infusomat Space told (serial and unique number changed)."""
    told = (
        "DSSTATUS,00051 GNMODEL,686N030004 INRT,30.00 INAVRT,30.00 INVTB,100.00 INSOL,NaCl INRMT,11760 INVI,2.33 "
        "INTIME,5 INAKKU,0 INSTBY,1388 INP2,48 INNR,68088000 INSERNUM,561000 INM8,1 INA1,0 INA2,0 INA3,0 INA5,0 "
        "INA6,_NV INA7,0 INA8,0 INA9,0 INA11,0 INA12,0 INA14,0 INA15,0 INA16,0"
    )
    line = Line(QUIET)
    line.hear(block(*(f"72,50113,{part}" for part in told.split())))
    values = {r.device_code: (str(r.value), r.unit) for r in line.records if isinstance(r, Numeric)}
    assert values["INRT"] == values["INAVRT"] == ("30.00", "mL/h")
    assert (values["INVTB"], values["INVI"]) == (("100.00", "mL"), ("2.33", "mL"))
    assert (values["INRMT"], values["INTIME"], values["INP2"]) == (("11760", "s"), ("5", "min"), ("48", "%"))
    (pump_told,) = [r for r in line.records if isinstance(r, Identity) and r.sub]
    assert (pump_told.sub, pump_told.model, pump_told.position) == ("pump-561000", "Infusomat Space", "pillar 1 slot 3")
    assert [r.text for r in line.records if isinstance(r, Event)] == ["mains power"]


def test_addresses_without_end_take_no_room_and_no_pump_away() -> None:
    rack = Rack("all")
    tell(rack, "50111", "INSERNUM", "7711")
    for number in range(4 * MAX_ADDRESSES):
        tell(rack, f"9{number}", "INRT", "1")
        assert len(rack._round.addresses) <= MAX_ADDRESSES
    told = tell(rack, "50111", "INSERNUM", "7711")
    assert not any(isinstance(record, Identity) for record in told)


def test_no_more_data_is_no_error() -> None:
    line = Line(QUIET)
    line.hear(block(*pump("11", INRT="1")))
    for _ in range(2):
        assert line.hear(block("310,50100,GNERR,11")) == []
        line.hear(block(*pump("11", INRT="1")))
    assert len(rates(line.records)) == 3


def test_a_rack_that_was_emptied() -> None:
    line = Line(QUIET)
    line.hear(block("300,50100,FMNOR,1", *pump("11", INRT="1")))
    for _ in range(4):
        line.hear(block("310,50100,FMNOR,1", "310,50100,GNERR,11"))
    assert rates(line.records)[1:] == [("pump-7711", None, Quality.UNAVAILABLE)]
