"""The 64-bit unit field of SENSOR messages (OpenIGTLink protocol 2 and 3, "unit") as a UCUM unit."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_PREFIXES: Final = ("", "da", "h", "k", "M", "G", "T", "P", "", "d", "c", "m", "u", "n", "p", "f")
_UNITS: Final = {
    0x01: "m", 0x02: "g", 0x03: "s", 0x04: "A", 0x05: "K", 0x06: "mol", 0x07: "cd", 0x08: "rad", 0x09: "sr",
    0x0A: "Hz", 0x0B: "N", 0x0C: "Pa", 0x0D: "J", 0x0E: "W", 0x0F: "C", 0x10: "V", 0x11: "F", 0x12: "Ohm",
    0x13: "S", 0x14: "Wb", 0x15: "T", 0x16: "H", 0x17: "lm", 0x18: "lx", 0x19: "Bq", 0x1A: "Gy", 0x1B: "Sv",
}  # fmt: skip
_FACTORS: Final = 6


@lru_cache(maxsize=256)
def ucum_of_unit(field: int) -> str:
    """``N.m``, ``mm/s2``…; "1" for none. What the table does not know is ``{0x…}``, the field as it is.

    The prefix belongs to the first factor: with an exponent it is raised with it, as everywhere in UCUM.
    """
    prefix = _PREFIXES[field >> 60]
    factors: list[tuple[str, int]] = []
    for place in range(_FACTORS):
        bits = field >> (50 - 10 * place) & 0x3FF
        unit, exponent = bits >> 4, bits & 0xF
        exponent -= 16 if exponent >= 8 else 0
        if not unit and not exponent:
            continue
        if unit not in _UNITS or exponent in (0, -8):
            return f"{{0x{field:016X}}}"
        factors.append((_UNITS[unit], exponent))
    if not factors:
        return "1" if not field >> 60 else f"{{0x{field:016X}}}"
    factors[0] = (prefix + factors[0][0], factors[0][1])
    above = [_power(unit, exponent) for unit, exponent in factors if exponent > 0]
    below = [_power(unit, -exponent) for unit, exponent in factors if exponent < 0]
    return ".".join(above) + "".join(f"/{unit}" for unit in below)


def _power(unit: str, exponent: int) -> str:
    return unit if exponent == 1 else f"{unit}{exponent}"
