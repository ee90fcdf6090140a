"""What the variables and refusals of Orchestra modules mean in the record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from drivers.conditions import Condition
from drivers.contract import Now
from ledger.errors import DeviceFault
from ledger.records import Numeric, Quality, Setting

MODULES: Final = "b"
_VARIABLE: Final = re.compile(r"([a-z])([\x20-\x3a\x3c-\x7e]{0,24})")
_NUMBER: Final = re.compile(r"[0-9A-Fa-f]{1,8}")
_MOST_VARIABLES: Final = 26
_MOST_MODULES: Final = 8
_MEASURED: Final = {
    "d": ("rate", "MDC_FLOW_FLUID_PUMP", "mL/h", 1),
    "r": ("volume infused", "MDC_VOL_INFUS_ACTUAL_TOTAL", "mL", 3),
}
_CONDITIONS: Final = {"a": "MDCX_FRESENIUS_ALARM", "e": "MDCX_FRESENIUS_ERROR"}

REFUSALS: Final = {
    "01": "unknown command", "02": "not in this mode", "03": "not in this state", "04": "syntax error",
    "05": "operating mode not authorised", "06": "operating mode already active",
    "07": "new operating mode not in this mode", "08": "parameter out of limits",
    "09": "new operating mode not in this state",
    "0A": "identifier not used", "0B": "identifier incorrect", "0C": "message too long",
    "0D": "the session with the base is not open", "0E": "the module cannot be reached", "12": "an alarm is present",
    "1E": "the session with the module is not open", "20": "not authorised at this port",
    "24": "connection mode incorrect",
}  # fmt: skip
NOT_OPEN: Final = frozenset({"0D", "0E", "1E"})
NOT_SO_MANY: Final = frozenset({"04", "0A", "0B"})


def parse_variables(text: str) -> dict[str, str]:
    """Letters with what stands behind them, as a rule hexadecimal digits. Raises DeviceFault ``fresenius.variable``."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        match = _VARIABLE.fullmatch(part)
        if match is None or match[1] in found or len(found) == _MOST_VARIABLES:
            raise DeviceFault("fresenius.variable", "a variable that is none of the protocol's")
        found[match[1]] = match[2]
    return found


def modules_of(variables: dict[str, str]) -> list[str]:
    """The modules that sit in the base, from the bits of variable b. Raises DeviceFault."""
    digits = variables.get(MODULES, "")
    if _NUMBER.fullmatch(digits) is None:
        raise DeviceFault("fresenius.modules", "the base did not say which modules it has")
    word = int(digits, 16)
    return [str(n + 1) for n in range(_MOST_MODULES) if word >> n & 1]


def measured(sub: str, variables: dict[str, str], now: Now) -> Iterator[Numeric]:
    """Rate and volume; digits that are none are an ``INVALID`` value."""
    for letter, (name, code, unit, decimals) in _MEASURED.items():
        if letter in variables:
            digits = variables[letter]
            value = Decimal(int(digits, 16)).scaleb(-decimals) if _NUMBER.fullmatch(digits) else None
            lacking = Quality.INVALID if digits.strip() else Quality.UNAVAILABLE
            yield Numeric(
                sub=sub,
                at_ns=now.utc_ns,
                quality=lacking if value is None else Quality.GOOD,
                code=code,
                value=value,
                unit=unit,
                device_code=f"{letter} {name}",
            )


def settings(sub: str, variables: dict[str, str], now: Now) -> Iterator[Setting]:
    """All other variables, as their digits: what they mean is not published."""
    for letter, digits in variables.items():
        if letter not in _MEASURED and letter not in _CONDITIONS:
            yield Setting(sub=sub, at_ns=now.utc_ns, code=f"MDCX_FRESENIUS_{letter.upper()}", value=digits or None,
                          unit="", device_code=letter)  # fmt: skip


def condition(letter: str, digits: str) -> list[Condition]:
    """The alarm or error word, while it is not zero; its bits are not published."""
    if not digits.strip("0 "):
        return []
    text = "alarm" if letter == "a" else "error"
    return [
        Condition(letter, "technical_alarm", "unknown", _CONDITIONS[letter], "", f"{text} {digits}", letter + digits)
    ]


def conditions_in(variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The alarm and error words that were told."""
    return ((letter, variables[letter]) for letter in _CONDITIONS if letter in variables)
