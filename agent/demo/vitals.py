"""The few values of a room that a person looks at first, from its state document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Shown = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Name, unit and codes of each value; several codes are shown as one."""
_SHOWN: Shown = (
    ("HR", "/min", ("MDC_ECG_HEART_RATE",)),
    ("SpO₂", "%", ("MDC_PULS_OXIM_SAT_O2",)),
    ("ART", "mmHg", ("MDC_PRESS_BLD_ART_SYS", "MDC_PRESS_BLD_ART_DIA", "MDC_PRESS_BLD_ART_MEAN")),
    ("CO₂ et", "%", ("MDC_CONC_AWAY_CO2_ET",)),
    ("RR", "/min", ("MDC_CO2_RESP_RATE",)),
    ("Temp", "°C", ("MDC_TEMP_ESOPH",)),
    ("Sevo et", "%", ("MDC_CONC_AWAY_SEVOFL_ET",)),
    ("BIS", "", ("MDC_EEG_BISPECTRAL_INDEX",)),
)
ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Vital:
    """One shown value, ``measured_at`` as the state document gives it ("" where there is none)."""

    name: str
    value: str
    unit: str
    measured_at: str


def vitals(values: Iterable[Mapping[str, Any]], feed: str = "monitor", shown: Shown = _SHOWN) -> list[Vital]:
    """The shown values of one feed; the first of several channels counts."""
    by_code: dict[str, Mapping[str, Any]] = {}
    for value in values:
        if value["feed"] == feed and value["value"] is not None:
            by_code.setdefault(value["code"], value)
    return [_vital(name, unit, [by_code.get(code) for code in codes]) for name, unit, codes in shown]


def _vital(name: str, unit: str, found: list[Mapping[str, Any] | None]) -> Vital:
    first = found[0]
    if first is None:
        return Vital(name, ABSENT, unit, "")
    parts = [ABSENT if value is None else _short(str(value["value"])) for value in found]
    text = parts[0] if len(parts) == 1 else f"{parts[0]}/{parts[1]} ({parts[2]})"
    return Vital(name, text, unit, str(first["at"]))


def _short(value: str) -> str:
    """As a monitor shows it: no decimals from 50 on, else at most one."""
    try:
        number = float(value)
    except ValueError:
        return value
    return f"{number:.0f}" if abs(number) >= 50 or number == int(number) else f"{number:.1f}"
