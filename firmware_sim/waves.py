"""The patient's waves, in pure Python and cheap: tables of one beat or breath, laid out beat by beat.

A sample depends only on its absolute number on the grid of 1/rate_hz (never on where a call began), so any way of
cutting time into calls gives the same samples.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol


class WaveKind(StrEnum):
    """What can be drawn, with its unit."""

    ECG_I = "ecg-i"  # mV
    ECG_II = "ecg-ii"  # mV
    ECG_III = "ecg-iii"  # mV
    ART = "art"  # mmHg
    CVP = "cvp"  # mmHg
    PLETH = "pleth"  # %
    CO2 = "co2"  # mmHg
    O2 = "o2"  # %
    AWP = "awp"  # cmH2O
    FLOW = "flow"  # l/min, inspiration positive
    VOLUME = "volume"  # ml
    RESP = "resp"  # ohm, impedance change
    EEG = "eeg"  # uV, frontal


_PULSE_POINTS = 2048
_ECG_PER_S = 4000
_ECG_LEAD_S = 0.30  # the table begins this long before the R wave
_ECG_FIXED_S = 0.08  # from here on, the ST segment and T wave stretch with the beat
_ECG_TAIL_S = 0.52
_NOISE_POINTS = 4096
_PLETH_DELAY_S = 0.09  # from the radial artery to the finger
_INSPIRATION = 1 / 3  # of the breath
_CO2_SHIFT = 0.2  # of the breath: where the airway is free of carbon dioxide


def _gauss(x: float, centre: float, width: float) -> float:
    return math.exp(-(((x - centre) / width) ** 2) / 2)


def _tabulate(f: Callable[[float], float], points: int = _PULSE_POINTS) -> list[float]:
    """Tabulate f over one cycle, bent to start and end at exactly 0; one point more than `points`."""
    raw = [f(i / points) for i in range(points + 1)]
    first, last = raw[0], raw[-1]
    return [v - first - (last - first) * i / points for i, v in enumerate(raw)]


def _unit(table: list[float]) -> list[float]:
    top = max(table)
    return [v / top for v in table]


def _pulse(u: float) -> float:
    """One arterial pulse: steep upstroke, systolic peak, dicrotic notch and wave, run-off."""
    return (
        _gauss(u, 0.16, 0.062)
        + 0.62 * _gauss(u, 0.28, 0.085)
        + 0.40 * _gauss(u, 0.47, 0.075)
        + 0.20 * _gauss(u, 0.66, 0.14)
    )


def _venous(u: float) -> float:
    """a, c and v waves of the central venous pressure."""
    return 0.8 * _gauss(u, 0.12, 0.05) + 0.45 * _gauss(u, 0.28, 0.04) + 0.7 * _gauss(u, 0.62, 0.09)


def _plateau(u: float) -> float:
    """Capnogram, shifted by _CO2_SHIFT so that it begins and ends in CO2-free gas: upstroke, plateau, washout."""
    rise = 1 / (1 + math.exp(-(u - 0.22) / 0.018))
    fall = 1 / (1 + math.exp((u - 0.83) / 0.012))
    return rise * fall * (0.86 + 0.14 * min(1.0, max(0.0, (u - 0.22) / 0.58)))


def _airway(u: float) -> float:
    """Airway pressure above PEEP: resistive step, rise while the volume goes in, relaxation."""
    if u < _INSPIRATION:
        return min(1.0, u / 0.03) * (0.25 + 0.75 * u / _INSPIRATION)
    return math.exp(-(u - _INSPIRATION) / 0.05)


def _flow(u: float) -> float:
    if u < _INSPIRATION:
        return min(1.0, u / 0.02, (_INSPIRATION - u) / 0.02)
    x = u - _INSPIRATION
    return -1.5 * min(1.0, x / 0.02) * math.exp(-x / 0.13)


def _volume(u: float) -> float:
    return u / _INSPIRATION if u < _INSPIRATION else math.exp(-(u - _INSPIRATION) / 0.13)


PULSE = _unit(_tabulate(_pulse))
VENOUS = _unit(_tabulate(_venous))
CAPNO = _unit(_tabulate(_plateau))
AIRWAY = _unit(_tabulate(_airway))
FLOW = _tabulate(_flow)
VOLUME = _unit(_tabulate(_volume))
SINE = [math.sin(2 * math.pi * i / _PULSE_POINTS) for i in range(_PULSE_POINTS + 1)]
# Part of the pulse pressure by which the mean lies above the diastolic pressure.
ART_PULSE_MEAN = sum(PULSE) / len(PULSE)

# (centre s, width s, mV in lead I, mV in lead II) for P, Q, R, S, T; lead III is II - I (Einthoven).
_PQRST = (
    (-0.165, 0.022, 0.07, 0.13),
    (-0.026, 0.007, -0.03, -0.09),
    (0.000, 0.0105, 0.55, 1.05),
    (0.028, 0.009, -0.09, -0.20),
    (0.270, 0.043, 0.16, 0.28),
)


def _ecg_table(lead: int) -> list[float]:
    points = int((_ECG_LEAD_S + _ECG_TAIL_S) * _ECG_PER_S) + 2
    xs = [i / _ECG_PER_S - _ECG_LEAD_S for i in range(points)]
    return [sum(peak[2 + lead] * _gauss(x, peak[0], peak[1]) for peak in _PQRST) for x in xs]


ECG_I = _ecg_table(0)
ECG_II = _ecg_table(1)
ECG_III = [b - a for a, b in zip(ECG_I, ECG_II, strict=True)]


class Levels(Protocol):
    """The slow values behind the waves; `Patient` is one."""

    def level(self, name: str, t_s: float) -> float:
        """One slow value by name."""
        ...

    def arterial(self, t_s: float) -> tuple[float, float]:
        """Systolic and diastolic pressure."""
        ...


@dataclass(frozen=True, slots=True)
class Beat:
    """One heart beat: when it happens at the heart and the wrist, and how strong it is."""

    r_s: float
    foot_s: float
    rr_s: float
    qrs: float
    dia: float
    pulse: float
    perfusion: float
    cvp: float


class Rhythm:
    """When the heart beats and the lungs fill: beat k is where the integral of the heart rate reaches k."""

    def __init__(self, hr_integral: Callable[[float], float], phase: float, resp_rate: float, levels: Levels) -> None:
        self._hr_integral = hr_integral
        self._phase = phase
        self.breath_s = 60 / resp_rate
        self.levels = levels
        self.beat: Callable[[int], Beat] = lru_cache(maxsize=256)(self._beat)
        self._r_time: Callable[[int], float] = lru_cache(maxsize=256)(self._solve_r_time)

    def count(self, t_s: float) -> float:
        """Beats until t_s, with their fraction."""
        return self._hr_integral(t_s) / 60 + self._phase

    def _solve_r_time(self, k: int) -> float:
        # Bisection from bounds that depend on k alone: the same beat has the same time for whoever asks.
        low, high = -1.0, 2.0
        while self.count(low) > k:
            low = low * 2 - 1
        while self.count(high) < k:
            high *= 2
        while high - low > 1e-7:
            mid = (low + high) / 2
            if self.count(mid) < k:
                low = mid
            else:
                high = mid
        return high

    def beats(self, t0_s: float, t1_s: float) -> list[float]:
        """R wave times in [t0_s, t1_s)."""
        ks = range(math.floor(self.count(t0_s)) - 1, math.ceil(self.count(t1_s)) + 2)
        return [r for k in ks if t0_s <= (r := self._r_time(k)) < t1_s]

    def _beat(self, k: int) -> Beat:
        r_s = self._r_time(k)
        levels = self.levels
        sys, dia = levels.arterial(r_s)
        # Each breath presses on the filling of the heart: pulse pressure falls and rises with it.
        swing = levels.level("ppv", r_s) * math.sin(2 * math.pi * r_s / self.breath_s)
        # The stiffer the vessel, the faster the pulse: transit time shortens as pressure rises.
        transit_s = min(0.26, max(0.13, 0.25 - 0.0008 * sys))
        return Beat(
            r_s=r_s,
            foot_s=r_s + transit_s,
            rr_s=self._r_time(k + 1) - r_s,
            qrs=levels.level("qrs", r_s),
            dia=dia,
            pulse=(sys - dia) * (1 + swing),
            perfusion=levels.level("perfusion", r_s) * levels.level("mechanical", r_s) * (1 + swing),
            cvp=levels.level("cvp", r_s) + (1 - levels.level("mechanical", r_s)) * 5,
        )


class WaveSynth:
    """Draws any `WaveKind` for any stretch of time."""

    def __init__(self, rhythm: Rhythm, seed: int) -> None:
        self.rhythm = rhythm
        self._seed = seed
        rng = random.Random(f"waves {seed}")
        noise_i = [rng.gauss(0, 1) for _ in range(_NOISE_POINTS)]
        noise_ii = [rng.gauss(0, 1) for _ in range(_NOISE_POINTS)]
        self._noise = {
            WaveKind.ECG_I: noise_i,
            WaveKind.ECG_II: noise_ii,
            WaveKind.ECG_III: [b - a for a, b in zip(noise_i, noise_ii, strict=True)],
        }
        self._vf_phases = tuple(rng.uniform(0, 2 * math.pi) for _ in range(4))

    def wave(self, kind: WaveKind, t0_s: float, n: int, rate_hz: int) -> array[float]:
        """See `Patient.wave`."""
        if n < 0 or rate_hz <= 0 or t0_s < 0:
            raise ValueError("a wave needs t0_s >= 0, n >= 0 and rate_hz > 0")
        start = round(t0_s * rate_hz)
        out = array("d", bytes(8 * n))
        if not n:
            return out
        if kind in self._noise:
            self._ecg(kind, out, start, rate_hz)
        elif kind is WaveKind.EEG:
            self._eeg(out, start, rate_hz)
        elif kind in (WaveKind.ART, WaveKind.PLETH, WaveKind.CVP):
            self._pulses(kind, out, start, rate_hz)
        else:
            self._breaths(kind, out, start, rate_hz)
        return out

    def _ecg(self, kind: WaveKind, out: array[float], start: int, rate: int) -> None:
        end = start + len(out)
        noise = self._noise[kind]
        gain = {WaveKind.ECG_I: 0.02, WaveKind.ECG_II: 0.05, WaveKind.ECG_III: 0.03}[kind]
        breath = _PULSE_POINTS / (self.rhythm.breath_s * rate)
        out[:] = array(
            "d",
            [0.006 * noise[i & 4095] + gain * SINE[int(i * breath) & (_PULSE_POINTS - 1)] for i in range(start, end)],
        )
        self._fibrillation(kind, out, start, rate)
        table = {WaveKind.ECG_I: ECG_I, WaveKind.ECG_II: ECG_II, WaveKind.ECG_III: ECG_III}[kind]
        # A T wave reaches about 0.8 s past its R wave at most; a P wave begins 0.3 s before.
        first = math.floor(self.rhythm.count(max(0.0, start / rate - 0.9))) - 1
        last = math.ceil(self.rhythm.count(end / rate + _ECG_LEAD_S)) + 1
        for k in range(first, last + 1):
            self._complex(self.rhythm.beat(k), table, out, start, rate)

    def _complex(self, beat: Beat, table: list[float], out: array[float], start: int, rate: int) -> None:
        """Add one PQRST complex to `out`."""
        qrs = beat.qrs
        if qrs < 0.001:
            return
        end = start + len(out)
        stretch = min(1.25, max(0.55, math.sqrt(beat.rr_s)))
        origin = beat.r_s * rate
        fixed_end = origin + _ECG_FIXED_S * rate
        tail_end = fixed_end + (_ECG_TAIL_S - _ECG_FIXED_S) * stretch * rate
        step = _ECG_PER_S / rate
        lead = _ECG_LEAD_S * _ECG_PER_S
        for i in range(max(start, math.ceil(origin - _ECG_LEAD_S * rate)), min(end, math.ceil(fixed_end))):
            out[i - start] += qrs * table[int((i - origin) * step + lead)]
        slow = step / stretch
        base = (_ECG_LEAD_S + _ECG_FIXED_S) * _ECG_PER_S
        for i in range(max(start, math.ceil(fixed_end)), min(end, math.ceil(tail_end))):
            out[i - start] += qrs * table[int((i - fixed_end) * slow + base)]

    def _eeg(self, out: array[float], start: int, rate: int) -> None:
        """Slow waves that grow with depth, alpha spindles, fast activity that fades; deepest, bursts and silence."""
        noise = self._noise[WaveKind.ECG_I]
        end = start + len(out)
        for second in range(start // rate, -(-end // rate)):
            bis = self.rhythm.levels.level("bis", float(second))
            depth = min(1.0, max(0.0, (98.0 - bis) / 60.0))
            silent = random.Random(f"eeg {self._seed} {second // 2}").random() < (35.0 - bis) * 0.025
            gain = 0.04 if silent else 1.0
            slow, alpha, fast = gain * 24.0 * depth, gain * 11.0 * depth, 4.0 * gain * (1.4 - depth)
            for i in range(max(start, second * rate), min(end, (second + 1) * rate)):
                t = i / rate
                spindle = SINE[int(t * 0.23 * _PULSE_POINTS) & (_PULSE_POINTS - 1)] ** 2
                out[i - start] = (
                    slow * SINE[int(t * 1.1 * _PULSE_POINTS) & (_PULSE_POINTS - 1)]
                    + alpha * spindle * SINE[int(t * 10.3 * _PULSE_POINTS) & (_PULSE_POINTS - 1)]
                    + fast * noise[(i * 7) & 4095]
                )

    def _fibrillation(self, kind: WaveKind, out: array[float], start: int, rate: int) -> None:
        levels = self.rhythm.levels
        end_s = (start + len(out)) / rate
        if levels.level("vf", start / rate) == 0 and levels.level("vf", end_s) == 0:
            return
        gain = {WaveKind.ECG_I: 0.2, WaveKind.ECG_II: 0.45, WaveKind.ECG_III: 0.25}[kind]
        a, b, c, d = self._vf_phases
        for i in range(start, start + len(out)):
            t = i / rate
            shape = math.sin(29.0 * t + a) + 0.6 * math.sin(37.3 * t + b) + 0.5 * math.sin(23.1 * t + c)
            out[i - start] += gain * levels.level("vf", t) * shape * (0.75 + 0.25 * math.sin(2.9 * t + d))

    def _pulses(self, kind: WaveKind, out: array[float], start: int, rate: int) -> None:
        end = start + len(out)
        rhythm = self.rhythm
        k = math.floor(rhythm.count(max(0.0, start / rate - 0.5))) - 1
        while True:
            beat, after = rhythm.beat(k), rhythm.beat(k + 1)
            from_s, to_s, foot, foot_after, gain, table = self._pulse_shape(kind, beat, after)
            i0, i1 = max(start, math.ceil(from_s * rate)), min(end, math.ceil(to_s * rate))
            if i0 < i1:
                origin = from_s * rate
                per = 1 / ((to_s - from_s) * rate)
                points = per * _PULSE_POINTS
                slope = (foot_after - foot) * per
                out[i0 - start : i1 - start] = array(
                    "d",
                    [foot + slope * (i - origin) + gain * table[int((i - origin) * points)] for i in range(i0, i1)],
                )
            if i1 >= end and to_s * rate >= end:
                return
            k += 1

    @staticmethod
    def _pulse_shape(kind: WaveKind, beat: Beat, after: Beat) -> tuple[float, float, float, float, float, list[float]]:
        """From, to, value at the foot of this and of the next pulse, height, table."""
        if kind is WaveKind.ART:
            return beat.foot_s, after.foot_s, beat.dia, after.dia, beat.pulse, PULSE
        if kind is WaveKind.PLETH:
            delay = _PLETH_DELAY_S
            return beat.foot_s + delay, after.foot_s + delay, -4.0, -4.0, 10.0 * beat.perfusion, PULSE
        # The atrial wave comes before the R wave.
        gain = 4.0 * beat.qrs
        return beat.r_s - 0.1, after.r_s - 0.1, beat.cvp - gain * 0.25, after.cvp - after.qrs, gain, VENOUS

    def _breaths(self, kind: WaveKind, out: array[float], start: int, rate: int) -> None:
        end = start + len(out)
        shift_s = _CO2_SHIFT * self.rhythm.breath_s if kind in (WaveKind.CO2, WaveKind.O2) else 0.0
        samples = self.rhythm.breath_s * rate
        offset = shift_s * rate
        points = _PULSE_POINTS / samples
        k = math.floor((start - offset) / samples) - 1
        while True:
            origin = k * samples + offset
            i0, i1 = max(start, math.ceil(origin)), min(end, math.ceil(origin + samples))
            if i0 < i1:
                base, gain, table = self._breath_shape(kind, max(0.0, origin / rate))
                top = len(table) - 1
                out[i0 - start : i1 - start] = array(
                    "d", [base + gain * table[min(top, int((i - origin) * points))] for i in range(i0, i1)]
                )
            if i1 >= end:
                return
            k += 1

    def _breath_shape(self, kind: WaveKind, t_s: float) -> tuple[float, float, list[float]]:
        """Value at the start of the breath, height, table."""
        level = self.rhythm.levels.level
        if kind is WaveKind.CO2:
            return 0.0, max(2.0, level("etco2", t_s)), CAPNO
        if kind is WaveKind.O2:
            return level("fio2", t_s), -4.6, CAPNO
        if kind is WaveKind.AWP:
            return 5.0, level("ppeak", t_s) - 5.0, AIRWAY
        if kind is WaveKind.FLOW:
            # The tidal volume over the time of inspiration, from ml/s to l/min.
            return 0.0, level("tidal", t_s) / (self.rhythm.breath_s * _INSPIRATION) * 0.06, FLOW
        if kind is WaveKind.VOLUME:
            return 0.0, level("tidal", t_s), VOLUME
        return 0.0, 0.8, SINE
