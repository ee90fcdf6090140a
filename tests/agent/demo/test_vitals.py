from __future__ import annotations

from typing import Any

import pytest

from agent.demo.vitals import ABSENT, Vital, vitals

AT = "2026-01-02T03:04:05.000000000Z"


def value(code: str, number: str | None, feed: str = "monitor", channel: str = "") -> dict[str, Any]:
    return {"feed": feed, "code": code, "value": number, "channel": channel, "at": AT}


def shown(values: list[dict[str, Any]]) -> dict[str, Vital]:
    return {vital.name: vital for vital in vitals(values)}


def test_an_arterial_pressure_is_shown_as_one_value() -> None:
    parts = (("SYS", "118.37"), ("DIA", "67.55"), ("MEAN", "84.39"))
    found = shown([value(f"MDC_PRESS_BLD_ART_{name}", number) for name, number in parts])
    assert found["ART"] == Vital("ART", "118/68 (84)", "mmHg", AT)


@pytest.mark.parametrize(
    ("sent", "read"), [("36.20", "36.2"), ("4.84", "4.8"), ("98.23", "98"), ("43", "43"), ("x", "x")]
)
def test_values_are_rounded_as_a_monitor_does(sent: str, read: str) -> None:
    assert shown([value("MDC_TEMP_ESOPH", sent)])["Temp"].value == read


def test_what_is_not_measured_is_shown_as_absent() -> None:
    found = shown([value("MDC_ECG_HEART_RATE", None), value("MDC_PULS_OXIM_SAT_O2", "98", feed="gateway")])
    assert {vital.value for vital in found.values()} == {ABSENT}


def test_the_first_channel_counts() -> None:
    values = [value("MDC_ECG_HEART_RATE", "70", channel="ECG"), value("MDC_ECG_HEART_RATE", "71", channel="SpO2")]
    assert shown(values)["HR"].value == "70"
