from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.hl7v2 import er7
from drivers.hl7v2.er7 import STANDARD, Delimiters, Message, Segment
from ledger.errors import DeviceFault

_OTHER = Delimiters("!", "*", "+", "/", "=", "$")
_MARKS = st.sampled_from([STANDARD, Delimiters(truncation="#"), _OTHER])
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def _messages(draw: st.DrawFn) -> Message:
    marks = draw(_MARKS)
    field = _TEXT.map(lambda text: er7.escape(text, marks))
    names = st.from_regex(r"[A-Z][A-Z0-9]{2}", fullmatch=True).filter(lambda name: name != "MSH")
    rows = draw(st.lists(st.tuples(names, st.lists(field, max_size=5)), max_size=5))
    header = er7.header_segment(marks, *draw(st.lists(field, max_size=5)))
    return Message(marks, (header, *(er7.segment(name, *fields) for name, fields in rows)))


@given(_messages())
def test_write_and_parse_round_trip(message: Message) -> None:
    assert er7.parse(er7.write(message)) == message


@given(_TEXT, _MARKS)
def test_escape_and_unescape_round_trip(text: str, marks: Delimiters) -> None:
    raw = er7.escape(text, marks)
    assert er7.unescape(raw, marks) == text
    for mark in (marks.field, marks.component, marks.repetition, marks.subcomponent, "\r", "\n", "\x0b", "\x1c"):
        assert mark not in raw


@given(st.lists(_TEXT.map(str.strip).filter(bool), min_size=1, max_size=5))
def test_components_round_trip(parts: list[str]) -> None:
    assert er7.components(er7.join(parts, STANDARD), STANDARD) == parts


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"mm\S\2", "mm^2"),
        (r"a\F\b\T\c\R\d\E\e", r"a|b&c~d\e"),
        (r"1\.br\2", "1\n2"),
        (r"\H\loud\N\ quiet", "loud quiet"),
        (r"\XC2B5\g", "µg"),
        (r"\XE4\h", "äh"),
        (r"\Zvendor\x", r"\Zvendor\x"),
        (r"C:\temp", r"C:\temp"),
        ("plain", "plain"),
    ],
)
def test_escapes_of_the_standard(raw: str, text: str) -> None:
    assert er7.unescape(raw, STANDARD) == text


def test_the_truncation_character_of_2_7_is_escaped_by_name() -> None:
    marks = er7.delimiters_of("MSH|^~\\&#|X")
    assert marks.truncation == "#"
    assert er7.escape("#1", marks) == "\\P\\1"


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n", "\r\r"])
def test_any_line_end_separates_segments(ending: str) -> None:
    message = er7.parse(ending.join(["MSH|^~\\&|A", "PV1||I", "OBX|1", ""]))
    assert [segment.name for segment in message.segments] == ["MSH", "PV1", "OBX"]
    assert message.strays == 0


def test_text_with_a_line_end_in_it_leaves_a_stray_line() -> None:
    message = er7.parse("MSH|^~\\&|A\rOBX|1|TX|n||first\rsecond line|\rOBX|2\r")
    assert [segment.name for segment in message.segments] == ["MSH", "OBX", "OBX"]
    assert message.strays == 1


def test_msh_numbers_its_fields_from_the_separator() -> None:
    msh = er7.parse("MSH|^~\\&|APP|FAC\r").segments[0]
    assert [msh.get(n) for n in range(1, 6)] == ["|", "^~\\&", "APP", "FAC", ""]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MSH",
        "FHS|^~\\&|batch",
        "MSHA^~\\&A",
        "MSH||||||||",
        "MSH|^^\\&|X",
        "MSH|^ \\&|X",
        "MSH|^~\\&#!|X",
        "PID|1\rMSH|^~\\&|",
        "MSH|^~\\&|A\rMSH|^~\\&|B",
        "MSH|^~\\&|A\r" + "OBX\r" * er7.MAX_SEGMENTS,
    ],
)
def test_what_is_not_er7_is_the_devices_fault(text: str) -> None:
    with pytest.raises(DeviceFault) as fault:
        er7.parse(text)
    assert fault.value.id == "hl7.not-er7"


def test_most_segments_allowed_are_read() -> None:
    message = er7.parse("MSH|^~\\&|A\r" + "OBX\r" * (er7.MAX_SEGMENTS - 1))
    assert len(message.segments) == er7.MAX_SEGMENTS


def test_subcomponents() -> None:
    assert er7.subcomponents("6&G\\T\\W& 1 ", STANDARD) == ["6", "G&W", "1"]
    assert er7.subcomponents("6&G", er7.delimiters_of("MSH|^~\\|APP")) == ["6&G"]


def test_a_message_without_escape_character_gets_blanks() -> None:
    marks = er7.delimiters_of("MSH|^~|APP")
    assert er7.escape("a|b", marks) == "a b"
    assert er7.components("a\\S\\b^c", marks) == ["a\\S\\b", "c"]
    assert Segment(("OBX",)).get(5) == ""
