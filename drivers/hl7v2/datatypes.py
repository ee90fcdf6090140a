"""HL7 data types as this project's values: times, numbers, coded values, units, ranges.

Source: HL7 v2.9 chapter 2A; IHE PCD TF vol. 2, appendix B (how DTM, NM, SN, CWE and OBX-6 are used).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from drivers import nomenclature
from drivers.hl7v2 import er7
from drivers.hl7v2.er7 import Delimiters
from drivers.hl7v2.units import ucum_of_written
from ledger.limits import S_NS
from ledger.records import DeviceTime

_DTM = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)?(?P<day>\d\d)?(?P<hour>\d\d)?(?P<minute>\d\d)?(?P<second>\d\d)?"
    r"(?:\.(?P<fraction>\d{1,9})|(?P<milliseconds>(?<=\d{14})\d{3}))?(?P<zone>[+-]\d\d:?\d\d|Z)?",
    re.ASCII,
)
_RESOLUTION_NS = {
    "second": S_NS,
    "minute": 60 * S_NS,
    "hour": 3_600 * S_NS,
    "day": 86_400 * S_NS,
    "month": 28 * 86_400 * S_NS,
    "year": 365 * 86_400 * S_NS,
}
_MAX_DTM = 40
_FIRST_YEAR, _LAST_YEAR = 1900, 2200  # what nanoseconds since 1970 can hold in 64 bits, rounded to whole centuries

_NUMBER = re.compile(r"[+-]?(?=\.?\d)\d{0,18}(?:\.\d{0,18})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_MAX_DIGITS = 18  # more do not fit the mantissa a record is written with
_MAX_RANGE = 64  # characters of OBX-7: a longer one would make the pattern below try for ever
_SIGNED = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"\s*({_SIGNED})\s*-\s*({_SIGNED})\s*", re.ASCII)
_BOUND = re.compile(rf"\s*([<>])=?\s*({_SIGNED})\s*", re.ASCII)
_OFTEN, _OFTEN_CHARS = 4_096, 200  # a device sends the same few codes for ever: at most 4,096 short ones are kept
_PRIVATE = re.compile(r"[^A-Za-z0-9]+")
_MDIL = re.compile(r"([0-9A-Fa-f]{4})-([0-9A-Fa-f]{4})", re.ASCII)
_MDIL_PRIVATE = 0xF000

HL7_NULL = '""'


@lru_cache(maxsize=256)
def zone_of(raw: str) -> str:
    """The offset of a DTM like ``+0100``; empty if it has none. Blanks inside ("- 0600") are dropped."""
    match = _DTM.fullmatch(raw[:_MAX_DTM].replace(" ", ""))
    return _zone(match) if match else ""


def _zone(match: re.Match[str]) -> str:
    """As HL7 writes it; senders borrow ISO 8601's ``Z`` and ``+01:00`` too."""
    zone = match["zone"] or ""
    return "+0000" if zone == "Z" else zone.replace(":", "")


def device_time(raw: str, default_zone: str = "") -> DeviceTime | None:
    """A DTM as sent; None if it is no time. ``utc`` where an offset is known: its own, or that of MSH-7, which HL7
    makes the default for the whole message (chapter 2, MSH-7); else ``local``. Milliseconds may lack their point, as
    Mindray writes them.
    """
    return _device_time(raw, default_zone) if 4 <= len(raw) <= _MAX_DTM else None


@lru_cache(maxsize=256)  # the observations of one message share their times
def _device_time(raw: str, default_zone: str) -> DeviceTime | None:
    match = _DTM.fullmatch(raw.replace(" ", ""))
    if match is None:
        return None
    numbers = {name: int(match[name]) for name in _RESOLUTION_NS if match[name]}
    if not _FIRST_YEAR <= numbers["year"] <= _LAST_YEAR:
        return None
    try:
        moment = datetime(**({"month": 1, "day": 1} | numbers), tzinfo=UTC)
    except ValueError:
        return None
    value_ns = int(moment.timestamp()) * S_NS
    resolution_ns = min(_RESOLUTION_NS[name] for name in numbers)
    digits = match["fraction"] or match["milliseconds"]
    if digits:
        value_ns += int(digits.ljust(9, "0"))
        resolution_ns = 10 ** (9 - len(digits))
    zone = _zone(match) or default_zone
    if not zone:
        return DeviceTime(value_ns, "local", resolution_ns)
    minutes = int(zone[1:3]) * 60 + int(zone[3:5])
    offset_ns = minutes * 60 * S_NS * (-1 if zone[0] == "-" else 1)
    return DeviceTime(value_ns - offset_ns, "utc", resolution_ns)


def dtm(utc_ns: int) -> str:
    """UTC nanoseconds as a DTM of a millisecond with offset."""
    seconds, rest = divmod(utc_ns, S_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d%H%M%S}.{rest // 1_000_000:03d}+0000"


def number(raw: str) -> Decimal | None:
    """An NM, its digits kept; None if it is not one, or has more digits than a record can hold."""
    text = raw.strip()
    if not text or not _NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    return value if len(text) <= _MAX_DIGITS or len(value.as_tuple().digits) <= _MAX_DIGITS else None


def limits(raw: str) -> tuple[Decimal | None, Decimal | None]:
    """OBX-7 as (low, high): "90-160", "<500" (no low limit), ">5"; (None, None) if it says neither."""
    if len(raw) > _MAX_RANGE:
        return None, None
    between = _RANGE.fullmatch(raw)
    if between:
        return number(between[1]), number(between[2])
    bound = _BOUND.fullmatch(raw)
    if bound:
        value = number(bound[2])
        return (None, value) if bound[1] == "<" else (value, None)
    return None, None


def structured_number(parts: list[str]) -> Decimal | str | None:
    """An SN: a number where it is one ("^5.3", "=^5.3"), else its text (">100", "1:128")."""
    comparator, first, separator, second = [*parts, "", "", "", ""][:4]
    if comparator in {"", "="} and not separator and not second:
        return number(first)
    return f"{comparator}{first}{separator}{second}" or None


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded element: ``code`` is an MDC reference id or MDCX_…; ``text`` what people read; ``raw`` as sent."""

    code: str
    text: str
    raw: str
    standard: bool

    @property
    def value(self) -> str:
        """As an observed value: the reference id if it is one, else the text, else the identifier."""
        return self.code if self.standard else self.text


def coded(raw: str, marks: Delimiters) -> Coded:
    """A CWE, CNE or CE. Of the primary and alternate codes the one of MDC is taken; neither: ``MDCX_LOINC_<code>`` for
    one of LOINC, else ``MDCX_HL7_<code>``. Philips' MDIL codes are numbers of MDC too, or Philips' own:
    ``MDCX_PHILIPS_<eight hex digits>``, as its monitors have them.

    MDC is told by its coding system or by its name, since senders leave out the system, swap code and name, and
    mistype numbers: a name that begins with MDC wins over the number beside it.
    """
    sent = raw.split(marks.repetition, 1)[0]
    return _coded_often(sent, marks) if len(sent) <= _OFTEN_CHARS else _coded(sent, marks)


def _coded(sent: str, marks: Delimiters) -> Coded:
    parts = [*er7.components(sent, marks), "", "", "", "", "", ""]
    text = next((part for part in (parts[8] if len(parts) > 14 else "", parts[1], parts[4], parts[0]) if part), "")
    for identifier, name, system in (parts[0:3], parts[3:6]):
        refid = next((word for word in (name, identifier) if word.startswith("MDC")), None)
        if refid is None and identifier.isascii() and identifier.isdigit() and len(identifier) <= 10:
            refid = nomenclature.refid_of(int(identifier)) if system == "MDC" else None
        mdil = _mdil(identifier, system)
        if refid is None and mdil is not None and mdil & 0xFFFF < _MDIL_PRIVATE:
            refid = nomenclature.refid_of(mdil)
        if refid is not None:
            return Coded(refid, text, sent, standard=True)
    for identifier, _, system in (parts[0:3], parts[3:6]):
        mdil = _mdil(identifier, system)
        if mdil is not None:
            return Coded(f"MDCX_PHILIPS_{mdil:08X}", text, sent, standard=False)
        if system.upper() == "LN" and identifier:
            return Coded(f"MDCX_LOINC_{_PRIVATE.sub('_', identifier).strip('_')}", text, sent, standard=False)
    bare = _PRIVATE.sub("_", parts[0] or parts[3] or parts[1]).strip("_")
    return Coded(f"MDCX_HL7_{bare or 'NONE'}", text, sent, standard=False)


_coded_often = lru_cache(maxsize=_OFTEN)(_coded)


def _mdil(identifier: str, system: str) -> int | None:
    """Partition and code of ``0002-4bb8`` in Philips' MDIL, which up to EFFF are those of MDC; None for other codes."""
    match = _MDIL.fullmatch(identifier) if system == "MDIL" else None
    return int(match[1] + match[2], 16) if match else None


def unit(raw: str, marks: Delimiters) -> str:
    """OBX-6 as UCUM: its UCUM code if it has one, else that of the MDC_DIM or of its usual spelling; else as sent."""
    if raw in {"", HL7_NULL}:
        return ""
    return _unit_often(raw, marks) if len(raw) <= _OFTEN_CHARS else _unit(raw, marks)


def _unit(raw: str, marks: Delimiters) -> str:
    parts = [*er7.components(raw, marks), "", "", "", "", ""]
    for identifier, name, system in (parts[0:3], parts[3:6]):
        if system == "UCUM":
            return ucum_of_written(name if identifier.isdigit() and name else identifier)
    for identifier, name, system in (parts[0:3], parts[3:6]):
        ucum = nomenclature.ucum_of(_mdil(identifier, system) or name) or nomenclature.ucum_of(identifier)
        if ucum is None and identifier.isascii() and identifier.isdigit() and len(identifier) <= 10:
            ucum = nomenclature.ucum_of(int(identifier))
        if ucum is not None:
            return ucum
    named = parts[1].startswith("MDC") or parts[2] == "MDIL"
    return ucum_of_written(parts[1] if named and parts[1] else parts[0] or parts[1])


_unit_often = lru_cache(maxsize=_OFTEN)(_unit)
