from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from drivers.contract import Now
from drivers.hl7v2 import waves
from drivers.hl7v2.pcd01 import MAX_TEXT
from ledger.limits import S_NS
from ledger.records import DeviceTime, Gap, Identity, LinkId, Numeric, Quality, Setting, Wave
from tests.drivers.hl7v2.feeding import HEART_RATE, UTC_NS, Fed, framed, up

_MDS = "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||SN42^ACME^0011^EUI-64"
_TREE = (
    _MDS,
    "OBX|2||69798^MDC_DEV_ECG_VMD^MDC|1.1.0.0|||||||X",
    "OBX|3||69799^MDC_DEV_ECG_CHAN^MDC|1.1.1.0|||||||X",
)
_OBR = "OBR|1|||182777000^monitoring of patient^SCT|||20260101115959"


def _one(obx: str, **msh: str) -> Numeric:
    (record,) = up().give(framed(_OBR, obx, **msh)).of(Numeric)
    return record


def _value(kind: str, value: str) -> Decimal | str | None:
    return _one(f"OBX|1|{kind}|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|{value}||||||R").value


def test_a_numeric_with_all_its_parts() -> None:
    fed = up().give(framed("PV1||I|OR^3^1", _OBR, *_TREE, HEART_RATE))
    assert fed.of(Numeric) == [
        Numeric(
            sub="bed-OR^3^1",
            at_ns=UTC_NS,
            device_time=DeviceTime(1_767_265_199 * S_NS, "utc", S_NS),  # OBR-7 in the zone of MSH-7, +0100
            code="MDC_ECG_CARD_BEAT_RATE",
            value=Decimal(72),
            unit="{beat}/min",
            device_code="147842^MDC_ECG_CARD_BEAT_RATE^MDC",
            channel="ECG_VMD/ECG_CHAN",
        )
    ]
    assert fed.of(Gap) == []


@pytest.mark.parametrize(
    ("kind", "sent", "value"),
    [
        ("NM", "7.10", Decimal("7.10")),
        ("NM", '""', None),
        ("NM", "", None),
        ("SN", "^5.3", Decimal("5.3")),
        ("SN", "<^5", "<5"),
        ("ST", "Sinus \\T\\ ectopics", "Sinus & ectopics"),
        ("CWE", "1^^L~2^MDC_ECG_SINUS_RHY^MDC", "1, MDC_ECG_SINUS_RHY"),
        ("CNE", "^pump-status-infusing", "pump-status-infusing"),
        ("NR", "90^100", "90 to 100"),
        ("DTM", "20260101", "20260101"),
        ("XCN", "7^M\\T\\N", "7^M&N"),
        ("CX", "0815^^^WARD", "0815^^^WARD"),
        ("", "text", "text"),
    ],
)
def test_values_by_type(kind: str, sent: str, value: Decimal | str | None) -> None:
    found = _value(kind, sent)
    assert found == value
    assert str(found) == str(value)  # 7.10 is not 7.1


@pytest.mark.parametrize(
    ("sent", "value", "quality"),
    [
        ("---", None, Quality.UNAVAILABLE),
        ("***", None, Quality.UNAVAILABLE),
        ("-999", None, Quality.UNAVAILABLE),
        ("-99.9", None, Quality.UNAVAILABLE),
        ("1966^36.4^", "1966^36.4^", Quality.QUESTIONABLE),
        (">100", ">100", Quality.OVER_RANGE),
        ("< 20", "< 20", Quality.UNDER_RANGE),
        ("LOW", "LOW", Quality.QUESTIONABLE),
        ("36,5", "36,5", Quality.QUESTIONABLE),
        ("1" * 19, "1" * 19, Quality.QUESTIONABLE),
    ],
)
def test_a_number_that_is_none_is_kept_as_it_was_sent(sent: str, value: str | None, quality: Quality) -> None:
    fed = up().give(framed(_OBR, f"OBX|1|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|{sent}||||||R"))
    assert [(record.value, record.quality) for record in fed.of(Numeric)] == [(value, quality)]
    assert fed.of(Gap) == []


@pytest.mark.parametrize(("kind", "sent"), [("ED", "^image^jpeg^Base64^AAAA"), ("XX", "1")])
def test_what_cannot_be_read_is_a_gap_and_no_record(kind: str, sent: str) -> None:
    fed = up().give(framed(_OBR, f"OBX|1|{kind}|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|{sent}||||||R", HEART_RATE))
    assert [record.code for record in fed.of(Numeric)] == ["MDC_ECG_CARD_BEAT_RATE"]
    assert [(gap.cause, gap.lost_items) for gap in fed.of(Gap)] == [("undecodable", 1)]


@pytest.mark.parametrize(
    ("flags", "status", "quality"),
    [
        ("", "R", Quality.GOOD),
        ("N", "R", Quality.GOOD),
        ("", "F", Quality.VALIDATED),
        ("", "", Quality.GOOD),
        ("", "X", Quality.QUESTIONABLE),
        ("INV", "X", Quality.INVALID),
        ("NAV", "X", Quality.UNAVAILABLE),
        ("BUSY", "X", Quality.ONGOING),
        ("QUES", "R", Quality.QUESTIONABLE),
        ("CAL", "R", Quality.CALIBRATING),
        ("TEST", "R", Quality.TEST),
        ("DEMO", "X", Quality.DEMO | Quality.QUESTIONABLE),
        ("EARLY~>", "R", Quality.EARLY | Quality.OVER_RANGE),
        ("L~<", "R", Quality.UNDER_RANGE),
        ("", "W", Quality.INVALID),
        ("", "D", Quality.INVALID),
        ("", "P", Quality.EARLY),
        ("", "I", Quality.UNAVAILABLE),
        ("", "?", Quality.QUESTIONABLE),
    ],
)
def test_quality_is_what_the_device_says(flags: str, status: str, quality: Quality) -> None:
    assert _one(f"OBX|1|NM|1^MDC_A^MDC|1.1.1.1|5|||{flags}|||{status}").quality == quality


def test_no_value_is_unavailable() -> None:
    record = _one("OBX|1|NM|1^MDC_A^MDC|1.1.1.1||||||||X")
    assert (record.value, record.quality) == (None, Quality.UNAVAILABLE)


@pytest.mark.parametrize(
    ("processing", "quality"), [("P", 0), ("T", Quality.TEST), ("D", Quality.TEST), ("D^T", Quality.TEST)]
)
def test_only_production_messages_are_a_patients(processing: str, quality: int) -> None:
    fed = up().give(framed(_OBR, *_TREE, HEART_RATE, processing=processing))
    assert {record.quality for record in [*fed.of(Numeric), *fed.of(Identity)]} == {quality}


def test_what_somebody_set_is_a_setting() -> None:
    record = _one("OBX|1|NM|1^MDC_FLOW_FLUID_PUMP^MDC|1.1.1.1|15.4|mL/h^mL/h^UCUM|||||R||||||MSET^manual^MDC")
    assert isinstance(record, Setting)


def test_device_time_is_local_when_no_zone_is_known() -> None:
    record = _one("OBX|1|NM|1^MDC_A^MDC|1.1.1.1|5||||||R|||20260101120000.5", time="20260101120000")
    assert record.device_time == DeviceTime(1_767_268_800 * S_NS + S_NS // 2, "local", 100_000_000)


def test_a_time_that_is_none_falls_back_to_the_order() -> None:
    record = _one("OBX|1|NM|1^MDC_A^MDC|1.1.1.1|5||||||R|||soon")
    assert record.device_time == DeviceTime(1_767_265_199 * S_NS, "utc", S_NS)


def test_an_old_value_and_a_repeated_one_are_stale() -> None:
    fed = up()
    for at in ("20260101115900", "20260101115858", "20260101115858", "20260101115930", "20260101115930"):
        fed.give(framed(_OBR, f"OBX|1|NM|1^MDC_NIBP^MDC|1.1.1.1|120||||||R|||{at}", id=""))
    stale = [record.quality == Quality.STALE for record in fed.of(Numeric)]
    assert stale == [False, True, True, False, True]


def test_the_same_value_measured_anew_is_not_stale() -> None:
    fed = up()
    for second in ("57", "58"):
        fed.give(framed(_OBR, f"OBX|1|NM|1^MDC_A^MDC|1.1.1.1|120||||||R|||202601011159{second}", id=""))
        fed.give(framed(_OBR, "OBX|1|NM|1^MDC_B^MDC|1.1.1.2|120||||||R", id=""))
    assert {record.quality for record in fed.of(Numeric)} == {Quality.GOOD}


def test_an_identity_is_told_once_per_connection() -> None:
    fed = up()
    for _ in range(2):
        fed.give(framed(_OBR, *_TREE, HEART_RATE, id=""))
    assert fed.of(Identity) == [
        Identity(
            at_ns=UTC_NS, make="ACME", model="MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS", serial="SN42", protocol="HL7 2.6"
        )
    ]
    fed.driver.link_up(LinkId(2), "peer", Now(0, UTC_NS))
    fed.give(framed(_OBR, *_TREE, HEART_RATE, id=""), link=LinkId(2))
    assert len(fed.of(Identity)) == 2


def test_two_of_a_kind_in_one_message_stay_apart() -> None:
    fed = up().give(
        framed(
            _OBR,
            "OBX|1||1^MDC_DEV_X_VMD^MDC|1.1.0.0|||||||X",
            "OBX|2||1^MDC_DEV_X_VMD^MDC|1.2.0.0|||||||X",
            "OBX|3|NM|1^MDC_A^MDC|1.1.0.1|1||||||R",
            "OBX|4|NM|1^MDC_A^MDC|1.2.0.1|2||||||R",
            "OBX|5|NM|1^MDC_A^MDC|1.2.0.2|3||||||R",
            "OBX|6|NM|1^MDC_A^MDC|1|4||||||R",
            "OBX|7|NM|1^MDC_A^MDC||5||||||R",
        )
    )
    assert [record.channel for record in fed.of(Numeric)] == ["X_VMD#1", "X_VMD#2", "X_VMD#2#2", "1", ""]


def test_pumps_that_number_themselves_alike_stay_apart() -> None:
    fed = up()
    for serial in ("A1", "B2"):
        fed.give(
            framed(
                _OBR,
                f"OBX|1||70049^MDC_DEV_PUMP_INFUS_LVP_MDS^MDC|1.0.0.0|||||||X|||||||{serial}",
                "OBX|2||70050^MDC_DEV_PUMP_INFUS_LVP_VMD^MDC|1.1.0.0|||||||X",
                "OBX|3|NM|157784^MDC_FLOW_FLUID_PUMP^MDC|1.1.0.1|15.4||||||R",
                id=serial,
            )
        )
    assert [record.channel for record in fed.of(Numeric)] == ["A1/PUMP_INFUS_LVP_VMD", "B2/PUMP_INFUS_LVP_VMD"]
    assert [record.serial for record in fed.of(Identity)] == ["A1", "B2"]


def test_patients_of_one_message_are_told_apart() -> None:
    second = HEART_RATE.replace("|72|", "|64|")
    fed = up().give(framed("PID|||1", "PV1||I|A", _OBR, HEART_RATE, "PID|||2", "PV1||I|B", _OBR, second))
    assert [(record.sub, record.value) for record in fed.of(Numeric)] == [
        ("bed-A", Decimal(72)),
        ("bed-B", Decimal(64)),
    ]


def test_texts_are_bounded() -> None:
    record = _one(f"OBX|1|ST|1^MDC_A^MDC|1.1.1.1|{'x' * 9_000}||||||R")
    assert record.value == "x" * MAX_TEXT


def _wave_message(values: str, rate: str = "250", kind: str = "NA", start: str = "20260101120000.000") -> bytes:
    return framed(
        _OBR,
        f"OBX|1|{kind}|131330^MDC_ECG_ELEC_POTL_II^MDC|1.1.1.7|{values}|266418^MDC_DIM_MILLI_VOLT^MDC|||||R|||{start}",
        f"OBX|2|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.1.1.7.1|{rate}|264608^MDC_DIM_PER_SEC|||||R",
        "OBX|3|NR|0^MDC_ATTR_DATA_RANGE^MDC|1.1.1.7.2|-5.0^5.0|266418^MDC_DIM_MILLI_VOLT^MDC|||||R",
        id="",
    )


def test_a_wave_with_all_its_parts() -> None:
    fed = up().give(_wave_message("0.12^-0.05^^0.10"))
    assert fed.of(Wave) == [
        Wave(
            at_ns=UTC_NS - 16_000_000,  # four samples of 4 ms before the message came
            device_time=DeviceTime(1_767_265_200 * S_NS, "utc", 1_000_000),
            code="MDC_ECG_ELEC_POTL_II",
            unit="mV",
            channel="1.1.1",
            rate=(250, 1),
            index=0,
            width=2,
            samples=struct.pack("<4h", 12, -5, -32768, 10),
            scale=0.01,
            offset=0.0,
            invalid=-32768,
        )
    ]
    assert fed.of(Numeric) == []
    assert fed.of(Gap) == []


def test_an_array_over_several_repetitions_runs_on() -> None:
    (wave,) = up().give(_wave_message("1^2~3^4")).of(Wave)
    assert wave.samples == struct.pack("<4h", 1, 2, 3, 4)


def test_a_multiplexed_array_is_one_wave_per_signal() -> None:
    fed = up().give(_wave_message("1^10~2^20~3", kind="MA"))
    assert [(wave.channel, wave.samples) for wave in fed.of(Wave)] == [
        ("1.1.1#1", struct.pack("<3h", 1, 2, 3)),
        ("1.1.1#2", struct.pack("<3h", 10, 20, -32768)),
    ]


def test_a_long_array_becomes_several_records_without_a_gap() -> None:
    count = waves.MAX_SAMPLES + 100
    first, second = up().give(_wave_message("^".join(["1"] * count))).of(Wave)
    assert (first.index, second.index) == (0, waves.MAX_SAMPLES)
    assert len(first.samples) + len(second.samples) == 2 * count
    assert second.at_ns - first.at_ns == waves.MAX_SAMPLES * S_NS // 250
    assert first.device_time is not None
    assert second.device_time is not None
    assert second.device_time.value_ns - first.device_time.value_ns == waves.MAX_SAMPLES * S_NS // 250


def test_a_lost_message_shows_as_a_jump_of_the_index() -> None:
    fed = up()
    for second in (0, 1, 3):
        fed.give(_wave_message("^".join(["1"] * 250), start=f"2026010112000{second}.000"))
    assert [wave.index for wave in fed.of(Wave)] == [0, 250, 750]


@pytest.mark.parametrize(("values", "rate"), [("1^2", ""), ("1^2", "0"), ("a^b", "250"), ("", "250")])
def test_a_wave_that_cannot_be_read_is_a_gap(values: str, rate: str) -> None:
    fed = up().give(_wave_message(values, rate))
    assert fed.of(Wave) == []
    assert [gap.lost_items for gap in fed.of(Gap)] == [1]


def test_more_digits_than_fit_are_marked_as_rounded() -> None:
    (wave,) = up().give(_wave_message("1.1234567891^2")).of(Wave)
    assert wave.marks == ((0, "rounded"),)
    assert abs(struct.unpack("<2i", wave.samples)[0] * wave.scale + wave.offset - 1.1234567891) <= wave.scale / 2


def _counts(values: str, unit: str, resolution: str, no_sample: str) -> Wave:
    (wave,) = up().give(framed(
        _OBR,
        f"OBX|1|NA|131329^MDC_ECG_ELEC_POTL_I^MDC|1.7.6.131329|{values}|{unit}",
        "OBX|2|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.7.6.131329.1|500|264640^MDC_DIM_HZ^MDC",
        f"OBX|3|NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|1.7.6.131329.2|{resolution}|266418^MDC_DIM_MILLI_VOLT^MDC",
        f"OBX|4|NM|262196^MDC_EVT_INOP^MDC|1.7.6.131329.3|{no_sample}",
    )).of(Wave)  # fmt: skip
    return wave


def test_counts_of_a_converter_take_value_and_unit_of_their_resolution() -> None:
    wave = _counts("80^-88^32767", "262656^MDC_DIM_DIMLESS^MDC", "0.001221", "32767")
    assert (wave.unit, wave.scale, wave.offset, wave.invalid) == ("mV", 0.001221, 0.0, -32768)
    assert wave.samples == struct.pack("<3h", 80, -88, -32768)


@pytest.mark.parametrize(
    ("values", "unit", "resolution"), [("80^90", "266418^MDC_DIM_MILLI_VOLT^MDC", "0.5"), ("80^90", "", "0")]
)
def test_an_array_with_a_unit_of_its_own_is_not_scaled(values: str, unit: str, resolution: str) -> None:
    wave = _counts(values, unit, resolution, "80")
    assert (wave.scale, wave.invalid) == (1.0, None)
    assert wave.unit == ("mV" if unit else "")


def test_a_wave_may_have_its_rate_in_its_name() -> None:
    data = framed(_OBR, "OBX|1|NA|ECG_WAV^BeneView/ECG_II@100||0.12^0.15^^0.11|mV|-1.5^1.5||||R")
    (wave,) = up().give(data).of(Wave)
    assert (wave.code, wave.rate, wave.unit, len(wave.samples)) == ("MDCX_HL7_ECG_WAV", (100, 1), "mV", 8)


@pytest.mark.parametrize("sent", ["-99", "-9.9", "-998", "999"])
def test_a_number_that_could_be_one_is_one(sent: str) -> None:
    assert _value("NM", sent) == Decimal(sent)


def test_several_values_are_none_of_them_alone() -> None:
    record = _one("OBX|1|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|97~98||||||R")
    assert (record.value, record.quality) == ("97, 98", Quality.QUESTIONABLE)
    assert _value("TX", "one~two") == "one\ntwo"


@pytest.mark.parametrize(("kind", "sent"), [("NM", "80~"), ("NM", "~80"), ("SN", "=^80~"), ("SN", "^80")])
def test_an_empty_repetition_is_no_second_value(kind: str, sent: str) -> None:
    assert _value(kind, sent) == Decimal(80)


def test_several_structured_numbers_are_questionable_as_well() -> None:
    record = _one("OBX|1|SN|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1|>^97~^98||||||R")
    assert (record.value, record.quality) == (">^97, ^98", Quality.QUESTIONABLE)


def test_a_sub_id_that_is_no_path_tells_two_values_apart() -> None:
    left, right = (f"OBX|1|NM|150344^MDC_TEMP^MDC|{side}|36.5||||||R" for side in ("left", "right"))
    assert [record.channel for record in up().give(framed(_OBR, left, right)).of(Numeric)] == ["left", "right"]


def test_the_precision_of_a_time_is_not_its_end() -> None:
    record = _one("OBX|1|NM|150344^MDC_TEMP^MDC||36.5||||||R|||20260101120000^S", time="20260101120000+0100^S")
    assert record.device_time == DeviceTime(1_767_265_200 * S_NS, "utc", S_NS)


def test_what_philips_marks_as_a_setting_is_one() -> None:
    (mode,) = up().give(framed(_OBR, "OBX||ST|0402-f8f5^sMode^MDIL|0|MONITORING||||||F||SETTING")).of(Setting)
    assert (mode.code, mode.value, mode.channel) == ("MDCX_PHILIPS_0402F8F5", "MONITORING", "")


def test_a_null_status_says_nothing() -> None:
    assert _one('OBX|1|NM|150344^MDC_TEMP^MDC||36.5|""|||||""|||""').quality == Quality.GOOD


def _told(fed: Fed) -> list[str]:
    return [identity.serial for identity in fed.of(Identity)]


def test_equipment_named_only_on_the_metric_is_told() -> None:
    assert _told(up().give(framed(_OBR, HEART_RATE + "|||||||F1^ACME"))) == ["F1"]
