from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import pytest

from drivers import nomenclature

SHARED = Path(__file__).parents[2].parent / "shared" / "tables"


def _rows() -> list[dict[str, str]]:
    text = resources.files("drivers").joinpath("nomenclature.csv").read_text(encoding="ascii")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(
    ("code", "refid"),
    [
        (131330, "MDC_ECG_ELEC_POTL_II"),
        (147842, "MDC_ECG_HEART_RATE"),
        (149530, "MDC_PULS_OXIM_PULS_RATE"),
        (150021, "MDC_PRESS_BLD_NONINV_SYS"),
        (150037, "MDC_PRESS_BLD_ART_ABP_SYS"),
        (150456, "MDC_PULS_OXIM_SAT_O2"),
        (151817, "MDC_PRESS_AWAY_INSP_PEAK"),
        (152096, "MDC_CONC_AWAY_SEVOFL_ET"),
        (157784, "MDC_FLOW_FLUID_PUMP"),
        (266016, "MDC_DIM_MMHG"),
    ],
)
def test_published_codes(code: int, refid: str) -> None:
    assert nomenclature.refid_of(code) == refid
    assert nomenclature.code_of(refid) == code


def test_every_code_leads_to_a_name_and_back() -> None:
    codes = {int(row["cf_code"]) for row in _rows() if row["cf_code"]}
    assert len(codes) > 1000
    for code in codes:
        refid = nomenclature.refid_of(code)
        assert refid is not None
        assert nomenclature.code_of(refid) == code


def test_table_is_sane() -> None:
    rows = _rows()
    refids = [row["refid"] for row in rows]
    assert len(refids) == len(set(refids))
    assert all(refid.startswith("MDC_") for refid in refids)
    for row in rows:
        is_unit = row["refid"].startswith("MDC_DIM_")
        assert is_unit == (row["cf_code"] != "" and int(row["cf_code"]) >> 16 == 4), row
        assert is_unit or not row["ucum"], row


def test_ecg_codes_follow_their_lead() -> None:
    """11073-10101 builds lead-specific codes as base + lead: a mistyped row breaks the pattern."""
    for row in _rows():
        for prefix, base in (("MDC_ECG_ELEC_POTL_", 256), ("MDC_ECG_AMPL_ST_", 768)):
            lead = nomenclature.code_of("MDC_ECG_LEAD_" + row["refid"].removeprefix(prefix))
            if row["refid"].startswith(prefix) and lead is not None and row["cf_code"]:
                assert int(row["cf_code"]) == lead + base, row


def test_second_names_lead_to_the_same_code() -> None:
    assert nomenclature.code_of("MDC_ECG_CARD_BEAT_RATE") == nomenclature.code_of("MDC_ECG_HEART_RATE") == 147842


def test_units_by_code_and_by_either_name() -> None:
    assert nomenclature.ucum_of(266016) == "mm[Hg]"
    assert nomenclature.ucum_of("MDC_DIM_L_PER_MIN") == nomenclature.ucum_of("MDC_DIM_X_L_PER_MIN") == "L/min"
    assert nomenclature.ucum_of("MDC_DIM_CM_H2O_PER_L_PER_SEC") == "cm[H2O]/(L/s)"


def test_unknown_is_none() -> None:
    assert nomenclature.refid_of(1) is None
    assert nomenclature.code_of("MDC_NO_SUCH_THING") is None
    assert nomenclature.ucum_of(1) is None
    assert nomenclature.ucum_of("MDC_ECG_HEART_RATE") is None
    assert not nomenclature.is_known("MDC_NO_SUCH_THING")
    assert nomenclature.is_known("MDC_EEG_BISPECTRAL_INDEX")
    assert nomenclature.code_of("MDC_EEG_BISPECTRAL_INDEX") is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="reference tables not beside the project")
def test_agrees_with_the_reference_table() -> None:
    published: dict[str, set[int]] = {}
    for row in csv.DictReader((SHARED / "mdc_refids_11073_10101.csv").read_text().splitlines()):
        published.setdefault(row["refid"], set()).add(int(row["cf_code10"]))
    ours = {refid: nomenclature.code_of(refid) for refid in published if not refid.startswith("MDC_ECG_AMPL_ST_")}
    assert {refid for refid, code in ours.items() if code is not None and code not in published[refid]} == set()
