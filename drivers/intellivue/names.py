"""Codes and units of the monitor's nomenclature into MDC reference ids and UCUM.

Below F000 the numbers are those of IEEE 11073-10101; from F000 on they are Philips' own. What has no certain reference
id is called ``MDCX_PHILIPS_`` and its eight hex digits, partition and code, as the guide and its TextIds write it.
"""

from __future__ import annotations

from functools import lru_cache

from drivers import nomenclature

OBJECTS, SCADA, EVENTS, DIMENSIONS = 1, 2, 3, 4
"""Partitions: objects and attributes, what is measured, what happens, units."""

_PRIVATE_FROM = 0xF000
_UNIT_NONE = 0
_SUFFIX_BITS = 0b11
_PRIVATE_PREFIX = "MDCX_PHILIPS_"


@lru_cache(maxsize=4096)
def code_name(partition: int, code: int) -> str:
    """The reference id of a code in its partition, or ``MDCX_PHILIPS_`` and its number."""
    refid = nomenclature.refid_of(partition << 16 | code) if code < _PRIVATE_FROM else None
    return refid or f"{_PRIVATE_PREFIX}{partition:04X}{code:04X}"


@lru_cache(maxsize=1024)
def unit_name(unit: int) -> str:
    """UCUM of a unit; where none is certain an annotation with its name or number, empty for no unit."""
    cf_code = DIMENSIONS << 16 | unit
    ucum = nomenclature.ucum_of(cf_code) if unit < _PRIVATE_FROM else None
    if ucum is not None or unit == _UNIT_NONE:
        return ucum or ""
    refid = nomenclature.refid_of(cf_code) if unit < _PRIVATE_FROM else None
    return "{" + (refid or f"{_PRIVATE_PREFIX}{DIMENSIONS:04X}{unit:04X}") + "}"


def text_id_of(name: str) -> int | None:
    """The label TextId of what ``code_name`` calls so; None for a name that has no number."""
    if name.startswith(_PRIVATE_PREFIX):
        digits = name.removeprefix(_PRIVATE_PREFIX)
        return int(digits, 16) if len(digits) == 8 and all(digit in "0123456789ABCDEF" for digit in digits) else None
    return nomenclature.code_of(name)


@lru_cache(maxsize=4096)
def device_code(partition: int, code: int, label: str) -> str:
    """The monitor's own number of a value, and its label as on the screen."""
    return f"{partition:04X}{code:04X} {label}" if label else f"{partition:04X}{code:04X}"


@lru_cache(maxsize=4096)
def channel(partition: int, code: int, text_id: int, label: str) -> str:
    """What tells two values of one code apart: the label, unless it says no more than the code does.

    ABP labels its systolic, diastolic and mean pressure, whose codes differ in the last two bits. But T1 labels a
    temperature, and SpO2 of the right hand has a TextId outside the nomenclature.
    """
    if text_id == 0 or (text_id >> 16 == partition and _is_family(partition, text_id & 0xFFFF, code)):
        return ""
    return label or f"{text_id:08X}"


def _is_family(partition: int, labelled: int, code: int) -> bool:
    """Whether a label's code is that of a value or of the group it belongs to, such as CO2 of end-tidal CO2."""
    if labelled & ~_SUFFIX_BITS == code & ~_SUFFIX_BITS:
        return True
    return code_name(partition, code).startswith(code_name(partition, labelled) + "_")
