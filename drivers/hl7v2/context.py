"""Whom and what a message is about: the patient, the visit, the order, the appointment, as facts of a case.

Source: HL7 v2.9 chapters 3 (PID, PV1, MRG; ADT), 4 (ORC, OBR, TQ1), 7 (OBR-24) and 10 (SCH, AIS, AIL, AIP; SIU); IHE
Radiology TF (accession number: IPC-1, in older orders OBR-18).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from drivers.hl7v2 import er7
from drivers.hl7v2.ack import Header
from drivers.hl7v2.er7 import Delimiters, Message, Segment
from ledger.cases import DEVICE, KIND, PATIENT_IDS, PLACE, PRIOR_IDS, STATUS, VISIT
from ledger.limits import LIMITS

CONTEXT_MESSAGES: Final = frozenset({"ADT", "SIU", "ORM", "OMG", "OMI", "OML", "BAR"})
"""Message codes that are about a patient's stay or treatment and hold no measurement of a device."""
LABORATORY: Final = "laboratory"
_ORDERS: Final = frozenset({"ORM", "OMG", "OMI", "OML"})
_TRANSFERS: Final = frozenset({"A02", "A12", "A17"})
_LABORATORIES: Final = frozenset({"BG", "BLB", "CH", "CP", "GE", "HM", "IMM", "LAB", "MB", "MCB", "MYC", "OSL", "SP",
                                  "SR", "TX", "VR"})  # fmt: skip
"""Of table 0074 (OBR-24) the sections that send results of specimens. ICU there is bedside monitoring, CTH the
catheterisation laboratory: they measure patients.
"""
_IDS: Final = 8
_SEVERAL: Final = 2
_NAME_PARTS: Final = 5
"""Of XPN: family, given, further, suffix and prefix."""


def is_context(header: Header) -> bool:
    """Whether a message tells of a stay, an appointment or an order."""
    return header.message_code in CONTEXT_MESSAGES


def is_laboratory(message: Message) -> bool:
    """Whether an ORU brings results of a specimen: by OBR-24, OBR-15 or a SPM segment. Not by LOINC codes: gateways
    send measurements of bedside devices under them, too.
    """
    marks = message.delimiters
    for segment in message.segments:
        if segment.name == "SPM":
            return True
        if segment.name == "OBR":
            section = er7.component(segment.get(24), 1, marks).upper()
            if section in _LABORATORIES or er7.component(segment.get(15), 1, marks):
                return True
    return False


def places(message: Message, header: Header) -> tuple[list[str], list[str]]:
    """(where it is about, whence the patient came) as sent: AIL-3 of a schedule, else PV1-3; PV1-6 of a transfer."""
    visits = [segment for segment in message.segments if segment.name == "PV1"]
    here = [visit.get(3) for visit in visits]
    if header.message_code == "SIU":
        rooms = [segment.get(3) for segment in message.segments if segment.name == "AIL"]
        here = [one for room in rooms for one in er7.repetitions(room, message.delimiters)] or here
    before = [visit.get(6) for visit in visits] if header.trigger in _TRANSFERS else []
    return here or [""], before


def parts(message: Message) -> list[Message]:
    """The message as one for each of its patients: two who swap beds (A17), results of several.

    A merge stays whole, and so does an appointment (SCH), whose rooms stand behind all its patients. Prior results name
    their patient again (OML^O21): they are no other patient's.
    """
    names = [segment.name for segment in message.segments]
    if names.count("PID") < _SEVERAL or "MRG" in names or "SCH" in names:
        return [message]
    by_ids: dict[str, list[Segment]] = {}
    for number, group in enumerate(_by_patient(message.segments[1:])):
        ids = group[0].get(3) or group[0].get(2)
        by_ids.setdefault(ids or f"nameless {number}", []).extend(group)
    return [Message(message.delimiters, (message.segments[0], *group)) for group in by_ids.values()]


def contexts(message: Message, header: Header, place: str) -> Iterator[dict[str, str]]:
    """The facts of a message: of each patient of a merge, else of its one patient."""
    groups = [[segment] for segment in message.segments if segment.name == "PID"]
    if header.trigger in {"A40", "A39", "A41"} and len(groups) > 1:
        for group in _by_patient(message.segments)[:_IDS]:
            yield _facts(group, message.delimiters, header, place)
    else:
        yield _facts(message.segments, message.delimiters, header, place)


def device_context(message: Message, header: Header) -> dict[str, str]:
    """What a device's message says of whom it is connected to; empty if it does not say."""
    facts = _facts(message.segments, message.delimiters, header, "")
    told = {name: facts[name] for name in (PATIENT_IDS, "name", VISIT) if facts.get(name)}
    return {**told, KIND: DEVICE} if told.get(PATIENT_IDS) else {}


def _by_patient(segments: Iterable[Segment]) -> list[list[Segment]]:
    groups: list[list[Segment]] = []
    for segment in segments:
        if segment.name == "PID":
            groups.append([])
        if groups:
            groups[-1].append(segment)
    return groups


def _facts(segments: Iterable[Segment], marks: Delimiters, header: Header, place: str) -> dict[str, str]:
    facts = _Facts(marks)
    for segment in segments:
        reader = _READERS.get(segment.name)
        if reader is not None:
            reader(facts, segment, header)
    if place:
        facts.told[PLACE] = place
    if header.message_code == "ORU":
        facts.told[KIND] = LABORATORY
    return facts.told


class _Facts:
    """Facts being gathered: the first text told of a name stays."""

    def __init__(self, marks: Delimiters) -> None:
        self.told: dict[str, str] = {}
        self.marks = marks

    def put(self, name: str, text: str) -> None:
        """An empty text tells nothing; HL7's ``""`` withdraws."""
        if text and name not in self.told:
            shown = "".join(letter if letter.isprintable() else " " for letter in text).strip()
            self.told[name] = "" if shown == '""' else shown[: LIMITS.case_fact_chars]

    def part(self, name: str, raw: str, number: int = 1) -> None:
        """One component of a field."""
        self.put(name, er7.component(raw, number, self.marks) if raw != '""' else raw)

    def whole(self, name: str, raw: str) -> None:
        """All components of a field's first repetition, written with ``^``."""
        self.put(name, "^".join(er7.components(raw, self.marks)).rstrip("^"))

    def ids(self, name: str, raw: str) -> None:
        """Identifiers (CX): ``id^^^authority^type``, several with ``~``."""
        found = []
        for one in er7.repetitions(raw, self.marks)[:_IDS]:
            parts = [*er7.components(one, self.marks), *[""] * 5]
            authority = er7.subcomponents(parts[3], self.marks)[0]
            if parts[0] and parts[0] != '""':
                found.append("^".join((parts[0], "", "", authority, parts[4])).rstrip("^"))
        while found and len("~".join(found)) > LIMITS.case_fact_chars:
            found.pop()
        self.put(name, "~".join(found))


def _pid(facts: _Facts, pid: Segment, _header: Header) -> None:
    facts.ids(PATIENT_IDS, pid.get(3) or pid.get(2))
    facts.put("name", "^".join(er7.components(pid.get(5), facts.marks)[:_NAME_PARTS]).rstrip("^"))
    facts.put("birth_date", er7.component(pid.get(7), 1, facts.marks)[:8])
    facts.part("sex", pid.get(8))
    facts.part("account", pid.get(18))


def _mrg(facts: _Facts, mrg: Segment, _header: Header) -> None:
    facts.ids(PRIOR_IDS, mrg.get(1))


def _pv1(facts: _Facts, pv1: Segment, _header: Header) -> None:
    facts.part("patient_class", pv1.get(2))
    facts.whole("location", pv1.get(3))
    facts.whole("prior_location", pv1.get(6))
    facts.part(VISIT, pv1.get(19))


def _sch(facts: _Facts, sch: Segment, _header: Header) -> None:
    facts.part("appointment", sch.get(2) or sch.get(1))
    facts.part("procedure", sch.get(7), 2)
    facts.part("scheduled", sch.get(11), 4)
    facts.part(STATUS, sch.get(25))


def _ais(facts: _Facts, ais: Segment, _header: Header) -> None:
    facts.told.pop("procedure", None)  # more exact than the appointment's reason
    facts.part("procedure", ais.get(3), 2)
    facts.part("procedure_code", ais.get(3))
    facts.part("scheduled", ais.get(4))


def _ail(facts: _Facts, ail: Segment, _header: Header) -> None:
    facts.whole("room", ail.get(3))


def _aip(facts: _Facts, aip: Segment, _header: Header) -> None:
    role = " ".join(er7.components(aip.get(4), facts.marks)).upper()
    if "SURG" in role:
        facts.whole("surgeon", aip.get(3))
    elif "ANES" in role or "ANAES" in role:
        facts.whole("anaesthetist", aip.get(3))


def _orc(facts: _Facts, orc: Segment, header: Header) -> None:
    if header.message_code in _ORDERS:
        facts.part("order", orc.get(2) or orc.get(3))
        facts.part(STATUS, orc.get(5) or orc.get(1))
        facts.part("scheduled", orc.get(7), 4)  # before HL7 2.5, which has TQ1


def _obr(facts: _Facts, obr: Segment, header: Header) -> None:
    if header.message_code in _ORDERS:
        facts.part("order", obr.get(2) or obr.get(3))
        facts.part("ordered", obr.get(4), 2)
        facts.part("ordered_code", obr.get(4))
        facts.part("accession", obr.get(18))


def _ipc(facts: _Facts, ipc: Segment, _header: Header) -> None:
    facts.part("accession", ipc.get(1))


def _tq1(facts: _Facts, tq1: Segment, header: Header) -> None:
    if header.message_code in _ORDERS:
        facts.part("scheduled", tq1.get(7))


_READERS: Final = {"PID": _pid, "MRG": _mrg, "PV1": _pv1, "SCH": _sch, "AIS": _ais, "AIL": _ail, "AIP": _aip,
                   "ORC": _orc, "OBR": _obr, "IPC": _ipc, "TQ1": _tq1}  # fmt: skip
