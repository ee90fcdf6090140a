from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import pytest

from drivers import nomenclature
from drivers.medibus.codes import limit_of, message_of, private, speaks_x, value_of, waves
from drivers.medibus.config import GROUPS, candidates

TABLES = Path(__file__).parents[4] / "shared" / "tables"


def rows(name: str) -> list[dict[str, str]]:
    text = resources.files("drivers.medibus").joinpath(name).read_text(encoding="ascii")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("name", ["values.csv", "messages.csv"])
def test_tables_are_sorted_and_name_nothing_twice(name: str) -> None:
    keys = [(row["page"], row["code"], row.get("dialect", "")) for row in rows(name)]
    assert keys == sorted(set(keys))


def test_every_reference_id_is_in_the_nomenclature() -> None:
    assert not [row for row in rows("values.csv") if row["refid"] and not nomenclature.is_known(row["refid"])]


def test_a_reference_id_has_one_kind_of_unit_or_is_told_apart_by_code() -> None:
    assert value_of("24", "82", x=False).unit == "L"
    assert value_of("24", "88", x=False).unit == "mL"


def test_what_an_alarm_limits_is_a_measured_value() -> None:
    limited = [row for row in rows("messages.csv") if row["limited"]]
    assert limited
    for row in limited:
        assert row["side"] in ("lo", "hi")
        assert value_of("24", row["limited"], x=True).unit


def test_dialects_differ_only_where_they_say_so() -> None:
    assert value_of("24", "06", x=False).unit == "mL/mbar"
    assert value_of("24", "06", x=True).unit == "L/min"
    assert value_of("24", "EB", x=True) == value_of("24", "EB", x=False)
    assert value_of("24", "A5", x=False).refid == private("24", "A5")


def test_limits_have_the_unit_of_what_they_limit() -> None:
    limit = limit_of("2D", "21", x=False)
    assert (limit.refid, limit.unit) == ("MDCX_DRAEGER_2D_21", "mL")


def test_names_tell_who_speaks_medibus_x() -> None:
    assert [speaks_x(name) for name in ("Perseus A500", "Evita V500", "Evita4", "EvitaXL", "Babylog VN500", "")] == [
        True, True, False, False, True, False,
    ]  # fmt: skip


def test_every_name_of_a_wave_stands_for_a_code() -> None:
    for name in (*GROUPS, *waves()):
        assert candidates(name)


def test_agents_mean_agents() -> None:
    assert value_of("54", candidates("CO2")[0], x=False).unit == "mm[Hg]"
    message = message_of("27", "10")
    assert message is not None
    assert (message.limited, message.side) == ("7D", "hi")


@pytest.mark.skipif(not (TABLES / "medibus_codes_mdpnp.csv").exists(), reason="the collected tables are not here")
def test_units_agree_with_those_of_another_source() -> None:
    """mdpnp's units, where it has any, said differently."""
    said = {
        "mbar": "mbar", "mmHg": "mm[Hg]", "kPa": "kPa", "pct": "%", "mL": "mL", "L": ("L", "L/min"), "a": "a",
        "OnePerMin": "/min", "mLPerMin": "mL/min", "sec": "s", "LPerBar": "L/bar", "LPerMin": "L/min", "kg": "kg",
        "mbarPerLPerSec": "mbar/(L/s)", "mlPerMBar": "mL/mbar", "mbarPerL": "mbar/L", "TenMlPerMin": "10.mL/min",
        "pctFullScale": "%", "None": "1",
    }  # fmt: skip
    pages = {"measured-data-cp1": "24", "measured-data-cp2": "2B", "setting": "29", "realtime-data": "54"}
    with (TABLES / "medibus_codes_mdpnp.csv").open() as file:
        for row in csv.DictReader(file):
            page = pages.get(row["table"])
            if page and row["unit"]:
                meaning = value_of(page, row["code_hex"], x=False)
                assert meaning.unit in said[row["unit"]], row
