"""What the codes mean: ``values.csv`` and ``messages.csv`` beside this module.

``values.csv``: ``page,code,dialect,name,unit,refid``. The page is the command that asks for it (24 and 2B measured, 29
settings, 54 waves); dialect ``x`` is what MEDIBUS.X devices mean by it where that differs or is new. A blank refid has
no MDC reference id that truly fits and becomes ``MDCX_DRAEGER_<page>_<code>``.
``messages.csv``: ``page,code,kind,name,limited,side`` of alarms (27, 2E) and text messages (2A); ``limited`` is the
measured value whose ``lo`` or ``hi`` limit was crossed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

X_DEVICES: Final = ("V500", "V300", "V600", "V800", "VN500", "VN600", "VN800", "PERSEUS", "ATLAN")
"""Parts of the names of devices that speak MEDIBUS.X."""

_MEASURED_PAGE_OF_LIMITS: Final = {"25": "24", "26": "24", "2C": "2B", "2D": "2B"}


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code's MDC reference id or private code, its UCUM unit, and its name for people."""

    refid: str
    unit: str
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """An alarm or text message: its kind, its name for people, and the measured value whose limit was crossed."""

    kind: str
    name: str
    limited: str
    side: str


@cache
def _values() -> dict[tuple[str, str, str], Meaning]:
    text = resources.files("drivers.medibus").joinpath("values.csv").read_text(encoding="ascii")
    return {
        (row["page"], row["code"], row["dialect"]): Meaning(
            row["refid"] or private(row["page"], row["code"]), row["unit"], row["name"]
        )
        for row in csv.DictReader(text.splitlines())
    }


@cache
def _messages() -> dict[tuple[str, str], Message]:
    text = resources.files("drivers.medibus").joinpath("messages.csv").read_text(encoding="ascii")
    return {
        (row["page"], row["code"]): Message(row["kind"], row["name"], row["limited"], row["side"])
        for row in csv.DictReader(text.splitlines())
    }


def private(page: str, code: str) -> str:
    """The private code of what has no MDC reference id."""
    return f"MDCX_DRAEGER_{page}_{code}"


def value_of(page: str, code: str, *, x: bool) -> Meaning:
    """What a measured value, setting or wave is; unknown codes keep their number and have no unit."""
    table = _values()
    found = table.get((page, code, "x")) if x else None
    return found or table.get((page, code, "")) or Meaning(private(page, code), "", "")


def limit_of(page: str, code: str, *, x: bool) -> Meaning:
    """What an alarm limit is: private, for a limit is neither measured nor set therapy; unit of what it limits."""
    limited = value_of(_MEASURED_PAGE_OF_LIMITS[page], code, x=x)
    return Meaning(private(page, code), limited.unit, limited.name)


def message_of(page: str, code: str) -> Message | None:
    """What an alarm or text message is; None if unknown."""
    return _messages().get((page, code))


@cache
def waves() -> dict[str, str]:
    """Names of the waves that a configuration may name, and their codes."""
    return {meaning.name: code for (page, code, _), meaning in _values().items() if page == "54"}


def speaks_x(name: str) -> bool:
    """Whether a device of this name speaks MEDIBUS.X."""
    bare = name.upper().replace(" ", "")
    return any(part in bare for part in X_DEVICES)
