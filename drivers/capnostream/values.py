"""What a Capnostream's values, limits, bits and states are called in the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

from drivers.capnostream.message import NO_VALUE, FastStatus, SlowStatus, Values
from drivers.conditions import Condition
from drivers.contract import Now
from ledger.records import DeviceTime, EventKind, Numeric, Quality, Setting, Silence

_MMHG: Final = 1
UNITS: Final = {1: "mmHg", 2: "kPa", 3: "vol%"}
_PERCENT_MOST: Final = 100
_ET, _FI, _RR = "MDC_AWAY_CO2_ET", "MDC_AWAY_CO2_INSP", "MDC_CO2_RESP_RATE"
_SAT, _PULSE = "MDC_PULS_OXIM_SAT_O2", "MDC_PULS_OXIM_PULS_RATE"
_CO2: Final = "CO2"


@dataclass(frozen=True, slots=True)
class _Value:
    at: int
    name: str
    code: str
    unit: str


_VALUES: Final = (
    _Value(4, "EtCO2", _ET, _CO2),
    _Value(5, "FiCO2", _FI, _CO2),
    _Value(6, "RR", _RR, "/min"),
    _Value(7, "SpO2", _SAT, "%"),
    _Value(8, "PR", _PULSE, "/min"),
)
_LIMITS: Final = (
    _Value(15, "no breath period", "MDCX_ORIDION_NO_BREATH_PERIOD", "s"),
    _Value(16, "EtCO2 high limit", "MDCX_ORIDION_ETCO2_LIMIT_HIGH", _CO2),
    _Value(17, "EtCO2 low limit", "MDCX_ORIDION_ETCO2_LIMIT_LOW", _CO2),
    _Value(18, "RR high limit", "MDCX_ORIDION_RR_LIMIT_HIGH", "/min"),
    _Value(19, "RR low limit", "MDCX_ORIDION_RR_LIMIT_LOW", "/min"),
    _Value(20, "FiCO2 high limit", "MDCX_ORIDION_FICO2_LIMIT_HIGH", _CO2),
    _Value(21, "SpO2 high limit", "MDCX_ORIDION_SPO2_LIMIT_HIGH", "%"),
    _Value(22, "SpO2 low limit", "MDCX_ORIDION_SPO2_LIMIT_LOW", "%"),
    _Value(23, "PR high limit", "MDCX_ORIDION_PR_LIMIT_HIGH", "/min"),
    _Value(24, "PR low limit", "MDCX_ORIDION_PR_LIMIT_LOW", "/min"),
)
_UNITS_AT, _SLOW_AT, _CO2_ALARMS_AT, _SPO2_ALARMS_AT, _EXTENDED_AT = 25, 9, 13, 14, 26

_Bit = tuple[EventKind, str, str, tuple[int, int] | None]
_CO2_ALARMS: Final[dict[int, _Bit]] = {
    0x01: ("physiological_alarm", _RR, "no breath", None),
    0x02: ("physiological_alarm", _ET, "EtCO2 high", (17, 16)),
    0x04: ("physiological_alarm", _ET, "EtCO2 low", (17, 16)),
    0x08: ("physiological_alarm", _RR, "RR high", (19, 18)),
    0x10: ("physiological_alarm", _RR, "RR low", (19, 18)),
    0x20: ("physiological_alarm", _FI, "FiCO2 high", (0, 20)),
}
_SPO2_ALARMS: Final[dict[int, _Bit]] = {
    0x01: ("physiological_alarm", _PULSE, "pulse not found", None),
    0x02: ("physiological_alarm", _SAT, "SpO2 high", (22, 21)),
    0x04: ("physiological_alarm", _SAT, "SpO2 low", (22, 21)),
    0x08: ("physiological_alarm", _PULSE, "pulse rate high", (24, 23)),
    0x10: ("physiological_alarm", _PULSE, "pulse rate low", (24, 23)),
    0x20: ("technical_alarm", _SAT, "SpO2 sensor off the patient", None),
    0x40: ("technical_alarm", _SAT, "SpO2 sensor disconnected", None),
}
_EXTENDED: Final[dict[int, _Bit]] = {
    0x01: ("advisory", "", "check calibration", None),
    0x02: ("advisory", "", "check flow", None),
    0x04: ("technical_alarm", "", "pump off", None),
    0x80: ("technical_alarm", "", "battery low", None),
}
_SLOW: Final[dict[int, _Bit]] = {
    SlowStatus.NEONATAL: ("mode", "", "neonatal patient", None),
    SlowStatus.ALARMS_PAUSED: ("mode", "", "alarms silenced for a while", None),
    SlowStatus.ALARMS_OFF: ("mode", "", "all alarms silenced", None),
    SlowStatus.HIGH_ALARM_SOUNDS: ("advisory", "", "a high priority alarm sounds", None),
    SlowStatus.LOW_ALARM_SOUNDS: ("advisory", "", "a low priority alarm sounds", None),
    SlowStatus.ADVISORY_SOUNDS: ("advisory", "", "an advisory sounds", None),
    SlowStatus.PULSE_BEEP_OFF: ("mode", "", "pulse beep off", None),
    SlowStatus.MASIMO: ("mode", "", "Masimo oximetry module", None),
}
_FAST: Final[dict[int, _Bit]] = {
    FastStatus.INITIALISATION: ("advisory", "", "initialisation", None),
    FastStatus.OCCLUSION: ("technical_alarm", "", "occlusion in the gas input line", None),
    FastStatus.SELF_MAINTENANCE: ("advisory", "", "self-maintenance", None),
    FastStatus.PURGING: ("advisory", "", "purging", None),
    FastStatus.FILTER_LINE_OFF: ("technical_alarm", "", "filter line not connected", None),
    FastStatus.CO2_MALFUNCTION: ("technical_alarm", "", "CO2 malfunction", None),
}
_UNKNOWN: Final[_Bit] = ("advisory", "", "", None)


def co2_unit(units: int) -> tuple[str, Quality]:
    """The UCUM unit of CO2 while the monitor shows this one.

    What a byte of 38 means while the monitor shows kPa or vol% is not published: no unit then, and the value is
    questionable.
    """
    return ("mm[Hg]", Quality.GOOD) if units == _MMHG else ("", Quality.QUESTIONABLE)


def units_of(values: Values) -> int:
    """The code of the unit of CO2 that the monitor shows."""
    return values[_UNITS_AT]


def numerics(values: Values, time: DeviceTime, now: Now) -> Iterator[Numeric]:
    """The five values; no value where the monitor shows none."""
    for value in _VALUES:
        told = values[value.at]
        unit, quality = co2_unit(units_of(values)) if value.unit is _CO2 else (value.unit, Quality.GOOD)
        if told == NO_VALUE:
            quality = Quality.UNAVAILABLE
        elif value.code is _SAT and told > _PERCENT_MOST:
            quality = Quality.INVALID
        yield Numeric(
            at_ns=now.utc_ns,
            device_time=time,
            quality=quality,
            code=value.code,
            value=None if told == NO_VALUE else Decimal(told),
            unit=unit,
            device_code=value.name,
        )


def settings(values: Values, time: DeviceTime, now: Now) -> Iterator[Setting]:
    """The alarm limits and the unit shown; 255: none is set."""
    shown = UNITS.get(units_of(values), f"unit {units_of(values)}")
    yield Setting(at_ns=now.utc_ns, device_time=time, code="MDCX_ORIDION_CO2_UNITS", value=shown, unit="",
                  device_code="CO2 units")  # fmt: skip
    for limit in _LIMITS:
        told = values[limit.at]
        unit, quality = co2_unit(units_of(values)) if limit.unit is _CO2 else (limit.unit, Quality.GOOD)
        yield Setting(
            at_ns=now.utc_ns,
            device_time=time,
            quality=quality if told != NO_VALUE else Quality.UNAVAILABLE,
            code=limit.code,
            value=None if told == NO_VALUE else Decimal(told),
            unit=unit,
            device_code=limit.name,
        )


def conditions(values: Values) -> Iterator[Condition]:
    """Alarms, advisories and modes that are active."""
    slow = values[_SLOW_AT]
    silence: Silence = "on"
    if slow & SlowStatus.ALARMS_PAUSED:
        silence = "audio_paused"
    if slow & SlowStatus.ALARMS_OFF:
        silence = "audio_off"
    for word, at, known in (
        ("CO2_ALARM", _CO2_ALARMS_AT, _CO2_ALARMS),
        ("SPO2_ALARM", _SPO2_ALARMS_AT, _SPO2_ALARMS),
        ("EXTENDED_STATUS", _EXTENDED_AT, _EXTENDED),
        ("SLOW_STATUS", _SLOW_AT, _SLOW),
    ):
        for bit in _bits(values[at]):
            _, _, _, limits_at = known.get(bit, _UNKNOWN)
            limits = tuple(_limit(values, place) for place in limits_at) if limits_at else (None, None)
            yield _condition(word, bit, known, silence if word.endswith("ALARM") else "unknown", (limits[0], limits[1]))


@cache
def fast_conditions(status: int) -> tuple[Condition, ...]:
    """What the status byte of a sample tells of the sensor."""
    bits = _bits(status & ~(FastStatus.INVALID_CO2 | FastStatus.END_OF_BREATH))
    return tuple(_condition("FAST_STATUS", bit, _FAST, "unknown", (None, None)) for bit in bits)


@cache
def wave_quality(status: int) -> Quality:
    """How far samples with this status are to be believed; single invalid ones are marked so in the wave itself."""
    if status & FastStatus.CO2_MALFUNCTION:
        return Quality.INVALID
    if status & FastStatus.FILTER_LINE_OFF:
        return Quality.UNAVAILABLE
    if status & FastStatus.SELF_MAINTENANCE:
        return Quality.CALIBRATING
    if status & (FastStatus.INITIALISATION | FastStatus.OCCLUSION | FastStatus.PURGING):
        return Quality.QUESTIONABLE
    return Quality.GOOD


def _limit(values: Values, at: int) -> Decimal | None:
    return Decimal(values[at]) if at and values[at] != NO_VALUE else None


def _bits(word: int) -> Iterator[int]:
    return (1 << n for n in range(8) if word >> n & 1)


def _condition(
    word: str, bit: int, known: dict[int, _Bit], silence: Silence, limits: tuple[Decimal | None, Decimal | None]
) -> Condition:
    kind, source, text, _ = known.get(bit, _UNKNOWN)
    device_code = f"{word}.{bit:02X}"
    return Condition(device_code, kind, "unknown", f"MDCX_ORIDION_{word}_{bit:02X}", source, text, device_code, "",
                     silence, limits)  # fmt: skip
