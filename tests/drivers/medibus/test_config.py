from __future__ import annotations

import msgspec
import pytest

from drivers.medibus import MedibusConfig


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"waves": ["ECG"]}, "waves"),
        ({"waves": ["PAW", "PAW"]}, "waves"),
        ({"wave_multiplier": 0}, "wave_multiplier"),
        ({"wave_multiplier": 256}, "wave_multiplier"),
        ({"numerics_s": 0.1}, "numerics_s"),
        ({"alarms_s": 9999}, "alarms_s"),
        ({"clock_s": float("nan")}, "clock_s"),
        ({"dialect": "klingon"}, "dialect"),
        ({"numerics": 3}, "numerics"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(options, MedibusConfig)


def test_twelve_waves_are_the_most() -> None:
    names = ["PAW", "FLOW", "PLETH", "VOLUME", "O2", "CO2_MMHG", "CO2_KPA", "CO2_PERCENT", "AGENT", "HALOTHANE",
             "ENFLURANE", "ISOFLURANE"]  # fmt: skip
    assert msgspec.convert({"waves": names}, MedibusConfig).waves == tuple(names)
    with pytest.raises(msgspec.ValidationError, match="at most 12"):
        msgspec.convert({"waves": [*names, "DESFLURANE"]}, MedibusConfig)
