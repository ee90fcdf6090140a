"""The descriptive part of an MDIB (ISO/IEEE 11073-10207, MdDescription): what there is, by handle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from drivers.sdc.codes import MOST_CHARACTERS, Coded, code_name, coded, device_code, maker_word, unit_name
from drivers.sdc.xml import Element
from ledger.errors import DeviceFault

MOST_DESCRIPTORS: Final = 16_384
MOST_SOURCES: Final = 16
_DURATION: Final = re.compile(
    r"P(?:0{1,4}Y)?(?:0{1,4}M)?(?:(\d{1,4})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{0,6}(?:\.\d{0,9})?)S)?)?",
    re.ASCII,
)
_COMPONENTS: Final = {
    "Mds": "Mds", "Vmd": "Vmd", "Channel": "Channel", "AlertSystem": "AlertSystem", "AlertCondition": "AlertCondition",
    "AlertSignal": "AlertSignal", "Sco": "Sco", "Operation": "Operation", "SystemContext": "SystemContext",
    "PatientContext": "PatientContext", "LocationContext": "LocationContext", "EnsembleContext": "EnsembleContext",
    "OperatorContext": "OperatorContext", "WorkflowContext": "WorkflowContext", "MeansContext": "MeansContext",
    "Clock": "Clock", "Battery": "Battery", "Metric": "Metric",
}  # fmt: skip
SOFTWARE: Final = frozenset({"531975", "531976"})
"""ProductionSpecification types MDC_ID_PROD_SPEC_SW and _FW."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor. ``kind``: its type without ``Descriptor``, such as NumericMetric, LimitAlertCondition, Vmd.

    ``code``, ``unit``: as they are recorded; ``device_code`` and ``text``: the device's own. ``period_s``: of a wave's
    samples, 0 if it says none; ``rate``: its inverse, as samples in seconds. ``domain``: what the samples of a
    distribution are spread over. ``sources``: what an alert is about.
    """

    handle: str
    kind: str
    parent: str
    mds: str
    code: str
    device_code: str = ""
    text: str = ""
    unit: str = ""
    category: str = ""
    resolution_digits: int = 0
    period_s: Fraction = Fraction(0)
    rate: tuple[int, int] = (0, 1)
    domain: str = ""
    alert_kind: str = ""
    priority: str = ""
    sources: tuple[str, ...] = ()
    signals: str = ""
    manifestation: str = ""


@dataclass(frozen=True, slots=True)
class MdsInfo:
    """Who one medical device system says it is."""

    handle: str
    make: str = ""
    model: str = ""
    serial: str = ""
    software: str = ""
    udi: str = ""
    maker: str = "SDC"
    """The maker, as part of private codes."""


@dataclass(slots=True)
class Description:
    """All descriptors by handle, and the medical device systems in their order."""

    descriptors: dict[str, Descriptor] = field(default_factory=dict)
    systems: dict[str, MdsInfo] = field(default_factory=dict)

    def sub_of(self, mds: str) -> str:
        """The logical device of a medical device system: the feed itself if it is the only one."""
        return "" if len(self.systems) <= 1 else mds

    def maker_of(self, mds: str) -> str:
        """The maker, as part of private codes."""
        system = self.systems.get(mds)
        return system.maker if system is not None else "SDC"


def read_description(element: Element | None) -> Description:
    """Of an MdDescription. Raises DeviceFault ``sdc.bad-mdib``."""
    found = Description()
    for mds in element.all("Mds") if element is not None else ():
        handle = handle_of(mds, "Handle")
        system = found.systems[handle] = _system(mds, handle)
        for descriptor in _descend(mds, system):
            if descriptor.handle in found.descriptors or len(found.descriptors) >= MOST_DESCRIPTORS:
                raise DeviceFault("sdc.bad-mdib", "the description has a handle twice, or too many of them")
            found.descriptors[descriptor.handle] = descriptor
    if not found.systems:
        raise DeviceFault("sdc.bad-mdib", "the description holds no medical device system")
    return found


def handle_of(element: Element, attribute: str) -> str:
    """A handle. Raises DeviceFault ``sdc.bad-mdib`` if there is none, or an endless one."""
    handle = element.get(attribute)
    if not 0 < len(handle) <= MOST_CHARACTERS:
        raise DeviceFault("sdc.bad-mdib", f"{element.tag[:64]} has no handle, or one that is too long")
    return handle


def duration_s(text: str) -> Fraction:
    """An xsd:duration without years and months, which have no length; 0 if it is something else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return Fraction(0)
    seconds = (match[4] or "").strip(".")
    whole = (int(match[1] or 0) * 24 + int(match[2] or 0)) * 60 + int(match[3] or 0)
    return Fraction(whole * 60) + (Fraction(seconds) if seconds else 0)


def _descend(element: Element, system: MdsInfo) -> Iterator[Descriptor]:
    # by hand and not by recursion: the depth is the device's choice
    waiting = [(element, "")]
    while waiting:
        here, above = waiting.pop()
        descriptor = _descriptor(here, above, system)
        yield descriptor
        below = [(child, descriptor.handle) for child in here.children if child.tag in _COMPONENTS]
        waiting.extend(reversed(below))


def _descriptor(element: Element, parent: str, system: MdsInfo) -> Descriptor:
    resolution = element.get("Resolution")
    _, _, decimals = resolution.partition(".")
    kind, unit = coded(element.first("Type")) or Coded(""), coded(element.first("Unit"))
    period_s = duration_s(element.get("SamplePeriod")[:64])
    rate = 1 / period_s if period_s else Fraction(0)
    sources = (source.text.strip()[:MOST_CHARACTERS] for source in element.all("Source"))
    return Descriptor(
        handle=handle_of(element, "Handle"),
        kind=element.kind.removesuffix("Descriptor")[:MOST_CHARACTERS] or _COMPONENTS[element.tag],
        parent=parent,
        mds=system.handle,
        code=code_name(kind, system.maker),
        device_code=device_code(kind),
        text=kind.text,
        unit=unit_name(unit, system.maker) if unit is not None else "",
        category=element.get("MetricCategory")[:16],
        resolution_digits=min(9, len(decimals.rstrip("0"))),
        period_s=period_s,
        rate=(rate.numerator, rate.denominator),
        domain=_domain(element, system.maker),
        alert_kind=element.get("Kind")[:16],
        priority=element.get("Priority")[:16],
        sources=tuple(source for _, source in zip(range(MOST_SOURCES), sources, strict=False)),
        signals=element.get("ConditionSignaled")[:MOST_CHARACTERS],
        manifestation=element.get("Manifestation")[:16],
    )


def _domain(element: Element, maker: str) -> str:
    """``0 to 32 Hz``; empty for what is no distribution."""
    unit, span = coded(element.first("DomainUnit")), element.first("DistributionRange")
    if unit is None or span is None:
        return ""
    lower, upper = (span.get(word)[:16] for word in ("Lower", "Upper"))
    return f"{lower} to {upper} {unit_name(unit, maker)}"


def _system(mds: Element, handle: str) -> MdsInfo:
    data = mds.first("MetaData") or Element("MetaData", {})
    software = [
        spec.text_of("ProductionSpec")
        for spec in mds.all("ProductionSpecification")
        if (spec.first("SpecType") or spec).get("Code") in SOFTWARE
    ]
    make = data.text_of("Manufacturer")[:MOST_CHARACTERS]
    return MdsInfo(
        handle,
        make=make,
        maker=maker_word(make),
        model=" ".join(filter(None, (data.text_of("ModelName"), data.text_of("ModelNumber"))))[:MOST_CHARACTERS],
        serial=data.text_of("SerialNumber")[:MOST_CHARACTERS],
        software=" ".join(software)[:MOST_CHARACTERS],
        udi=data.text_of("Udi", "HumanReadableForm")[:MOST_CHARACTERS],
    )
