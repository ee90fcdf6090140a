from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Message, Now, Send
from drivers.servo_i import ServoI, ServoIConfig, script
from drivers.servo_i.channels import channel_of, documented, parse_configuration
from drivers.servo_i.frame import HELLO, STOP, Answer, TextSplitter, command, parse_answer
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.servo_i import ServoI as Device
from firmware_sim.servo_i import ServoIConfig as Happens
from ledger.errors import DeviceFault, OurFault
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, Link, LinkId, Numeric, Quality, Record, Setting, Wave
from tests.drivers.servo_i.test_stream import absolute, closed

R = TypeVar("R", bound=Record)
LINK = LinkId(1)
TABLE = Path(__file__).parents[4] / "shared/tables/servo_i_channels.csv"
FEW: dict[str, Any] = {"breath": (200, 205, 209), "settings": (300, 308), "alarms": (400, 401)}
BEGINNING = [STOP, HELLO, *map(command, (b"RCTY", b"RSEN", b"RSWV", b"RHVE", b"SPVE005", b"SSMP020", b"RCCO100"))]


def now(s: float = 0.0) -> Now:
    return Now(round(s * S_NS), round((1_790_000_000 + s) * S_NS))


class Room:
    """Driver and device, step by step; ``asked`` is what the driver sent."""

    def __init__(self, config: ServoIConfig, happens: Happens | None = None, *faults: str) -> None:
        self.driver = ServoI(config)
        self.device = Device(Patient(3), happens, FaultLine(tuple(map(parse_fault, faults))))
        self.s = 0.0
        self.asked: list[bytes] = []
        self.records: list[Record] = []
        self.driver.link_up(LINK, "port", now())
        self._drain()

    def _drain(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                self.asked.append(action.data)
                for frame in self.device.receive(action.data, self.s):
                    self.hear(frame)

    def hear(self, data: bytes) -> None:
        self.driver.receive(LINK, data, now(self.s))
        self._drain()

    def run(self, seconds: float) -> None:
        end = self.s + seconds
        while self.s < end:
            self.s = round(self.s + 0.05, 3)
            for frame in self.device.poll(self.s):
                self.hear(frame)
            self.driver.wake(now(self.s))
            self._drain()

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records if type(record) is kind]


# Answers and channels -----------------------------------------------------------------------------------------


def test_the_check_of_the_manual() -> None:
    assert command(b"RCTY") == b"RCTY1C\x04"
    assert command(b"SSMP020") == b"SSMP0202F\x04"
    assert parse_answer(b"*2A") == Answer(b"*")
    assert parse_answer(b"900PCI") == Answer(b"900PCI")
    assert parse_answer(b"ER10") == parse_answer(command(b"ER10")[:-1]) == Answer(b"ER10", 10)
    for wrong in (b"*2B", b"", b"2A", b"ER1000", b"BER2015"):
        with pytest.raises(DeviceFault):
            parse_answer(wrong)


def test_a_refusal_that_begins_with_the_letter_of_the_channels_it_is_about() -> None:
    """As two public readers of real Servo ventilators know them: ``ER2015`` and ``BER2057``."""
    assert parse_answer(b"ER2015") == Answer(b"ER20", 20)
    assert parse_answer(b"BER2057") == Answer(b"BER20", 20)


def test_xon_and_xoff_are_no_part_of_an_answer() -> None:
    splitter = TextSplitter()
    assert list(splitter.feed(b"*\x132A")) == []
    assert splitter.held
    assert list(splitter.feed(b"\x11\x04")) == [b"*2A"]
    assert not splitter.held


@given(st.binary(max_size=60).filter(lambda text: not set(text) & {0x04, 0x11, 0x13}))
def test_every_answer_reads_as_written(text: bytes) -> None:
    message = command(text)[:-1]
    (found,) = TextSplitter().feed(message + b"\x04")
    assert found == message
    if text and not text.startswith(b"ER"):
        assert parse_answer(message) == Answer(text)


def test_a_channel_as_the_ventilator_tells_it() -> None:
    told = parse_configuration(b"020;205,+1000E-004,+0000E+000,04,BT,Ppeak;")
    assert told.sample_ms == 20
    assert told.channel == channel_of(205)
    assert told.channel.value(174) == Decimal("17.4")
    other_unit = parse_configuration(b"020;205,+1000E-004,+0000E+000,11,BT,Ppeak;").channel
    assert (other_unit.unit, other_unit.code) == ("kPa", "MDCX_MAQUET_205")
    bare = parse_configuration(b"020;309,+1000E-004,+0000E+000,20,ST,I:E;").channel
    assert (bare.gain, bare.unit) == (Decimal("0.1"), "")
    alarm = parse_configuration(b"020;412,----------,----------,--,AL,Apnea;").channel
    assert (alarm.name, str(alarm.value(1)), alarm.code) == ("Apnea", "1", "MDCX_MAQUET_412")
    with pytest.raises(DeviceFault):
        parse_configuration(b"020;205")
    for factors in (b"+9999E+999,+0000E+000", b"+1000E-004,+1000E+400"):
        with pytest.raises(DeviceFault):
            parse_configuration(b"020;205,%b,04,BT,Ppeak;" % factors)


def test_values_have_the_ventilators_digits() -> None:
    assert str(channel_of(211).value(38)) == "3800"
    assert str(channel_of(201).value(495)) == "495"
    assert str(channel_of(200).value(120)) == "12.0"
    assert channel_of(310).value(4) == "PRVC"
    assert channel_of(310).value(99) == Decimal(99)
    assert channel_of(200).value(0x7EFF) is channel_of(200).value_of_text(9999) is None


@pytest.mark.skipif(not TABLE.exists(), reason="the table of the manual is not here")
def test_our_table_is_that_of_the_manual() -> None:
    with TABLE.open() as file:
        rows = [row for row in csv.DictReader(file) if not row["name"].startswith("Fixed")]
    assert documented(100, 399) == tuple(int(row["channel"]) for row in rows)
    for row in rows:
        channel = channel_of(int(row["channel"]))
        assert (channel.gain, channel.offset) == (Decimal(row["gain"]), Decimal(row["offset"]))


# The talk -----------------------------------------------------------------------------------------------------


def test_from_the_call_to_the_stream() -> None:
    room = Room(ServoIConfig(**FEW))
    room.run(12)
    assert room.asked[: len(BEGINNING)] == BEGINNING
    assert room.asked[-5:] == [
        command(b"SDADA401"), command(b"RADAB"), command(b"RADAS"), command(b"RADAA"), command(b"RADC")
    ]  # fmt: skip
    assert [(who.model, who.serial, who.protocol) for who in room.of(Identity)] == [("Servo-i", "14233", "CIE 005")]
    assert [link.state for link in room.of(Link)] == ["identified"]
    assert {wave.channel for wave in room.of(Wave)} == {"100", "113", "114"}
    assert {wave.quality for wave in room.of(Wave)} == {Quality.GOOD}
    patient = Patient(3).at(10)
    last = {numeric.device_code: numeric for numeric in room.of(Numeric)}
    assert str(last["200"].value) == str(patient.resp_rate)
    assert abs(float(str(last["205"].value)) - patient.ppeak) < 1
    assert {setting.device_code for setting in room.of(Setting)} == {"300", "308"}
    assert room.of(Gap) == []


def test_waves_count_every_sample() -> None:
    room = Room(ServoIConfig(**FEW, curves=(113,)))
    room.run(20)
    expected = 0
    for wave in room.of(Wave):
        assert wave.index == expected
        expected += len(wave.samples) // 2
    assert expected > 600


def test_a_setting_is_told_when_it_changes() -> None:
    room = Room(ServoIConfig(**FEW), Happens(peep_set_s=8.0))
    room.run(14)
    assert [str(setting.value) for setting in room.of(Setting) if setting.device_code == "308"] == ["5.0", "8.0"]


def test_standby_is_no_fault_and_the_stream_comes_back() -> None:
    room = Room(ServoIConfig(**FEW), Happens(standby_s=(0.0, 9.0)))
    room.run(24)
    assert [(event.alarm_id, event.phase) for event in room.of(Event)] == [("standby", "start"), ("standby", "end")]
    assert room.of(Gap) == []
    assert room.of(Wave)


def test_a_ventilator_that_does_not_tell_its_channels_is_read_by_the_manual() -> None:
    room = Room(ServoIConfig(curves=(100,), breath=(200, 205), settings=(), alarms=()), Happens(knows_channels=False))
    room.run(14)
    assert {numeric.device_code for numeric in room.of(Numeric)} == {"200", "205"}


def test_channels_that_are_refused_are_left_out_and_told_once() -> None:
    room = Room(ServoIConfig(curves=(100, 118), breath=(), settings=(), alarms=()), Happens(knows_channels=False))
    room.run(14)
    assert {wave.channel for wave in room.of(Wave)} == {"100"}
    assert [gap.detail for gap in room.of(Gap)] == ["the ventilator refused: channels 118"]


def test_after_a_pulled_cable_it_is_called_anew_and_asked_only_what_is_not_known() -> None:
    room = Room(ServoIConfig(**FEW), None, "silence@8+6")
    room.run(8)
    before = len(room.asked)
    room.run(14)
    again = room.asked[before:]
    assert again[:2] == [STOP, HELLO]
    assert again[-1] == command(b"RADC")
    # Only the alarm channel that the ventilator does not have is asked for once more.
    assert [frame for frame in again if frame.startswith(b"RCCO")] == [command(b"RCCO400")]
    silences = [gap for gap in room.of(Gap) if gap.cause == "silence"]
    assert [gap.detail for gap in silences][-1] == "the ventilator sends again"
    assert silences[-1].until_ns - silences[-1].since_ns > 5 * S_NS


def test_questions_wait_while_the_ventilator_holds_them_back() -> None:
    driver = ServoI(ServoIConfig())
    driver.link_up(LINK, "port", now())
    driver.wake(now(1))
    driver.receive(LINK, b"\x13900PCI\x04", now(1.1))
    assert [action.data for action in driver.drain() if isinstance(action, Send)] == [STOP, HELLO]
    driver.receive(LINK, b"\x11", now(1.2))
    assert [action.data for action in driver.drain() if isinstance(action, Send)] == [command(b"RCTY")]


def test_it_reads_along_without_sending() -> None:
    driver = ServoI(ServoIConfig(curves=(100,), breath=(200, 205, 209), settings=(), alarms=(), listen_only=True))
    driver.link_up(LINK, "port", now())
    stream = closed(b"\x81\x10" + absolute(9_871) + b"\xfa\x09" * 30) + closed(b"B\x00\x5b\x01\x2c\x02\x58")
    driver.receive(LINK, stream, now(1))
    actions = driver.drain()
    assert not any(isinstance(action, Send) for action in actions)
    records = [action.record for action in actions if isinstance(action, Emit)]
    values = {record.device_code: str(record.value) for record in records if isinstance(record, Numeric)}
    assert values == {"200": "9.1", "205": "30.0", "209": "60.0"}
    waves = [record for record in records if isinstance(record, Wave)]
    assert sum(len(wave.samples) // 2 for wave in waves) == 61
    assert waves[0].marks == ((0, "inspiration"),)
    assert driver.deadline_ns() == now(11).mono_ns  # only to withdraw what was heard


def test_a_message_is_our_fault() -> None:
    driver = ServoI(ServoIConfig())
    driver.link_up(LINK, "port", now())
    with pytest.raises(OurFault):
        driver.receive(LINK, Message("x", {}), now())


def test_nothing_that_sets_the_ventilation_is_allowed() -> None:
    spec = ServoI.spec
    for text in (b"STIM", b"ADMP", b"DISP", b"SPVE006", b"SDADC400", b"SDADT", b"RADAUC", b"SALE", b"STOU"):
        assert not spec.may_send(command(text))
    assert not spec.may_send(b"RCTY\x04")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"curves": (100, 101, 102, 113, 114)}, "curves"),
        ({"breath": (200, 200)}, "breath"),
        ({"settings": (200,)}, "settings"),
        ({"alarms": (500,)}, "alarms"),
        ({"sample_ms": 9}, "sample_ms"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}:"):
        ServoIConfig(**options)


@pytest.mark.parametrize(
    ("text", "sound"), [(b"", True), (b"0123", True), (b" 123  45   6", True), (b"00 0", False), (b"012", False)]
)
def test_values_are_padded_on_the_left_alone(text: bytes, sound: bool) -> None:
    assert (script._VALUES.fullmatch(text) is not None) is sound
