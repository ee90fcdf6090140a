"""One physiological patient: every number a device may show, as a pure function of time.

Times are seconds since the start of the simulation (`t_s`, from 0). The same seed and scenario give the same patient,
whatever is asked and in which order, so that several devices attached to one `Patient` agree with each other.
"""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import dataclass

from firmware_sim.scenarios import SCENARIOS
from firmware_sim.signals import Signal, Sine, Trajectory, wander
from firmware_sim.waves import ART_PULSE_MEAN, Rhythm, WaveKind, WaveSynth

AMBIENT_MMHG = 747.0
# What is left in the arteries and veins when nothing moves: the mean circulatory filling pressure.
STANDSTILL_MMHG = 14.0
NIBP_PERIOD_S = 150.0
NIBP_FIRST_S = 5.0
NIBP_DURATION_S = 25.0
PEEP_CMH2O = 5.0

# signal: (lowest baseline, highest baseline, wander)
_BASELINES: dict[str, tuple[float, float, float]] = {
    "hr": (64, 78, 2.0),
    "art_sys": (112, 126, 3.0),
    "art_dia": (62, 72, 2.0),
    "cvp": (7, 10, 0.6),
    "spo2": (97, 99, 0.5),
    "etco2": (34, 38, 0.8),
    "temp": (36.1, 36.8, 0.02),
    "bis": (40, 50, 3.0),
    "ppv": (0.04, 0.06, 0.0),
    "ppeak": (15, 19, 0.4),
    "tidal": (440, 520, 6.0),
    "fio2": (42, 48, 0.3),
    "sevo": (1.7, 2.1, 0.04),
}
_FACTORS: dict[str, float] = {"qrs": 1.0, "vf": 0.0, "mechanical": 1.0, "perfusion": 1.0}


@dataclass(frozen=True, slots=True)
class NibpReading:
    """One cuff measurement: when it was taken and what it gave, in mmHg; pulse in beats per minute."""

    taken_s: float
    sys: float
    dia: float
    mean: float
    pulse: float


@dataclass(frozen=True, slots=True)
class Numerics:
    """What the sensors say at one moment. None: nothing can be measured (no pulse, no beat, no cuff reading yet).

    Pressures in mmHg, airway pressures in cmH2O, gases and saturation in %, volumes in ml, minute volume in l/min,
    temperature in degrees Celsius, rates per minute, compliance in ml/cmH2O.
    """

    t_s: float
    hr: float
    pulse_rate: float | None
    spo2: float | None
    perfusion_index: float
    art_sys: float
    art_dia: float
    art_mean: float
    cvp: float
    nibp: NibpReading | None
    nibp_measuring: bool
    temp: float
    resp_rate: float
    etco2_mmhg: float
    fico2_mmhg: float
    ambient_mmhg: float
    fio2: float
    eto2: float
    fi_agent: float
    et_agent: float
    mac: float
    tidal_insp: float
    tidal_exp: float
    ppeak: float
    pplat: float
    peep: float
    compliance: float
    minute_volume: float
    bis: float
    bis_sqi: float
    bis_emg: float
    bis_sr: float
    state_entropy: float
    response_entropy: float


class Patient:
    """The patient of one operating room; share one object between all devices of the room."""

    def __init__(self, seed: int = 1, scenario: str = "stable") -> None:
        """Raise ValueError for a scenario that is not in `SCENARIOS`."""
        if scenario not in SCENARIOS:
            raise ValueError(f"unknown scenario {scenario!r}; there are: {', '.join(sorted(SCENARIOS))}")
        self.seed = seed
        self.scenario = scenario
        rng = random.Random(f"patient {seed}")
        self.resp_rate = float(rng.choice((11, 12, 13, 14)))
        self._signals = self._build_signals(rng, scenario)
        rhythm = Rhythm(self._signals["hr"].integral, rng.random(), self.resp_rate, self)
        self._synth = WaveSynth(rhythm, seed)

    def _build_signals(self, rng: random.Random, scenario: str) -> dict[str, Signal]:
        changes = SCENARIOS[scenario]
        signals: dict[str, Signal] = {}
        for name, (low, high, spread) in _BASELINES.items():
            base = rng.uniform(low, high)
            sines = wander(rng, spread) if spread else ()
            if name == "hr":
                # Respiratory sinus arrhythmia: the ventilator pulls on the heart rate with every breath.
                sines = (*sines, Sine(1.6, self.resp_rate / 60 * 2 * math.pi, rng.uniform(0, 2 * math.pi)))
            frames = changes.get(name, ((0.0, 0.0),))
            signals[name] = Signal(Trajectory(tuple((float(t), base + v) for t, v in frames)), sines)
        for name, normal in _FACTORS.items():
            signals[name] = Signal(Trajectory(tuple((float(t), v) for t, v in changes.get(name, ((0.0, normal),)))))
        return signals

    # What the waves need, one value at a time -----------------------------------------------------------------

    def level(self, name: str, t_s: float) -> float:
        """One slow value with its wander (names as in `_BASELINES` and `_FACTORS`)."""
        return self._signals[name].at(t_s)

    def arterial(self, t_s: float) -> tuple[float, float]:
        """Systolic and diastolic pressure at t_s, mmHg."""
        return self._arterial(self.level("art_sys", t_s), self.level("art_dia", t_s), t_s)

    def _arterial(self, sys: float, dia: float, t_s: float) -> tuple[float, float]:
        drive = self.level("mechanical", t_s)
        # A weak beat or a chest compression lifts the top of the pulse more than it holds the pressure between two.
        return (
            STANDSTILL_MMHG + (sys - STANDSTILL_MMHG) * drive,
            STANDSTILL_MMHG + (dia - STANDSTILL_MMHG) * drive**1.5,
        )

    # What devices show ----------------------------------------------------------------------------------------

    def wave(self, kind: WaveKind, t0_s: float, n: int, rate_hz: int) -> array[float]:
        """`n` samples from t0_s on (snapped to the grid of 1/rate_hz), in the unit of the kind (see `WaveKind`).

        Cutting a stretch of time into calls in any way gives the same samples.
        """
        return self._synth.wave(kind, t0_s, n, rate_hz)

    def beats(self, t0_s: float, t1_s: float) -> list[float]:
        """Times of the R waves in [t0_s, t1_s)."""
        return self._synth.rhythm.beats(t0_s, t1_s)

    def at(self, t_s: float) -> Numerics:
        """Everything that can be measured at t_s, as a monitor would average it."""
        return self._numerics(t_s, smooth=False)

    def smoothed(self, t_s: float) -> Numerics:
        """The same without the slow wander: what alarm limits are compared with, so that alarms do not chatter."""
        return self._numerics(t_s, smooth=True)

    def _numerics(self, t_s: float, *, smooth: bool) -> Numerics:
        v = {name: (s.smooth(t_s) if smooth else s.at(t_s)) for name, s in self._signals.items()}
        sys, dia = self._arterial(v["art_sys"], v["art_dia"], t_s)
        flow = v["mechanical"]
        pulsatile = v["perfusion"] * flow > 0.04
        etco2 = max(2.0, v["etco2"])
        bis = min(98.0, max(4.0, v["bis"]))
        compliance = v["tidal"] / max(4.0, v["ppeak"] - 3.0 - PEEP_CMH2O)
        spo2 = min(100.0, max(50.0, v["spo2"]))
        return Numerics(
            t_s=t_s,
            hr=v["hr"] if v["qrs"] > 0.3 else 0.0,
            pulse_rate=v["hr"] if pulsatile else None,
            spo2=spo2 if pulsatile else None,
            perfusion_index=2.4 * v["perfusion"],
            art_sys=sys,
            art_dia=dia,
            art_mean=dia + (sys - dia) * ART_PULSE_MEAN,
            cvp=v["cvp"] + (1 - flow) * 5,
            nibp=self._nibp(t_s),
            nibp_measuring=t_s >= NIBP_FIRST_S and (t_s - NIBP_FIRST_S) % NIBP_PERIOD_S < NIBP_DURATION_S,
            temp=v["temp"],
            resp_rate=self.resp_rate,
            etco2_mmhg=etco2,
            fico2_mmhg=0.0,
            ambient_mmhg=AMBIENT_MMHG,
            fio2=v["fio2"],
            eto2=v["fio2"] - 4.6,
            fi_agent=v["sevo"] + 0.3,
            et_agent=v["sevo"],
            mac=v["sevo"] / 2.0,
            tidal_insp=v["tidal"],
            tidal_exp=v["tidal"] - 9.0,
            ppeak=v["ppeak"],
            pplat=v["ppeak"] - 3.0,
            peep=PEEP_CMH2O,
            compliance=compliance,
            minute_volume=(v["tidal"] - 9.0) * self.resp_rate / 1000,
            bis=bis,
            bis_sqi=95.0,
            bis_emg=28.0,
            bis_sr=max(0.0, (35.0 - bis) * 2.5),
            state_entropy=bis - 2.0,
            response_entropy=bis,
        )

    def _nibp(self, t_s: float) -> NibpReading | None:
        """The last cuff reading that succeeded: without a pulse the cuff finds nothing and the old one stands."""
        cycle = int((t_s - NIBP_FIRST_S - NIBP_DURATION_S) // NIBP_PERIOD_S)
        while cycle >= 0:
            taken_s = NIBP_FIRST_S + NIBP_DURATION_S + cycle * NIBP_PERIOD_S
            if self.level("mechanical", taken_s) > 0.6:
                sys, dia = self.arterial(taken_s)
                error = random.Random(f"nibp {self.seed} {cycle}").uniform(-4, 4)
                mean = dia + (sys - dia) * ART_PULSE_MEAN
                return NibpReading(taken_s, sys + error, dia + error / 2, mean + error / 2, self.level("hr", taken_s))
            cycle -= 1
        return None
