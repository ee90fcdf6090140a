"""What the parameters of BCC mean. One that is not here is recorded under its own name, as the device sends it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["measured", "setting", "text"]
PRIVATE: Final = "MDCX_BBRAUN_"


@dataclass(frozen=True, slots=True)
class Meaning:
    """``unit_in``: the parameter that holds the code of its unit. ``text``: no number, though it may look like one."""

    refid: str
    unit: str = ""
    kind: Kind = "setting"
    unit_in: str = ""


def _private(name: str, unit: str = "", kind: Kind = "setting", unit_in: str = "") -> tuple[str, Meaning]:
    return name, Meaning(PRIVATE + name, unit, kind, unit_in)


_MEANINGS: Final = {
    "INRT": Meaning("MDC_FLOW_FLUID_PUMP", "mL/h", "measured"),
    "INVTB": Meaning("MDC_VOL_FLUID_TBI", "mL"),
    "INVI": Meaning("MDC_VOL_INFUS_ACTUAL_TOTAL", "mL", "measured"),
    "INDCON": Meaning("MDC_CONC_DRUG", unit_in="INDCONU"),
    "INSOL": Meaning("MDC_DRUG_NAME_LABEL", kind="text"),
    **dict(
        [
            _private("INAVRT", "mL/h", "measured"),
            _private("INVOLACT", "mL", "measured"),
            _private("INRMT", "s", "measured"),
            _private("INTIME", "min", "measured"),
            _private("INAKKU", "min", "measured"),
            _private("INSTBY", "min", "measured"),
            _private("INBOVAL", "mL", "measured"),
            _private("INBOCNT", kind="measured"),
            _private("INBORT", "mL/h"),
            _private("INSYR", "mL"),
            _private("INP1"),
            _private("INP2", "%", "measured"),
            _private("INDORT", kind="measured", unit_in="INDORTU"),
            _private("TCIPLA", kind="measured", unit_in="TCIUT"),
            _private("TCIEFF", kind="measured", unit_in="TCIUT"),
            _private("TCITAR", unit_in="TCIUT"),
            _private("SLLOW", unit_in="RTLIMUT"),
            _private("SLHIGH", unit_in="RTLIMUT"),
            _private("HLHIGH", unit_in="RTLIMUT"),
            _private("BOLVOLSLLOW", unit_in="BOLVOLLIMUT"),
            _private("BOLVOLSLHIGH", unit_in="BOLVOLLIMUT"),
            _private("BOLVOLHLHIGH", unit_in="BOLVOLLIMUT"),
            _private("PCAAD", "%", "measured"),
            _private("PCABR", kind="measured"),
            _private("PATW", "kg"),
            _private("PATH", "cm"),
        ]
    ),
    **dict(
        _private(name, kind="text")
        for name in (
            "INSOLSN", "INSOLID", "INNR", "INDTNR", "DSSTATUS", "FMSTAT", "FMRSTAT", "FMDONGLE", "FMRT", "FMBANY",
            "PATID", "PATIDBADGE", "PATIDDRUG", "PATSEX", "NURSEID", "DRUGORDERNO", "DISPNAME", "DLNAME", "DRUGCAT",
        )
    ),
}  # fmt: skip

IDENTITY: Final = frozenset({"GNMODEL", "GNNEW", "INSERNUM"})
MEASURES: Final = frozenset({"PATW", "PATH", "PATAGE", "PATSEX"})
IDENTIFIERS: Final = frozenset({"PATID", "PATIDBADGE", "PATIDDRUG", "NURSEID", "DRUGORDERNO", "FMBANY"})
DOSE: Final = frozenset({"INDORT", "INDCON"})
"""Of no meaning, and then zero, while the pump does not count in doses (INDOCAL 0)."""
UNKNOWN_REMAINING_S: Final = "65535"

ALARMS: Final = {
    "INA1": "battery empty", "INA2": "syringe empty", "INA3": "pressure alarm", "INA4": "standby ends in two minutes",
    "INA5": "standby over", "INA6": "CC alarm", "INA7": "end of volume", "INA8": "time over", "INA9": "syringe alarm",
    "INA11": "battery pre-alarm", "INA12": "syringe empty pre-alarm", "INA13": "door of the pump open",
    "INA14": "drop alarm", "INA15": "air alarm", "INA16": "KVO end",
}  # fmt: skip
PRE_ALARMS: Final = frozenset({"INA4", "INA11", "INA12"})
MODES: Final = {
    "INM1": "ready for infusion", "INM2": "bolus active", "INM3": "pumping", "INM4": "CC function",
    "INM5": "bolus function released", "INM6": "standby", "INM7": "data lock", "INM8": "mains power",
    "INM9": "disposable changed", "INM10": "KVO", "INM11": "without drop sensor", "INM12": "below the low soft limit",
    "INM13": "above the high soft limit", "INDOCAL": "dose mode",
}  # fmt: skip
_RUNSTATE_BITS: Final = ("stopped", "running", "alarm", "KVO", "menu", "pre-alarm")
_CHOICES: Final = {
    "TCIMOD": {"1": "TCI by plasma target", "2": "TCI by effect target"},
    "TCIMODEL": {"1": "Marsh", "2": "Schnider", "3": "Kataria", "4": "Minto", "5": "Gepts"},
}
_FLAG: Final = re.compile(r"IN[AM]\d{1,2}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?")
_MEASURED_NUMBER: Final = re.compile(r"[-+]?\d{1,15}(?:\.\d{0,9})?", re.ASCII)


def meaning_of(parameter: str) -> Meaning:
    """What it means; unknown ones are settings under their own name, without a unit."""
    return _MEANINGS.get(parameter) or Meaning(PRIVATE + parameter)


def is_flag(parameter: str) -> bool:
    """Whether it tells that an alarm or a mode is on (not 0) or off."""
    return _FLAG.fullmatch(parameter) is not None


def is_number(value: str) -> bool:
    """Whether it is one as a pump writes it; with leading zeros it is a code."""
    return _NUMBER.fullmatch(value) is not None


def is_number_of_unit(value: str) -> bool:
    """The same where only a number can be meant: zeros and a sign in front say nothing else there."""
    return _MEASURED_NUMBER.fullmatch(value) is not None


def state_text(parameter: str, value: str) -> str | None:
    """In words what RUNSTATE, TCIMOD and TCIMODEL say; empty if not known, None for all other parameters."""
    if parameter == "RUNSTATE":
        bits = int(value) if value.isascii() and value.isdecimal() and len(value) <= len("255") else 0
        return ", ".join(word for bit, word in enumerate(_RUNSTATE_BITS) if bits >> bit & 1)
    choices = _CHOICES.get(parameter)
    return None if choices is None else choices.get(value, "")
