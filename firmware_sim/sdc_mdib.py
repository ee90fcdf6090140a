"""The MDIB of a simulated anaesthesia workstation, as the XML of an ISO/IEEE 11073-10207 GetMdibResponse.

Written from the participant model's schema; codes are 11073-10101 context-free codes. One metric has a private code in
a coding system of its own with a translation, and one has a private code alone, as real devices do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from firmware_sim.patient import Numerics
from firmware_sim.waves import WaveKind

PM: Final = "http://standards.ieee.org/downloads/11073/11073-10207-2017/participant"
MSG: Final = "http://standards.ieee.org/downloads/11073/11073-10207-2017/message"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
PRIVATE_SYSTEM: Final = "urn:oid:1.3.6.1.4.1.53595.7"
PEEP_SETTING: Final = "set.peep"
VENT_MODE: Final = "vent.mode"
BATTERY: Final = "bat"
PATIENT_CONTEXT, LOCATION_CONTEXT, WORKFLOW_CONTEXT, OPERATOR_CONTEXT = "pc", "lc", "wc", "oc"
MODES: Final = ("VCV", "PCV", "manual")

BEATS, BREATHS, PERCENT, MMHG, CMH2O = 264864, 264928, 262688, 266016, 266048
CELSIUS, MILLIVOLT, MILLILITRE, LITRE_PER_MIN, DIMLESS = 268192, 266418, 263762, 265216, 262656


@dataclass(frozen=True, slots=True)
class NumericMetric:
    """One value; `shown` None: nothing to show. `system` and `translation` are for codes that are not of 10101."""

    handle: str
    code: int
    name: str
    unit: int
    digits: int
    shown: Callable[[Numerics], float | None]
    system: str = ""
    translation: int = 0


@dataclass(frozen=True, slots=True)
class WaveMetric:
    """One wave."""

    handle: str
    code: int
    unit: int
    digits: int
    kind: WaveKind
    rate_hz: int


@dataclass(frozen=True, slots=True)
class AlertCondition:
    """One condition, with a visible and an audible signal; `source` as in `firmware_sim.alarms`, or empty."""

    handle: str
    code: int
    name: str
    kind: str
    priority: str
    metric: str
    source: str = ""
    limits: tuple[float, float] | None = None


NUMERICS: Final[dict[tuple[str, str], tuple[NumericMetric, ...]]] = {
    ("ecg", "ch.ecg"): (NumericMetric("hr", 147842, "Heart rate", BEATS, 0, lambda n: n.hr),),
    ("spo2", "ch.spo2"): (
        NumericMetric("spo2", 150456, "SpO2", PERCENT, 0, lambda n: n.spo2),
        NumericMetric("pr", 149530, "Pulse rate", BEATS, 0, lambda n: n.pulse_rate),
    ),
    ("ibp", "ch.art"): (
        NumericMetric("art.sys", 150033, "ART systolic", MMHG, 0, lambda n: n.art_sys),
        NumericMetric("art.dia", 150034, "ART diastolic", MMHG, 0, lambda n: n.art_dia),
        NumericMetric("art.mean", 150035, "ART mean", MMHG, 0, lambda n: n.art_mean),
    ),
    ("ibp", "ch.cvp"): (NumericMetric("cvp.mean", 150087, "CVP mean", MMHG, 0, lambda n: n.cvp),),
    ("nibp", "ch.nibp"): (
        NumericMetric("nibp.sys", 150021, "NIBP systolic", MMHG, 0, lambda n: n.nibp.sys if n.nibp else None),
        NumericMetric("nibp.dia", 150022, "NIBP diastolic", MMHG, 0, lambda n: n.nibp.dia if n.nibp else None),
    ),
    ("temp", "ch.temp"): (NumericMetric("temp", 150344, "Temperature", CELSIUS, 1, lambda n: n.temp),),
    ("vent", "ch.vent"): (
        NumericMetric("rr", 151586, "Ventilation rate", BREATHS, 0, lambda n: n.resp_rate),
        NumericMetric("ppeak", 151817, "Peak pressure", CMH2O, 0, lambda n: n.ppeak),
        NumericMetric("vt", 151868, "Tidal volume", MILLILITRE, 0, lambda n: n.tidal_exp),
        NumericMetric("mv", 151880, "Minute volume", LITRE_PER_MIN, 1, lambda n: n.minute_volume),
        NumericMetric(
            "compl", 4711, "Compliance", DIMLESS, 0, lambda n: n.compliance, PRIVATE_SYSTEM, translation=151688
        ),
        NumericMetric("co2.absorber", 4712, "Absorber", PERCENT, 0, lambda _: 37.0, PRIVATE_SYSTEM),
    ),
    ("gas", "ch.gas"): (
        NumericMetric("etco2", 151708, "EtCO2", MMHG, 1, lambda n: n.etco2_mmhg),
        NumericMetric("etsev", 152096, "EtSev", PERCENT, 1, lambda n: n.et_agent),
    ),
}
WAVES: Final[dict[str, tuple[WaveMetric, ...]]] = {
    "ch.ecg": (WaveMetric("ecg.ii", 131330, MILLIVOLT, 3, WaveKind.ECG_II, 250),),
    "ch.spo2": (WaveMetric("pleth", 150452, PERCENT, 1, WaveKind.PLETH, 100),),
    "ch.art": (WaveMetric("art", 150032, MMHG, 1, WaveKind.ART, 100),),
    "ch.vent": (
        WaveMetric("paw", 151792, CMH2O, 1, WaveKind.AWP, 50),
        WaveMetric("flow", 151764, LITRE_PER_MIN, 1, WaveKind.FLOW, 50),
    ),
    "ch.gas": (WaveMetric("co2", 151700, MMHG, 1, WaveKind.CO2, 50),),
}
CONDITIONS: Final = (
    AlertCondition("ac.hr.hi", 196648, "HR high", "Phy", "Me", "hr", "hr", (50, 120)),
    AlertCondition("ac.spo2.lo", 196670, "SpO2 low", "Phy", "Hi", "spo2", "spo2", (90, 100)),
    AlertCondition("ac.art.lo", 196670, "ART mean low", "Phy", "Me", "art.mean", "art_mean", (60, 110)),
    AlertCondition("ac.lead-off", 196736, "ECG lead off", "Tec", "Lo", "hr"),
)


def signal_handles(condition: str) -> tuple[str, str]:
    """The visible and the audible signal of a condition."""
    return f"{condition}.vis", f"{condition}.aud"


def waves() -> tuple[WaveMetric, ...]:
    """All of them."""
    return tuple(wave for of_channel in WAVES.values() for wave in of_channel)


def numerics() -> tuple[NumericMetric, ...]:
    """All of them."""
    return tuple(metric for of_channel in NUMERICS.values() for metric in of_channel)


def mdib_xml(serial: str) -> bytes:
    """The whole document."""
    vmds: dict[str, list[str]] = {}
    for (vmd, channel), metrics in NUMERICS.items():
        vmds.setdefault(vmd, []).append(_channel(channel, metrics))
    vmds["vent"].append(_settings())
    inside = [
        _metadata(serial),
        _system_context(),
        '<pm:Clock Handle="clk" Resolution="PT0.001S"/>',
        f'<pm:Battery Handle="{BATTERY}"/>',
    ]
    inside += [f'<pm:Vmd Handle="vmd.{name}">{"".join(channels)}</pm:Vmd>' for name, channels in vmds.items()]
    body = (
        f'<msg:GetMdibResponse xmlns:msg="{MSG}" xmlns:pm="{PM}" xmlns:xsi="{XSI}" '
        'MdibVersion="0" SequenceId="urn:uuid:0"><msg:Mdib SequenceId="urn:uuid:0"><pm:MdDescription>'
        f'<pm:Mds Handle="mds">{_type(69965, "Workstation")}'
        f"{_product(531975, '2.1.0')}{_product(531974, 'B')}{_alert_system()}{_sco()}"
        f"{''.join(inside)}</pm:Mds></pm:MdDescription></msg:Mdib></msg:GetMdibResponse>"
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


def _type(code: int, name: str, system: str = "", translation: int = 0, tag: str = "Type") -> str:
    of = f" CodingSystem={quoteattr(system)}" if system else ""
    other = f'<pm:Translation Code="{translation}"/>' if translation else ""
    said = f'<pm:ConceptDescription Lang="en-US">{escape(name)}</pm:ConceptDescription>'
    return f'<pm:{tag} Code="{code}"{of}>{said}{other}</pm:{tag}>'


def _product(kind: int, text: str) -> str:
    spec = f'<pm:SpecType Code="{kind}"/><pm:ProductionSpec>{escape(text)}</pm:ProductionSpec>'
    return f"<pm:ProductionSpecification>{spec}</pm:ProductionSpecification>"


def _metadata(serial: str) -> str:
    return (
        "<pm:MetaData><pm:Udi><pm:DeviceIdentifier>04012345678901</pm:DeviceIdentifier>"
        f"<pm:HumanReadableForm>(01)04012345678901(21){escape(serial)}</pm:HumanReadableForm>"
        '<pm:Issuer Root="2.51.1.1"/></pm:Udi>'
        "<pm:Manufacturer>Simulated Medical</pm:Manufacturer><pm:ModelName>SDC workstation</pm:ModelName>"
        f"<pm:ModelNumber>SW-1</pm:ModelNumber><pm:SerialNumber>{escape(serial)}</pm:SerialNumber></pm:MetaData>"
    )


def _system_context() -> str:
    return (
        f'<pm:SystemContext Handle="sc"><pm:PatientContext Handle="{PATIENT_CONTEXT}"/>'
        f'<pm:LocationContext Handle="{LOCATION_CONTEXT}"/><pm:OperatorContext Handle="{OPERATOR_CONTEXT}"/>'
        f'<pm:WorkflowContext Handle="{WORKFLOW_CONTEXT}"/></pm:SystemContext>'
    )


def _sco() -> str:
    """Operations are offered, so that it shows when somebody uses one."""
    return (
        f'<pm:Sco Handle="sco"><pm:Operation xsi:type="pm:SetValueOperationDescriptor" Handle="op.peep" '
        f'OperationTarget="{PEEP_SETTING}">{_type(67108888, "set PEEP")}</pm:Operation></pm:Sco>'
    )


def _alert_system() -> str:
    conditions = "".join(_condition(condition) for condition in CONDITIONS)
    signals = "".join(
        f'<pm:AlertSignal Handle="{handle}" ConditionSignaled="{condition.handle}" Manifestation="{manifestation}" '
        f'Latching="{"true" if condition.kind == "Phy" else "false"}"/>'
        for condition in CONDITIONS
        for handle, manifestation in zip(signal_handles(condition.handle), ("Vis", "Aud"), strict=True)
    )
    return f'<pm:AlertSystem Handle="as">{conditions}{signals}</pm:AlertSystem>'


def _condition(condition: AlertCondition) -> str:
    kind, limits = "", ""
    if condition.limits is not None:
        kind = ' xsi:type="pm:LimitAlertConditionDescriptor"'
        limits = '<pm:MaxLimits Lower="0" Upper="300"/>'
    return (
        f'<pm:AlertCondition{kind} Handle="{condition.handle}" Kind="{condition.kind}" Priority="{condition.priority}">'
        f"{_type(condition.code, condition.name)}<pm:Source>{condition.metric}</pm:Source>{limits}</pm:AlertCondition>"
    )


def _channel(handle: str, metrics: tuple[NumericMetric, ...]) -> str:
    inside = "".join(
        f'<pm:Metric xsi:type="pm:NumericMetricDescriptor" Handle="{metric.handle}" MetricCategory="Msrmt" '
        f'MetricAvailability="Cont" Resolution="{10**-metric.digits:.{metric.digits}f}">'
        f"{_type(metric.code, metric.name, metric.system, metric.translation)}"
        f'<pm:Unit Code="{metric.unit}"/></pm:Metric>'
        for metric in metrics
    )
    for wave in WAVES.get(handle, ()):
        inside += (
            f'<pm:Metric xsi:type="pm:RealTimeSampleArrayMetricDescriptor" Handle="{wave.handle}" '
            f'MetricCategory="Msrmt" MetricAvailability="Cont" Resolution="{10**-wave.digits:.{wave.digits}f}" '
            f'SamplePeriod="PT{1 / wave.rate_hz:g}S"><pm:Type Code="{wave.code}"/>'
            f'<pm:Unit Code="{wave.unit}"/></pm:Metric>'
        )
    return f'<pm:Channel Handle="{handle}">{inside}</pm:Channel>'


def _settings() -> str:
    allowed = "".join(f"<pm:AllowedValue><pm:Value>{mode}</pm:Value></pm:AllowedValue>" for mode in MODES)
    return (
        f'<pm:Channel Handle="ch.settings"><pm:Metric xsi:type="pm:NumericMetricDescriptor" Handle="{PEEP_SETTING}" '
        f'MetricCategory="Set" MetricAvailability="Cont" Resolution="1">{_type(4713, "PEEP", PRIVATE_SYSTEM)}'
        f'<pm:Unit Code="{CMH2O}"/></pm:Metric>'
        f'<pm:Metric xsi:type="pm:EnumStringMetricDescriptor" Handle="{VENT_MODE}" MetricCategory="Set" '
        f'MetricAvailability="Cont">{_type(4714, "Mode", PRIVATE_SYSTEM)}<pm:Unit Code="{DIMLESS}"/>'
        f"{allowed}</pm:Metric>"
        "</pm:Channel>"
    )
