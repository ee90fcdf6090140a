"""One table of IEEE 11073-10101 reference ids, their context-free codes, and the UCUM unit of each MDC_DIM_*.

``nomenclature.csv`` beside this module holds facts only: ``cf_code,refid,ucum``. The context-free code is
partition * 65536 + the 16-bit code of the partition. Where a code has two names (10101 renamed some between editions,
and RTMMS drops the ``X_`` of units), each has a row and the first is preferred. A blank code: the reference id is in
Rosetta (IHE RTMMS) but no source we hold gives its number. A blank UCUM: none is certain.

Sources: IEEE 11073-10101 codes as published in the HL7 FHIR ``devicemetric-type`` value set, the Philips IntelliVue
data export nomenclature (11073-10101:2004), IHE PCD TF vol. 2 samples, IHE RTMMS names.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class _Table:
    refid_by_code: dict[int, str]
    code_by_refid: dict[str, int | None]
    ucum_by_refid: dict[str, str]


@cache
def _table() -> _Table:
    table = _Table({}, {}, {})
    text = resources.files("drivers").joinpath("nomenclature.csv").read_text(encoding="ascii")
    for row in csv.DictReader(text.splitlines()):
        refid, code = row["refid"], int(row["cf_code"]) if row["cf_code"] else None
        table.code_by_refid[refid] = code
        if code is not None:
            table.refid_by_code.setdefault(code, refid)
        if row["ucum"]:
            table.ucum_by_refid[refid] = row["ucum"]
    return table


def is_known(refid: str) -> bool:
    """Whether this is a reference id of the table, with or without a known code."""
    return refid in _table().code_by_refid


def refid_of(cf_code: int) -> str | None:
    """The preferred reference id of a context-free code; None if unknown."""
    return _table().refid_by_code.get(cf_code)


def code_of(refid: str) -> int | None:
    """The context-free code of a reference id, preferred name or not; None if unknown or not in our sources."""
    return _table().code_by_refid.get(refid)


def ucum_of(unit: int | str) -> str | None:
    """The UCUM unit of an MDC_DIM_* unit, given by context-free code or reference id; None if unknown or unsure."""
    refid = refid_of(unit) if isinstance(unit, int) else unit
    return None if refid is None else _table().ucum_by_refid.get(refid)
