"""Observations: IHE PCD-01 ORU^R01, and the OBX of any other message, as numerics, settings, waves and identities.

Source: IHE PCD TF vol. 2, section 3.1 (PCD-01) and appendix B.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from decimal import Decimal

from drivers.hl7v2 import datatypes, er7, wave_records, waveform_results, waves
from drivers.hl7v2.ack import Header
from drivers.hl7v2.structure import Containment, Obx, Order
from drivers.hl7v2.wave_records import Signal
from drivers.hl7v2.waves import SampleCount
from ledger.limits import S_NS
from ledger.records import DeviceTime, Identity, Numeric, Quality, Record, Setting

MAX_TEXT = 4_096
"""Characters of one text value; what is longer is cut (the raw message has the rest)."""

STALE_NS = 60 * S_NS
"""A value measured this long before its report (OBX-14 against OBR-7, one clock) is an old one sent again."""

_IDENTITIES = 1_024
_MEASURED = 4_096
_TEXT_TYPES = frozenset({"ST", "TX", "FT", "ID", "IS", "DT", "TM", "DTM", "TS", "EI"})
_CODED_TYPES = frozenset({"CWE", "CNE", "CE", "CF"})
_COMPOSITE_TYPES = frozenset({"AD", "CK", "CN", "CP", "CQ", "CX", "DLN", "DR", "EIP", "HD", "MO", "PL", "PN", "PPN",
                              "RI", "RP", "SCV", "TN", "XAD", "XCN", "XON", "XPN", "XTN"})  # fmt: skip
"""Of several components, kept as they are written."""
_NUMBER_TYPES = frozenset({"NM", "SN"})
_PLACEHOLDER = "-*.?_ ^~"
"""What devices send for a number that they do not have; others send ``_NINES``."""
_NINES = re.compile(r"-9{2,4}\.9{1,2}|-9{3,5}")
_NAMED_RATE = re.compile(r"@(\d{1,6}(?:\.\d{1,6})?)", re.ASCII)
"""How Vital Recorder ends the name of a wave: ``ECG_WAV^BeneView/ECG_II@100``."""
_BEYOND = {">": Quality.OVER_RANGE, "<": Quality.UNDER_RANGE}
"""How the text begins that stands for a number beyond what can be measured."""
_SET_METHODS = frozenset({"MSET", "ASET"})
_PHILIPS_SETTING = "SETTING"
"""OBX-13 of Philips' information centres."""
_RATE, _RESOLUTION, _NO_SAMPLE = "MDC_ATTR_SAMP_RATE", "MDC_ATTR_NU_MSMT_RES", "MDC_EVT_INOP"
_WAVE_FACETS = frozenset({_RATE, _RESOLUTION, _NO_SAMPLE, "MDC_ATTR_DATA_RANGE"})
_FULL_SCALE = 32_767
_DIMENSIONLESS = frozenset({"", "1"})


@dataclass(slots=True)
class LinkMemory:
    """What has to be remembered between the messages of one connection."""

    samples: SampleCount = field(default_factory=SampleCount)
    identities: OrderedDict[tuple[str, str, str, str], None] = field(default_factory=OrderedDict)
    measured: OrderedDict[tuple[str, str, str], tuple[int, Decimal | str]] = field(default_factory=OrderedDict)

    def first_seen(self, key: tuple[str, str, str, str]) -> bool:
        """Whether this identity is new on this connection; the longest unseen of many are forgotten."""
        fresh = self.identities.pop(key, 0) == 0
        self.identities[key] = None
        if len(self.identities) > _IDENTITIES:
            self.identities.popitem(last=False)
        return fresh

    def is_repeat(self, key: tuple[str, str, str], measured_ns: int, value: Decimal | str) -> bool:
        """Whether this place (sub, code, channel) showed the same value of the same time before."""
        before = self.measured.pop(key, None)
        self.measured[key] = (measured_ns, value)
        if len(self.measured) > _MEASURED:
            self.measured.popitem(last=False)
        return before == (measured_ns, value)


@dataclass(slots=True)
class Decoding:
    """One message being turned into records of one logical device. ``unread`` counts OBX that could not be."""

    header: Header
    sub: str
    at_ns: int
    memory: LinkMemory
    records: list[Record] = field(default_factory=list)
    unread: int = 0

    @property
    def base_quality(self) -> Quality:
        """MSH-11: only P is a patient's. T is training; D (debugging) is what test tools send: both are TEST."""
        return Quality.TEST if self.header.processing in {"T", "D"} else Quality.GOOD

    def measured_time(self, obx: Obx) -> DeviceTime | None:
        """OBX-14; the offset of MSH-7 holds where it has none."""
        return self.moment(obx.observed_raw)

    def report_time(self, order: Order) -> DeviceTime | None:
        """OBR-7, in the same way."""
        return self.moment(order.obr.get(7)) if order.obr is not None else None

    def moment(self, raw: str) -> DeviceTime | None:
        """A DTM; of a TS, which HL7 had before 2.6, the second component tells its precision."""
        mark = self.header.delimiters.component
        zone = datatypes.zone_of(self.header.time_raw.partition(mark)[0])
        return datatypes.device_time(raw.partition(mark)[0].strip(), zone)

    def time(self, order: Order, obx: Obx) -> DeviceTime | None:
        """When something was observed: OBX-14, else OBR-7."""
        return self.measured_time(obx) or self.report_time(order)


def decode(order: Order, into: Decoding) -> None:
    """Append the records of one OBR and its OBX."""
    waveform_results.decode(order, into)
    tree = Containment(order)
    facets = _facets(order)
    taken: set[tuple[str, str]] = set()
    for obx in order.observations:
        identify(tree, obx, into)
        if obx.is_device or obx.is_screen_alert or obx.waveform_part or _belongs_to_wave(obx, facets):
            continue
        if obx.type in {"NA", "MA"}:
            into.unread += not _wave(order, obx, tree.channel(obx), facets, into)
            continue
        channel = tree.channel(obx)
        if (obx.code.code, channel) in taken and obx.path:
            # Twice the same code in one channel: the metric's own number tells them apart.
            channel = f"{channel}#{'.'.join(map(str, obx.path[3:])) or obx.path[-1]}"
        taken.add((obx.code.code, channel))
        record = numeric(order, obx, channel, into)
        if record is None:
            into.unread += 1
        else:
            into.records.append(record)


def identify(tree: Containment, obx: Obx, into: Decoding) -> None:
    """Append an Identity the first time equipment is seen on this connection."""
    found = tree.equipment(obx)
    if found is None:
        return
    equipment, model = found
    facility = er7.component(into.header.facility_raw, 1, into.header.delimiters)
    make = equipment.namespace or facility
    if into.memory.first_seen((into.sub, make, model, equipment.serial)):
        protocol = " ".join(part for part in ("HL7", into.header.version, into.header.profile) if part)
        into.records.append(
            Identity(
                sub=into.sub,
                at_ns=into.at_ns,
                quality=into.base_quality,
                make=make[:MAX_TEXT],
                model=model,
                serial=equipment.serial[:MAX_TEXT],
                protocol=protocol,
            )
        )


def numeric(order: Order, obx: Obx, channel: str, into: Decoding) -> Numeric | None:
    """One OBX as a Numeric or Setting; None if its type or value cannot be read."""
    quality = into.base_quality | obx.quality
    value = _value(obx)
    if value is None:
        if obx.value_raw and not _is_placeholder(obx):
            return None
        quality |= Quality.UNAVAILABLE
    elif obx.type in _NUMBER_TYPES and len(_repetitions(obx)) > 1:
        quality |= Quality.QUESTIONABLE
    elif obx.type == "NM" and isinstance(value, str):
        quality |= _BEYOND.get(value[0], Quality.QUESTIONABLE)
    if isinstance(value, str):
        value = value[:MAX_TEXT]
    code = obx.code.code[:MAX_TEXT]
    channel = channel[:MAX_TEXT]
    measured = into.measured_time(obx)
    report = into.report_time(order)
    if value is not None and measured is not None:
        repeat = into.memory.is_repeat((into.sub, code, channel), measured.value_ns, value)
        old = report is not None and report.kind == measured.kind and report.value_ns - measured.value_ns > STALE_NS
        if repeat or old:
            quality |= Quality.STALE
    method = er7.component(obx.segment.get(17), 1, obx.marks).upper()
    is_set = method in _SET_METHODS or obx.segment.get(13).strip().upper() == _PHILIPS_SETTING
    kind = Setting if is_set else Numeric
    return kind(
        sub=into.sub,
        at_ns=into.at_ns,
        device_time=measured or report,
        quality=quality,
        code=code,
        value=value,
        unit=datatypes.unit(obx.segment.get(6), obx.marks)[:MAX_TEXT],
        device_code=obx.code.raw[:MAX_TEXT],
        channel=channel,
    )


def _value(obx: Obx) -> Decimal | str | None:
    raw, kind = obx.value_raw, obx.type
    several = _repetitions(obx)
    if kind in _NUMBER_TYPES and _is_placeholder(obx):
        return None
    if kind in _NUMBER_TYPES and len(several) > 1:  # no one number is the value then
        return ", ".join(er7.unescape(one, obx.marks).strip() for one in several)
    if kind in _NUMBER_TYPES and several:
        raw = several[0]
    if kind == "NM":
        parts = er7.components(raw, obx.marks)
        text = "^".join(parts) if any(parts[1:]) else parts[0]  # a number has one component
        value = datatypes.number(text)
        return (text or None) if value is None else value
    if kind == "SN":
        return datatypes.structured_number(er7.components(raw, obx.marks))
    if kind == "NR":
        return " to ".join(er7.components(raw, obx.marks)) if raw else None
    if kind in _CODED_TYPES:
        return ", ".join(datatypes.coded(part, obx.marks).value for part in several) or None
    if kind in _TEXT_TYPES or kind in _COMPOSITE_TYPES or not kind:
        return "\n".join(er7.unescape(part, obx.marks).strip() for part in several).strip() or None
    return None


def _repetitions(obx: Obx) -> list[str]:
    """Of OBX-5; of numbers those alone in which something stands: some senders end each field with the mark."""
    found = er7.repetitions(obx.value_raw, obx.marks)
    return [one for one in found if one.strip()] if obx.type in _NUMBER_TYPES else found


def _is_placeholder(obx: Obx) -> bool:
    """A number of which the device shows only dashes or the like, or sends only nines (-999, -99.9)."""
    raw = obx.value_raw.strip(_PLACEHOLDER.replace("-", ""))
    return obx.type in _NUMBER_TYPES and (not raw.strip(_PLACEHOLDER) or _NINES.fullmatch(raw) is not None)


def _facets(order: Order) -> dict[tuple[int, ...], dict[str, Obx]]:
    """Facets by the path of the array they belong to."""
    found: dict[tuple[int, ...], dict[str, Obx]] = {
        obx.path: {} for obx in order.observations if obx.type in {"NA", "MA"}
    }
    for obx in order.observations:
        owner = found.get(obx.path[:-1])
        if owner is not None and obx.path:
            owner[obx.code.code] = obx
    return found


def _belongs_to_wave(obx: Obx, facets: dict[tuple[int, ...], dict[str, Obx]]) -> bool:
    return bool(obx.path) and obx.code.code in _WAVE_FACETS and obx.path[:-1] in facets


def _wave(order: Order, obx: Obx, channel: str, facets: dict[tuple[int, ...], dict[str, Obx]], into: Decoding) -> bool:
    told = facets.get(obx.path, {})
    hertz = _facet(told, _RATE) or _named_rate(obx)
    rate = waves.rate_of(hertz) if hertz is not None else None
    no_sample = _facet(told, _NO_SAMPLE)
    rows = waves.signals(obx)
    if no_sample is not None and abs(no_sample) >= _FULL_SCALE:
        rows = [[None if value == no_sample else value for value in row] for row in rows]
    if rate is None or not rows or not any(value is not None for row in rows for value in row):
        return False
    step, unit = _step(obx, rows, told)
    for number, row in enumerate(rows):
        place = f"{channel}#{number + 1}" if len(rows) > 1 else channel
        signal = Signal(obx.code.code[:MAX_TEXT], place[:MAX_TEXT], unit, obx.quality, rate)
        samples = replace(waves.quantise(row), step=step)
        into.records.extend(wave_records.records(signal, samples, into.time(order, obx), into))
    return True


def _facet(facets: dict[str, Obx], name: str) -> Decimal | None:
    facet = facets.get(name)
    return datatypes.number(er7.component(facet.value_raw, 1, facet.marks)) if facet is not None else None


def _named_rate(obx: Obx) -> Decimal | None:
    _, at, rate = er7.component(obx.segment.get(3), 2, obx.marks).rpartition("@")
    return Decimal(rate) if _NAMED_RATE.fullmatch(at + rate) else None


def _step(obx: Obx, rows: list[list[Decimal | None]], facets: dict[str, Obx]) -> tuple[float, str]:
    """What one of the numbers sent is worth, in which unit. Mindray sends counts of the converter without a unit, and
    beside them the resolution with one; where the array has a unit of its own, its numbers are in that.
    """
    unit = datatypes.unit(obx.segment.get(6), obx.marks)[:MAX_TEXT]
    resolution = _facet(facets, _RESOLUTION)
    counts = all(value is None or value == value.to_integral_value() for row in rows for value in row)
    if unit not in _DIMENSIONLESS or resolution is None or resolution <= 0 or not counts:
        return 1.0, unit
    facet = facets[_RESOLUTION]
    return float(resolution), datatypes.unit(facet.segment.get(6), facet.marks)[:MAX_TEXT]
