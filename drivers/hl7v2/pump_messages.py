"""What infusion pump servers send beside observations: orders to a pump (PCD-03) and its events (PCD-10).

Source: IHE PCD TF vol. 2, section 3.3 (PCD-03, RGV^O15: RXG) and 3.10 (PCD-10, ORU^R42: MDC_ATTR_EVT_COND names the
event); HL7 v2.9 chapter 4A (RXG). An order is what was asked for, not what the pump does: it is recorded under codes of
its own and never as the pump's setting.
"""

from __future__ import annotations

from typing import Final

from drivers.hl7v2 import datatypes, er7
from drivers.hl7v2.er7 import Message, Segment
from drivers.hl7v2.pcd01 import MAX_TEXT, Decoding
from drivers.hl7v2.structure import Containment, Order
from ledger.records import Event, Numeric

_EVENT: Final = "MDC_ATTR_EVT_COND"
_CHANNEL_CHARS: Final = 64
_AMOUNTS: Final = (
    ("MDCX_HL7_RXG_GIVE_AMOUNT", 5, 7), ("MDCX_HL7_RXG_GIVE_RATE", 15, 16), ("MDCX_HL7_RXG_GIVE_STRENGTH", 17, 18),
    ("MDCX_HL7_RXG_GIVE_STRENGTH_VOLUME", 23, 24),
)  # fmt: skip
"""Code, field of the amount, field of its unit."""


def decode_order(message: Message, into: Decoding) -> None:
    """Append what the RXG of an RGV^O15 ask for, each under its order's number."""
    order, number = "", 0
    for segment in message.segments:
        if segment.name == "ORC":
            order = er7.component(segment.get(2) or segment.get(3), 1, message.delimiters)
        elif segment.name == "RXG":
            number += 1
            place = f"order/{order or number}"[:_CHANNEL_CHARS]
            _given(segment, message, place, into)


def _given(rxg: Segment, message: Message, place: str, into: Decoding) -> None:
    marks = message.delimiters
    drug = datatypes.coded(rxg.get(4), marks)
    if drug.text:
        into.records.append(_numeric("MDCX_HL7_RXG_GIVE_CODE", drug.text[:MAX_TEXT], "", drug.raw, place, into))
    for code, amount_field, unit_field in _AMOUNTS:
        raw = er7.component(rxg.get(amount_field), 1, marks)
        if not raw or raw == datatypes.HL7_NULL:
            continue
        value = datatypes.number(raw)
        unit = datatypes.unit(rxg.get(unit_field), marks)[:MAX_TEXT]
        kept = value if value is not None else raw[:MAX_TEXT]
        into.records.append(_numeric(code, kept, unit, f"RXG-{amount_field}", place, into))


def _numeric(code: str, value: object, unit: str, device_code: str, place: str, into: Decoding) -> Numeric:
    return Numeric(
        sub=into.sub, at_ns=into.at_ns, quality=into.base_quality, code=code, value=value,  # type: ignore[arg-type]
        unit=unit, device_code=device_code[:MAX_TEXT], channel=place,
    )  # fmt: skip


def decode_events(order: Order, into: Decoding) -> None:
    """Append an event for each MDC_ATTR_EVT_COND of an order: pump started, stopped, completed."""
    tree = Containment(order)
    for obx in order.observations:
        if obx.code.code != _EVENT:
            continue
        named = datatypes.coded(obx.segment.get(5), obx.marks)
        into.records.append(
            Event(
                sub=into.sub,
                at_ns=into.at_ns,
                device_time=into.time(order, obx),
                quality=into.base_quality | obx.quality,
                kind="marker",
                alarm_id=f"{named.code} {tree.channel(obx)}".strip()[:MAX_TEXT],
                phase="once",
                priority="none",
                code=named.code[:MAX_TEXT],
                source=tree.channel(obx)[:MAX_TEXT],
                text=named.text[:MAX_TEXT],
                device_code=named.raw[:MAX_TEXT],
            )
        )
