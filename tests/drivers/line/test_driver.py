from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from drivers.contract import Emit, Message, Now, Send
from drivers.line import Line, LineConfig
from firmware_sim.line_devices import EXAMPLES
from ledger.errors import OurFault
from ledger.limits import S_NS
from ledger.records import Gap, Identity, LinkId, Numeric, Quality, Record, Setting
from tests.captures.make import plans

PAGE = (Path(__file__).parents[3] / "docs" / "drivers" / "line.md").read_text()
LINK = LinkId(1)
R = TypeVar("R", bound=Record)

BASE: dict[str, Any] = {
    "make": "Acme",
    "model": "One",
    "lines": [{"fields": ["", "a", "b"]}],
    "values": [
        {"field": "a", "code": "MDCX_ACME_A", "unit": "kg"},
        {"field": "b", "code": "MDCX_ACME_B", "none": [""]},
    ],
}


def now(at_s: float = 0.0) -> Now:
    return Now(int(at_s * S_NS), int((1_790_000_000 + at_s) * S_NS))


def line(**options: Any) -> Line:
    return Line(msgspec.convert(BASE | options, LineConfig))


def records(driver: Line, data: bytes, kind: type[R], at_s: float = 0.0) -> list[R]:
    """Of one kind, on a link of their own."""
    driver.link_up(LINK, "port", now(at_s))
    driver.receive(LINK, data, now(at_s))
    driver.link_down(LINK, "unplugged", now(at_s))
    emitted = [action.record for action in driver.drain() if isinstance(action, Emit)]
    return [record for record in emitted if isinstance(record, kind)]


def values(driver: Line, data: bytes) -> list[Decimal | str | None]:
    return [record.value for record in records(driver, data, Numeric)]


def test_the_page_s_examples_are_those_of_the_simulated_devices_and_have_captures() -> None:
    sections = [tomllib.loads(text)["feed"][0] for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
    assert [section["name"] for section in sections] == list(EXAMPLES)
    played = {plan.name: plan.header.options for plan in plans() if plan.header.driver == "line"}
    for section in sections:
        assert section["driver"] == "line"
        told = EXAMPLES[section["name"]][1]
        assert section["options"] == tomllib.loads(f"options = {{ {told} }}")["options"]
        assert section["options"] == played[f"line-{section['name']}"]
        assert isinstance(msgspec.convert(section["options"], LineConfig), LineConfig)


def test_fields_become_values_with_code_unit_and_place() -> None:
    first, second = records(line(), b"x,1.50,-2\r\n", Numeric)
    assert (first.code, first.value, first.unit, first.device_code) == ("MDCX_ACME_A", Decimal("1.50"), "kg", "a")
    assert str(first.value) == "1.50"
    assert second.value == Decimal(-2)
    assert first.quality == Quality.UNCHECKED


@pytest.mark.parametrize(
    ("text", "weight"), [(b"+   123.56 g  ", "123.56"), (b"-     0.05 g  ", "-0.05"), (b"  -   7.25 g  ", "-7.25")]
)
def test_a_sign_may_stand_apart_from_its_number(text: bytes, weight: str) -> None:
    """As Sartorius balances print it (SBI, 16 characters): sign, then the weight with blanks for leading zeros."""
    driver = line(
        lines=[{"columns": {"weight": [1, 10]}}], values=[{"field": "weight", "code": "MDCX_ACME_WEIGHT", "unit": "g"}]
    )
    assert values(driver, text + b"\r\n") == [Decimal(weight)]


@pytest.mark.parametrize("text", [b"\0S S      62.25 kg", b"\x11S S      62.25 kg", b" S S      62.25 kg"])
def test_columns_that_a_byte_has_moved_give_no_shortened_number(text: bytes) -> None:
    driver = line(
        lines=[{"columns": {"weight": [5, 14]}}], values=[{"field": "weight", "code": "MDCX_ACME_WEIGHT", "unit": "kg"}]
    )
    assert [gap.cause for gap in records(driver, text + b"\r\n", Gap)] == ["undecodable"]


def test_a_number_may_end_with_the_line() -> None:
    driver = line(
        lines=[{"columns": {"weight": [5, 14]}}], values=[{"field": "weight", "code": "MDCX_ACME_WEIGHT", "unit": "kg"}]
    )
    assert values(driver, b"S S      82.45\r\n") == [Decimal("82.45")]


@pytest.mark.parametrize("text", [b"x,1 5,2", b"x,+ - 5,2", b"x,5 -,2", b"x,+,2"])
def test_blanks_and_signs_elsewhere_make_no_number(text: bytes) -> None:
    assert [gap.cause for gap in records(line(), text + b"\r\n", Gap)] == ["undecodable"]


def test_the_device_is_identified_once() -> None:
    (identity,) = records(line(), b"x,1,2\r\nx,1,3\r\n", Identity)
    assert (identity.make, identity.model) == ("Acme", "One")


def test_a_text_that_says_none_is_no_value_and_told_once() -> None:
    first, _, again, gone = records(line(), b"x,1,\r\nx,1,\r\nx,1,\r\n", Numeric)
    assert (first.value, again.value, gone.value) == (Decimal(1), Decimal(1), Decimal(1))
    (none,) = [record for record in records(line(), b"x,1,\r\nx,1,\r\n", Numeric) if record.value is None]
    assert none.quality == Quality.UNCHECKED | Quality.UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (b"x,985,1\n", {"values": [{"field": "a", "code": "MDCX_ACME_A", "shift": -1}]}, [Decimal("98.5")]),
        (b"x;9,85;1\n", {"lines": [{"fields": ["", "a", "b"], "separator": ";"}], "decimal": ","},
         [Decimal("9.85"), Decimal(1)]),
        (b"x,on,1\n", {"values": [{"field": "a", "code": "MDCX_ACME_A", "text": True}]}, ["on"]),
        (b"ab 12 34\n", {"lines": [{"columns": {"a": [4, 5], "b": [7, 8]}}]}, [Decimal(12), Decimal(34)]),
        (b"A12B\nB7A\n", {"lines": [{"regex": r"A(?P<a>\d+)B"}, {"regex": r"B(?P<b>\d)A"}]}, [Decimal(12), Decimal(7)]),
        (b"# x,1,2\nx,1,2\n", {"ignore": ["#"]}, [Decimal(1), Decimal(2)]),
        (b"\x02x,1,2\x03", {"start": "\x02", "ends": "\x03"}, [Decimal(1), Decimal(2)]),
    ],
)  # fmt: skip
def test_the_ways_to_read_a_line(text: bytes, options: dict[str, Any], expected: list[Any]) -> None:
    driver = line(**options)
    driver.link_up(LINK, "port", now())
    driver.receive(LINK, text, now())
    emitted = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert [record.value for record in emitted if isinstance(record, Numeric)] == expected
    driver.link_down(LINK, "unplugged", now())
    assert driver.drain() == []  # no gap


def test_a_setting_is_one() -> None:
    driver = line(values=[{"field": "a", "code": "MDCX_ACME_A", "setting": True}])
    assert [record.value for record in records(driver, b"x,1,2\n", Setting)] == [Decimal(1)]


@pytest.mark.parametrize(
    ("kind", "digits"), [("sum8", b"9C"), ("complement8", b"63"), ("xor8", b"5A"), ("sum16", b"019C")]
)
def test_a_checksum_is_demanded(kind: str, digits: bytes) -> None:
    body = b"x,1,2"
    total = sum(body)
    known = {"sum8": total & 0xFF, "complement8": 0xFF - (total & 0xFF), "sum16": total & 0xFFFF}
    value = known.get(kind, body[0] ^ body[1] ^ body[2] ^ body[3] ^ body[4])
    told = f"{value:0{len(digits)}X}".encode()
    driver = line(checksum={"kind": kind, "after": "*"})
    assert values(driver, body + b"*" + told + b"\r\n") == [Decimal(1), Decimal(2)]
    assert values(driver, body + b"*" + told.lower() + b"\r\n") == [Decimal(1), Decimal(2)]
    for wrong in (b"x,1,3*" + told, body + told, body + b"*" + told[:-1], body + b"*ZZ", told, b"*"):
        (gap,) = records(line(checksum={"kind": kind, "after": "*"}), wrong + b"\r\n", Gap)
        assert (gap.cause, gap.lost_bytes) == ("checksum", len(wrong))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"x,1\n", "undecodable"), (b"x,one,2\n", "undecodable"), (b"x,\xff,2\n", "undecodable"),
        (b"x,1,2", "framing"), (b"y" * 300 + b"\n", "oversize"),
    ],
)  # fmt: skip
def test_what_is_no_line_is_a_gap_and_no_half_of_it_is_recorded(data: bytes, cause: str) -> None:
    driver = line()
    driver.link_up(LINK, "port", now())
    driver.receive(LINK, data, now())
    driver.link_down(LINK, "unplugged", now())
    (gap,) = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert isinstance(gap, Gap)
    assert gap.cause == cause


def test_without_a_poll_nothing_may_be_sent_and_with_one_nothing_else() -> None:
    assert line().spec.tx_allowed == ()
    driver = line(poll={"text": "SI\r\n", "every_s": 5})
    assert driver.spec.may_send(b"SI\r\n")
    for other in (b"SI\r", b"SI\r\nT\r\n", b"T\r\n", b""):
        assert not driver.spec.may_send(other)
    assert Line.spec.may_send(b"SI\r\n")
    assert line(silence_s=7.0).spec.silence_s == 7


def test_the_question_is_asked_again_and_again_while_the_link_is_up() -> None:
    driver = line(poll={"text": "SI\r\n", "every_s": 5})
    assert driver.deadline_ns() is None
    driver.link_up(LINK, "port", now())
    asked = 0
    for at_s in range(16):
        driver.wake(now(at_s))
        asked += sum(isinstance(action, Send) and action.data == b"SI\r\n" for action in driver.drain())
    assert asked == 4
    assert driver.deadline_ns() == 20 * S_NS
    driver.link_down(LINK, "unplugged", now(16))
    assert driver.deadline_ns() is None
    driver.wake(now(30))
    assert driver.drain() == []


def test_a_message_is_a_fault_of_ours() -> None:
    with pytest.raises(OurFault):
        line().receive(LINK, Message("x", {}), now())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"make": ""}, "make: "),
        ({"lines": []}, "lines and values"),
        ({"lines": [{}]}, "exactly one of regex, columns and fields"),
        ({"lines": [{"regex": "a", "fields": ["a"]}]}, "exactly one of"),
        ({"lines": [{"regex": ".*,.*"}]}, "regex: .* is repeated"),
        ({"lines": [{"columns": {"a": [5, 4]}}]}, "columns.a: 5 to 4"),
        ({"lines": [{"fields": ["a", "a", "b"]}]}, "a name is there twice"),
        ({"lines": [{"fields": ["A", "b"]}]}, "'A' is no field name"),
        ({"lines": [{"fields": ["a"]}]}, "values[1].field: 'b' is in no line; there are: a"),
        ({"values": [{"field": "a", "code": "SPO2"}]}, "code: 'SPO2' is no MDC name"),
        ({"values": [{"field": "a", "code": "MDCX_ACME_A", "shift": 10}]}, "shift: 10"),
        ({"values": [{"field": "a", "code": "MDCX_ACME_A"}] * 2}, "a field is there twice"),
        ({"ends": ""}, "ends: "),
        ({"start": "ab"}, "start: "),
        ({"start": "\n"}, "start: "),
        ({"longest_line_bytes": 4_096}, "longest_line_bytes: 4096"),
        ({"silence_s": 0}, "silence_s: 0"),
        ({"checksum": {"kind": "crc32"}}, "crc32"),
        ({"poll": {"text": ""}}, "text: a question"),
        ({"poll": {"text": "\x1b!"}}, "text: a question"),
        ({"poll": {"text": "A\r\nB\r\n"}}, "text: a question"),
        ({"poll": {"text": "A", "every_s": 0.1}}, "every_s: 0.1"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_a_mistake_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(BASE | options, LineConfig)
    assert words in str(caught.value)
