"""The feeds of a whole room in words: who each device is, how it is, what it showed last, what was missed of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.demo.full_room import (
    BIS,
    GATEWAY,
    HOSPITAL,
    IMAGING,
    MONITOR,
    OXIMETER,
    PUMPS,
    ROBOT,
    VENTILATOR,
    RoomDevice,
)
from agent.demo.images import case_shown, image_shown
from agent.demo.vitals import ABSENT, Shown, Vital, vitals
from agent.demo.watch import Reading

TITLES: Final = ("FEED", "DEVICE", "IS", "HEARD", "LAST VALUES", "GAPS")
_DEVICE_CHARACTERS: Final = 22
_RATE, _DRUG, _RUNS = "MDC_FLOW_FLUID_PUMP", "MDC_DRUG_NAME_LABEL", "MDCX_BBRAUN_RUNSTATE"
_SHOWN: Final[Mapping[str, Shown]] = {
    MONITOR: (
        ("HR", "/min", ("MDC_ECG_HEART_RATE",)),
        ("SpO₂", "%", ("MDC_PULS_OXIM_SAT_O2",)),
        ("ART", "mmHg", ("MDC_PRESS_BLD_ART_SYS", "MDC_PRESS_BLD_ART_DIA", "MDC_PRESS_BLD_ART_MEAN")),
        ("CO₂ et", "mmHg", ("MDC_AWAY_CO2_ET",)),
        ("Temp", "°C", ("MDC_TEMP_ESOPH",)),
    ),
    VENTILATOR: (
        ("RR", "/min", ("MDC_AWAY_RESP_RATE",)),
        ("MV", "L/min", ("MDC_VOL_MINUTE_AWAY",)),
        ("Ppeak", "mbar", ("MDC_PRESS_AWAY_INSP_PEAK",)),
        ("PEEP", "mbar", ("MDC_PRESS_AWAY_END_EXP_POS",)),
        ("FiO₂", "%", ("MDC_CONC_AWAY_O2_INSP",)),
    ),
    BIS: (("BIS", "", ("MDC_EEG_BISPECTRAL_INDEX",)), ("SQI", "%", ("MDC_EEG_SIGNAL_QUALITY_INDEX",))),
    OXIMETER: (
        ("SpO₂", "%", ("MDC_PULS_OXIM_SAT_O2",)),
        ("pulse", "/min", ("MDC_PULS_OXIM_PULS_RATE",)),
        ("SpHb", "g/dL", ("MDCX_MASIMO_SPHB",)),
    ),
    GATEWAY: (("HR", "/min", ("MDC_ECG_HEART_RATE",)), ("SpO₂", "%", ("MDC_PULS_OXIM_SAT_O2",))),
}


_LABORATORY: Final = (("Hb", "g/dL", ("MDCX_LOINC_718_7",)), ("K", "mmol/L", ("MDCX_LOINC_2823_3",)))
_ROBOT_SHOWN: Final = (
    ("tool at", "mm", 3, ("MDCX_OPENIGTLINK_TRANSFORM", "ToolTip")),
    ("force", "N", None, ("MDCX_OPENIGTLINK_SENSOR", "ToolForce")),
    ("torque", "N.m", None, ("MDCX_OPENIGTLINK_SENSOR", "ToolTorque")),
)


def shown_of(feed: str, state: Mapping[str, Any]) -> list[Vital]:
    """What a person looks at first of one feed of the room, from its state document."""
    if feed == PUMPS:
        return pumps(state)
    if feed == ROBOT:
        return robot(state)
    if feed == IMAGING:
        return image_shown(state)
    if feed == HOSPITAL:
        return [*case_shown(state), *vitals(state["values"], feed, _LABORATORY)]
    return vitals(state["values"], feed, _SHOWN.get(feed, ()))


def pumps(state: Mapping[str, Any]) -> list[Vital]:
    """Each pump by its drug: the rate, and whether it runs."""
    found = [value for value in state["values"] if value["feed"] == PUMPS]
    drugs = {value["sub"]: str(value["text_value"]).partition(" ")[0] for value in found if value["code"] == _DRUG}
    runs = {mode["sub"]: f"{mode['text']}" for mode in state["modes"] if mode["code"] == _RUNS}
    rates = sorted((value for value in found if value["code"] == _RATE), key=lambda value: str(value["sub"]))
    return [
        Vital(
            drugs.get(rate["sub"], rate["sub"]),
            ABSENT if rate["value"] is None else f"{float(rate['value']):g}",
            f"{rate['unit']} {runs.get(rate['sub'], '')}".strip(),
            str(rate["at"]),
        )
        for rate in rates
    ]


def robot(state: Mapping[str, Any]) -> list[Vital]:
    """Where the robot's tool is and what it feels: the last column of its matrix, its force, its torque."""
    told = {(value["code"], value["channel"]): value for value in state["values"] if value["feed"] == ROBOT}
    return [_vector(name, unit, place, told.get(key)) for name, unit, place, key in _ROBOT_SHOWN]


def _vector(name: str, unit: str, place: int | None, value: Mapping[str, Any] | None) -> Vital:
    if value is None or not value.get("text_value"):
        return Vital(name, ABSENT, unit, "")
    rows = [row.split() for row in value["text_value"].split("; ")]
    numbers = rows[0] if place is None else [row[place] for row in rows]
    return Vital(name, " ".join(f"{float(number):.2f}" for number in numbers), unit, str(value["at"]))


def feed_rows(reading: Reading) -> list[tuple[str, ...]]:
    """A cell for each of ``TITLES``, a row for each feed of a box; none while it does not answer."""
    if reading.status is None or not reading.state:
        return []
    return [_row(feed, reading.state) for feed in reading.status["feeds"]]


def _row(feed: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, ...]:
    age_s = feed["last_age_s"]
    return (
        feed["name"],
        _device(feed),
        feed["state"],
        "never" if age_s is None else f"{age_s:.1f} s ago",
        _values(feed["name"], state),
        _last_gap(feed, state),
    )


def _last_gap(feed: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    gap = next((gap for gap in state["gaps"] if gap["feed"] == feed["name"]), None)
    if gap is None:
        return "none"
    since, until = (clock_time(gap[bound]).partition(".")[0] for bound in ("since", "until"))
    return f"{feed['gaps_24h']}: {since}–{until} {gap['cause']}"


def _device(feed: Mapping[str, Any]) -> str:
    name, more = feed["device"] or ABSENT, feed["devices"] - 1
    short = name if len(name) <= _DEVICE_CHARACTERS else name[: _DEVICE_CHARACTERS - 1] + "…"
    return f"{short} + {more}" if more > 0 else short


def _values(feed: str, state: Mapping[str, Any]) -> str:
    shown = shown_of(feed, state)
    if feed == PUMPS:
        return f"{' '.join(pump.value for pump in shown)} mL/h" if shown else ABSENT
    return "  ".join(f"{vital.name} {vital.value}" for vital in shown)


def unheard(room: Iterable[RoomDevice], status: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Feeds that are not well, or lack a device, a wave, or a value that a person looks at."""
    known = {feed["name"]: feed for feed in status["feeds"]}
    devices = Counter(device["feed"] for device in state["devices"])
    waves = Counter(wave["feed"] for wave in state["waves"])
    return [
        device.feed
        for device in room
        if known[device.feed]["state"] != "ok"
        or devices[device.feed] < device.devices
        or waves[device.feed] < device.waves
        or not (shown := shown_of(device.feed, state))
        or (device.feed == PUMPS and len(shown) < device.devices - 1)
        or any(vital.value == ABSENT for vital in shown)
    ]


def clock_time(at: str) -> str:
    """Of a UTC instant the time of day, to a tenth of a second."""
    return at[11:21]


def oldest_shown(state: Mapping[str, Any], feed: str) -> str:
    """When the oldest of the feed's shown values was measured (UTC); "" without any."""
    return min((vital.measured_at for vital in shown_of(feed, state)), default="")


def gap_over(state: Mapping[str, Any], feed: str, lost_at: str, back_at: str) -> Mapping[str, Any] | None:
    """The feed's last gap, if nothing between ``lost_at`` and ``back_at`` (UTC) lies outside of it."""
    gaps = [gap for gap in state["gaps"] if gap["feed"] == feed]
    return next((gap for gap in gaps if gap["since"] <= lost_at and back_at <= gap["until"]), None)
