"""What two Dräger devices show of the patient: an intensive care ventilator and an anaesthesia machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firmware_sim.alarms import MDC_EVT_ECG_ASYSTOLE, MDC_EVT_HI, MDC_EVT_LO, Limits, active_alarms
from firmware_sim.medibus import WaveOffer, field_of
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

MBAR_PER_CMH2O = 0.980665
KPA_PER_MMHG = 0.133322
INTERVAL_US = 16_000

Form = tuple[str, str, float | Callable[[Numerics], float | None]]
"""Sensor without which it is absent, Dräger's notation, value."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One model: identity, tables by code, waves by code."""

    number: str
    name: str
    software: str
    protocol: str
    measured: Mapping[str, Form]
    measured_cp2: Mapping[str, Form]
    settings: Mapping[str, str]
    texts: Mapping[str, str]
    waves: Mapping[str, tuple[WaveOffer, WaveKind, float, str]]
    has_clock: bool = True

    def identification(self) -> bytes:
        """As in the answer to 52."""
        return f"{self.number}'{self.name}'{self.software}:{self.protocol}".encode()


def values_body(table: Mapping[str, Form], numerics: Numerics, off: frozenset[str]) -> bytes:
    """A data response: what has no valid value is absent."""
    out = ""
    for code, (sensor, form, read) in table.items():
        value = None if sensor in off else read if isinstance(read, float) else read(numerics)
        if value is not None:
            out += code + field_of(value, form)
    return out.encode()


_ALARMS: Mapping[tuple[str, int], tuple[str, int, str]] = {
    ("ppeak", MDC_EVT_HI[0]): ("10", 30, "PAW HIGH"),
    ("ppeak", MDC_EVT_LO[0]): ("9A", 30, "PAW LOW"),
    ("spo2", MDC_EVT_LO[0]): ("07", 28, "SPO2 LOW"),
    ("etco2_mmhg", MDC_EVT_LO[0]): ("27", 28, "ET CO2 LOW"),
    ("etco2_mmhg", MDC_EVT_HI[0]): ("28", 28, "ET CO2 HIGH"),
    ("hr", MDC_EVT_LO[0]): ("02", 6, "SPO2 PULS LO"),
    ("hr", MDC_EVT_HI[0]): ("1E", 6, "SPO2 PULS HI"),
    ("hr", MDC_EVT_ECG_ASYSTOLE[0]): ("01", 28, "NO SPO2 PULS"),
}
_SENSOR_ALARMS = {
    "flow": ("A4", 31, "VOL ERR"),
    "gas": ("D9", 28, "CO2 SENSOR ?"),
    "spo2": ("35", 28, "SPO2SEN DISC"),
}


def alarm_list(patient: Patient, now_s: float, off: frozenset[str]) -> list[tuple[str, int, str]]:
    """Code, priority and phrase of what is active on code page 1; a sensor that is unplugged breaks no limits."""
    found = [_SENSOR_ALARMS[sensor] for sensor in sorted(off & _SENSOR_ALARMS.keys())]
    gone = {"spo2": {"spo2", "hr"}, "gas": {"etco2_mmhg"}, "flow": {"ppeak"}}
    silent = {source for sensor in off for source in gone.get(sensor, ())}
    for alarm in active_alarms(patient.smoothed(now_s)):
        known = _ALARMS.get(alarm.key)
        if known is not None and alarm.source not in silent:
            found.append(known)
    return found


def limit_bodies(profile: Profile) -> tuple[bytes, bytes]:
    """Low and high alarm limits of code page 1."""
    limits = Limits()
    low = {"B9": 4.0, "EB": limits.spo2[0], "E1": limits.hr[0], "E6": limits.etco2_mmhg[0], "F0": 21.0}
    high = {
        "7D": limits.ppeak[1] * MBAR_PER_CMH2O, "B9": 9.0, "D6": 25.0, "E1": limits.hr[1], "E6": limits.etco2_mmhg[1],
        "F0": 60.0,
    }  # fmt: skip
    bodies = []
    for table in (low, high):
        shown = {code: value for code, value in table.items() if code in profile.measured}
        bodies.append("".join(code + field_of(v, profile.measured[code][1]) for code, v in shown.items()).encode())
    return bodies[0], bodies[1]


def _mbar(cmh2o: float) -> float:
    return cmh2o * MBAR_PER_CMH2O


_VENTILATION: Mapping[str, Form] = {
    "73": ("flow", "*XXX_", lambda n: _mbar(n.peep + (n.ppeak - n.peep) * 0.31)),
    "74": ("flow", "*XXX_", lambda n: _mbar(n.pplat)),
    "78": ("flow", "*XXX_", lambda n: _mbar(n.peep)),
    "7D": ("flow", "*XXX_", lambda n: _mbar(n.ppeak)),
    "B9": ("flow", "XX.X", lambda n: n.minute_volume),
    "D6": ("flow", "XXX_", lambda n: n.resp_rate),
    "E5": ("gas", "XX__", lambda n: n.fico2_mmhg),
    "E6": ("gas", "XXX_", lambda n: n.etco2_mmhg),
    "E1": ("spo2", "XXX_", lambda n: n.pulse_rate),
    "EB": ("spo2", "XXX_", lambda n: n.spo2),
    "F0": ("o2", "XXX_", lambda n: n.fio2),
}

_PAW = WaveOffer("00", INTERVAL_US, -10, 100, 0x370)
_FLOW = WaveOffer("01", INTERVAL_US, -200, 200, 0xFA0)
_PLETH = WaveOffer("02", INTERVAL_US, -10, 20, 0x3E8)
_VOLUME = WaveOffer("03", INTERVAL_US, 0, 2000, 0xFA0)
_O2 = WaveOffer("05", INTERVAL_US, 0, 100, 0x3E8)
_CO2 = WaveOffer("06", INTERVAL_US, -20, 100, 0x460)
_CO2_KPA = WaveOffer("07", INTERVAL_US, -2, 14, 0x460)

_AIRWAY_WAVES = {
    "00": (_PAW, WaveKind.AWP, MBAR_PER_CMH2O, "flow"),
    "01": (_FLOW, WaveKind.FLOW, 1.0, "flow"),
    "06": (_CO2, WaveKind.CO2, 1.0, "gas"),
}

EVITA_4 = Profile(
    number="8210",
    name="Evita4",
    software="04.22",
    protocol="04.03",
    measured={
        "07": ("flow", "_XXX", lambda n: n.compliance / MBAR_PER_CMH2O),
        "08": ("flow", "XXX_", lambda n: _mbar(n.ppeak - n.pplat) / 0.5),
        "09": ("gas", "XXX_", 190.0),
        "71": ("flow", "*XXX_", lambda n: _mbar(n.peep) - 1),
        "79": ("flow", "XX.X", 0.4),
        "82": ("flow", "X.XX", lambda n: n.tidal_exp / 1000),
        "B5": ("flow", "XXX_", 0.0),
        "B7": ("flow", "XX.X", 0.0),
        "C1": ("temp", "_XX_", 35.0),
        **_VENTILATION,
    },
    measured_cp2={},
    settings={
        "01": "  45 ", "02": " 35.0", "04": "0.480", "05": " 1.70", "07": "  1.0", "08": "  2.0", "09": " 12.0",
        "0B": "  5.0", "11": "  20 ", "13": " 28.0", "29": "  3.0", "2E": " 0.20",
    },
    texts={"31": "IPPV/ASSIST/AutoFlow", "20": "ADULTS"},
    waves={
        **_AIRWAY_WAVES,
        "02": (_PLETH, WaveKind.PLETH, 1.0, "spo2"),
        "03": (_VOLUME, WaveKind.VOLUME, 1.0, "flow"),
    },
    has_clock=False,
)  # fmt: skip

PRIMUS = Profile(
    number="8603",
    name="Primus",
    software="04.50",
    protocol="06.00",
    measured={
        "06": ("flow", "XX.X", lambda n: n.compliance / MBAR_PER_CMH2O),
        "6B": ("", "XXXX", lambda n: n.ambient_mmhg * KPA_PER_MMHG * 10),
        "88": ("flow", "XXXX", lambda n: n.tidal_exp),
        "AD": ("gas", "XX.X", lambda n: n.mac),
        "B0": ("gas", "XX.X", lambda n: n.fi_agent),
        "B1": ("gas", "XX.X", lambda n: n.et_agent),
        "DD": ("", "XXXX", 0.0),
        "DE": ("", "XXXX", 700.0),
        "E2": ("", "XXXX", 300.0),
        "EF": ("gas", "XXX_", lambda n: n.eto2),
        "FB": ("gas", "XXX_", 0.0),
        "FC": ("gas", "XXX_", 0.0),
        **_VENTILATION,
    },
    measured_cp2={
        "21": ("flow", "XXXX", lambda n: n.tidal_exp),
        "22": ("flow", "XXXX", lambda n: n.tidal_insp),
    },
    settings={
        "01": "  45 ", "05": " 1.70", "09": " 12.0", "0B": "  5.0", "13": " 28.0", "27": "   10", "2F": " 1000",
        "40": "  480", "4A": "   54", "4B": "   78",
    },
    texts={"01": "IPPV", "22": "CO2 in mmHg", "29": "SEVOFLURANE", "37": "CARRIER GAS AIR", "2C": "ENGLISH"},
    waves={
        **_AIRWAY_WAVES,
        "05": (_O2, WaveKind.O2, 1.0, "gas"),
    },
)  # fmt: skip

CO2_IN_KPA = (_CO2_KPA, WaveKind.CO2, KPA_PER_MMHG, "gas")
PROFILES: Mapping[str, Profile] = {"evita4": EVITA_4, "primus": PRIMUS}
