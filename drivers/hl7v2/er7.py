"""ER7, the "pipe and hat" encoding of HL7 v2: text to segments and fields, and back.

Delimiters come from MSH-1 and MSH-2. Source: HL7 v2.9 chapter 2, sections 2.5 (delimiters) and 2.7 (escapes).
Fields are kept as sent and split only where they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.errors import DeviceFault

MAX_SEGMENTS = 20_000
"""A message of 1 MiB could otherwise hold half a million segments of one letter."""

_SEPARATORS = re.compile("[\r\n]+")
_SEGMENT_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The six delimiters; an empty ``escape`` or ``truncation`` means that the message has none."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


STANDARD = Delimiters()


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: ``fields[n]`` is field n as sent, ``fields[0]`` the segment's name (for MSH, 1 is the separator)."""

    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.fields[0]

    def get(self, number: int) -> str:
        """Field ``number`` as sent, escapes included; empty if the segment ends before it."""
        return self.fields[number] if number < len(self.fields) else ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: MSH first, then the other segments in order. ``strays`` counts lines that cannot be read alone.

    Text with a line end in it, which ER7 does not allow, cuts its segment and leaves such lines; ADD holds the rest of
    another message's segment, and DSC says that more of this one comes in another.
    """

    delimiters: Delimiters
    segments: tuple[Segment, ...]
    strays: int = 0


def _fault(text: str) -> DeviceFault:
    return DeviceFault("hl7.not-er7", text, "check that the sender is set to HL7 v2 in ER7 (pipe) encoding over MLLP")


def delimiters_of(text: str) -> Delimiters:
    """Read MSH-1 and MSH-2 at the start of ``text``. Raises DeviceFault ``hl7.not-er7``."""
    if not text.startswith("MSH") or len(text) < 8:
        raise _fault("the message does not begin with an MSH segment")
    separator = text[3]
    encoding = text[4:10].partition(separator)[0].partition("\r")[0].partition("\n")[0]
    marks = separator + encoding
    if not 3 <= len(marks) <= 6 or len(set(marks)) != len(marks):
        raise _fault("MSH-2 does not name distinct encoding characters")
    if any(mark.isalnum() or mark.isspace() or not mark.isprintable() for mark in marks):
        raise _fault("MSH-1 or MSH-2 holds a character that cannot be a delimiter")
    # A short MSH-2 means that the message uses no escapes or subcomponents.
    rest = encoding[2:]
    return Delimiters(separator, encoding[0], encoding[1], rest[0:1], rest[1:2], rest[2:3])


def parse(text: str) -> Message:
    """Split a message into segments. LF and CR LF are taken for CR, as senders confuse them.

    Raises DeviceFault ``hl7.not-er7``: no MSH, unusable delimiters, a second MSH, or too many segments.
    """
    text = text.lstrip("\ufeff\r\n ")
    marks = delimiters_of(text)
    lines = [line for line in _SEPARATORS.split(text, MAX_SEGMENTS + 1) if line.strip()]
    if len(lines) > MAX_SEGMENTS:
        raise _fault(f"the message has more than {MAX_SEGMENTS} segments")
    header, *rows = [line.lstrip(" \t").split(marks.field) for line in lines]
    if any(row[0] == "MSH" for row in rows):
        raise _fault("two messages in one MLLP frame")
    header.insert(1, marks.field)
    segments = [Segment(tuple(row)) for row in rows if _SEGMENT_NAME.fullmatch(row[0])]
    continued = sum(row[0] == "ADD" or (row[0] == "DSC" and "".join(row[1:2]).strip() != "") for row in rows)
    return Message(marks, (Segment(tuple(header)), *segments), len(rows) - len(segments) + continued)


def write(message: Message) -> str:
    """The message as text, every segment closed by CR; ``parse`` of it is the message again."""
    marks = message.delimiters
    lines: list[str] = []
    for segment in message.segments:
        fields = segment.fields
        if segment.name == "MSH":
            fields = (fields[0] + marks.field + marks.encoding_characters, *fields[3:])
        lines.append(marks.field.join(fields) + "\r")
    return "".join(lines)


def segment(name: str, *fields: str) -> Segment:
    """A segment from fields that are already escaped."""
    return Segment((name, *fields))


def header_segment(marks: Delimiters, *fields: str) -> Segment:
    """An MSH segment; ``fields`` start at MSH-3."""
    return Segment(("MSH", marks.field, marks.encoding_characters, *fields))


def repetitions(raw: str, marks: Delimiters) -> list[str]:
    """The repetitions of a field, as sent; none for an empty field."""
    return raw.split(marks.repetition) if raw else []


def components(raw: str, marks: Delimiters) -> list[str]:
    """The components of the first repetition of a field, unescaped and stripped of blanks; subcomponents unsplit."""
    first = raw.split(marks.repetition, 1)[0]
    return [unescape(part, marks).strip() for part in first.split(marks.component)]


def component(raw: str, number: int, marks: Delimiters) -> str:
    """Component ``number`` (from 1) of the first repetition, unescaped and stripped; empty if absent."""
    parts = components(raw, marks)
    return parts[number - 1] if number <= len(parts) else ""


def subcomponents(raw: str, marks: Delimiters) -> list[str]:
    """The subcomponents of a component as sent, unescaped and stripped."""
    parts = raw.split(marks.subcomponent) if marks.subcomponent else [raw]
    return [unescape(part, marks).strip() for part in parts]


def join(parts: Iterable[str], marks: Delimiters) -> str:
    """Escape components and join them, leaving out empty ones at the end."""
    return marks.component.join(escape(part, marks) for part in parts).rstrip(marks.component)


def _named(marks: Delimiters) -> dict[str, str]:
    named = {
        "F": marks.field,
        "S": marks.component,
        "T": marks.subcomponent,
        "R": marks.repetition,
        "E": marks.escape,
        "P": marks.truncation,
    }
    return {letter: mark for letter, mark in named.items() if mark}


def escape(text: str, marks: Delimiters) -> str:
    r"""Text made safe for a field: delimiters as ``\F\`` and so on, control characters as ``\X0D\``.

    A message without an escape character cannot carry them: they become blanks.
    """
    names = {mark: letter for letter, mark in _named(marks).items()}
    out: list[str] = []
    for char in text:
        name = names.get(char) or (f"X{ord(char):02X}" if ord(char) < 0x20 or ord(char) == 0x7F else "")
        if not name:
            out.append(char)
        else:
            out.append(f"{marks.escape}{name}{marks.escape}" if marks.escape else " ")
    return "".join(out)


def unescape(raw: str, marks: Delimiters) -> str:
    r"""The text of a field. Unknown sequences (``\Zxx\``, ``\C..\``) stay as sent, ``\H\`` and ``\N\`` go."""
    if not marks.escape or marks.escape not in raw:
        return raw
    named = _named(marks) | {"H": "", "N": "", ".br": "\n"}
    parts = raw.split(marks.escape)
    out = [parts[0]]
    at = 1
    while at < len(parts):
        if at == len(parts) - 1:  # an escape that never closes is text
            out.append(marks.escape + parts[at])
            break
        code = parts[at]
        hexadecimal = _HEX.fullmatch(code)
        if code in named:
            out.append(named[code])
        elif hexadecimal:
            out.append(_hex_text(bytes.fromhex(hexadecimal[1])))
        else:
            out.append(marks.escape + code + marks.escape)
        out.append(parts[at + 1])
        at += 2
    return "".join(out)


def _hex_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
