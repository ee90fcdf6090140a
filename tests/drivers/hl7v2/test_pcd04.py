from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Gap, Numeric, Quality
from tests.drivers.hl7v2.feeding import UTC_NS, framed, up

_OBR = "OBR|1|7^GW|8^GW|196616^MDC_EVT_ALARM^MDC|||20260101115959" + "|" * 22 + "^6&GW&0011&EUI-64"


def _alert(*obx: str, obr: str = _OBR, kind: str = "ORU^R40^ORU_R40") -> Event:
    (event,) = up().give(framed(obr, *obx, kind=kind)).of(Event)
    return event


def _attributes(**values: str) -> list[str]:
    return [f"OBX|9|ST|0^MDC_ATTR_{name.upper()}^MDC|1.3.1.1.9|{value}||||||F" for name, value in values.items()]


_LOW = "OBX|1|ST|196670^MDC_EVT_LO^MDC|1.3.1.150456.1|SpO2 faible|||L~PM~SP|||F|||20260101120000"
_SPO2 = "OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.150456.2|88|262688^MDC_DIM_PERCENT^MDC|90-96||||F"


def test_an_alarm_with_all_its_parts() -> None:
    event = _alert(
        _LOW, _SPO2, *_attributes(event_phase="start", alarm_state="latched", alarm_inactivation_state="audio-paused")
    )
    assert event == Event(
        at_ns=UTC_NS,
        device_time=DeviceTime(1_767_265_200 * S_NS, "utc", S_NS),
        kind="physiological_alarm",
        alarm_id="6^GW^0011^EUI-64",
        phase="start",
        priority="medium",
        code="MDC_EVT_LO",
        source="MDC_PULS_OXIM_SAT_O2",
        latched=True,
        silence="audio_paused",
        limits=(Decimal(90), Decimal(96)),
        text="SpO2 faible: 88 %",
        device_code="196670^MDC_EVT_LO^MDC",
        device_priority="PM",
    )


def test_the_value_that_caused_an_alarm_is_no_numeric_beside_the_live_one() -> None:
    fed = up().give(framed(_OBR, _LOW, _SPO2, kind="ORU^R40^ORU_R40"))
    assert fed.of(Numeric) == []
    assert fed.of(Gap) == []


def test_the_localised_text_is_never_the_identity() -> None:
    other = _LOW.replace("SpO2 faible", "SpO2 niedrig")
    for obr in (_OBR, "OBR|1|||196616^MDC_EVT_ALARM^MDC"):
        assert _alert(_LOW, obr=obr).alarm_id == _alert(other, obr=obr).alarm_id != ""


@pytest.mark.parametrize(
    ("parent", "filler", "alarm_id"),
    [
        ("^6&GW&0011&EUI-64", "8^GW", "6^GW^0011^EUI-64"),
        ("6&GW", "8^GW", "6^GW"),
        ("", "8^GW", "8^GW"),
        ("^&&", "8^GW", "8^GW"),
        ("", "", "MDC_EVT_LO 1.3.1"),
    ],
)
def test_the_identity_is_the_parent_else_the_filler_number_else_code_and_place(
    parent: str, filler: str, alarm_id: str
) -> None:
    obr = f"OBR|1|7|{filler}|196616^MDC_EVT_ALARM^MDC" + "|" * 25 + parent
    assert _alert(_LOW, obr=obr).alarm_id == alarm_id


def test_a_sender_without_subcomponents_is_read() -> None:
    data = framed(_OBR, _LOW, _SPO2, kind="ORU^R40").replace(b"MSH|^~\\&|", b"MSH|^~|")
    (event,) = up().give(data).of(Event)
    assert event.alarm_id == "6&GW&0011&EUI-64"


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        ("start", "start"),
        ("continue", "continue"),
        ("present", "continue"),
        ("update", "change"),
        ("escalate", "change"),
        ("de-escalate", "change"),
        ("reset", "change"),
        ("END", "end"),
        ("tpoint", "once"),
        ("other", "once"),
    ],
)
def test_phases(sent: str, phase: str) -> None:
    assert _alert(_LOW, *_attributes(event_phase=sent)).phase == phase


@pytest.mark.parametrize(
    ("state", "phase"), [("active", "continue"), ("latched", "continue"), ("inactive", "end"), ("", "once")]
)
def test_without_a_phase_the_state_decides(state: str, phase: str) -> None:
    assert _alert(_LOW, *_attributes(alarm_state=state)).phase == phase


@pytest.mark.parametrize(
    ("sent", "silence"),
    [
        ("enabled", "on"),
        ("audio-paused", "audio_paused"),
        ("audio-off", "audio_off"),
        ("alarm-paused", "alarm_paused"),
        ("alarm-off", "alarm_off"),
        ("alert-acknowledged", "acknowledged"),
        ("alert-acknowledged~audio-off", "audio_off"),
        ("whatever", "unknown"),
    ],
)
def test_inactivation(sent: str, silence: str) -> None:
    assert _alert(_LOW, *_attributes(alarm_inactivation_state=sent)).silence == silence


@pytest.mark.parametrize(
    ("priority", "expected"), [("PH", "high"), ("PM", "medium"), ("PL", "low"), ("PN", "none"), ("P9", "unknown")]
)
def test_priorities_from_their_own_obx(priority: str, expected: str) -> None:
    bare = _LOW.replace("L~PM~SP", "")
    assert _alert(bare, *_attributes(alarm_priority=priority)).priority == expected


@pytest.mark.parametrize(
    ("kind", "expected"), [("SP", "physiological_alarm"), ("ST", "technical_alarm"), ("SA", "advisory")]
)
def test_kinds_from_their_own_obx_or_obx_8(kind: str, expected: str) -> None:
    bare = _LOW.replace("L~PM~SP", "")
    assert _alert(bare, *_attributes(alert_type=kind)).kind == expected
    assert _alert(_LOW.replace("~SP", f"~{kind}")).kind == expected


def test_without_a_kind_a_measured_source_makes_it_physiological() -> None:
    bare = _LOW.replace("L~PM~SP", "")
    assert _alert(bare, _SPO2).kind == "physiological_alarm"
    assert _alert(bare).kind == "technical_alarm"


def test_an_event_named_by_its_value() -> None:
    event = _alert(
        "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.0.0.0.1|196940^MDC_EVT_FLUID_LINE_OCCL^MDC^^^^^^Okklusion|||ST|||F",
        "OBX|2|CWE|68480^MDC_ATTR_ALERT_SOURCE^MDC|1.0.0.0.2|69985^MDC_DEV_PUMP_INFUS_MDS^MDC||||||F",
    )
    assert (event.code, event.source, event.text) == ("MDC_EVT_FLUID_LINE_OCCL", "MDC_DEV_PUMP_INFUS_MDS", "Okklusion")


def test_a_watchdog_is_a_moment_and_no_alarm() -> None:
    event = _alert(
        "OBX|1|ST|196614^MDC_EVT_ACTIVE^MDC|1.0.0.1|continue|||PH~SP|||F",
        *_attributes(event_phase="start", alarm_state="active"),
    )
    assert (event.kind, event.phase, event.priority) == ("advisory", "once", "none")


def test_an_alert_in_an_observation_message_is_an_alert() -> None:
    assert _alert(_LOW, kind="ORU^R01^ORU_R01").code == "MDC_EVT_LO"


def test_test_alarms_are_marked() -> None:
    (event,) = up().give(framed(_OBR, _LOW, kind="ORU^R40", processing="T")).of(Event)
    assert event.quality == Quality.TEST


def test_an_alert_without_an_event_is_a_gap() -> None:
    fed = up().give(framed(_OBR, *_attributes(event_phase="start"), kind="ORU^R40"))
    assert fed.of(Event) == []
    assert [gap.lost_items for gap in fed.of(Gap)] == [1]


@pytest.mark.parametrize(
    ("shown", "kind", "priority"),
    [
        ("1^Red Alarm", "physiological_alarm", "high"),
        ("2^Yellow Alarm", "physiological_alarm", "medium"),
        ("5^HardInop", "technical_alarm", "unknown"),
        ("6^Soft Inop", "technical_alarm", "low"),
    ],
)
def test_an_alert_on_a_philips_screen_is_a_moment(shown: str, kind: str, priority: str) -> None:
    number, name = shown.split("^")
    fed = up().give(framed("OBR||||ALARM", f"OBX||TX|{shown}^MDIL-ALERT||HR Low, HR=55 /min||||||F"))
    (event,) = fed.of(Event)
    assert (event.kind, event.priority, event.phase) == (kind, priority, "once")
    assert (event.code, event.text) == (f"MDCX_PHILIPS_ALERT_{number}", "HR Low, HR=55 /min")
    assert (event.device_priority, event.device_code) == (name, f"{shown}^MDIL-ALERT")
    assert not fed.of(Numeric)
    assert not fed.of(Gap)


def test_an_alert_may_say_its_text_beside_its_code() -> None:
    named = "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.1.0.0.1|196940^MDC_EVT_FLUID_LINE_OCCL^MDC||||||F"
    event = _alert(named, *_attributes(event_phase="start", alert_text="Verschluss"))
    assert (event.code, event.text) == ("MDC_EVT_FLUID_LINE_OCCL", "Verschluss")
