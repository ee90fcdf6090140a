from __future__ import annotations

import msgspec
import pytest

from drivers.intellivue import IntelliVueConfig


def parse(**options: object) -> IntelliVueConfig:
    return msgspec.convert(options, IntelliVueConfig)


def test_defaults() -> None:
    config = parse()
    assert (config.interface, config.waves, config.wave_list) == ("auto", True, ())
    assert (config.enumerations, config.demographics) == (True, "measures")


def test_waves_are_named_as_their_records_are() -> None:
    assert len(parse(wave_list=["MDC_ECG_ELEC_POTL_II", "MDCX_PHILIPS_0002F0A0"]).wave_list) == 2


@pytest.mark.parametrize(
    ("options", "spot"),
    [
        ({"interface": "usb"}, "interface"),
        ({"demographics": "some"}, "demographics"),
        ({"wave_list": ["ECG"]}, "'ECG' has no number"),
        ({"wave_list": ["MDCX_PHILIPS_F0A0"]}, "has no number"),
        ({"wave_list": ["MDC_PULS_OXIM_PLETH"] * 2}, "twice"),
        ({"wave_list": [f"MDCX_PHILIPS_0002F{n:03X}" for n in range(12)]}, "12 named"),
        ({"wave_list": ["MDC_PULS_OXIM_PLETH"], "waves": False}, "waves = false"),
        ({"baud": 115200}, "baud"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], spot: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=spot):
        parse(**options)
