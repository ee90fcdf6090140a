from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.patient import Patient
from firmware_sim.scenarios import SCENARIOS
from firmware_sim.waves import WaveKind

KIND = st.sampled_from(list(WaveKind))
RATE = st.sampled_from([25, 100, 125, 250, 300, 500])
SCENARIO = st.sampled_from(sorted(SCENARIOS))

# Lowest, highest, and the largest step between samples at 500 Hz.
BOUNDS = {
    WaveKind.ECG_I: (-0.6, 1.0, 0.2), WaveKind.ECG_II: (-1.2, 1.6, 0.3), WaveKind.ECG_III: (-0.8, 1.0, 0.25),
    WaveKind.ART: (5, 190, 6), WaveKind.CVP: (-2, 22, 1.5), WaveKind.PLETH: (-8, 12, 1), WaveKind.CO2: (-1, 60, 3),
    WaveKind.O2: (25, 60, 1), WaveKind.AWP: (0, 45, 2), WaveKind.FLOW: (-60, 45, 3), WaveKind.VOLUME: (-5, 600, 10),
    WaveKind.RESP: (-1, 1, 0.05), WaveKind.EEG: (-70, 70, 50),
}  # fmt: skip


@given(st.integers(0, 9), SCENARIO, KIND, RATE, st.integers(0, 200_000), st.lists(st.integers(0, 300), max_size=6))
@settings(deadline=None, max_examples=60)
def test_any_cut_of_time_gives_the_same_samples(
    seed: int, scenario: str, kind: WaveKind, rate: int, start: int, cuts: list[int]
) -> None:
    whole = Patient(seed, scenario).wave(kind, start / rate, sum(cuts), rate)
    pieces = array("d")
    patient = Patient(seed, scenario)
    patient.wave(kind, 0, 700, rate)  # what was drawn before must not matter
    for n in cuts:
        pieces += patient.wave(kind, (start + len(pieces)) / rate, n, rate)
    assert pieces == whole


@given(st.integers(0, 9), SCENARIO, st.integers(0, 400))
@settings(deadline=None, max_examples=25)
def test_waves_stay_in_range_and_do_not_jump(seed: int, scenario: str, start_s: int) -> None:
    patient = Patient(seed, scenario)
    for kind, (low, high, step) in BOUNDS.items():
        samples = patient.wave(kind, start_s, 2500, 500)
        assert low <= min(samples), kind
        assert max(samples) <= high, kind
        assert max(abs(b - a) for a, b in pairwise(samples)) <= step, kind


@given(st.integers(0, 9), SCENARIO, st.integers(0, 300))
@settings(deadline=None, max_examples=20)
def test_leads_obey_einthoven(seed: int, scenario: str, start_s: int) -> None:
    patient = Patient(seed, scenario)
    one, two, three = (
        patient.wave(kind, start_s, 600, 300) for kind in (WaveKind.ECG_I, WaveKind.ECG_II, WaveKind.ECG_III)
    )
    assert all(abs(a + c - b) < 1e-9 for a, b, c in zip(one, two, three, strict=True))


def _peak_times(samples: array[float], rate: int, floor: float) -> list[float]:
    return [
        i / rate
        for i in range(1, len(samples) - 1)
        if samples[i] > floor and samples[i - 1] <= samples[i] > samples[i + 1]
    ]


def test_r_waves_stand_where_the_beats_are_and_the_pulse_follows() -> None:
    patient = Patient(3)
    beats = patient.beats(10, 40)
    ecg = patient.wave(WaveKind.ECG_II, 10, 30 * 500, 500)
    peaks = [t + 10 for t in _peak_times(ecg, 500, 0.8)]
    merged = [p for i, p in enumerate(peaks) if i == 0 or p - peaks[i - 1] > 0.2]
    assert len(merged) == len(beats)
    assert all(abs(a - b) < 0.012 for a, b in zip(merged, beats, strict=True))
    assert len(beats) == pytest.approx(patient.at(25).hr / 2, abs=2)
    for kind, low_s, high_s in ((WaveKind.ART, 0.08, 0.35), (WaveKind.PLETH, 0.16, 0.45)):
        for r_s in beats[1:-1]:
            beat = patient.wave(kind, r_s, 250, 500)
            # The foot of the pulse comes after the R wave by the transit time, not with it.
            foot_s = min(range(len(beat) - 50), key=lambda i: beat[i] if i < 220 else 1e9) / 500
            assert low_s <= foot_s <= high_s, kind


@pytest.mark.parametrize("t_s", [20, 440])
def test_the_pressure_wave_agrees_with_the_displayed_pressures(t_s: int) -> None:
    patient = Patient(7, "haemorrhage")
    samples = patient.wave(WaveKind.ART, t_s - 5, 1000, 100)
    shown = patient.at(t_s)
    assert max(samples) == pytest.approx(shown.art_sys, rel=0.12)
    assert min(samples) == pytest.approx(shown.art_dia, abs=4)
    assert sum(samples) / len(samples) == pytest.approx(shown.art_mean, abs=4)


def test_the_capnogram_reaches_the_end_tidal_value_and_returns_to_zero() -> None:
    patient = Patient(7)
    samples = patient.wave(WaveKind.CO2, 60, 500, 25)
    assert max(samples) == pytest.approx(patient.at(70).etco2_mmhg, abs=2)
    assert min(samples) == pytest.approx(0, abs=0.5)
    breaths = sum(1 for a, b in pairwise(samples) if a < 15 <= b)
    assert breaths == pytest.approx(patient.resp_rate / 3, abs=1)


def test_the_pleth_shrinks_with_the_perfusion_and_stands_still_in_arrest() -> None:
    def height(patient: Patient, t_s: float) -> float:
        samples = patient.wave(WaveKind.PLETH, t_s, 500, 100)
        return max(samples) - min(samples)

    bleeding, arrest = Patient(8, "haemorrhage"), Patient(8, "arrest")
    assert height(bleeding, 430) < 0.6 * height(bleeding, 20)
    assert height(arrest, 74) < 0.5
    assert height(arrest, 320) > 5


def test_fibrillation_shows_no_complexes_but_moves() -> None:
    samples = Patient(9, "arrest").wave(WaveKind.ECG_II, 66, 1500, 300)
    assert max(samples) < 1.3
    assert max(samples) - min(samples) > 0.5


@pytest.mark.parametrize(("t0_s", "n", "rate"), [(-1.0, 1, 100), (0.0, -1, 100), (0.0, 1, 0)])
def test_senseless_requests_are_refused(t0_s: float, n: int, rate: int) -> None:
    with pytest.raises(ValueError, match="needs"):
        Patient(1).wave(WaveKind.ART, t0_s, n, rate)


def test_nothing_asked_nothing_given() -> None:
    assert len(Patient(1).wave(WaveKind.ECG_I, 5, 0, 300)) == 0
