"""Driver and simulated module share no code."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest

from drivers.contract import Emit, Now, Send
from drivers.nonin import Nonin, NoninConfig
from drivers.nonin.driver import recognise
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.nonin import NoninModule
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Wave

LINK = LinkId(1)
STEPS_A_SECOND = 25


def session(
    seconds: int, *faults: str, data_format: Literal[2, 7] = 7, scenario: str = "stable"
) -> tuple[list[Record], Patient]:
    patient = Patient(1, scenario)
    module = NoninModule(patient, data_format, FaultLine(tuple(map(parse_fault, faults))))
    driver, records = Nonin(NoninConfig(data_format=data_format)), list[Record]()
    for step in range(seconds * STEPS_A_SECOND):
        at_s = step / STEPS_A_SECOND
        now = Now(round(at_s * S_NS), round((1_790_000_000 + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", now)
        for frame in module.poll(at_s):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        actions = driver.drain()
        assert not [action for action in actions if isinstance(action, Send)]
        records += [action.record for action in actions if isinstance(action, Emit)]
    return records, patient


@pytest.mark.parametrize("data_format", [2, 7])
def test_every_sample_and_every_value_of_a_quiet_line(data_format: Literal[2, 7]) -> None:
    records, patient = session(20, data_format=data_format)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    waves = [record for record in records if isinstance(record, Wave)]
    assert waves[0].index == 0
    assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
    assert waves[-1].index + len(waves[-1].samples) // 2 >= 19 * 75
    last = {record.device_code: record for record in records if isinstance(record, Numeric)}
    truth = patient.at(19.0)
    for name, expected in (("SpO2", truth.spo2), ("HR", truth.pulse_rate)):
        value = last[name].value
        assert value is not None
        assert expected is not None
        assert abs(float(value) - expected) < 3
    (identity,) = [record for record in records if isinstance(record, Identity)]
    assert (identity.software, identity.protocol) == ("revision 27", f"serial data format {data_format}")


def test_a_sensor_off_withdraws_values_and_says_so() -> None:
    records, _ = session(20, "sensor-off@5+5:spo2")
    gone = [r for r in records if isinstance(r, Numeric) and r.device_code == "SpO2" and r.value is None]
    assert [record.quality for record in gone] == [Quality.UNAVAILABLE]
    events = [(r.text, r.phase) for r in records if isinstance(r, Event) and r.alarm_id == "status.40"]
    assert events == [("sensor disconnected", "start"), ("sensor disconnected", "end")]
    assert any(r.quality & Quality.UNAVAILABLE for r in records if isinstance(r, Wave))


def test_after_damage_the_index_is_right_again() -> None:
    quiet, _ = session(30)
    records, _ = session(30, "noise@5+5:0.003", "lost@12+5:0.003", "silence@20+4")
    gaps = [record for record in records if isinstance(record, Gap)]
    assert gaps
    assert {gap.cause for gap in gaps} == {"checksum"}
    truth = {record.index: record.samples for record in quiet if isinstance(record, Wave)}
    after = [record for record in records if isinstance(record, Wave) and record.at_ns > (1_790_000_000 + 26) * S_NS]
    assert after
    for record in after[:-1]:
        assert truth.get(record.index) == record.samples


def test_it_recognises_both_formats_and_nothing_else() -> None:
    for data_format in (2, 7):
        module = NoninModule(Patient(1), data_format)
        heard = recognise(b"\x00" + b"".join(module.poll(1.0)))
        assert heard is not None
        assert str(data_format) in heard.device
    assert recognise(bytes(range(256)) * 4) is None


def packet_with(statuses: dict[int, int], saturation: int = 98) -> bytes:
    """A packet of format 7 whose frames have these status bits."""
    values = [0, 70, saturation, 27, 0, 0, 0, 0, *[saturation] * 3, 0, 0, 0, 70, *[saturation] * 2, 0, 0, 0, 70, 0, 70]
    frames = []
    for at, value in enumerate([*values, 0, 0]):
        body = bytes((0x80 | statuses.get(at, 0) | (at == 0), 0x80, 0, value))
        frames.append(body + bytes((sum(body) & 0xFF,)))
    return b"".join(frames)


def heard(*packets: bytes) -> list[Record]:
    driver = Nonin(NoninConfig(data_format=7))
    driver.link_up(LINK, "sim", Now(0, 0))
    for number, packet in enumerate(packets):
        now = Now(number * S_NS // 3, number * S_NS // 3)
        driver.receive(LINK, packet, now)
    return [action.record for action in driver.drain() if isinstance(action, Emit)]


@pytest.mark.parametrize("bit", [0x08, 0x10, 0x20, 0x40])
def test_what_one_frame_says_counts_for_its_packet(bit: int) -> None:
    quiet, told = packet_with({}), packet_with({5: bit, 6: bit})
    records = heard(quiet, quiet, quiet, quiet, told, quiet)
    events = [(r.alarm_id, r.phase) for r in records if isinstance(r, Event)]
    assert events == [(f"status.{bit:02X}", "start"), (f"status.{bit:02X}", "end")]
    doubted = [r.value for r in records if isinstance(r, Numeric) and r.code == "MDC_PULS_OXIM_SAT_O2" and r.quality]
    assert doubted == [98]


def test_perfusion_that_is_told_with_each_pulse_is_one_condition() -> None:
    between, low, good = packet_with({}), packet_with({9: 0x04}), packet_with({9: 0x02})
    records = heard(*[low, between, between] * 4, good, between)
    events = [(r.text, r.phase) for r in records if isinstance(r, Event)]
    assert events == [("low perfusion", "start"), ("low perfusion", "end")]
    assert [r.phase for r in heard(low, *[between] * 12) if isinstance(r, Event)] == ["start", "end"]
