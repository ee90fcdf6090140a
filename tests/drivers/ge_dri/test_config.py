from __future__ import annotations

import msgspec
import pytest

from drivers.ge_dri import GeDriConfig


def parse(**options: object) -> GeDriConfig:
    return msgspec.convert(options, GeDriConfig)


def test_defaults() -> None:
    assert parse() == GeDriConfig(numerics_s=5, classes=("basic", "ext1", "ext2", "ext3"), waves=(), carescape=False)


def test_lists_as_toml_has_them() -> None:
    assert parse(waves=["ECG1", "PLETH"], numerics_s=10).waves == ("ECG1", "PLETH")


@pytest.mark.parametrize(
    ("options", "spot"),
    [
        ({"numerics_s": 4}, "numerics_s"),
        ({"numerics_s": 11}, "numerics_s"),
        ({"classes": ["basic", "ext4"]}, "classes"),
        ({"classes": []}, "classes"),
        ({"waves": ["ECG4"]}, "ECG4"),
        ({"waves": ["PLETH", "PLETH"]}, "twice"),
        ({"waves": ["ECG1", "ECG2", "PLETH"]}, "700 samples/s"),
        ({"waves": ["CO2", "O2", "N2O", "AA", "AWP", "FLOW", "RESP", "VOL", "TONO"]}, "9 named"),
        ({"baud": 19200}, "baud"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], spot: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=spot):
        parse(**options)


def test_six_hundred_samples_are_allowed_and_carescape_has_no_limit() -> None:
    assert len(parse(waves=["ECG1", "INVP1", "INVP2", "PLETH"]).waves) == 4
    assert len(parse(waves=["ECG1", "ECG2", "ECG3", "BIS"], carescape=True).waves) == 4
