"""Where every value of the physiological subrecords lies, its divisor, UCUM unit and MDC code (DRI specification).

``fields.csv``: ``class,group,field,offset,divisor,unit,code``. A row without a field gives the offset of the group's
status word (u32; its label, u16, follows). Extra heart rates have no status of their own: they go by the ECG's. A blank
code has no reference id that truly fits and becomes ``MDCX_GE_<group>_<field>``; one in braces depends on a label.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

PHYSIOLOGICAL_BYTES = 278
_EXPONENTS = {"1": 0, "10": -1, "100": -2, "1000": -3}


@dataclass(frozen=True, slots=True)
class Field:
    """One i16: the value is ``raw * 10**exponent`` in ``unit``."""

    name: str
    offset: int
    exponent: int
    unit: str
    code: str


@dataclass(frozen=True, slots=True)
class Group:
    """The values of one measurement; ``status_offset`` is where its status and label are."""

    name: str
    status_offset: int
    fields: tuple[Field, ...]


def _load() -> tuple[tuple[Group, ...], ...]:
    status: dict[tuple[int, str], int] = {}
    fields: dict[tuple[int, str], list[Field]] = {}
    text = resources.files("drivers.ge_dri").joinpath("fields.csv").read_text(encoding="ascii")
    for row in csv.DictReader(text.splitlines()):
        key, offset = (int(row["class"]), row["group"]), int(row["offset"])
        if not row["field"]:
            status[key], fields[key] = offset, []
            continue
        code = row["code"] or f"MDCX_GE_{row['group']}_{row['field']}"
        fields[key].append(Field(row["field"], offset, _EXPONENTS[row["divisor"]], row["unit"], code))
    return tuple(
        tuple(Group(name, status[c, name], tuple(found)) for (c, name), found in fields.items() if c == number)
        for number in range(4)
    )


CLASSES = _load()
"""The groups of each class: 0 basic, 1 to 3 extended."""
