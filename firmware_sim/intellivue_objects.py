"""What an IntelliVue monitor shows of the patient: numerics, waves, alarms, demographics, as objects and attributes."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_sim.alarms import active_alarms
from firmware_sim.intellivue_wire import Attributes, absolute_time, counted, float_type, label, string
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

MEASUREMENT_INVALID, UNAVAILABLE, DEMO_DATA, MSMT_ONGOING, IN_ALARM = 0x8000, 0x2000, 0x0400, 0x0020, 0x0002
BLOCK_S: Final = 0.256
_PCT, _DIMLESS, _BPM, _RPM, _MMHG, _CMH2O, _DEGC, _ML, _LPM, _MV, _OHM = (
    0x0220, 0x0200, 0x0AA0, 0x0AE0, 0x0F20, 0x0F40, 0x17A0, 0x0652, 0x0C00, 0x10B2, 0x10C0,
)  # fmt: skip
Values = Callable[[Numerics], tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class NumericObject:
    """One numeric: ids of its values in order, their unit, digits behind the point, and where they come from."""

    handle: int
    name: str
    text_id: int
    physio_ids: tuple[int, ...]
    unit: int
    decimals: int
    sensor: str
    values: Values
    category: int = 1


NUMERICS: Final = (
    NumericObject(0x0010, "HR", 0x00024182, (0x4182,), _BPM, 0, "ecg", lambda n: (n.hr,)),
    NumericObject(0x0011, "SpO₂", 0x00024BB8, (0x4BB8,), _PCT, 0, "spo2", lambda n: (n.spo2,)),
    NumericObject(0x0012, "Pulse", 0x00024822, (0x4822,), _BPM, 0, "spo2", lambda n: (n.pulse_rate,)),
    NumericObject(0x0013, "Perf", 0x00024BB0, (0x4BB0,), _DIMLESS, 1, "spo2", lambda n: (n.perfusion_index,)),
    NumericObject(
        0x0014, "ART", 0x00024A10, (0x4A11, 0x4A12, 0x4A13), _MMHG, 0, "art",
        lambda n: (n.art_sys, n.art_dia, n.art_mean),
    ),
    NumericObject(0x0015, "CVP", 0x00024A44, (0x4A47,), _MMHG, 0, "cvp", lambda n: (n.cvp,)),
    NumericObject(0x0017, "Tesoph", 0x00024B64, (0x4B64,), _DEGC, 1, "temp", lambda n: (n.temp,)),
    NumericObject(0x0018, "CO₂", 0x000250AC, (0x50B0, 0x50BA), _MMHG, 0, "gas", lambda n: (n.etco2_mmhg, n.fico2_mmhg)),
    NumericObject(0x0019, "awRR", 0x00025012, (0x5012,), _RPM, 0, "gas", lambda n: (n.resp_rate,)),
    NumericObject(0x001A, "etSEV", 0x00025220, (0x5220,), _PCT, 1, "gas", lambda n: (n.et_agent,)),
    NumericObject(0x001B, "inO₂", 0x00025284, (0x5284,), _PCT, 0, "gas", lambda n: (n.fio2,)),
    NumericObject(0x001C, "PEEP", 0x000251A8, (0x51A8,), _CMH2O, 1, "flow", lambda n: (n.peep,)),
    NumericObject(0x001D, "TVexp", 0x0002F0E1, (0xF0E1,), _ML, 0, "flow", lambda n: (n.tidal_exp,)),
    NumericObject(0x001E, "BIS", 0x0002F04E, (0xF04E,), _DIMLESS, 0, "eeg", lambda n: (n.bis,)),
    NumericObject(0x001F, "SR", 0x0002F04A, (0xF04A,), _PCT, 0, "eeg", lambda n: (n.bis_sr,)),
)  # fmt: skip
_NIBP: Final = NumericObject(0x0016, "NBP", 0x00024A04, (0x4A05, 0x4A06, 0x4A07), _MMHG, 0, "nibp", lambda n: ())  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class WaveObject:
    """One wave. `lower`/`upper`: absolute values at the ends of its scale; None for a wave without a unit."""

    handle: int
    name: str
    text_id: int
    kind: WaveKind
    rate_hz: float
    unit: int
    scaled: tuple[int, int]
    absolute: tuple[float, float] | None
    sensor: str

    @property
    def count(self) -> int:
        """Samples of one block."""
        return round(self.rate_hz * BLOCK_S)

    @property
    def is_ecg(self) -> bool:
        """ECG waves share their handle, are the fastest and carry marks."""
        return self.sensor == "ecg"


_ECG, _PRESSURE = ((0, 16383), (-40.96, 40.955)), ((160, 9120), (-40.0, 520.0))
WAVES: Final = (
    WaveObject(0x0040, "II", 0x00020102, WaveKind.ECG_II, 500, _MV, *_ECG, "ecg"),
    WaveObject(0x0040, "I", 0x00020101, WaveKind.ECG_I, 500, _MV, *_ECG, "ecg"),
    WaveObject(0x0040, "III", 0x0002013D, WaveKind.ECG_III, 500, _MV, *_ECG, "ecg"),
    WaveObject(0x0041, "ART", 0x00024A10, WaveKind.ART, 125, _MMHG, *_PRESSURE, "art"),
    WaveObject(0x0042, "Pleth", 0x00024BB4, WaveKind.PLETH, 125, _DIMLESS, (0, 4095), None, "spo2"),
    WaveObject(0x0043, "CVP", 0x00024A44, WaveKind.CVP, 125, _MMHG, *_PRESSURE, "cvp"),
    WaveObject(0x0044, "CO₂", 0x000250AC, WaveKind.CO2, 62.5, _MMHG, (100, 4000), (-4.0, 48.0), "gas"),
    WaveObject(0x0045, "Resp", 0x00025000, WaveKind.RESP, 62.5, _OHM, (0, 4095), (-0.6, 1.9), "ecg"),
    WaveObject(0x0046, "AWP", 0x000250F0, WaveKind.AWP, 62.5, _CMH2O, (0, 4000), (-10.0, 50.0), "flow"),
)  # fmt: skip
WAVE_BY_TEXT_ID: Final = {wave.text_id: wave for wave in WAVES}
DEFAULT_WAVES: Final = (0x00020102, 0x00024A10, 0x00024BB4, 0x000250AC)
_PACER_MASK, _ECG_INVALID_MASK = 0x4000, 0x8000
_PLETH_SCALE = 12.0

_ALERT_SOURCES: Final = {
    "hr": 0x4182, "spo2": 0x4BB8, "art_mean": 0x4A10, "etco2_mmhg": 0x50B0, "temp": 0x4B64, "ppeak": 0x5109,
}  # fmt: skip
_P_TYPES, _STARS = {1: 0x0100, 2: 0x0200, 3: 0x0400}, {1: "*", 2: "**", 3: "***"}
_SENSOR_DISCONNECTED: Final = 0x0134
_SENSOR_SOURCES: Final = {
    "ecg": (0x4182, "ECG LEADS OFF"), "spo2": (0x4BB8, "SpO₂ NO SENSOR"), "art": (0x4A10, "ART NO TRANSDUC"),
    "gas": (0x50B0, "CO₂ NO TUBING"), "temp": (0x4B64, "Tesoph NO TRANSDUC"),
}  # fmt: skip


def numeric_objects(
    numerics: Numerics, off: frozenset[str], clock_s: float, state: int
) -> list[tuple[int, Attributes]]:
    """Observed values of every numeric. `clock_s`: the monitor's own time when the simulation began."""
    found = []
    for numeric in NUMERICS:
        values = (None,) * len(numeric.physio_ids) if numeric.sensor in off else numeric.values(numerics)
        found.append((numeric.handle, [_observed(numeric, values, state)]))
    cuff = numerics.nibp
    ongoing = state | (MSMT_ONGOING if numerics.nibp_measuring else 0)
    if "nibp" not in off and cuff is not None:
        stamp = (0x0990, absolute_time(clock_s + cuff.taken_s))
        found.append((_NIBP.handle, [stamp, _observed(_NIBP, (cuff.sys, cuff.dia, cuff.mean), ongoing)]))
    elif "nibp" not in off:
        found.append((_NIBP.handle, [_observed(_NIBP, (None,) * 3, ongoing)]))
    return found


def _observed(numeric: NumericObject, values: tuple[float | None, ...], state: int) -> tuple[int, bytes]:
    entries = [
        struct.pack(">HHH", physio_id, state | (UNAVAILABLE if value is None else 0), numeric.unit)
        + float_type(value, numeric.decimals)
        for physio_id, value in zip(numeric.physio_ids, values, strict=True)
    ]
    return (0x094B, counted(entries)) if len(entries) > 1 else (0x0950, entries[0])


def numeric_context(handle: int) -> Attributes:
    """Static and dynamic context of one numeric."""
    numeric = next(numeric for numeric in (*NUMERICS, _NIBP) if numeric.handle == handle)
    compound = len(numeric.physio_ids) > 1
    return [
        (0x0921, struct.pack(">H", handle)),
        (0x092F, struct.pack(">HH", 2, numeric.physio_ids[0])),
        (0x0924, struct.pack(">I", numeric.text_id)),
        (0x0927, string(numeric.name)),
        (0x093F, struct.pack(">IHHBBH", 8192, numeric.category, 0x4000, compound, len(numeric.physio_ids), 0)),
        (0x0996, struct.pack(">H", numeric.unit)),
        (0x0911, b"\0\x06"),
        (0xF294, b"\0\0"),
    ]


def wave_block(patient: Patient, wave: WaveObject, t0_s: float, off: frozenset[str], state: int) -> Attributes:
    """256 ms of one wave, from t0_s on."""
    unplugged = wave.sensor in off
    samples = _scaled(patient, wave, t0_s, unplugged)
    raw = array("H", samples)
    raw.byteswap()
    data = raw.tobytes()
    state |= MEASUREMENT_INVALID if unplugged else 0
    return [(0x096E, struct.pack(">HHH", wave.text_id & 0xFFFF, state, len(data)) + data)]


def _scaled(patient: Patient, wave: WaveObject, t0_s: float, unplugged: bool) -> list[int]:
    low, high = wave.scaled
    if unplugged:
        return [low | (_ECG_INVALID_MASK if wave.is_ecg else 0)] * wave.count
    # 62.5 samples a second are every second of 125.
    step = 1 if wave.rate_hz == round(wave.rate_hz) else 2
    values = patient.wave(wave.kind, t0_s, step * wave.count, round(step * wave.rate_hz))[::step]
    if wave.absolute is None:
        return [min(high, max(low, round(2048 + _PLETH_SCALE * 10 * value))) for value in values]
    lower, upper = wave.absolute
    per = (high - low) / (upper - lower)
    return [min(high, max(low, round(low + (value - lower) * per))) for value in values]


def wave_context(wave: WaveObject) -> Attributes:
    """Static and dynamic context of one wave."""
    ecg = wave.is_ecg
    lower, upper = (None, None) if wave.absolute is None else wave.absolute
    fixed = [struct.pack(">HH", 1, _ECG_INVALID_MASK), struct.pack(">HH", 2, _PACER_MASK)] if ecg else []
    attributes: Attributes = [
        (0x0921, struct.pack(">H", wave.handle)),
        (0x092F, struct.pack(">HH", 2, wave.text_id & 0xFFFF)),
        (0x0924, struct.pack(">I", wave.text_id)),
        (0x0927, string(wave.name)),
        (0x096D, struct.pack(">HBBH", wave.count, 16, 14 if ecg else 12, 0x3000 if ecg else 0x2000)),
        (0x098D, struct.pack(">I", round(8000 / wave.rate_hz))),
        (0x0996, struct.pack(">H", wave.unit)),
        (0x096F, float_type(lower, 3) + float_type(upper, 3) + struct.pack(">HH", *wave.scaled)),
    ]
    # Of the ECG: not paced, the filter for monitoring.
    return [*attributes, (0x0A16, counted(fixed)), (0x0945, b"\x01\x40")] if ecg else attributes


def alert_attributes(patient: Patient, now_s: float, off: frozenset[str], state: int) -> Attributes:
    """Alert condition and the two lists of active alarms."""
    physiological = []
    numerics = patient.smoothed(now_s)
    for alarm in active_alarms(numerics):
        source = _ALERT_SOURCES[alarm.source]
        text = f"{_STARS[int(alarm.priority)]} {alarm.text}"
        entry = (source, alarm.event[0] & 0xFFFF, _P_TYPES[int(alarm.priority)])
        physiological.append(_alarm(*entry, state, 0x0006, source & 0xFF, text))
    technical = [
        _alarm(source, _SENSOR_DISCONNECTED, 0x0002, state, 0x0006, source & 0xFF, text)
        for sensor, (source, text) in _SENSOR_SOURCES.items()
        if sensor in off
    ]
    condition = struct.pack(">HHHHH", state, len(physiological) + len(technical), 0, 0, 0)
    return [(0x0916, condition), (0x0904, counted(technical)), (0x0902, counted(physiological))]


def _alarm(source: int, code: int, kind: int, state: int, object_class: int, handle: int, text: str) -> bytes:
    info = struct.pack(">HIHH", 1, 0x80010000 | code, 0, 0x4000) + string(text)
    return struct.pack(">HHHHHHHHH", source, code, kind, state, object_class, 0, handle, 516, len(info)) + info


def demographics() -> Attributes:
    """An invented patient."""
    return [
        (0x0921, struct.pack(">H", 0x0050)),
        (0x0957, b"\0\x02"),
        (0xF001, bytes(10)),
        (0x0962, b"\0\x01"),
        (0x0A1E, b"\0\0"),
        (0x095D, string("Testa")),
        (0x095C, string("Simulata")),
        (0x095A, string("SIM-0815")),
        (0xF129, string("")),
        (0x0961, b"\0\x02"),
        (0x0958, bytes.fromhex("1970020300000000")),
        (0x09D8, float_type(56, 0) + b"\x09\x40"),
        (0x09DC, float_type(168.0, 1) + b"\x05\x11"),
        (0x09DF, float_type(70.0, 1) + b"\x06\xc3"),
        (0x0956, float_type(1.80, 2) + b"\x05\xc0"),
    ]


def mds_attributes(unix_s: float, ticks: int, mode: int, *, whole: bool) -> Attributes:
    """The monitor itself: who it is, its mode and its two clocks. `whole` False: without what never changes."""
    who: Attributes = [
        (0x0986, struct.pack(">HH", 1, 0x114D)),
        (0x0928, label("Philips") + label("M8007A")),
        (0x0984, struct.pack(">H", 8) + bytes.fromhex("0009fbfffe010203")),
        (0x0948, bytes.fromhex("40000000")),
        (0x091E, string("OR 3")),
        (
            0x092D,
            counted([_production(1, 8, "DE00012345"), _production(4, 0x58, "J.10.50"), _production(3, 8, "A.00.01")]),
        ),
        (0xF1FA, counted([])),
        (0x0985, counted([struct.pack(">HH", 0x0102, 12) + counted([struct.pack(">HHI", 1, 6, 0xC9)])])),
    ]
    now: Attributes = [
        (0x0946, struct.pack(">H", mode)),
        (0x09A7, b"\0\x06"),
        (0x0987, absolute_time(unix_s)),
        (0x098F, struct.pack(">I", ticks & 0xFFFFFFFF)),
    ]
    return [*who, *now] if whole else now


def _production(kind: int, component: int, text: str) -> bytes:
    return struct.pack(">HH", kind, component) + label(text)
