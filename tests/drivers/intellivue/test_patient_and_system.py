from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.intellivue.patient import PatientDecoder
from drivers.intellivue.system import SystemDecoder, clocks
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Event, Quality, Record, Setting
from ledger.state import RoomState, encode_state
from tests.drivers.intellivue.building import NAN, counted, fixed, now, string, u16, u32

NAME = "Koniglich"
PATIENT = {
    0x0921: u16(0x50),
    0x0957: u16(2),
    0xF001: bytes.fromhex("c8d9d2110e34529a285c"),
    0x0962: u16(3),
    0x0A1E: u16(1),
    0x095D: string("Erika"),
    0x095C: string(NAME),
    0x095A: string("4711"),
    0xF129: string(""),
    0x0961: u16(2),
    0x0958: bytes.fromhex("1964081200000000"),
    0x09D8: u32(NAN) + u16(0x0940),
    0x09DC: u32(fixed(1725, -1)) + u16(0x0511),
    0x09DF: u32(fixed(71)) + u16(0x06C3),
}


def patient(*, identified: bool) -> list[Record]:
    return PatientDecoder(identified=identified).update(PATIENT, None, Quality.GOOD, now())


def test_measures_and_choices_are_settings() -> None:
    found = {record.device_code[9:]: record for record in patient(identified=False) if isinstance(record, Setting)}
    assert {name: record.value for name, record in found.items()} == {
        "patient type": "neonatal",
        "paced mode": "paced",
        "sex": "female",
        "height": Decimal("172.5"),
        "weight": 71,
    }
    assert (found["weight"].code, found["weight"].unit) == ("MDC_ATTR_PT_WEIGHT", "kg")


def test_who_the_patient_is_stays_out_unless_asked_for() -> None:
    assert NAME not in repr(patient(identified=False))
    assert "4711" not in repr(patient(identified=False))


def test_who_the_patient_is_never_enters_the_state() -> None:
    records = patient(identified=True)
    told = {record.device_code[9:]: record.text for record in records if isinstance(record, Event)}
    assert (told["family name"], told["given name"], told["patient id"]) == (NAME, "Erika", "4711")
    assert (told["date of birth"], told["patient state"]) == ("1964-08-12", "admitted")
    state = RoomState()
    for record in records:
        state.fold("monitor", record)
    kept = encode_state(state)
    for secret in (NAME, "Erika", "4711", "1964"):
        assert secret.encode() not in kept
    assert b"neonatal" in kept


def test_only_what_changes_is_told() -> None:
    decoder = PatientDecoder(identified=True)
    decoder.update(PATIENT, None, Quality.GOOD, now())
    assert decoder.update(PATIENT, None, Quality.GOOD, now()) == []
    (gone,) = decoder.update({0x095C: string("")}, None, Quality.GOOD, now())
    assert isinstance(gone, Event)
    assert gone.text == ""


@given(st.dictionaries(st.sampled_from(sorted(PATIENT)), st.binary(max_size=12)))
def test_any_attributes_are_records_or_the_devices_fault(told: dict[int, bytes]) -> None:
    try:
        PatientDecoder(identified=True).update(told, None, Quality.GOOD, now())
    except DeviceFault:
        return


def label(text: str) -> bytes:
    data = text.encode("ascii")
    return u16(len(data)) + data


MDS = {
    0x0928: label("Philips\0") + label("M8004A"),
    0x0984: u16(8) + bytes.fromhex("0009fb1234567890"),
    0x092D: counted(
        u16(1, 0x50) + label("BOARD1"),
        u16(1, 8) + label("DE44000123"),
        u16(4, 0x58) + label("H.15.43"),
        u16(5, 0x10) + label("H.15.43"),
        u16(3, 8) + label("A.0"),
    ),
    0x091E: string("OR 3"),
    0x0946: u16(0x4000),
}


def test_who_the_monitor_is() -> None:
    identity = SystemDecoder().identify(MDS, now())
    assert identity is not None
    assert (identity.make, identity.model, identity.serial) == ("Philips", "M8004A", "DE44000123")
    assert (identity.software, identity.position) == ("H.15.43", "OR 3")
    assert identity.protocol == "Data Export, system id 0009fb1234567890"


def test_what_a_real_monitor_says_of_itself() -> None:
    """Attributes of an 866062's connect indication, published with Koshsky/Intellivue-api: one revision is dashes."""
    identity = SystemDecoder().identify({
        0x0928: bytes.fromhex("00085068696c697073000008383636303632 0000"),
        0x0984: bytes.fromhex("00080009fbffff88c1bd"),
        0x092D: bytes.fromhex(
            "00060064 00010008000c444533353141343036310009 00020008000e3836363036320000000000000000"
            "00030008000820412e30302e3330 0005007800082d2d2d2d2d2d2d2d 00020058000e532d4d383030332d3134303241 00"
            "0004005800084c2e30312e3138 0a"
        ),
    }, now())  # fmt: skip
    assert identity is not None
    assert (identity.make, identity.model, identity.serial) == ("Philips", "866062", "DE351A4061")
    assert (identity.software, identity.protocol) == ("L.01.18", "Data Export, system id 0009fbffff88c1bd")


def test_the_identity_is_told_when_it_changes() -> None:
    system = SystemDecoder()
    system.identify(MDS, now())
    assert system.identify({0x091E: MDS[0x091E]}, now()) is None
    moved = system.identify({0x091E: string("OR 4")}, now())
    assert moved is not None
    assert (moved.position, moved.serial) == ("OR 4", "DE44000123")


@pytest.mark.parametrize(
    ("mode", "text", "quality"),
    [
        (0x4000, "monitoring", Quality.GOOD),
        (0x2000, "demo", Quality.DEMO),
        (0x1000, "service", Quality.TEST),
        (0x4002, "monitoring, standby", Quality.GOOD),
    ],
)
def test_operating_modes(mode: int, text: str, quality: Quality) -> None:
    system = SystemDecoder()
    event = system.mode_event({0x0946: u16(mode)}, None, now())
    assert event is not None
    assert (event.kind, event.text, event.quality) == ("mode", text, Quality.GOOD)
    assert system.quality == quality
    assert system.mode_event({0x0946: u16(mode)}, None, now()) is None


def test_in_another_case_the_mode_is_told_again_and_holds_meanwhile() -> None:
    system = SystemDecoder()
    system.mode_event({0x0946: u16(0x2000)}, None, now())
    system.tell_again()
    assert system.quality == Quality.DEMO
    event = system.mode_event({0x0946: u16(0x2000)}, None, now())
    assert event is not None
    assert event.text == "demo"
    assert system.mode_event({0x0946: u16(0x2000)}, None, now()) is None


def test_clocks() -> None:
    date = bytes.fromhex("2026112308140200")
    assert clocks({0x0987: date, 0x098F: u32(5)}, 9) == (5, 1_795_421_642 * S_NS)
    assert clocks({0x0987: date}, 9) == (9, 1_795_421_642 * S_NS)
    assert clocks({0x0987: b"\xff" * 8, 0x098F: u32(5)}, 9) is None


@given(st.dictionaries(st.sampled_from([*MDS, 0x0987, 0x098F]), st.binary(max_size=24)))
def test_any_mds_is_read_or_the_devices_fault(told: dict[int, bytes]) -> None:
    system = SystemDecoder()
    for function in (lambda: system.identify(told, now()), lambda: system.mode_event(told, None, now())):
        with contextlib.suppress(DeviceFault):
            function()
