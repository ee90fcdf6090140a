"""The patient's numbers and waves as a GE monitor scales and labels them (S/5 DRI specification)."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_sim.alarms import Alarm, Priority
from firmware_sim.ge_dri import INVALID, NOT_UPDATED, AlarmLine, PhysSubrecord, scaled
from firmware_sim.patient import AMBIENT_MMHG, Numerics, Patient
from firmware_sim.waves import WaveKind

EXISTS, ACTIVE = 1, 2
ON = EXISTS | ACTIVE
HR_FROM_ECG = 1 << 3
ZEROED = 1 << 3  # of a pressure group
LEADS_II_I_III = 0x312  # nibbles ch3, ch2, ch1
LABEL_ART, LABEL_CVP = 1, 2
LABEL_ESO = 1
LABEL_SEV = 6
NIBP_AUTO, NIBP_MEASURING, NIBP_OVER_60_S = 1 << 3, 1 << 5, 1 << 8
TV_BASE_BTPS = 2 << 8

WAVE_GAP, WAVE_LEAD_OFF = 1, 1 << 3

SENSORS = ("ecg", "art", "cvp", "nibp", "temp", "spo2", "gas", "flow", "eeg")


@dataclass(frozen=True, slots=True)
class WaveSpec:
    """How one waveform number is sent: samples per second, raw units per unit of the model, sensor, label."""

    rate_hz: int
    kind: WaveKind | None = None
    factor: float = 1.0
    sensor: str = ""
    label: int = 0


_PERCENT_OF_AMBIENT = 10000 / AMBIENT_MMHG
# ECG12 (22) and the loop bits (29) have packings of their own and are not simulated; a wave without a kind is one
# that the monitor knows but nobody has connected.
WAVES: dict[int, WaveSpec] = {
    1: WaveSpec(300, WaveKind.ECG_II, 1000, "ecg", 2),
    2: WaveSpec(300, WaveKind.ECG_I, 1000, "ecg", 1),
    3: WaveSpec(300, WaveKind.ECG_III, 1000, "ecg", 3),
    4: WaveSpec(100, WaveKind.ART, 100, "art", LABEL_ART),
    5: WaveSpec(100, WaveKind.CVP, 100, "cvp", LABEL_CVP),
    **{number: WaveSpec(100) for number in (6, 7, 16, 17, 36, 37)},
    8: WaveSpec(100, WaveKind.PLETH, 100, "spo2"),
    38: WaveSpec(100),
    9: WaveSpec(25, WaveKind.CO2, _PERCENT_OF_AMBIENT, "gas"),
    10: WaveSpec(25, WaveKind.O2, 100, "gas"),
    11: WaveSpec(25),
    12: WaveSpec(25),
    13: WaveSpec(25, WaveKind.AWP, 10, "flow"),
    14: WaveSpec(25, WaveKind.FLOW, 10, "flow"),
    15: WaveSpec(25, WaveKind.RESP, 100, "ecg"),
    **{number: WaveSpec(100) for number in (18, 19, 20, 21, 32)},
    23: WaveSpec(25, WaveKind.VOLUME, 1, "flow"),
    24: WaveSpec(25),
    35: WaveSpec(300),
}


def wave_samples(
    patient: Patient, number: int, t0_s: float, n: int, sensors_off: frozenset[str]
) -> tuple[list[int], int, int]:
    """Samples, status bits and label of one wave."""
    spec = WAVES[number]
    if spec.kind is None:
        return [NOT_UPDATED] * n, 0, 0
    if spec.sensor in sensors_off:
        return [INVALID] * n, WAVE_LEAD_OFF if spec.sensor == "ecg" else 0, spec.label
    factor = spec.factor
    return [round(v * factor) for v in patient.wave(spec.kind, t0_s, n, spec.rate_hz)], 0, spec.label


def fill(sub: PhysSubrecord, class_number: int, n: Numerics, off: frozenset[str]) -> None:
    """Write the numbers of a class into its subrecord; the sensors in `off` are unplugged."""
    if class_number == 0:
        _fill_circulation(sub, n, off)
        _fill_breathing(sub, n, off)
    elif class_number == 1 and "ecg" not in off:
        rr_time = scaled(60000 / n.hr, 1) if n.hr > 0 else INVALID
        sub.group("arrh_ecg", ON, hr=scaled(n.hr, 1), rr_time=rr_time, pvc=0)
    elif class_number == 2:
        _fill_eeg(sub, n, off)


def _status(sensor: str, off: frozenset[str], extra: int = 0) -> int:
    return EXISTS if sensor in off else ON | extra


def _fill_circulation(sub: PhysSubrecord, n: Numerics, off: frozenset[str]) -> None:
    ecg = "ecg" not in off
    hr = scaled(n.hr, 1) if ecg else INVALID
    sub.group(
        "ecg", _status("ecg", off, HR_FROM_ECG), LEADS_II_I_III, hr=hr, st1=10 if ecg else INVALID,
        st2=5 if ecg else INVALID, st3=5 if ecg else INVALID, imp_rr=scaled(n.resp_rate, 1) if ecg else INVALID,
    )  # fmt: skip
    sub.ecg_extra(hr, hr, hr)
    pulse = scaled(n.pulse_rate, 1)
    if "art" in off:
        sub.group("p1", EXISTS, LABEL_ART)
    else:
        sys, dia, mean = (scaled(v, 100) for v in (n.art_sys, n.art_dia, n.art_mean))
        sub.group("p1", ON | ZEROED, LABEL_ART, sys=sys, dia=dia, mean=mean, hr=pulse)
    if "cvp" in off:
        sub.group("p2", EXISTS, LABEL_CVP)
    else:
        sub.group("p2", ON | ZEROED, LABEL_CVP, mean=scaled(n.cvp, 100))
    _fill_nibp(sub, n, off)
    if "temp" in off:
        sub.group("t1", EXISTS, LABEL_ESO)
    else:
        sub.group("t1", ON, LABEL_ESO, temp=scaled(n.temp, 100))
    if "spo2" in off:
        sub.group("spo2", EXISTS)
    else:
        sub.group("spo2", ON, spo2=scaled(n.spo2, 100), pr=pulse, ir_amp=scaled(n.perfusion_index, 100))


def _fill_nibp(sub: PhysSubrecord, n: Numerics, off: frozenset[str]) -> None:
    if "nibp" in off:
        sub.group("nibp", EXISTS)
        return
    label = NIBP_AUTO | (NIBP_MEASURING if n.nibp_measuring else 0)
    if n.nibp is None:
        sub.group("nibp", ON, label)
        return
    if n.t_s - n.nibp.taken_s > 60:
        label |= NIBP_OVER_60_S
    sys, dia, mean = (scaled(v, 100) for v in (n.nibp.sys, n.nibp.dia, n.nibp.mean))
    sub.group("nibp", ON, label, sys=sys, dia=dia, mean=mean, hr=scaled(n.nibp.pulse, 1))


def _fill_breathing(sub: PhysSubrecord, n: Numerics, off: frozenset[str]) -> None:
    if "gas" in off:
        for name in ("co2", "o2", "n2o", "aa"):
            sub.group(name, EXISTS)
    else:
        per_mmhg = 10000 / n.ambient_mmhg
        sub.group(
            "co2", ON, et=scaled(n.etco2_mmhg, per_mmhg), fi=scaled(n.fico2_mmhg, per_mmhg),
            rr=scaled(n.resp_rate, 1), amb_press=scaled(n.ambient_mmhg, 10),
        )  # fmt: skip
        sub.group("o2", ON, et=scaled(n.eto2, 100), fi=scaled(n.fio2, 100))
        sub.group("n2o", ON, et=0, fi=0)
        aa = {"et": scaled(n.et_agent, 100), "fi": scaled(n.fi_agent, 100), "mac_sum": scaled(n.mac, 100)}
        sub.group("aa", ON, LABEL_SEV, **aa)
    if "flow" in off:
        sub.group("flow_vol", EXISTS)
        return
    sub.group(
        "flow_vol", ON, TV_BASE_BTPS, rr=scaled(n.resp_rate, 1), ppeak=scaled(n.ppeak, 100), peep=scaled(n.peep, 100),
        pplat=scaled(n.pplat, 100), tv_insp=scaled(n.tidal_insp, 10), tv_exp=scaled(n.tidal_exp, 10),
        compliance=scaled(n.compliance, 100), mv_exp=scaled(n.minute_volume, 100),
    )  # fmt: skip


def _fill_eeg(sub: PhysSubrecord, n: Numerics, off: frozenset[str]) -> None:
    if "eeg" in off:
        sub.group("eeg_bis", EXISTS)
        sub.group("entropy", EXISTS)
        return
    sr = scaled(n.bis_sr, 1)
    sub.group("eeg_bis", ON, bis=scaled(n.bis, 1), sqi=scaled(n.bis_sqi, 1), emg=scaled(n.bis_emg, 1), sr=sr)
    sub.group("entropy", ON, se=scaled(n.state_entropy, 1), re=scaled(n.response_entropy, 1), bsr=sr)


_COLOURS = {Priority.LOW: 1, Priority.MEDIUM: 2, Priority.HIGH: 3}


def alarm_lines(alarms: tuple[Alarm, ...], before: list[AlarmLine]) -> list[AlarmLine]:
    """The five lines on the screen, marked where they differ from those before."""
    lines: list[AlarmLine] = []
    for i in range(5):
        text = alarms[i].text.upper() if i < len(alarms) else ""
        colour = _COLOURS[alarms[i].priority] if i < len(alarms) else 0
        old = before[i] if i < len(before) else AlarmLine()
        lines.append(AlarmLine(text, colour, text != old.text, colour != old.colour))
    return lines
