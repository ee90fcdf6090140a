"""Processed variables into numerics, settings and conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.bis.messages import Processed, Trend
from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from drivers.shown_values import ShownValues
from ledger.records import Numeric, Quality, Record, Setting

_NO_VALUE_TO: Final = -3277
_CHANNELS: Final = ("1", "2", "")
"""Of the three trends; the last is of both channels, and what the monitor shows."""
_DEMO_SENSORS: Final = frozenset({5, 13})
_SIMULATORS: Final = frozenset({8, 9, 17})
_BILATERAL_SENSORS: Final = frozenset({14, 16})


@dataclass(frozen=True, slots=True)
class _Variable:
    """One of a trend: the monitor's name, place, code, digits after the point, most that it can be as sent, unit."""

    name: str
    at: int
    code: str
    digits: int
    most: int
    unit: str


_VARIABLES: Final = (
    _Variable("BIS", 3, "MDC_EEG_BISPECTRAL_INDEX", 1, 1_000, "1"),
    _Variable("SQI", 8, "MDC_EEG_SIGNAL_QUALITY_INDEX", 1, 1_000, "%"),
    _Variable("EMGLOW", 7, "MDC_EMG_ELEC_POTL_MUSCL", 2, 10_000, "dB"),
    _Variable("SR", 0, "MDCX_ASPECT_SR", 1, 1_000, "%"),
    _Variable("SEF95", 1, "MDC_EEG_FREQ_PWR_SPEC_CRTX_SPECTRAL_EDGE", 2, 3_000, "Hz"),
    _Variable("TOTPOW", 6, "MDC_EEG_PWR_SPEC_TOT", 2, 10_000, "dB"),
    _Variable("BISALT", 4, "MDCX_ASPECT_BISALT", 1, 1_000, "1"),
    _Variable("BISALT2", 5, "MDCX_ASPECT_BISALT2", 1, 1_000, "1"),
    _Variable("ARTF2", 9, "MDCX_ASPECT_ARTF2", 0, 0xFFFF_FFFF, "1"),
)
_BURSTS: Final = _Variable("BURST", -1, "MDCX_ASPECT_BURST", 0, 30, "/min")
_IMPEDANCE_DIGITS: Final = 1  # as sent in 100 ohm, as recorded in kOhm

_NOISE, _LEAD_OFF = 2, 4
_IMPEDANCE_BITS: Final = ((1, "high impedance"), (_NOISE, "noise in the impedance test"), (_LEAD_OFF, "lead off"))
_QUICK_TEST_BITS: Final = ((1, "gain test"), (2, "noise test"), (4, "test not done to its end"))

_HIGH_PASS: Final = ("0.25", "1", "2", "2.5")
_LOW_PASS: Final = ("none", "30", "50", "70")
_NOTCH: Final = ("none", "50", "60", "50 and 60")
_SPECTRAL_S: Final = ("0", "5", "10", "30", "60")
_BISPECTRAL_S: Final = ("15", "30", "60", "10")


def sensor_quality(told: Processed) -> Quality:
    """What the sensor says of all that is measured with it: demo, simulator, none."""
    quality = Quality.GOOD if told.sensor_is_legal and told.amplifier_is_legal else Quality.UNAVAILABLE
    if told.sensor_type in _DEMO_SENSORS:
        quality |= Quality.DEMO
    if told.sensor_type in _SIMULATORS:
        quality |= Quality.TEST
    return quality


def eeg_quality(told: Processed) -> Quality:
    """The same of the EEG: in this protocol that of a bilateral sensor is not valid."""
    bilateral = Quality.INVALID if told.sensor_type in _BILATERAL_SENSORS else Quality.GOOD
    return sensor_quality(told) | bilateral


class Values:
    """What was told last; outlives a connection."""

    def __init__(self) -> None:
        self._shown = ShownValues()
        self._settings: dict[str, str] = {}
        self._conditions = Conditions()

    def silent(self, now: Now) -> Iterator[Record]:
        """The monitor fell silent: nothing it showed holds."""
        yield from self._shown.silent(now)
        yield from self._conditions.silent(now)

    def tell_again(self) -> None:
        """Another case: filters, smoothing and conditions are told with the next second."""
        self._settings.clear()
        self._conditions.tell_again()

    def take(self, told: Processed, now: Now) -> Iterator[Record]:
        """The records of one second."""
        origin = sensor_quality(told) & (Quality.DEMO | Quality.TEST)
        yield from self._take_settings(told, now)
        for channel, trend in zip(_CHANNELS, told.trends, strict=True):
            for variable, sent in _sent(trend):
                yield from self._show(variable, channel, sent, origin, now)
        for channel, (value, result) in zip(_CHANNELS, told.impedances, strict=False):
            yield from self._show_impedance(channel, value, origin | _impedance_quality(told, result), now)
        yield from self._conditions.update(_conditions(told), now)

    def _show(self, variable: _Variable, channel: str, sent: int, origin: Quality, now: Now) -> Iterator[Numeric]:
        value = None if sent <= _NO_VALUE_TO else Decimal(sent).scaleb(-variable.digits)
        quality = Quality.UNAVAILABLE if value is None else Quality.GOOD
        if value is not None and not 0 <= sent <= variable.most:
            quality = Quality.INVALID
        yield from self._shown.show(
            f"{channel}.{variable.name}",
            Numeric(at_ns=now.utc_ns, quality=quality | origin, code=variable.code, value=value, unit=variable.unit,
                    device_code=variable.name, channel=channel),
        )  # fmt: skip

    def _show_impedance(self, channel: str, sent: int, quality: Quality, now: Now) -> Iterator[Numeric]:
        value = Decimal(sent).scaleb(-_IMPEDANCE_DIGITS)
        yield from self._shown.show(
            f"{channel}.IMPEDNCE",
            Numeric(at_ns=now.utc_ns, quality=quality, code="MDCX_ASPECT_IMPEDNCE", value=value, unit="kOhm",
                    device_code="IMPEDNCE", channel=channel),
        )  # fmt: skip

    def _take_settings(self, told: Processed, now: Now) -> Iterator[Setting]:
        for name, choices, word, byte, unit in (
            ("HIGH_PASS", _HIGH_PASS, told.filters, 0, "Hz"),
            ("LOW_PASS", _LOW_PASS, told.filters, 1, "Hz"),
            ("NOTCH", _NOTCH, told.filters, 2, "Hz"),
            ("SPECTRAL_SMOOTHING", _SPECTRAL_S, told.smoothing, 0, "s"),
            ("BIS_SMOOTHING", _BISPECTRAL_S, told.smoothing, 1, "s"),
        ):
            number = word >> 8 * byte & 0xFF
            text = choices[number] if number < len(choices) else f"option {number}"
            if self._settings.get(name) != text:
                self._settings[name] = text
                value = Decimal(text) if text[0].isdigit() and " " not in text else text
                yield Setting(at_ns=now.utc_ns, code=f"MDCX_ASPECT_{name}", value=value, unit=unit, device_code=name)


def _impedance_quality(told: Processed, result: int) -> Quality:
    """A high impedance is a true one; noise in its test makes it doubtful, and without a lead or sensor it is none."""
    if result & _LEAD_OFF or not (told.sensor_is_legal and told.amplifier_is_legal):
        return Quality.INVALID
    return Quality.QUESTIONABLE if result & _NOISE else Quality.GOOD


def _sent(trend: Trend) -> Iterator[tuple[_Variable, int]]:
    for variable in _VARIABLES:
        yield variable, trend.values[variable.at]
    if trend.bursts_per_min is not None:
        yield _BURSTS, trend.bursts_per_min


def _conditions(told: Processed) -> Iterator[Condition]:
    if not told.amplifier_is_legal:
        yield _condition("dsc", "no signal converter is connected, or one that is not known")
    if not told.sensor_is_legal:
        yield _condition("pic", "no sensor is connected, or one that is not known")
    for bit, text in _QUICK_TEST_BITS:
        if told.quick_test & bit:
            yield _condition(f"quick-test.{bit}", f"self-test of the signal converter failed: {text}")
    for channel, (_, result) in zip(_CHANNELS, told.impedances, strict=False):
        for bit, text in _IMPEDANCE_BITS:
            if result & bit:
                yield _condition(f"impedance.{channel}.{bit}", f"channel {channel}: {text}")


def _condition(alarm_id: str, text: str) -> Condition:
    code = "MDCX_ASPECT_" + alarm_id.upper().replace("-", "_").replace(".", "_")
    return Condition(alarm_id, "technical_alarm", "unknown", code, "", text, alarm_id)
