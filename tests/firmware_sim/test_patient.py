from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.alarms import MDC_EVT_ECG_ASYSTOLE, Priority, active_alarms
from firmware_sim.patient import Patient
from firmware_sim.scenarios import SCENARIOS
from firmware_sim.waves import WaveKind

SCENARIO = st.sampled_from(sorted(SCENARIOS))
RANGES = {
    "hr": (0, 160), "spo2": (50, 100), "art_sys": (10, 160), "art_dia": (10, 100), "art_mean": (10, 120),
    "cvp": (-1, 20), "temp": (34, 39), "etco2_mmhg": (2, 55), "bis": (4, 98), "fio2": (21, 100),
    "tidal_insp": (250, 600), "ppeak": (10, 40), "compliance": (10, 120), "minute_volume": (2, 10), "mac": (0.5, 1.5),
}  # fmt: skip


@given(st.integers(0, 50), SCENARIO, st.floats(0, 50_000))
def test_every_value_stays_in_what_a_body_can_do(seed: int, scenario: str, t_s: float) -> None:
    numerics = Patient(seed, scenario).at(t_s)
    for name, (low, high) in RANGES.items():
        value = getattr(numerics, name)
        assert value is None or low <= value <= high, (name, value)
    assert numerics.art_dia <= numerics.art_mean <= numerics.art_sys


@given(st.integers(0, 50), SCENARIO, st.floats(0, 2000))
def test_the_same_seed_is_the_same_patient_and_another_seed_another(seed: int, scenario: str, t_s: float) -> None:
    once, again = Patient(seed, scenario), Patient(seed, scenario)
    again.at(t_s + 100)  # what was asked before must not matter
    again.wave(WaveKind.ART, t_s, 50, 100)
    assert once.at(t_s) == again.at(t_s)
    assert once.at(t_s) != Patient(seed + 1, scenario).at(t_s)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_numbers_move_smoothly(scenario: str) -> None:
    patient = Patient(2, scenario)
    names = [f.name for f in dataclasses.fields(patient.at(0)) if isinstance(getattr(patient.at(0), f.name), float)]
    before = patient.at(0)
    for i in range(1, 4000):
        now = patient.at(i / 10)
        for name in set(names) - {"t_s", "hr", "pulse_rate", "spo2", "compliance", "bis_sr"}:
            assert abs(getattr(now, name) - getattr(before, name)) < 4.0 + 0.01 * abs(getattr(now, name)), (name, i)
        before = now


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(ValueError, match="haemorrhage"):
        Patient(1, "alien")


def test_the_cuff_measures_in_cycles_and_the_old_reading_stands() -> None:
    patient = Patient(4)
    assert patient.at(10).nibp is None
    assert patient.at(10).nibp_measuring
    first = patient.at(31).nibp
    assert first is not None
    assert first.taken_s == 30
    assert not patient.at(31).nibp_measuring
    assert patient.at(179).nibp == first
    second = patient.at(181).nibp
    assert second is not None
    assert second.taken_s == 180
    assert abs(second.mean - patient.at(180).art_mean) < 5


def test_without_a_pulse_the_cuff_finds_nothing() -> None:
    patient = Patient(4, "arrest")
    reading = patient.at(175).nibp
    assert reading is not None
    assert reading.taken_s == 30


def test_haemorrhage_raises_the_pulse_lowers_the_pressure_and_sounds_the_alarm() -> None:
    patient = Patient(5, "haemorrhage")
    early, late = patient.at(30), patient.at(450)
    assert late.hr > early.hr + 35
    assert late.art_mean < early.art_mean - 20
    assert late.etco2_mmhg < early.etco2_mmhg - 6
    assert active_alarms(patient.smoothed(30)) == ()
    assert "ART mean low" in [a.text for a in active_alarms(patient.smoothed(450))]


def test_desaturation_comes_and_goes() -> None:
    patient = Patient(5, "desaturation")
    texts = {t: [a.text for a in active_alarms(patient.smoothed(t))] for t in (30, 190, 320)}
    assert texts[30] == texts[320] == []
    assert "SpO2 low" in texts[190]
    assert "Ppeak high" in texts[190]


def test_arrest_has_no_pulse_and_comes_back() -> None:
    patient = Patient(5, "arrest")
    arrest, back = patient.at(75), patient.at(320)
    assert arrest.hr == 0
    assert arrest.spo2 is None
    assert arrest.pulse_rate is None
    assert arrest.art_sys - arrest.art_dia < 5
    first = active_alarms(patient.smoothed(75))[0]
    assert (first.event, first.priority) == (MDC_EVT_ECG_ASYSTOLE, Priority.HIGH)
    assert back.hr > 60
    assert back.spo2 is not None
    assert active_alarms(patient.smoothed(320)) == ()


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_alarms_do_not_chatter(scenario: str) -> None:
    patient = Patient(6, scenario)
    changes, before = 0, frozenset[tuple[str, int]]()
    for t in range(600):
        now = frozenset(a.key for a in active_alarms(patient.smoothed(float(t))))
        changes += now != before
        before = now
    assert changes <= 16
