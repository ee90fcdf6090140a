from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import mllp
from drivers.hl7v2 import ack, er7
from drivers.hl7v2.ack import Header, Outcome, Problem, Sender
from drivers.hl7v2.er7 import STANDARD
from ledger.errors import DeviceFault
from tests.drivers.hl7v2.feeding import UTC_NS, message

_US = Sender("ORLEDGER", "ST-MARY")


def _header(data: bytes) -> Header:
    return ack.header_of(er7.parse(data.decode()))


def _answer(data: bytes, code: str = "AA", problem: Problem | None = None) -> str:
    raw = ack.answer(_header(data), code, sender=_US, control_id="7", codec="utf-8", utc_ns=UTC_NS, problem=problem)
    assert ack.ANSWER.fullmatch(raw)
    (body,) = mllp.Deframer().feed(raw)
    assert isinstance(body, bytes)
    return body.decode()


@pytest.mark.parametrize(
    ("accept", "application", "on_accept", "on_error", "on_reject"),
    [
        ("", "", ("AA",), ("AE",), ("AR",)),
        ("AL", "NE", ("CA",), ("CE",), ("CR",)),
        ("AL", "", ("CA",), ("CE",), ("CR",)),
        ("NE", "AL", ("AA",), ("AE",), ("AR",)),
        ("", "AL", ("AA",), ("AE",), ("AR",)),
        ("NE", "NE", (), (), ()),
        ("AL", "AL", ("CA", "AA"), ("CE",), ("CR",)),
        ("AL", "ER", ("CA",), ("CE",), ("CR",)),
        ("ER", "NE", (), ("CE",), ("CR",)),
        ("SU", "NE", ("CA",), (), ()),
        ("SU", "AL", ("CA", "AA"), ("AE",), ("AR",)),
        ("NE", "ER", (), ("AE",), ("AR",)),
        ("NE", "SU", ("AA",), (), ()),
        ("al", "ne", ("CA",), ("CE",), ("CR",)),
        ("??", "NE", ("CA",), ("CE",), ("CR",)),
        ('""', '""', ("AA",), ("AE",), ("AR",)),
    ],
)
def test_which_answers_are_sent(
    accept: str, application: str, on_accept: tuple[str], on_error: tuple[str], on_reject: tuple[str]
) -> None:
    header = _header(message(accept=accept, application=application))
    assert ack.codes(header, Outcome.ACCEPT) == on_accept
    assert ack.codes(header, Outcome.ERROR) == on_error
    assert ack.codes(header, Outcome.REJECT) == on_reject


@pytest.mark.parametrize("segments", [("MSA|CA|1",), ("MSA|AR|1", "ERR|||207")])
@pytest.mark.parametrize("kind", ["ACK^R40", "RRG^O16^RRG_O16"])
def test_an_answer_is_never_answered(kind: str, segments: tuple[str, ...]) -> None:
    header = _header(message(*segments, kind=kind, accept="AL", application="AL"))
    assert all(ack.codes(header, outcome) == () for outcome in Outcome)


def test_the_answer_goes_back_the_way_the_message_came() -> None:
    text = _answer(message(id=" 12^3", accept="AL", application="NE", charset="UNICODE UTF-8", version="2.6^USA"), "CA")
    assert text == (
        "MSH|^~\\&|ORLEDGER|ST-MARY|GW^0011^EUI-64|HOSPITAL|20231114221320.123+0000||ACK^R01^ACK|7|P|2.6^USA"
        "|||NE|NE||UNICODE UTF-8\rMSA|CA| 12^3\r"
    )


def test_in_original_mode_the_answer_is_in_original_mode() -> None:
    assert _answer(message(), "AA").split("\r")[0].endswith("|ACK^R01^ACK|7|P|2.6")


def test_the_senders_delimiters_are_used() -> None:
    data = b"MSH!*+/=!GW!H!!!20260101!!ORU*R01!9!P!2.6\r"
    assert _answer(data).startswith("MSH!*+/=!ORLEDGER!ST-MARY!GW!H!")
    assert "\rMSA!AA!9\r" in _answer(data)


def test_the_dialect_with_a_truncation_character_is_kept() -> None:
    assert _answer(b"MSH|^~\\&#|GW||||||ORU^R40|9|P|2.7\r").startswith("MSH|^~\\&#|")


@pytest.mark.parametrize(
    ("version", "segment"),
    [
        ("2.6", "ERR|||207^^HL70357|E||||A \\T\\ B"),
        ("2.5.1", "ERR|||207^^HL70357|E||||A \\T\\ B"),
        ("2.3", "ERR|^^^207&A \\T\\ B&HL70357"),
        ("2.4", "ERR|^^^207&A \\T\\ B&HL70357"),
    ],
)
def test_the_error_segment_has_the_form_of_the_version(version: str, segment: str) -> None:
    text = _answer(message(version=version), "AE", Problem("207", "A & B"))
    assert text.split("\r")[2] == segment


def test_our_names_are_escaped() -> None:
    raw = ack.answer(
        _header(message()), "AA", sender=Sender("A|B", "C^D"), control_id="7", codec="utf-8", utc_ns=UTC_NS
    )
    assert raw.startswith(b"\x0bMSH|^~\\&|A\\F\\B|C\\S\\D|GW^0011^EUI-64|")


def test_a_header_too_long_to_echo_is_refused() -> None:
    with pytest.raises(DeviceFault) as fault:
        _header(message(id="x" * ack.HEADER_BYTES))
    assert fault.value.id == "hl7.header-too-long"


@given(st.binary(max_size=80))
def test_only_answers_may_be_sent(data: bytes) -> None:
    assert not ack.ANSWER.fullmatch(mllp.frame(data.replace(b"\x0b", b"").replace(b"\x1c", b"")))


@pytest.mark.parametrize(
    "data",
    [
        message("MSA|AA|1"),
        message("MSA|AA|1", kind="ORU^R01^ORU_R01"),
        message("MSA|XX|1", kind="ACK"),
        message(kind="ACK"),
        message("MSA|AA|1", "PID|1", kind="ACK"),
    ],
)
def test_other_messages_may_not_be_sent(data: bytes) -> None:
    assert not ack.ANSWER.fullmatch(mllp.frame(data))


@given(
    st.sampled_from(["AA", "AE", "AR", "CA", "CE", "CR"]),
    st.text(st.characters(codec="ascii", min_codepoint=0x20), max_size=30),
    st.sampled_from([None, ack.NOT_STORED, ack.OTHER_BED]),
)
def test_what_is_answered_is_parsed_back(code: str, control_id: str, problem: Problem | None) -> None:
    found = ack.parse_answer(_answer(message(id=er7.escape(control_id, STANDARD)), code, problem))
    assert (found.code, found.control_id, found.text) == (code, control_id, problem.text if problem else "")
    assert found.accepted is (code in {"AA", "CA"})


@pytest.mark.parametrize("text", ["", "MSH|^~\\&|A\r", "MSH|^~\\&|A\rMSA|OK|1\r", "HTTP/1.1 400 Bad Request"])
def test_what_is_no_answer_is_the_peers_fault(text: str) -> None:
    with pytest.raises(DeviceFault):
        ack.parse_answer(text)
