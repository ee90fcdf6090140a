from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import nomenclature
from drivers.ge_dri.fields import CLASSES
from drivers.ge_dri.labels import name_field
from drivers.ge_dri.numerics import Aux, NumericsDecoder, parse_aux
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Numeric, Quality
from tests.drivers.ge_dri.building import NO_DATA, T0_S, now, physiological, put

ECG, P1, NIBP, T1, AA, CO, NMT = 4, 20, 76, 90, 170, 204, 218
ON = 3


def decode(
    data: bytes | bytearray, aux: Aux | None = None, decoder: NumericsDecoder | None = None
) -> dict[str, Numeric]:
    """By device code up to its label."""
    records = (decoder or NumericsDecoder()).decode(bytes(data), aux, now())
    numerics = [record for record in records if isinstance(record, Numeric)]
    return {numeric.device_code.split(":")[0]: numeric for numeric in numerics}


def test_every_code_is_a_reference_id_or_plainly_ours() -> None:
    for group in (group for groups in CLASSES for group in groups):
        for field in group.fields:
            for label in range(32):
                for status in (3, 3 | label << 3):
                    code = name_field(group, field, status, label * 0x111).code
                    assert nomenclature.is_known(code) or code.startswith(f"MDCX_GE_{group.name}_"), code
                    code = name_field(group, field, status, label).code
                    assert nomenclature.is_known(code) or code.startswith(f"MDCX_GE_{group.name}_"), code


def test_a_pressure_is_named_by_its_label_and_keeps_its_digits() -> None:
    found = decode(put(physiological(), P1, ON, 1, 12010, 7050, 9000, 72))
    sys = found["p1.sys"]
    assert (sys.code, sys.value, sys.unit, sys.channel) == ("MDC_PRESS_BLD_ART_SYS", Decimal("120.10"), "mm[Hg]", "ART")
    assert str(sys.value) == "120.10"
    assert (sys.device_code, sys.quality, sys.at_ns) == ("p1.sys:1", Quality.GOOD, now().utc_ns)
    assert sys.device_time == DeviceTime(T0_S * S_NS, "local", S_NS)
    assert (found["p1.hr"].code, found["p1.hr"].value) == ("MDC_BLD_PULS_RATE_INV", Decimal(72))
    assert set(found) == {"p1.sys", "p1.dia", "p1.mean", "p1.hr"}


@pytest.mark.parametrize(
    ("offset", "label", "first", "code", "channel"),
    [
        (P1, 2, "p1.sys", "MDC_PRESS_BLD_VEN_CENT_SYS", "CVP"),
        (P1, 7, "p1.sys", "MDC_PRESS_INTRA_CRAN_SYS", "ICP"),
        (P1, 9, "p1.sys", "MDC_PRESS_BLD_SYS", "P1"),
        (P1, 15, "p1.sys", "MDCX_GE_p1_sys", "SP"),
        (P1, 99, "p1.sys", "MDCX_GE_p1_sys", "P1"),
        (T1, 1, "t1.temp", "MDC_TEMP_ESOPH", "ESO"),
        (T1, 5, "t1.temp", "MDCX_GE_t1_temp", "BLAD"),
        (T1, 0, "t1.temp", "MDC_TEMP", "T1"),
        (AA, 6, "aa.et", "MDC_CONC_AWAY_SEVOFL_ET", ""),
        (AA, 1, "aa.et", "MDC_CONC_AWAY_AGENT_ET", ""),
        (ECG, 0x213, "ecg.st1", "MDC_ECG_AMPL_ST_II", "ECG1"),
    ],
)
def test_labels(offset: int, label: int, first: str, code: str, channel: str) -> None:
    numeric = decode(put(physiological(), offset, ON, label, 100, 100))[first]
    assert (numeric.code, numeric.channel) == (code, channel)


@pytest.mark.parametrize(
    ("source", "code", "channel"),
    [(1, "MDC_ECG_HEART_RATE", "ECG"), (2, "MDC_BLD_PULS_RATE_INV", "P1"), (6, "MDC_PULS_OXIM_PULS_RATE", "SpO2")],
)
def test_heart_rate_is_named_by_its_source(source: int, code: str, channel: str) -> None:
    numeric = decode(put(physiological(), ECG, ON | source << 3, 0, 72))["ecg.hr"]
    assert (numeric.code, numeric.channel, numeric.value) == (code, channel, Decimal(72))


@pytest.mark.parametrize(
    ("raw", "quality"),
    [
        (-32767, Quality.UNAVAILABLE),
        (-32766, Quality.UNAVAILABLE),
        (-32765, Quality.INVALID),
        (-32764, Quality.UNDER_RANGE),
        (-32763, Quality.OVER_RANGE),
        (-32762, Quality.CALIBRATING),
        (-32001, Quality.INVALID),
    ],
)
def test_special_values_are_no_data(raw: int, quality: Quality) -> None:
    numeric = decode(put(physiological(), T1, ON, 1, raw))["t1.temp"]
    assert (numeric.value, numeric.quality) == (None, quality)


@given(st.integers(-32000, 32767))
def test_all_other_values_are_data(raw: int) -> None:
    numeric = decode(put(physiological(), T1, ON, 1, raw))["t1.temp"]
    assert numeric.value == Decimal(raw) / 100
    assert numeric.quality == Quality.GOOD


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_module_that_is_not_active_says_nothing(status: int) -> None:
    assert decode(put(physiological(), T1, status, 1, 3700)) == {}


def test_a_module_pulled_is_told_once() -> None:
    decoder = NumericsDecoder()
    decode(put(physiological(), T1, ON, 1, 3700), decoder=decoder)
    gone = decode(put(physiological(), T1, 0, 1, 3700), decoder=decoder)["t1.temp"]
    assert (gone.code, gone.value, gone.quality) == ("MDC_TEMP_ESOPH", None, Quality.UNAVAILABLE)
    assert decode(put(physiological(), T1, 0, 1, 3700), decoder=decoder) == {}
    assert decode(put(physiological(), T1, ON, 1, 3710), decoder=decoder)["t1.temp"].value == Decimal("37.10")


def test_a_value_is_told_every_time_and_its_absence_once() -> None:
    decoder = NumericsDecoder()
    raws = [3700, 3700, NO_DATA, NO_DATA, -32764, -32764, 3700]
    told = [decode(put(physiological(), T1, ON, 1, raw), decoder=decoder).get("t1.temp") for raw in raws]
    assert [numeric and numeric.value for numeric in told] == [
        Decimal("37.00"), Decimal("37.00"), None, None, None, None, Decimal("37.00"),
    ]  # fmt: skip
    assert [numeric is not None for numeric in told] == [True, True, True, False, True, False, True]


def test_a_new_label_withdraws_the_old_one() -> None:
    decoder = NumericsDecoder()
    decode(put(physiological(), P1, ON, 9, 1000), decoder=decoder)
    records = decoder.decode(bytes(put(physiological(), P1, ON, 1, 1000)), None, now())
    sys = [r for r in records if isinstance(r, Numeric) and r.device_code.startswith("p1.sys")]
    assert [(r.code, r.channel, r.value) for r in sys] == [
        ("MDC_PRESS_BLD_SYS", "P1", None),
        ("MDC_PRESS_BLD_ART_SYS", "ART", Decimal("10.00")),
    ]


def test_zeroing_is_flagged() -> None:
    assert decode(put(physiological(), P1, ON | 4, 1, 10))["p1.sys"].quality == Quality.CALIBRATING


def test_an_old_cuff_reading_is_stale_and_keeps_the_time_it_was_taken() -> None:
    aux = parse_aux(struct.pack("<IhIIh", T0_S - 300, 0, 0, 0, 187))
    found = decode(put(physiological(), NIBP, ON, 1 << 8, 12000, 8000, 9300, 70), aux)
    sys = found["nibp.sys"]
    assert (sys.value, sys.quality) == (Decimal("120.00"), Quality.STALE)
    assert sys.device_time == DeviceTime((T0_S - 300) * S_NS, "local", S_NS)
    assert (found["aux.bsa"].value, found["aux.bsa"].unit) == (Decimal("1.87"), "m2")


def test_a_cuff_reading_of_unknown_time_has_none() -> None:
    assert decode(put(physiological(), NIBP, ON, 0, 12000))["nibp.sys"].device_time is None
    assert decode(put(physiological(), NIBP, ON, 0, 12000), Aux(0, 0, 0, 0))["nibp.sys"].device_time is None


def test_a_cuff_that_measures_or_calibrates_says_so() -> None:
    assert decode(put(physiological(), NIBP, ON, 1 << 5, 12000))["nibp.sys"].quality == Quality.ONGOING
    assert decode(put(physiological(), NIBP, ON, 1 << 7, 12000))["nibp.sys"].quality == Quality.CALIBRATING


def test_old_cardiac_output_and_old_wedge_are_told_apart() -> None:
    aux = Aux(0, T0_S - 90, T0_S - 30, NO_DATA)
    found = decode(put(physiological(), CO, ON, 1, 5000, 3700, 4000, 1200), aux)
    assert found["co_wedge.co"].quality == found["co_wedge.ref"].quality == Quality.STALE
    assert found["co_wedge.pcwp"].quality == found["co_wedge.blood_temp"].quality == Quality.GOOD
    assert found["co_wedge.co"].device_time == DeviceTime((T0_S - 90) * S_NS, "local", S_NS)
    assert found["co_wedge.pcwp"].device_time == DeviceTime((T0_S - 30) * S_NS, "local", S_NS)
    assert found["co_wedge.blood_temp"].device_time == DeviceTime(T0_S * S_NS, "local", S_NS)


def test_the_neuromuscular_word() -> None:
    word = 12 | 3 << 5 | 60 << 9
    found = decode(put(physiological(), NMT, ON, 0, 1000, 250, word))
    assert found["nmt.ptc"].value == Decimal(12)
    assert found["nmt.tof_count"].value == Decimal(3)
    assert (found["nmt.stimulus"].value, found["nmt.stimulus"].unit) == (Decimal(60), "mA")
    none = decode(put(physiological(), NMT, ON, 0, 1000, 250, 31 | 15 << 5))
    assert none["nmt.ptc"].value is none["nmt.tof_count"].value is None


def test_arrhythmia_bits_are_kept_as_they_are() -> None:
    data = put(physiological(1), 4, ON, 0, 72, 830, 0)
    struct.pack_into("<I", data, 16, 0x80000001)
    assert decode(data)["arrh_ecg.arrh_status"].value == "80000001"


def test_a_new_marker_is_an_event_and_the_first_one_heard_of_is_not() -> None:
    decoder = NumericsDecoder()
    events = []
    for marker in (2, 2, 3, 3):
        records = decoder.decode(bytes(physiological(marker=marker)), None, now())
        events += [record for record in records if isinstance(record, Event)]
    (event,) = events
    assert (event.kind, event.alarm_id, event.phase, event.device_code) == ("marker", "marker-3", "once", "3")


def test_short_or_unknown_subrecords_are_the_devices_fault() -> None:
    with pytest.raises(DeviceFault):
        NumericsDecoder().decode(bytes(physiological())[:-1], None, now())
    with pytest.raises(DeviceFault):
        NumericsDecoder().decode(bytes(physiological())[:-2] + b"\x91\x04", None, now())
    with pytest.raises(DeviceFault):
        parse_aux(bytes(15))


@given(st.binary(min_size=278, max_size=278), st.integers(0, 3))
def test_any_values_are_decoded_within_bounds(data: bytes, class_number: int) -> None:
    decoder = NumericsDecoder()
    for _ in range(3):
        records = decoder.decode(data[:276] + struct.pack("<H", class_number << 8), None, now())
        assert len(records) <= 2 * 130
    assert len(decoder._shown) <= 130
