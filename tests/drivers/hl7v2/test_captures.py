"""Real messages, published by IHE, Dräger and the T5 project, where they are at hand."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from drivers import mllp
from drivers.hl7v2 import ack
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Gap, Identity, Numeric, Quality, Raw, Wave
from tests.drivers.hl7v2.feeding import CAPTURES, Fed, up

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the reference messages are not here")

_NAMES = sorted(path.stem for path in CAPTURES.glob("*.hl7"))


def _stream(name: str) -> bytes:
    return mllp.frame((CAPTURES / f"{name}.hl7").read_bytes())


def _fed(name: str) -> Fed:
    return up().give(_stream(name))


def _values(fed: Fed) -> dict[str, tuple[Decimal | str | None, str]]:
    return {record.code: (record.value, record.unit) for record in fed.of(Numeric)}


@pytest.mark.parametrize("name", _NAMES)
def test_every_message_is_understood_whole(name: str) -> None:
    fed = _fed(name)
    assert fed.of(Gap) == []
    assert b"".join(raw.data for raw in fed.of(Raw)) == _stream(name)


@pytest.mark.parametrize("name", _NAMES)
def test_one_by_one_is_the_same_as_at_once(name: str) -> None:
    fed = up()
    for byte in _stream(name):
        fed.give(bytes([byte]))
    assert fed.actions == _fed(name).actions


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("draeger_ack_watchdog", []),
        ("draeger_pcd04_co2_sensor_unplugged", [("CA", "0")]),
        ("ihe_pcd01_episodic_nibp", [("CA", "0104ef190d604db188c3")]),
        ("ihe_pcd03_ack_o15_CA", []),
        ("ihe_pcd03_rgv_o15_dopamine", [("CA", "1")]),
        ("ihe_pcd03_rrg_o16_AR_reject", []),
        ("ihe_pcd04_advisory_or_timeout", [("AA", " 1233532926265-02")]),
        ("ihe_pcd10_r42_pump_delivery_start", [("CA", "6358051206735492253")]),
        ("t5_pcd01_pulseox_loinc_and_mdc", [("AA", "9879790003")]),
    ],
)
def test_answers(name: str, answers: list[tuple[str, str]]) -> None:
    fed = _fed(name)
    found = [ack.parse_answer(send.data.decode()[1:-2]) for send in fed.sends]
    assert [(answer.code, answer.control_id) for answer in found] == answers
    assert all(send.after == fed.last_ticket for send in fed.sends)


def test_episodic_blood_pressure() -> None:
    fed = _fed("ihe_pcd01_episodic_nibp")
    assert _values(fed) == {
        "MDC_PRESS_BLD_NONINV_SYS": (Decimal(111), "mm[Hg]"),
        "MDC_PRESS_BLD_NONINV_DIA": (Decimal(60), "mm[Hg]"),
        "MDC_PRESS_BLD_NONINV_MEAN": (Decimal(80), "mm[Hg]"),
        "MDC_PULS_RATE_NON_INV": (Decimal(63), "{beat}/min"),
    }
    first = fed.of(Numeric)[0]
    assert first.sub == "bed-COLWELL^^SOLAR"
    assert first.channel == "PRESS_BLD_NONINV_VMD/PRESS_BLD_NONINV_CHAN"
    assert first.device_time == DeviceTime(1_306_990_722 * S_NS, "utc", S_NS)  # 2011-06-02 04:58:42, zone of MSH-7
    assert [(who.make, who.serial) for who in fed.of(Identity)] == [("GATEWAY_ACME", "080019FFFE3ED02D172.16.172.135")]


def test_periodic_monitor() -> None:
    fed = _fed("ihe_pcd01_periodic_philips_monitor")
    values = _values(fed)
    assert values["MDC_PULS_OXIM_PERF_REL"] == (Decimal("3.9"), "1")
    assert values["MDC_ECG_STAT_RHY"] == ("MDC_ECG_SINUS_RHY", "")
    assert values["MDC_ECG_TIME_PD_QT_GL"] == (Decimal(360), "ms")
    assert len(values) == 10
    by_code = {record.code: record for record in fed.of(Numeric)}
    # OBX-11 is X for all; the blood pressure is six hours old, the heart rate of now.
    assert by_code["MDC_PRESS_BLD_NONINV_SYS"].quality == Quality.QUESTIONABLE | Quality.STALE
    assert by_code["MDC_ECG_CARD_BEAT_RATE"].quality == Quality.QUESTIONABLE
    assert by_code["MDC_RESP_RATE"].channel == "ECG_VMD/ECG_CHAN"


def test_loinc_first_and_mdc_as_alternate() -> None:
    (record,) = _fed("t5_pcd01_pulseox_loinc_and_mdc").of(Numeric)
    assert record.code == "MDC_PULS_OXIM_PULS_RATE"
    assert record.device_code == "8889-8^Heart Rate by Oximetry^LN^149530^MDC_PULS_OXIM_PULS_RATE^MDC"
    assert (record.value, record.unit) == (Decimal(55), "{beats}/min")
    assert record.device_time == DeviceTime(1_338_377_020 * S_NS, "local", S_NS)


def test_waveforms() -> None:
    waves = _fed("t5_pcd01_waveform_na").of(Wave)
    assert [(wave.code, wave.unit, wave.rate) for wave in waves] == [
        ("MDC_ECG_LEAD_I", "mV", (150, 1)),
        ("MDC_ECG_LEAD_II", "mV", (150, 1)),
        ("MDC_PULS_OXIM_SAT_O2_WAVEFORM", "%", (125, 1)),
    ]
    first = [sample * waves[0].scale for sample in struct.unpack("<3i", waves[0].samples)]
    assert [f"{value:.8f}" for value in first] == ["-0.53714565", "-0.54203324", "-0.53128055"]
    assert waves[0].device_time == DeviceTime(1_434_542_400 * S_NS, "local", 1_000_000)


def test_a_low_saturation_alarm() -> None:
    (event,) = _fed("ihe_pcd04_low_spo2_start_mindray").of(Event)
    assert (event.kind, event.phase, event.priority, event.silence) == ("physiological_alarm", "start", "medium", "on")
    assert (event.code, event.source) == ("MDC_EVT_LO", "MDC_PULS_OXIM_SAT_O2")
    assert event.limits == (Decimal(90), Decimal(96))
    assert event.text == "Low SpO2: 88 %"


def test_the_end_of_an_occlusion_has_the_id_of_its_start() -> None:
    (start,) = _fed("ihe_pcd04_occlusion_start_bbraun").of(Event)
    (end,) = _fed("ihe_pcd04_occlusion_end_bbraun").of(Event)
    assert (start.phase, end.phase) == ("start", "end")
    assert start.alarm_id == end.alarm_id == "E0001_27^PAT_DEVICE_BBRAUN^0012211839000001^EUI-64"
    assert start.code == end.code == "MDC_EVT_FLUID_LINE_OCCL"
    assert (start.kind, start.text) == ("technical_alarm", "Occlusion")


def test_an_advisory_of_its_own_making() -> None:
    (event,) = _fed("ihe_pcd04_advisory_or_timeout").of(Event)
    assert (event.kind, event.priority, event.code) == ("advisory", "medium", "MDCX_DOCUMENTATION_ERROR")
    assert event.alarm_id == "12345-2^LIVEDATA"


def test_debugging_messages_are_no_patients() -> None:
    (alarm,) = _fed("draeger_pcd04_co2_sensor_unplugged").of(Event)
    assert (alarm.code, alarm.priority, alarm.quality) == ("MDC_EVT_SENSOR_DISCONN", "low", Quality.TEST)
    (watchdog,) = _fed("draeger_pcd04_watchdog").of(Event)
    assert (watchdog.code, watchdog.kind, watchdog.phase) == ("MDC_EVT_ACTIVE", "advisory", "once")


def test_a_pump_event() -> None:
    fed = _fed("ihe_pcd10_r42_pump_delivery_start")
    values = _values(fed)
    assert values["MDC_ATTR_EVT_COND"] == ("MDC_EVT_PUMP_DELIV_START", "")
    assert values["MDC_RATE_DOSE"] == (Decimal("5.00"), "ug/kg/min")
    assert values["MDC_PUMP_INFUSING_STATUS"] == ("pump-status-infusing", "")
    by_code = {record.code: record for record in fed.of(Numeric)}
    assert by_code["MDC_RATE_DOSE"].channel == "E0002/PUMP_INFUS_LVP_VMD/PUMP_INFUSATE_SOURCE_PRIMARY"
    assert by_code["MDC_ATTR_PT_WEIGHT"].quality == Quality.QUESTIONABLE  # its OBX-11 is "RÊ"


def test_a_pump_order() -> None:
    fed = _fed("ihe_pcd03_rgv_o15_dopamine")
    assert _values(fed) == {
        "MDC_ATTR_PT_WEIGHT": (Decimal("85.0"), "kg"),
        "MDCX_HL7_RXG_GIVE_CODE": ("Dopamine", ""),
        "MDCX_HL7_RXG_GIVE_AMOUNT": (Decimal(250), "mL"),
        "MDCX_HL7_RXG_GIVE_RATE": (Decimal(10), "ug/kg/min"),
        "MDCX_HL7_RXG_GIVE_STRENGTH": (Decimal(400), "mg"),
        "MDCX_HL7_RXG_GIVE_STRENGTH_VOLUME": (Decimal(250), "mL"),
    }
    assert [who.serial for who in fed.of(Identity)] == ["A0001"]
