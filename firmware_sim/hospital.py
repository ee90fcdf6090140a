"""A hospital's information systems as one HL7 sender: admissions, schedules, orders, laboratory, pump server.

Written from HL7 v2.5.1 chapters 3, 4, 7 and 10 and IHE PCD TF volume 2 (PCD-03, PCD-10), around a list of patients. A
story is what happens in one operating room during one list: when, and about whom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware_sim.faults import FaultLine
from firmware_sim.hl7_messages import Message, hl7_time

ROOM = "OR^3^1^SIM"
OTHER_ROOM = "OR^4^1^SIM"
RECOVERY = "PACU^2^1^SIM"
WARD = "W5^12^2^SIM"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on the list."""

    number: str
    family: str
    given: str
    born: str
    sex: str
    visit: str
    procedure: str
    procedure_code: str

    @property
    def pid(self) -> str:
        return f"PID|1||{self.number}^^^SIM&1.2.3&ISO^MR||{self.family}^{self.given}^^^^^L||{self.born}|{self.sex}"


ANNA = Person("10001", "Öberg", "Anna", "19610412", "F", "V881", "Total hip replacement", "27130")
BRUNO = Person("10002", "Dahl", "Bruno", "19480930", "M", "V882", "Laparoscopic cholecystectomy", "47562")
JORG = Person("SIM-0001", "Müller", "Jörg", "19550223", "M", "V880", "Radical prostatectomy", "55866")
"""Whom the bedside gateway says that it is connected to."""
CLARA = Person("10003", "Vance", "Clara", "19751101", "F", "V883", "Thyroidectomy", "60240")

Writer = Callable[["Hospital"], Message]
Story = Sequence[tuple[float, Writer]]
"""(second, what is sent) in order."""


class Hospital:
    """Writes the messages; MSH-10 stays unique across restarts."""

    def __init__(self, started_unix_s: float, room: str = ROOM, charset: str = "UNICODE UTF-8") -> None:
        self.room = room
        self.now_s = 0.0
        self._charset = charset
        self._started_unix_s = started_unix_s
        self._prefix = f"{int(started_unix_s):x}"
        self._count = 0

    def adt(self, trigger: str, person: Person, location: str | None = None, prior: str = "") -> Message:
        """ADT: a patient arrives, leaves, is transferred or corrected."""
        evn = f"EVN|{trigger}|{self._time()}"
        return self._message(f"ADT^{trigger}^{_ADT_STRUCTURES.get(trigger, 'ADT_A01')}", "ADT", evn, person.pid,
                             self._pv1(person, self.room if location is None else location, prior))  # fmt: skip

    def merge(self, surviving: Person, gone: str) -> Message:
        """ADT^A40: the id `gone` becomes this patient's."""
        return self._message("ADT^A40^ADT_A39", "ADT", f"EVN|A40|{self._time()}", surviving.pid,
                             f"MRG|{gone}^^^SIM&1.2.3&ISO^MR")  # fmt: skip

    def schedule(self, trigger: str, person: Person, room: str | None = None, status: str = "Booked") -> Message:
        """SIU: an appointment of the operating room is made, moved, changed or cancelled."""
        start = hl7_time(self._started_unix_s + 3_600)[:12]
        return self._message(
            f"SIU^{trigger}^SIU_S12", "SCHED",
            f"SCH|P{person.visit}|F{person.visit}||||^{trigger}|^{person.procedure}||||^^60^{start}{'|' * 14}{status}",
            person.pid, self._pv1(person, WARD), "RGS|1",
            f"AIS|1||{person.procedure_code}^{person.procedure}^CPT|{start}",
            f"AIL|1||{self.room if room is None else room}",
            "AIP|1||77^Lister^Joan|SURGEON^Surgeon", "AIP|2||78^Morton^Will|ANESTH^Anaesthetist",
        )  # fmt: skip

    def order(self, person: Person) -> Message:
        """ORM^O01: an intraoperative X-ray."""
        return self._message(
            "ORM^O01^ORM_O01", "RIS", person.pid, self._pv1(person, self.room), f"ORC|NW|O{person.visit}|||SC",
            f"OBR|1|O{person.visit}||73501^X-ray of hip^CPT||||||||||||||ACC{person.visit}",
        )  # fmt: skip

    def imaging_order(self, person: Person) -> Message:
        """OMI^O23: the same as an imaging order with its accession number in IPC."""
        return self._message(
            "OMI^O23^OMI_O23", "RIS", person.pid, self._pv1(person, self.room), f"ORC|NW|I{person.visit}",
            f"TQ1|1||||||{self._time()[:14]}", f"OBR|1|I{person.visit}||76000^Fluoroscopy^CPT",
            f"IPC|ACC{person.visit}|RP1|1.2.3.4|SPS1",
        )  # fmt: skip

    def laboratory(self, person: Person, haemoglobin: str, potassium: str, location: str | None = None) -> Message:
        """ORU^R01 of a laboratory: LOINC codes, and one of its own."""
        time = self._time()
        return self._message(
            "ORU^R01^ORU_R01", "LAB", person.pid, self._pv1(person, self.room if location is None else location),
            f"OBR|1||L{self._count}|CBC^Blood count^L|||{time}|||||||||||||||||HM|F",
            f"OBX|1|NM|718-7^Hemoglobin [Mass/volume] in Blood^LN||{haemoglobin}|g/dL^^UCUM|12.0-16.0|L|||F|||{time}",
            f"OBX|2|NM|2823-3^Potassium [Moles/volume] in Serum^LN||{potassium}|mmol/L^^UCUM|3.5-5.1||||F",
            "OBX|3|ST|HEMIDX^Haemolysis index^L||none||||||F",
        )  # fmt: skip

    def pump_order(self, person: Person, rate: str) -> Message:
        """RGV^O15 (PCD-03): noradrenaline at a rate."""
        return self._message(
            "RGV^O15^RGV_O15", "PUMPSRV", person.pid, self._pv1(person, self.room), f"ORC|RE|M{person.visit}",
            f"RXG|1|||7980^Noradrenaline^L|50||263762^MDC_DIM_MILLI_L^MDC^mL^mL^UCUM||||||||{rate}|"
            "265266^MDC_DIM_MILLI_L_PER_HR^MDC^mL/h^mL/h^UCUM|4|263890^MDC_DIM_MILLI_G^MDC^mg^mg^UCUM",
            "RXR|IV||IVP", "OBX|1||69986^MDC_DEV_PUMP_INFUS_VMD^MDC||||||||X|||||||^^PUMP7^SIMPUMP",
        )  # fmt: skip

    def pump_event(self, person: Person, code: str) -> Message:
        """ORU^R42 (PCD-10): the pump started, or its volume is given."""
        return self._message(
            "ORU^R42^ORU_R42", "PUMPSRV", person.pid, self._pv1(person, self.room),
            f"OBR|1|M{person.visit}|E{self._count}|69986^MDC_DEV_PUMP_INFUS_VMD^MDC|||{self._time()}",
            "OBX|1||69985^MDC_DEV_PUMP_INFUS_MDS^MDC|1.0.0.0||||||X|||||||^^PUMP7^SIMPUMP",
            f"OBX|2|CWE|68487^MDC_ATTR_EVT_COND^MDC|1.0.0.2|{code}||||||R|||{self._time()}",
        )  # fmt: skip

    def _message(self, kind: str, application: str, *segments: str) -> Message:
        self._count += 1
        control_id = f"{self._prefix}-H{self._count}"
        msh = f"MSH|^~\\&|{application}|SIM|||{self._time()}||{kind}|{control_id}|P|2.5.1||||||{self._charset}"
        return Message(control_id, "\r".join((msh, *segments)) + "\r", self._charset)

    @staticmethod
    def _pv1(person: Person, location: str, prior: str = "") -> str:
        return f"PV1|1|I|{location}|||{prior}|||||||||||||{person.visit}"

    def _time(self) -> str:
        return hl7_time(self._started_unix_s + self.now_s)


_ADT_STRUCTURES = {"A02": "ADT_A02", "A03": "ADT_A03", "A11": "ADT_A09", "A13": "ADT_A01"}
DELIVERY_STARTED = "197288^MDC_EVT_PUMP_DELIV_START^MDC"
DELIVERY_COMPLETE = "197292^MDC_EVT_PUMP_DELIV_COMP^MDC"


def list_of_the_day() -> Story:
    """Two operations in this room, one in the next, and what the systems around them say."""
    return (
        (1, lambda say: say.schedule("S12", ANNA)),
        (2, lambda say: say.schedule("S12", CLARA, room=OTHER_ROOM)),
        (3, lambda say: say.adt("A01", CLARA, OTHER_ROOM)),
        (4, lambda say: say.adt("A01", ANNA)),
        (5, lambda say: say.order(ANNA)),
        (6, lambda say: say.pump_order(ANNA, "4.5")),
        (7, lambda say: say.pump_event(ANNA, DELIVERY_STARTED)),
        (8, lambda say: say.schedule("S14", BRUNO)),
        (9, lambda say: say.laboratory(ANNA, "8.1", "4.20")),
        (10, lambda say: say.laboratory(CLARA, "13.0", "3.9", WARD)),
        (11, lambda say: say.pump_event(ANNA, DELIVERY_COMPLETE)),
        (12, lambda say: say.merge(ANNA, "9999")),
        (13, lambda say: say.adt("A02", ANNA, RECOVERY, prior=say.room)),
        (14, lambda say: say.adt("A04", BRUNO)),
        (15, lambda say: say.imaging_order(BRUNO)),
        (16, lambda say: say.adt("A03", BRUNO)),
    )


def second_thoughts() -> Story:
    """What is taken back, corrected and called off."""
    married = Person("10001", "Lind", "Anna", ANNA.born, "F", ANNA.visit, ANNA.procedure, ANNA.procedure_code)
    new_id = Person("20001", "Lind", "Anna", ANNA.born, "F", "", ANNA.procedure, ANNA.procedure_code)
    return (
        (1, lambda say: say.adt("A01", BRUNO)),
        (2, lambda say: say.adt("A11", BRUNO)),
        (3, lambda say: say.adt("A04", ANNA)),
        (4, lambda say: say.adt("A08", married)),
        (5, lambda say: say.adt("A03", married)),
        (6, lambda say: say.adt("A13", married)),
        (7, lambda say: say.merge(new_id, "10001")),
        (8, lambda say: say.schedule("S13", BRUNO)),
        (9, lambda say: say.schedule("S15", BRUNO, status="Cancelled")),
        (10, lambda say: say.schedule("S17", CLARA, status="Deleted")),
        (11, lambda say: say.adt("A02", BRUNO, prior=WARD)),
    )


def one_operation() -> Story:
    """One long operation: booked, begun, imaging ordered; from then on only the laboratory."""
    results = ("12.1", "4.10"), ("11.4", "4.20"), ("10.6", "4.00"), ("10.9", "4.40"), ("11.0", "4.30")
    return (
        (1, lambda say: say.schedule("S12", JORG)),
        (2, lambda say: say.adt("A01", JORG)),
        (3, lambda say: say.imaging_order(JORG)),
        *((5 + 600 * count, _laboratory(*result)) for count, result in enumerate(results)),
    )


def _laboratory(haemoglobin: str, potassium: str) -> Writer:
    return lambda say: say.laboratory(JORG, haemoglobin, potassium)


STORIES: dict[str, Callable[[], Story]] = {
    "list": list_of_the_day, "operation": one_operation, "second-thoughts": second_thoughts,
}  # fmt: skip


class HospitalFeed:
    """Tells a story once, or again and again. `quicker` divides its times."""

    def __init__(
        self, hospital: Hospital, story: Story, *, quicker: float = 1.0, repeat: bool = False,
        line: FaultLine | None = None,
    ) -> None:  # fmt: skip
        if quicker <= 0 or not story:
            raise ValueError("a story has messages, and a pace above 0")
        self._hospital = hospital
        self._story = story
        self._quicker = quicker
        self._repeat = repeat
        self._line = line or FaultLine()
        self._next = 0

    def poll(self, now_s: float) -> list[Message]:
        """Messages that are due."""
        messages: list[Message] = []
        while not self._line.off(now_s) and self.next_due_s() <= now_s:
            self._hospital.now_s = now_s
            messages.append(self._story[self._next % len(self._story)][1](self._hospital))
            self._next += 1
        return messages

    def next_due_s(self) -> float:
        """When to poll again."""
        told, at = divmod(self._next, len(self._story))
        if told and not self._repeat:
            return float("inf")
        return (told * (self._story[-1][0] + 1) + self._story[at][0]) / self._quicker
