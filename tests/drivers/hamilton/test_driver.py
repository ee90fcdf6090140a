"""Driver and simulated ventilator share no code."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Literal

import pytest

from drivers.contract import Emit, Now, Send
from drivers.hamilton import Hamilton, HamiltonConfig
from drivers.hamilton.block import SEND_ALL, SEND_VALUES
from drivers.hamilton.driver import recognise
from drivers.hamilton.frame import block
from drivers.hamilton.parameters import number_or_text
from drivers.hamilton.poll import SOFTWARE_VERSION, VENTILATOR_NUMBER, Answer, parse_answer, question
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.hamilton import HamiltonVentilator
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Clock, Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting

LINK = LinkId(1)
T0_S = 1_790_000_000
STEP_MS = 10


def now_at(at_ms: int) -> Now:
    return Now(at_ms * 1_000_000, T0_S * S_NS + at_ms * 1_000_000)


def session(
    seconds: int, *faults: str, protocol: Literal["block", "poll"], patient: Patient | None = None
) -> tuple[list[Record], list[tuple[int, bytes]]]:
    line = FaultLine(tuple(map(parse_fault, faults)))
    ventilator = HamiltonVentilator(patient or Patient(1), T0_S, protocol, line)
    driver, records, sent = Hamilton(HamiltonConfig(protocol=protocol)), list[Record](), list[tuple[int, bytes]]()
    for at_ms in range(0, seconds * 1_000, STEP_MS):
        now = now_at(at_ms)
        if at_ms == 0:
            driver.link_up(LINK, "sim", now)
        for frame in ventilator.poll(at_ms / 1_000):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        for action in driver.drain():
            if isinstance(action, Send):
                assert driver.spec.may_send(action.data)
                sent.append((at_ms, action.data))
                ventilator.receive(action.data, at_ms / 1_000)
            elif isinstance(action, Emit):
                records.append(action.record)
    return records, sent


def shown(records: list[Record], code: str) -> list[Numeric]:
    return [record for record in records if type(record) is Numeric and record.code == code]


@pytest.mark.parametrize("protocol", ["block", "poll"])
def test_values_and_settings_of_a_quiet_line(protocol: Literal["block", "poll"]) -> None:
    records, _ = session(16, protocol=protocol)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    truth = Patient(1).at(15.0)
    for code, expected in (
        ("MDC_PRESS_AWAY_INSP_PEAK", truth.ppeak),
        ("MDC_VOL_AWAY_TIDAL_EXP", truth.tidal_exp),
        ("MDC_VOL_MINUTE_AWAY_EXP", truth.minute_volume),
        ("MDC_CONC_AWAY_O2_INSP", truth.fio2),
    ):
        value = shown(records, code)[-1].value
        assert abs(float(value or 0) - expected) < 0.02 * expected + 1
    unchecked = protocol == "poll"
    assert {bool(r.quality & Quality.UNCHECKED) for r in records if isinstance(r, Numeric)} == {unchecked}
    mode = next(r for r in records if isinstance(r, Setting) and r.device_code in ("40", "70.22"))
    assert mode.value in ("APVcmv", "(S)CMV")


def test_who_it_is() -> None:
    (polled,) = [record for record in session(4, protocol="poll")[0] if isinstance(record, Identity)]
    assert (polled.make, polled.serial, polled.software) == ("Hamilton Medical", "G0421", "G0220")
    (told,) = [record for record in session(12, protocol="block")[0] if isinstance(record, Identity)]
    assert (told.software, told.protocol) == ("2.20, 2.20", "block protocol")


def test_questions_come_one_at_a_time_and_never_too_fast() -> None:
    _, sent = session(12, protocol="poll")
    times = [at_ms for at_ms, _ in sent]
    assert min(b - a for a, b in pairwise(times)) >= 36
    assert {data for _, data in sent} >= {question(number) for number in (35, 61, 66, 80, 86, 90, 111)}


@pytest.mark.parametrize("protocol", ["block", "poll"])
def test_a_sensor_pulled_withdraws_its_values(protocol: Literal["block", "poll"]) -> None:
    records, _ = session(30, "sensor-off@10+10:flow", protocol=protocol)
    values = shown(records, "MDC_VOL_AWAY_TIDAL_EXP")
    gone = [record for record in values if record.value is None]
    assert len(gone) == 1
    assert gone[0].quality & Quality.UNAVAILABLE
    assert values[-1].value is not None


@pytest.mark.parametrize("protocol", ["block", "poll"])
def test_a_ventilator_that_restarted_is_asked_again(protocol: Literal["block", "poll"]) -> None:
    records, sent = session(60, "reboot@8+10", protocol=protocol)
    late = [r for r in records if isinstance(r, Numeric) and r.at_ns > (T0_S + 50) * S_NS]
    assert late
    assert not [record for record in records if isinstance(record, Gap)]
    if protocol == "block":
        assert {data for _, data in sent} == {SEND_ALL}


@pytest.mark.parametrize(("protocol", "number"), [("block", "60.5B"), ("poll", "91")])
def test_alarms_of_both_protocols_from_start_to_end(protocol: Literal["block", "poll"], number: str) -> None:
    driver = Hamilton(HamiltonConfig(protocol=protocol))
    driver.link_up(LINK, "sim", now_at(0))
    told = _alarm_conversation(driver, protocol)
    assert [(event.alarm_id, event.phase) for event in told] == [(number, "start"), (number, "end")]
    assert told[0].text.lower() == "high pressure"


def _alarm_conversation(driver: Hamilton, protocol: str) -> list[Event]:
    if protocol == "block":
        for step, body in enumerate((b"10\x0b\x60\x5bHigh pressure\x0b\x60\xff", b"10\x0b\x60\xff")):
            driver.receive(LINK, block(body), now_at(1_000 + step))
        return [a.record for a in driver.drain() if isinstance(a, Emit) and isinstance(a.record, Event)]
    events: list[Event] = []
    for at_ms in range(0, 12_000, 50):
        for action in driver.drain():
            if isinstance(action, Send):
                number = action.data[1]
                active = number == 91 and 3_000 <= at_ms < 7_000
                driver.receive(LINK, b"\x02%c   %d.\x03\r" % (number, active), now_at(at_ms))
            elif isinstance(action, Emit) and isinstance(action.record, Event):
                events.append(action.record)
        driver.wake(now_at(at_ms))
    return events


def test_the_clock_is_followed_and_a_step_is_told() -> None:
    records, _ = session(300, "step@200:600", protocol="poll")
    clocks = [record for record in records if isinstance(record, Clock)]
    assert clocks
    assert all(abs(clock.offset_ns) <= S_NS for clock in clocks[:1])
    assert [record.cause for record in records if isinstance(record, Gap)] == ["clock_jump"]


def test_a_ventilator_that_knows_only_the_shorter_command_is_found() -> None:
    driver = Hamilton(HamiltonConfig())
    driver.link_up(LINK, "sim", now_at(0))
    sent = []
    for at_ms in range(0, 80_000, 500):
        now = now_at(at_ms)
        if (driver.deadline_ns() or 0) <= now.mono_ns:
            driver.wake(now)
        sent += [action.data for action in driver.drain() if isinstance(action, Send)]
        if sent[-1] == SEND_VALUES and at_ms % 4_000 == 0:
            driver.receive(LINK, block(b"10\x0bP\x2115\x0bP\xff"), now)
    assert sent == [SEND_ALL, SEND_VALUES, SEND_VALUES, SEND_VALUES]


def test_one_strange_answer_is_not_believed_but_a_whole_conversation_of_another_computer_is() -> None:
    driver = Hamilton(HamiltonConfig(protocol="poll"))
    driver.link_up(LINK, "sim", now_at(0))
    for step in range(20):
        driver.receive(LINK, b"\x02B  18.\x03\r", now_at(step * 100))
    driver.link_down(LINK, "unplugged", now_at(3_000))
    records = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert 10 <= len(shown(records, "MDC_PRESS_AWAY_INSP_PEAK")) < 20
    assert {r.detail for r in records if isinstance(r, Gap)} == {"an answer to another question"}


def test_flow_control_between_answers_is_no_fault() -> None:
    driver = Hamilton(HamiltonConfig(protocol="poll"))
    driver.link_up(LINK, "sim", now_at(0))
    driver.receive(LINK, b"\x13\x02C9999\x03\x11\r\x11", now_at(40))
    driver.link_down(LINK, "unplugged", now_at(100))
    assert not [a for a in driver.drain() if isinstance(a, Emit) and isinstance(a.record, Gap)]


def test_what_is_not_known_is_told_once_and_units_are_as_set() -> None:
    driver = Hamilton(HamiltonConfig(pressure_unit="mbar"))
    driver.link_up(LINK, "sim", now_at(0))
    for step in range(3):
        driver.receive(LINK, block(b"10\x0b\x42\x20x\x0bP\x2118.5\x0bP\x7f12"), now_at(step * 100))
    driver.receive(LINK, block(b"22"), now_at(900))
    driver.link_down(LINK, "unplugged", now_at(1_000))
    records = [action.record for action in driver.drain() if isinstance(action, Emit)]
    pressures = shown(records, "MDC_PRESS_AWAY_INSP_PEAK")
    assert [(str(record.value), record.unit) for record in pressures] == [("18.5", "mbar")] * 3
    assert [str(record.value) for record in shown(records, "MDCX_HAMILTON_50_7F")] == ["12"] * 3
    (gap,) = [record for record in records if isinstance(record, Gap)]
    assert gap.detail == "group 42 is not decoded, only kept raw"


def test_names_may_come_without_the_number_of_their_question_and_with_four_characters() -> None:
    for asked in (VENTILATOR_NUMBER, SOFTWARE_VERSION):
        assert parse_answer(b"\x02V0220\x03\r", asked) == Answer(asked, "V0220")
        assert parse_answer(b"\x02AV0220\x03\r", asked) == Answer(asked, "AV0220")
    assert parse_answer(b"\x02\x7dV0220\x03\r", SOFTWARE_VERSION) == Answer(SOFTWARE_VERSION, "V0220")


def test_a_sign_in_front_of_a_number_is_none_of_its_digits() -> None:
    assert [number_or_text(text) for text in ("+5.0", "-2", "007.", "+", "--")] == [
        Decimal("5.0"), Decimal(-2), Decimal(7), None, None,
    ]  # fmt: skip


def test_digits_without_end_are_no_number() -> None:
    assert number_or_text("9" * 18) == Decimal("9" * 18)
    assert number_or_text("9" * 19) == "9" * 19


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="alarms_s"):
        HamiltonConfig(alarms_s=0)


def test_it_recognises_both_protocols_and_nothing_else() -> None:
    heard = recognise(b"\xff" + block(b"10\x0bP\x2118"))
    assert heard is not None
    assert "block" in heard.device
    heard = recognise(b"\x02= 450.\x03\r" * 3)
    assert heard is not None
    assert (heard.frames, "polling" in heard.device) == (3, True)
    assert recognise(bytes(range(256)) * 4) is None
