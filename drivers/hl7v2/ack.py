"""Who sent a message, and what to answer: original and enhanced acknowledgment.

Source: HL7 v2.9 chapter 2, sections 2.9.2 (original mode), 2.9.3 (enhanced mode), 2.14.8 (MSA), 2.14.5 (ERR); tables
0008, 0155 and 0357.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from drivers import mllp
from drivers.hl7v2 import er7
from drivers.hl7v2.datatypes import HL7_NULL
from drivers.hl7v2.er7 import Delimiters, Message
from ledger.errors import DeviceFault
from ledger.limits import S_NS

HEADER_BYTES = 4_096
"""An MSH longer than this is refused: its fields are echoed, and an answer must stay small."""

ANSWER = re.compile(
    rb"\x0bMSH([!-/:-@\[-`{-~])[^\x0b\x1c\r]{0,16384}?\1ACK[^\x0b\x1c\r]{0,8192}"
    rb"\rMSA\1[AC][AER](?:\1[^\x0b\x1c\r]{0,8192})?"
    rb"(?:\rERR\1[^\x0b\x1c\r]{0,1024})?\r\x1c\r"
)
"""The only bytes this driver may ever send: one framed acknowledgment."""


class Outcome(enum.Enum):
    """What became of a message; the value is the last letter of MSA-1."""

    ACCEPT = "A"
    ERROR = "E"
    REJECT = "R"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a message was not accepted: a code of HL7 table 0357, and a text without patient data."""

    code: str
    text: str


UNREADABLE = Problem("100", "Not an HL7 v2 ER7 message")
NOT_DECODED = Problem("102", "Some of the message could not be decoded")
OTHER_BED = Problem("204", "Patient location (PV1-3) is not recorded here")
NO_PATIENT = Problem("101", "No patient identifier (PID-3)")
OVERSIZE = Problem("207", "Message is longer than this recorder takes")
NOT_STORED = Problem("207", "Message could not be stored")


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says, as far as an answer or a record needs it. Fields ending in ``_raw`` are as sent, escapes kept."""

    delimiters: Delimiters
    application_raw: str = ""
    facility_raw: str = ""
    receiving_application_raw: str = ""
    receiving_facility_raw: str = ""
    time_raw: str = ""
    message_code: str = ""
    trigger: str = ""
    control_id_raw: str = ""
    processing_raw: str = ""
    version_raw: str = ""
    accept: str = ""
    application: str = ""
    charset_raw: str = ""
    profile: str = ""
    is_response: bool = False

    @property
    def enhanced(self) -> bool:
        """Whether the sender asked for the enhanced mode, by valuing MSH-15 or MSH-16."""
        return bool(self.accept or self.application)

    @property
    def version(self) -> str:
        return er7.component(self.version_raw, 1, self.delimiters)

    @property
    def processing(self) -> str:
        """MSH-11.1: P production, T training, D debugging."""
        return er7.component(self.processing_raw, 1, self.delimiters).upper()


NO_HEADER = Header(er7.STANDARD)
"""Stands for a header that could not be read."""


def header_of(message: Message) -> Header:
    """Read MSH. Raises DeviceFault ``hl7.header-too-long``."""
    msh, marks = message.segments[0], message.delimiters
    if sum(map(len, msh.fields)) > HEADER_BYTES:
        raise DeviceFault("hl7.header-too-long", f"the MSH segment is longer than {HEADER_BYTES} characters")
    kind = er7.components(msh.get(9), marks)
    return Header(
        delimiters=marks,
        application_raw=msh.get(3),
        facility_raw=msh.get(4),
        receiving_application_raw=msh.get(5),
        receiving_facility_raw=msh.get(6),
        time_raw=msh.get(7),
        message_code=kind[0].upper(),
        trigger=kind[1].upper() if len(kind) > 1 else "",
        control_id_raw=msh.get(10),
        processing_raw=msh.get(11),
        version_raw=msh.get(12),
        accept=_condition(msh.get(15)),
        application=_condition(msh.get(16)),
        charset_raw=msh.get(18),
        profile=er7.component(msh.get(21), 1, marks),
        is_response=kind[0].upper() == "ACK" or any(segment.name == "MSA" for segment in message.segments),
    )


def _condition(raw: str) -> str:
    """MSH-15 or MSH-16; HL7's ``""`` says as little as an empty field."""
    word = raw.strip().upper()
    return "" if word == HL7_NULL else word


def _wanted(condition: str, outcome: Outcome) -> bool:
    if condition in {"", "NE"}:
        return False
    if condition == "ER":
        return outcome is not Outcome.ACCEPT
    if condition == "SU":
        return outcome is Outcome.ACCEPT
    return True  # AL; a word outside table 0155 gets an answer rather than none


def codes(header: Header, outcome: Outcome) -> tuple[str, ...]:
    """The MSA-1 codes to answer with, in order; none if the sender wants none, or itself sent an answer: answers to
    answers would go on for ever.
    """
    if header.is_response:
        return ()
    if not header.enhanced:
        return ("A" + outcome.value,)
    commit = _wanted(header.accept, outcome)
    # What was not committed was not processed: there is nothing further for the application to say.
    application = _wanted(header.application, outcome) and not (commit and outcome is not Outcome.ACCEPT)
    return (("C" + outcome.value,) if commit else ()) + (("A" + outcome.value,) if application else ())


@dataclass(frozen=True, slots=True)
class Sender:
    """What this recorder calls itself in MSH-3 and MSH-4, as namespace ids."""

    application: str
    facility: str


def answer(
    header: Header,
    code: str,
    *,
    sender: Sender,
    control_id: str,
    codec: str,
    utc_ns: int,
    problem: Problem | None = None,
) -> bytes:
    """One framed acknowledgment in the sender's delimiters, version and character set."""
    marks = header.delimiters
    moment = datetime.fromtimestamp(utc_ns // S_NS, UTC).strftime("%Y%m%d%H%M%S")
    kind = ["ACK", header.trigger, "ACK"] if header.trigger else ["ACK"]
    # The answer asks for no answer: NE, NE. In original mode both stay empty, as in the message.
    none = "NE" if header.enhanced else ""
    msh = er7.header_segment(
        marks,
        er7.escape(sender.application, marks),
        er7.escape(sender.facility, marks),
        header.application_raw,
        header.facility_raw,
        f"{moment}.{utc_ns // 1_000_000 % 1_000:03d}+0000",
        "",
        er7.join(kind, marks),
        control_id,
        header.processing_raw or "P",
        header.version_raw or "2.6",
        "",
        "",
        none,
        none,
        "",
        header.charset_raw,
    )
    segments = [_trimmed(msh), er7.segment("MSA", code, header.control_id_raw)]
    if problem is not None:
        segments.append(_error(header, problem))
    text = er7.write(Message(marks, tuple(segments)))
    return mllp.frame(_without_framing(text.encode(codec, "replace")))


def _error(header: Header, problem: Problem) -> er7.Segment:
    marks = header.delimiters
    if header.version in {"2.1", "2.2", "2.3", "2.3.1", "2.4"}:  # ERR-1 alone, the code as subcomponents
        parts = [er7.escape(part, marks) for part in (problem.code, problem.text, "HL70357")]
        return er7.segment("ERR", marks.component * 3 + marks.subcomponent.join(parts))
    code = er7.join((problem.code, "", "HL70357"), marks)
    return er7.segment("ERR", "", "", code, "E", "", "", "", er7.escape(problem.text, marks))


def _trimmed(segment: er7.Segment) -> er7.Segment:
    fields = list(segment.fields)
    while not fields[-1]:
        fields.pop()
    return er7.Segment(tuple(fields))


def _without_framing(data: bytes) -> bytes:
    """An echoed field cannot hold VT or FS in ASCII supersets; ISO-2022 shifts might: such a byte becomes a blank."""
    return data.replace(b"\x0b", b" ").replace(b"\x1c", b" ")


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgment received: MSA-1, MSA-2 and, for people, the first text of ERR or MSA-3."""

    code: str
    control_id: str
    text: str = ""

    @property
    def accepted(self) -> bool:
        return self.code in {"AA", "CA"}


def parse_answer(text: str) -> Answer:
    """Read an acknowledgment. Raises DeviceFault ``hl7.not-er7``, or ``hl7.not-an-ack`` where MSA is missing."""
    message = er7.parse(text)
    marks = message.delimiters
    msa = next((found for found in message.segments if found.name == "MSA"), None)
    if msa is None or not re.fullmatch("[AC][AER]", msa.get(1).strip()):
        raise DeviceFault("hl7.not-an-ack", "the answer holds no MSA segment with an acknowledgment code")
    error = next((found for found in message.segments if found.name == "ERR"), None)
    said = er7.unescape(msa.get(3), marks)
    if error is not None:
        said = er7.unescape(error.get(8), marks) or said
    return Answer(msa.get(1).strip(), er7.unescape(msa.get(2), marks), said)
