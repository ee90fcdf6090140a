"""Alarms: IHE PCD-04 ORU^R40 (alert communication) as events.

Source: IHE PCD TF vol. 2, section 3.4 (PCD-04) and appendix B.8.5. An alert is one OBR; its first OBX names the event,
the others (MDC_ATTR_…) its source, phase, state, inactivation, priority and type. OBX-8 of the first may say priority,
type and abnormality too ("L~PM~SP").
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from drivers.hl7v2 import datatypes, er7, pcd01
from drivers.hl7v2.er7 import Delimiters
from drivers.hl7v2.pcd01 import MAX_TEXT, Decoding
from drivers.hl7v2.structure import Containment, Obx, Order
from ledger.records import Event, EventKind, Phase, Priority, Quality, Silence

_PRIORITIES: Final[dict[str, Priority]] = {"PH": "high", "PM": "medium", "PL": "low", "PN": "none"}
_KINDS: Final[dict[str, EventKind]] = {
    "SP": "physiological_alarm",
    "ST": "technical_alarm",
    "SA": "advisory",
}
_PHASES: Final[dict[str, Phase]] = {
    "start": "start",
    "continue": "continue",
    "present": "continue",
    "update": "change",
    "escalate": "change",
    "de-escalate": "change",
    "reset": "change",
    "end": "end",
    "tpoint": "once",
}
# The strongest of several wins: what is off altogether matters more than what is silent for a while.
_SILENCES: Final[tuple[tuple[str, Silence], ...]] = (
    ("alarm-off", "alarm_off"),
    ("alarm-paused", "alarm_paused"),
    ("audio-off", "audio_off"),
    ("audio-paused", "audio_paused"),
    ("alert-acknowledged", "acknowledged"),
    ("enabled", "on"),
)
_SCREEN_PRIORITIES: Final[dict[str, Priority]] = {"1": "high", "2": "medium", "6": "low"}
"""Red alarm, yellow alarm, soft INOP."""
_WORD = re.compile(r"[^A-Za-z0-9]+")
_WATCHDOG = "MDC_EVT_ACTIVE"
_INDIRECT = frozenset({"MDC_EVT_ALARM", "MDC_ATTR_EVT_COND"})
"""OBX-3 that say "an event": which one stands in OBX-5."""


def decode(order: Order, into: Decoding) -> None:
    """Append the event of one OBR.

    The value that caused it becomes part of the event's text and not a numeric: alert messages place their source
    otherwise than observations do, and it would stay beside the live value as another, ageing one.
    """
    tree = Containment(order)
    attributes: dict[str, Obx] = {}
    others: list[Obx] = []
    for obx in order.observations:
        pcd01.identify(tree, obx, into)
        if obx.code.code.startswith("MDC_ATTR_") and obx.code.code not in _INDIRECT:
            attributes.setdefault(obx.code.code.removeprefix("MDC_ATTR_"), obx)
        elif not obx.is_device:
            others.append(obx)
    if not others:
        into.unread += bool(order.observations)
        return
    event, *measured = others
    into.records.append(_event(order, event, measured, attributes, tree, into))


def decode_screen(order: Order, into: Decoding) -> None:
    """Append what Philips' alert display says in an observation message: a class and a text, and no word of when it
    began or will end, so each is a moment.
    """
    alerts = [obx for obx in order.observations if obx.is_screen_alert]
    if not alerts:
        return
    tree = Containment(order)
    for obx in alerts:
        number = er7.component(obx.segment.get(3), 1, obx.marks)
        name = er7.component(obx.segment.get(3), 2, obx.marks)
        code = f"MDCX_PHILIPS_ALERT_{_WORD.sub('_', number or name).strip('_')}"[:MAX_TEXT]
        into.records.append(
            Event(
                sub=into.sub,
                at_ns=into.at_ns,
                device_time=into.time(order, obx),
                quality=into.base_quality,
                kind="technical_alarm" if "INOP" in name.upper() else "physiological_alarm",
                alarm_id=f"{code} {tree.channel(obx)}".strip()[:MAX_TEXT],
                phase="once",
                priority=_SCREEN_PRIORITIES.get(number, "unknown"),
                code=code,
                text=er7.component(obx.value_raw, 1, obx.marks)[:MAX_TEXT],
                device_code=obx.code.raw[:MAX_TEXT],
                device_priority=name[:MAX_TEXT],
            )
        )


def _event(
    order: Order, event: Obx, measured: list[Obx], attributes: dict[str, Obx], tree: Containment, into: Decoding
) -> Event:
    named = event.code
    if named.code in _INDIRECT:
        named = datatypes.coded(event.segment.get(5), event.marks)
    source = attributes.get("ALERT_SOURCE")
    flags = [*event.flags, *(_word(attributes.get(name)).upper() for name in ("ALARM_PRIORITY", "ALERT_TYPE"))]
    watchdog = named.code == _WATCHDOG
    priority = next((flag for flag in reversed(flags) if flag in _PRIORITIES), "")
    kind = next((_KINDS[flag] for flag in reversed(flags) if flag in _KINDS), None)
    if kind is None:  # the sender did not say: an alert with a measured source is about the patient
        kind = "physiological_alarm" if measured else "technical_alarm"
    bounds = next((found for found in (datatypes.limits(obx.segment.get(7)) for obx in measured) if any(found)), None)
    numeric_quality = into.base_quality | (event.quality & (Quality.TEST | Quality.DEMO | Quality.INVALID))
    built = Event(
        sub=into.sub,
        at_ns=into.at_ns,
        device_time=into.time(order, event),
        quality=numeric_quality,
        kind=kind,
        alarm_id=(_alarm_id(order, event.marks) or f"{named.code} {tree.channel(event)}".strip())[:MAX_TEXT],
        phase=_phase(attributes),
        priority=_PRIORITIES.get(priority, "unknown"),
        code=named.code[:MAX_TEXT],
        source=_source(source, measured)[:MAX_TEXT],
        latched=_word(attributes.get("ALARM_STATE")).lower() == "latched",
        silence=_silence(attributes.get("ALARM_INACTIVATION_STATE")),
        limits=bounds or (None, None),
        text=": ".join(filter(None, (_word(attributes.get("ALERT_TEXT")) or _text(event, named), _values(measured))))[
            :MAX_TEXT
        ],
        device_code=named.raw[:MAX_TEXT],
        device_priority=priority,
    )
    if watchdog:  # "I am alive": nothing is wrong, and nothing will ever end it
        return replace(built, kind="advisory", phase="once", priority="none")
    return built


def _word(obx: Obx | None) -> str:
    return "" if obx is None else er7.component(obx.value_raw, 1, obx.marks)


def _phase(attributes: dict[str, Obx]) -> Phase:
    """EVENT_PHASE; where it is missing, what ALARM_STATE implies."""
    phase = _PHASES.get(_word(attributes.get("EVENT_PHASE") or attributes.get("EVT_PHASE")).lower())
    if phase is not None:
        return phase
    state = _word(attributes.get("ALARM_STATE")).lower()
    if state in {"active", "latched"}:
        return "continue"
    return "end" if state in {"inactive", "off"} else "once"


def _text(event: Obx, named: datatypes.Coded) -> str:
    """What the device shows, in its own language: for people only."""
    if named is not event.code:
        return named.text
    said = er7.component(event.value_raw, 1, event.marks)
    return said or named.text


def _values(measured: list[Obx]) -> str:
    """What was measured, like "88 %"."""
    shown = (
        f"{er7.component(obx.value_raw, 1, obx.marks)} {datatypes.unit(obx.segment.get(6), obx.marks)}"
        for obx in measured
        if obx.type in {"NM", "SN"}
    )
    return ", ".join(words.strip() for words in shown if words.strip())


def _source(source: Obx | None, measured: list[Obx]) -> str:
    if source is not None:
        found = datatypes.coded(source.segment.get(5), source.marks)
        return found.value
    return measured[0].code.code if measured else ""


def _silence(obx: Obx | None) -> Silence:
    if obx is None:
        return "unknown"
    words = {word.strip().lower() for word in er7.repetitions(obx.value_raw, obx.marks)}
    return next((silence for word, silence in _SILENCES if word in words), "unknown")


def _alarm_id(order: Order, marks: Delimiters) -> str:
    """What ties start to end: OBR-29 (the first message of this alert), else OBR-3 (this message). PCD TF-2 B.7.1.

    OBR-29 is an EIP: component 2 is the filler's id, its parts subcomponents; some put it into component 1.
    """
    if order.obr is None:
        return ""
    parts = order.obr.get(29).split(marks.repetition, 1)[0].split(marks.component)
    for part in (parts[1] if len(parts) > 1 else "", parts[0]):
        ids = er7.subcomponents(part, marks)
        if any(ids):
            return "^".join(ids).rstrip("^")
    return "^".join(er7.components(order.obr.get(3), marks)).rstrip("^")
