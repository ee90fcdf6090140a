"""Coded values of BICEPS into MDC reference ids and UCUM.

The default coding system is ISO/IEEE 11073-10101 with context-free codes (11073-10207, CodedValue). A code of another
system is looked for among its translations; else it keeps its number under the maker's name, and its coding system in
the record's ``device_code``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from drivers import nomenclature
from drivers.sdc.xml import Element

MDC_SYSTEM: Final = "urn:oid:1.2.840.10004.1.1.1.0.0.1"
_MDC: Final = frozenset({"", MDC_SYSTEM, "1.2.840.10004.1.1.1.0.0.1"})
_UCUM: Final = frozenset({"urn:oid:2.16.840.1.113883.6.8", "2.16.840.1.113883.6.8", "http://unitsofmeasure.org"})
_PRIVATE_PARTITION: Final = 1_024
_PRIVATE_TERMS_FROM: Final = 0xF000
_SYMBOL: Final = re.compile(r"MDC_[A-Z0-9_]{1,96}")
_NO_WORD: Final = re.compile(r"[^A-Z0-9]+")
MOST_TRANSLATIONS: Final = 16
MOST_CHARACTERS: Final = 256
"""Of a code, a coding system, a handle, a name."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A CodedValue: ``text`` is the device's own words for it, in the first language it gives."""

    code: str
    system: str = ""
    symbol: str = ""
    text: str = ""
    translations: tuple[tuple[str, str], ...] = ()


def coded(element: Element | None) -> Coded | None:
    """Of an element of the type CodedValue; None without one."""
    if element is None:
        return None
    translations = tuple(
        (_cut(other.get("Code")), _cut(other.get("CodingSystem")))
        for _, other in zip(range(MOST_TRANSLATIONS), element.all("Translation"), strict=False)
    )
    return Coded(
        _cut(element.get("Code")),
        _cut(element.get("CodingSystem")),
        _cut(element.get("SymbolicCodeName")),
        _cut(element.text_of("ConceptDescription")),
        translations,
    )


def maker_word(name: str) -> str:
    """A maker's name as part of a private code."""
    return _NO_WORD.sub("_", name.upper()).strip("_")[:24] or "SDC"


@lru_cache(maxsize=4096)
def code_name(value: Coded, maker: str) -> str:
    """The reference id; without a sure one ``MDCX_``, whose code it is (``MDC``: the standard's), and the code."""
    for code, system in ((value.code, value.system), *value.translations):
        refid = _refid(code, system)
        if refid is not None:
            return refid
    if value.system in _MDC and not _is_private(value.code):
        if _SYMBOL.fullmatch(value.symbol):
            return value.symbol  # the device names a term of the standard that our table lacks
        if _number(value.code) is not None:
            return f"MDCX_MDC_{value.code}"
    return f"MDCX_{maker}_{_NO_WORD.sub('_', value.code.upper()).strip('_') or 'UNNAMED'}"


@lru_cache(maxsize=1024)
def unit_name(value: Coded, maker: str) -> str:
    """UCUM; where none is certain an annotation with the unit's name or number."""
    for code, system in ((value.code, value.system), *value.translations):
        if system in _UCUM:
            return code
        ucum = nomenclature.ucum_of(_number(code) or 0) if system in _MDC else None
        if ucum is not None:
            return ucum
    return "{" + code_name(value, maker).replace("{", "").replace("}", "") + "}"


@lru_cache(maxsize=4096)
def device_code(value: Coded) -> str:
    """The device's own code, with its coding system if it is not the default, and its own words."""
    of = "" if value.system in _MDC else f"@{value.system}"
    return f"{value.code}{of} {value.text}".strip()


def _refid(code: str, system: str) -> str | None:
    number = _number(code)
    return nomenclature.refid_of(number) if number is not None and system in _MDC and not _is_private(code) else None


def _number(code: str) -> int | None:
    return int(code) if code.isascii() and code.isdecimal() and len(code) <= 10 else None


def _is_private(code: str) -> bool:
    """Whether 11073-10101 leaves this code to the makers: partition 1024, and terms from F000 on."""
    number = _number(code)
    return number is not None and (number >> 16 == _PRIVATE_PARTITION or number & 0xFFFF >= _PRIVATE_TERMS_FROM)


def _cut(text: str) -> str:
    return text.strip()[:MOST_CHARACTERS]
