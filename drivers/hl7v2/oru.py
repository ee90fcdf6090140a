"""Restored values as an IHE PCD-01 ORU^R01, marked so that nobody takes them for live ones.

Source: IHE PCD TF vol. 2, section 3.1 and appendix B; HL7 v2.9 chapter 7 (OBR, OBX) and chapter 2 (NTE).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from drivers import nomenclature
from drivers.hl7v2 import datatypes, er7
from drivers.hl7v2.ack import Sender
from drivers.hl7v2.er7 import STANDARD, Message, Segment
from ledger.records import Quality

NOT_LIVE = "RESTORED LAST RECORDED VALUES, NOT LIVE"

_PROFILE = ("IHE_PCD_001", "IHE PCD", "1.3.6.1.4.1.19376.1.6.1.1.1", "ISO")
_MDS = ("69965", "MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS", "MDC")
# Every value is old: questionable whatever it was when measured, and never "final".
_FLAGS = (
    (Quality.INVALID, "INV"),
    (Quality.UNAVAILABLE, "NAV"),
    (Quality.CALIBRATING, "CAL"),
    (Quality.EARLY, "EARLY"),
    (Quality.TEST, "TEST"),
    (Quality.DEMO, "DEMO"),
    (Quality.OVER_RANGE, ">"),
    (Quality.UNDER_RANGE, "<"),
)


@dataclass(frozen=True, slots=True)
class RestoredValue:
    """One value of a restored state. ``at_ns``: UTC at which the box first recorded it; ``unit``: UCUM; ``channel``:
    the record's own, which tells two values of one code apart.
    """

    feed: str
    code: str
    value: Decimal | str | None
    unit: str
    at_ns: int
    quality: Quality = Quality.GOOD
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends to whom, about which place. ``location``: PV1-3 as ``point of care^room^bed^facility``.

    ``control_id``: MSH-10, unique per sender, at most 20 characters for old receivers.
    """

    sender: Sender
    receiver: Sender
    location: str
    control_id: str
    at_ns: int


def restored_oru(values: Iterable[RestoredValue], envelope: Envelope) -> str:
    """The message, in UTF-8 by its MSH-18 and without MLLP frame; no patient identifiers are in it.

    Each feed is a VMD, each channel of its records a channel (OBX-4 ``1.<feed>.<channel>.<n>``). Each value has the
    time at which it was recorded (OBX-14), OBX-8 QUES, OBX-11 R, and its own note; the message begins with that note
    too. Values without one are sent as not available (OBX-11 X).
    """
    tree: dict[str, dict[str, list[RestoredValue]]] = {}
    for value in values:
        tree.setdefault(value.feed, {}).setdefault(value.channel, []).append(value)
    observations = [_device(_MDS, "1.0.0.0")]
    for vmd, (feed, channels) in enumerate(tree.items(), start=1):
        observations.append(_device(("0", f"MDCX_ORLEDGER_FEED_{feed}", "MDC"), f"1.{vmd}.0.0"))
        for channel, (name, rows) in enumerate(channels.items(), start=1):
            if name:
                observations.append(_device(("0", f"MDCX_ORLEDGER_CHANNEL_{name}", "MDC"), f"1.{vmd}.{channel}.0"))
            for metric, row in enumerate(rows, start=1):
                observations += [_value(row, f"1.{vmd}.{channel}.{metric}"), _note()]
    return er7.write(Message(STANDARD, tuple(_numbered([*_head(envelope), *observations]))))


def _head(envelope: Envelope) -> list[Segment]:
    moment = datatypes.dtm(envelope.at_ns)
    identifier = er7.join((envelope.control_id, envelope.sender.application), STANDARD)
    return [
        er7.header_segment(
            STANDARD,
            *(
                er7.escape(name, STANDARD)
                for party in (envelope.sender, envelope.receiver)
                for name in (party.application, party.facility)
            ),
            moment,
            "",
            "ORU^R01^ORU_R01",
            er7.escape(envelope.control_id, STANDARD),
            "P",
            "2.6",
            "",
            "",
            "AL",
            "NE",
            "",
            "UNICODE UTF-8",
            "",
            "",
            er7.join(_PROFILE, STANDARD),
        ),
        er7.segment("PID", "", "", ""),  # required by ORU_R01; empty: whose values these are is the receiver's to know
        er7.segment("PV1", "", "U", er7.join(envelope.location.split("^"), STANDARD)),
        er7.segment("OBR", "1", identifier, identifier, er7.join(_MDS, STANDARD), "", "", moment),
        _note(),
    ]


def _note() -> Segment:
    return er7.segment("NTE", "1", "L", NOT_LIVE)


def _obx(
    code: tuple[str, str, str], path: str, typed: tuple[str, str, str], flags: str, status: str, observed: str
) -> Segment:
    kind, value, unit = typed
    fields = ("", kind, er7.join(code, STANDARD), path, value, unit, "", flags, "", "", status, "", "", observed)
    return er7.segment("OBX", *fields)


def _device(code: tuple[str, str, str], path: str) -> Segment:
    return _obx(code, path, ("", "", ""), "", "X", "")


def _value(row: RestoredValue, path: str) -> Segment:
    number = nomenclature.code_of(row.code)
    code = (str(number or 0), row.code, "MDC")
    if row.value is None:
        typed = ("", "", "")
    elif isinstance(row.value, Decimal):
        unit = er7.join((row.unit, row.unit, "UCUM"), STANDARD) if row.unit else ""
        typed = ("NM", format(row.value, "f"), unit)
    else:
        typed = ("ST", er7.escape(row.value, STANDARD), "")
    flags = STANDARD.repetition.join(["QUES", *(word for bit, word in _FLAGS if row.quality & bit)])
    absent = row.value is None or row.quality & (Quality.INVALID | Quality.UNAVAILABLE)
    return _obx(code, path, typed, flags, "X" if absent else "R", datatypes.dtm(row.at_ns))


def _numbered(segments: list[Segment]) -> list[Segment]:
    """OBX-1 counts through the message."""
    out: list[Segment] = []
    count = 0
    for segment in segments:
        fields = segment.fields
        if segment.name == "OBX":
            count += 1
            fields = (fields[0], str(count), *fields[2:])
        out.append(Segment(fields))
    return out
