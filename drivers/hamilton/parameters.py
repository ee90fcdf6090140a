"""What the numbers of both protocols mean: ``parameters.csv``, ``protocol,kind,number,name,unit,refid``.

``{p}`` is the unit of pressures, ``{c}`` that of carbon dioxide. A blank reference id has none that truly fits and
becomes ``MDCX_HAMILTON_<number>``; a blank unit is not published. For an alarm the last column is its kind.

Source: the names and numbers in two public programs for the polling protocol, in one for the block protocol.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Final

_MOST_DIGITS: Final = 18
"""Its longest numbers have six."""
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_NOTHING: Final = re.compile(r"[-+*.]*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number. ``code``: MDC reference id, for an alarm its kind of event."""

    kind: str
    name: str
    unit: str
    code: str


def private(number: str) -> str:
    """The code of what has no reference id."""
    return "MDCX_HAMILTON_" + number.replace(".", "_")


def number_or_text(text: str) -> Decimal | str | None:
    """A number, None where there is nothing or only dashes, or else the text, as digits without end are, too."""
    if _NOTHING.fullmatch(text):
        return None
    return Decimal(text.rstrip(".")) if len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text) else text


def _load() -> dict[str, dict[str, Parameter]]:
    tables: dict[str, dict[str, Parameter]] = {"poll": {}, "block": {}}
    text = resources.files("drivers.hamilton").joinpath("parameters.csv").read_text(encoding="ascii")
    for row in csv.DictReader(text.splitlines()):
        code = row["refid"] or private(row["number"])
        tables[row["protocol"]][row["number"]] = Parameter(row["kind"], row["name"], row["unit"], code)
    return tables


_TABLES: Final = _load()
POLLED: Final = {int(number): parameter for number, parameter in _TABLES["poll"].items()}
BLOCK: Final = _TABLES["block"]
MODES: Final = {
    1: "(S)CMV", 2: "SIMV", 4: "SPONT", 16: "ambient", 17: "P-SIMV", 19: "P-CMV", 20: "APVsimv", 21: "APVcmv",
    22: "ASV", 23: "DuoPAP", 24: "APRV", 25: "NIV", 26: "AVtS",
}  # fmt: skip
"""Of parameter 40 of the polling protocol."""
