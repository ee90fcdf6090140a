"""Quadruples, units, what parameters mean, and options."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import nomenclature
from drivers.bbraun_bcc import BBraunBccConfig
from drivers.bbraun_bcc.parameters import _MEANINGS, PRIVATE, is_flag, is_number, meaning_of, state_text
from drivers.bbraun_bcc.quadruple import Quadruple, Unread, position_of, quadruples, slot_of
from drivers.bbraun_bcc.request import TX_ALLOWED
from drivers.bbraun_bcc.units import unit_of


def test_quadruples_as_devices_write_them() -> None:
    text = "214,50111,INSOL,Kalium, 1 mmol\x1e214,50111,INSOLID,_NV\x1e7,50100,V3.30\x1e7,5012A,INP1,_NA\x1erubbish"
    assert list(quadruples(text.encode())) == [
        Quadruple(214, "50111", "INSOL", "Kalium, 1 mmol"),
        Quadruple(214, "50111", "INSOLID", None),
        Quadruple(7, "50100", "V3.30", None),
        Quadruple(7, "5012A", "INP1", None),
        Unread(7),
    ]
    assert list(quadruples(b"")) == list(quadruples(b"\x1e")) == []


def test_text_that_is_no_utf8_is_doubted() -> None:
    (told,) = quadruples(b"1,50111,INSOL,Arter\xfc\xee\x80\xa1")
    assert isinstance(told, Quadruple)
    assert told.doubtful
    assert told.value == "Arter\ufffd\ue021"


@given(st.binary(max_size=300))
def test_no_text_raises(text: bytes) -> None:
    list(quadruples(text))


def test_addresses() -> None:
    assert [slot_of(address) for address in ("50111", "5012A", "5013O", "50139")] == ["11", "2A", "3O", "39"]
    assert [slot_of(address) for address in ("50100", "50110", "5011P", "50141", "60011", "")] == [None] * 6
    assert position_of("2A") == "pillar 2 slot A"


@pytest.mark.parametrize(
    ("code", "unit"),
    [("23", "ng"), ("32", "ug/mL"), ("50", "ug/min"), ("63", "[iU]/h"), ("71", "ug/kg/min"), ("137", "M[iU]"),
     ("144", "meq/m2"), ("20", None), ("92", None), ("", None), ("999", None)],
)  # fmt: skip
def test_units(code: str, unit: str | None) -> None:
    assert unit_of(code) == unit


def test_every_reference_id_is_known_or_private() -> None:
    for name, meaning in _MEANINGS.items():
        private = meaning.refid == PRIVATE + name
        assert private or nomenclature.is_known(meaning.refid), name


def test_what_is_not_known_keeps_its_name() -> None:
    meaning = meaning_of("NEWPARAM")
    assert (meaning.refid, meaning.unit, meaning.kind) == ("MDCX_BBRAUN_NEWPARAM", "", "setting")
    assert is_flag("INA99")
    assert is_flag("INM3")
    assert not is_flag("INAVRT")
    assert not is_flag("INA3X")


def test_codes_are_no_numbers() -> None:
    assert all(map(is_number, ("0", "0.30", "-5", "800.00", "65535")))
    assert not any(map(is_number, ("00051", "1.", ".5", "", "1e5", "NaN", "0x10", "\uff11", "9" * 16)))


def test_states_in_words() -> None:
    assert state_text("RUNSTATE", "6") == "running, alarm"
    assert state_text("RUNSTATE", "0A") == state_text("TCIMODEL", "9") == ""
    assert state_text("TCIMODEL", "4") == "Minto"
    assert state_text("INRT", "4") is None


@pytest.mark.parametrize(
    ("options", "named"),
    [({"poll_s": 0.1}, "poll_s"), ({"poll_s": 60}, "poll_s"), ({"listen_only": True, "mode": "poll"}, "listen_only"),
     ({"mode": "push"}, "mode"), ({"stufing": "on"}, "stufing")],
)  # fmt: skip
def test_options_that_make_no_sense_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(options, BBraunBccConfig)


def sendable(data: bytes) -> bool:
    return any(allowed.pattern.fullmatch(data) for allowed in TX_ALLOWED)


@pytest.mark.parametrize(
    "command", ["MEM:SET", "MEM:GETSLOT#10", "ADMIN:OFF", "MEM:GET>MEM:SET", "MEM:GET\x1eMEM:SET", ""]
)
def test_nothing_but_questions_may_be_sent(command: str) -> None:
    assert not sendable(b"\x0100031\x021/1/1>" + command.encode() + b"\x0300061\x04")
    assert not sendable(b"\x06\x06")
    assert not sendable(b"")
