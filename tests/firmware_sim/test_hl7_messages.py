from __future__ import annotations

import re
from datetime import datetime

import pytest

from firmware_sim.alarms import active_alarms
from firmware_sim.hl7_messages import CHARSETS, GatewayProfile, Message, MessageFactory, Phase
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

START_S = 1_795_000_000.0


def fields(message: Message, name: str) -> list[list[str]]:
    return [line.split("|") for line in message.text.split("\r") if line.startswith(name + "|")]


def factory(**changes: object) -> MessageFactory:
    return MessageFactory(GatewayProfile(**changes), START_S)  # type: ignore[arg-type]


def by_code(message: Message, refid: str) -> list[str]:
    return next(f for f in fields(message, "OBX") if f[3].split("^")[1] == refid)


def test_the_header_stands_as_in_hl7_2_6() -> None:
    message = factory().numerics(Patient(1).at(40))
    (msh,) = fields(message, "MSH")
    assert (msh[1], msh[8], msh[10], msh[11]) == ("^~\\&", "ORU^R01^ORU_R01", "P", "2.6")
    assert (msh[14], msh[15], msh[17]) == ("AL", "NE", "UNICODE UTF-8")
    assert msh[20].startswith("IHE_PCD_001^IHE PCD^")
    assert msh[9] == message.control_id
    assert datetime.strptime(msh[6], "%Y%m%d%H%M%S.%f%z").timestamp() == START_S + 40
    assert fields(message, "PV1")[0][3] == "SIM^OR^1"
    assert message.text.endswith("\r")
    assert "\n" not in message.text


def test_original_mode_leaves_the_acknowledgment_fields_empty() -> None:
    (msh,) = fields(factory(enhanced=False, processing_id="T").numerics(Patient(1).at(1)), "MSH")
    assert (msh[10], msh[14], msh[15], msh[17]) == ("T", "", "", "UNICODE UTF-8")


def test_control_ids_are_unique_and_fit_msh_10() -> None:
    one, later = factory(), MessageFactory(GatewayProfile(), START_S + 1)
    patient = Patient(1)
    ids = [f.numerics(patient.at(t)).control_id for t in range(200) for f in (one, later)]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 20


@pytest.mark.parametrize(("charset", "name"), [("UNICODE UTF-8", "Müller"), ("8859/1", "Müller"), ("ASCII", "M?ller")])
def test_the_character_set_is_kept(charset: str, name: str) -> None:
    message = factory(charset=charset).numerics(Patient(1).at(1))
    assert name in message.encode().decode(CHARSETS[charset])


def test_an_unknown_character_set_is_refused() -> None:
    with pytest.raises(ValueError, match="KOI8"):
        factory(charset="KOI8")


def test_numerics_are_the_patients_and_lie_in_a_whole_device_tree() -> None:
    n = Patient(1).at(40)
    message = factory().numerics(n)
    obx = fields(message, "OBX")
    assert [f[1] for f in obx] == [str(i + 1) for i in range(len(obx))]
    hr = by_code(message, "MDC_ECG_HEART_RATE")
    assert hr[3:6] == ["147842^MDC_ECG_HEART_RATE^MDC", "1.1.1.1", f"{n.hr:.0f}"]
    assert hr[6] == "264864^MDC_DIM_BEAT_PER_MIN^MDC"
    assert (hr[2], hr[11]) == ("NM", "R")
    subs = [f[4] for f in obx]
    assert len(set(subs)) == len(subs)
    for sub in subs:
        parts = sub.split(".")
        for keep in (1, 2, 3):
            assert ".".join(parts[:keep] + ["0"] * (4 - keep)) in subs


def test_the_cuff_reading_keeps_its_own_time() -> None:
    n = Patient(1).at(100)
    assert n.nibp is not None
    sys = by_code(factory().numerics(n), "MDC_PRESS_BLD_NONINV_SYS")
    assert sys[5] == f"{n.nibp.sys:.0f}"
    assert datetime.strptime(sys[14], "%Y%m%d%H%M%S.%f%z").timestamp() == START_S + 30


def test_what_cannot_be_measured_is_marked_and_empty() -> None:
    message = factory().numerics(Patient(1).at(40), off=frozenset({"spo2", "nibp"}))
    assert by_code(message, "MDC_PULS_OXIM_SAT_O2")[5:12] == ["", "262688^MDC_DIM_PERCENT^MDC", "", "INV", "", "", "X"]
    assert "NONINV" not in message.text


def test_waves_come_as_arrays_with_rate_and_range() -> None:
    patient = Patient(1)
    message = factory().waves(patient, 12.0, 1.0, off=frozenset({"gas"}))
    ecg = by_code(message, "MDC_ECG_ELEC_POTL_II")
    assert ecg[2] == "NA"
    expected = patient.wave(WaveKind.ECG_II, 12.0, 250, 250)
    assert [float(v) for v in ecg[5].split("^")] == pytest.approx(list(expected), abs=0.001)
    facets = {f[4]: f[5] for f in fields(message, "OBX") if f[4].startswith(ecg[4] + ".")}
    assert facets == {f"{ecg[4]}.1": "250.0", f"{ecg[4]}.2": "-5.0^5.0"}
    (obr,) = fields(message, "OBR")
    assert obr[7] < obr[8]
    assert "MDC_AWAY_CO2" not in message.text


@pytest.mark.parametrize("phase", list(Phase))
def test_a_limit_alarm_names_value_limits_and_phase(phase: Phase) -> None:
    patient = Patient(5, "haemorrhage")
    alarm = next(a for a in active_alarms(patient.smoothed(450)) if a.source == "art_mean")
    message = factory().alarm(alarm, phase, 450, "A7")
    (msh,), (obr,) = fields(message, "MSH"), fields(message, "OBR")
    assert msh[8] == "ORU^R40^ORU_R40"
    assert (obr[4], obr[29][:4]) == ("196616^MDC_EVT_ALARM^MDC", "^A7&")
    event, source, said, state, _ = fields(message, "OBX")
    assert event[3] == "196670^MDC_EVT_LO^MDC"
    assert event[8] == "L~PM~SP"
    assert source[3:8:2] == ["150035^MDC_PRESS_BLD_ART_MEAN^MDC", f"{alarm.value:.1f}", "60-110"]
    assert said[3].endswith("MDC_ATTR_EVENT_PHASE^MDC")
    assert (said[5], state[5]) == (phase.value, "inactive" if phase is Phase.END else "active")


def test_asystole_is_an_event_of_its_own_with_a_source() -> None:
    alarm = active_alarms(Patient(5, "arrest").smoothed(75))[0]
    event, source, *_ = fields(factory().alarm(alarm, Phase.START, 75, "A1"), "OBX")
    assert event[3] == "199684^MDC_EVT_ECG_ASYSTOLE^MDC"
    assert event[8] == "PH~SP"
    assert (source[2], source[5]) == ("CWE", "147842^MDC_ECG_HEART_RATE^MDC")


def test_no_field_holds_a_stray_separator() -> None:
    message = factory().numerics(Patient(1).at(3))
    assert all(re.fullmatch(r"[A-Z0-9]{3}\|.*", line) for line in message.text.rstrip("\r").split("\r"))
