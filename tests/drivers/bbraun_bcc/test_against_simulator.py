"""Driver and simulated rack share no code: what one says the other must understand, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest

from drivers.bbraun_bcc import BBraunBcc, BBraunBccConfig
from drivers.contract import Emit, Now, Send
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.space_rack import Happening, RackConfig, SpaceRack
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record
from tests.drivers.bbraun_bcc.feeding import frame

LINK = LinkId(1)
START_S = 1_790_000_000
STEPS_A_SECOND = 50
RATE = "MDC_FLOW_FLUID_PUMP"


def session(
    seconds: float, rack: RackConfig, *faults: str, config: BBraunBccConfig | None = None, scenario: str = "stable"
) -> Iterator[Record]:
    """A driver and a rack on one line for some seconds; yields what is recorded."""
    device = SpaceRack(Patient(1, scenario), rack, FaultLine(tuple(map(parse_fault, faults))))
    driver = BBraunBcc(config or BBraunBccConfig())
    for step in range(int(seconds * STEPS_A_SECOND)):
        at_s = step / STEPS_A_SECOND
        at = Now(round(at_s * S_NS), round((START_S + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", at)
        for sent in device.poll(at_s):
            driver.receive(LINK, sent, at)
        deadline_ns = driver.deadline_ns()
        if deadline_ns is not None and deadline_ns <= at.mono_ns:
            driver.wake(at)
        while actions := driver.drain():
            for action in actions:
                if isinstance(action, Emit):
                    yield action.record
                elif isinstance(action, Send):
                    assert driver.spec.may_send(action.data)
                    for sent in device.receive(action.data, at_s):
                        driver.receive(LINK, sent, at)


def rates(records: list[Record], after_s: float = 0.0) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for record in records:
        if isinstance(record, Numeric) and record.code == RATE and record.at_ns >= (START_S + after_s) * S_NS:
            found.setdefault(record.sub, []).append(record.value)
    return found


@pytest.mark.parametrize("stuffing", [True, False])
@pytest.mark.parametrize("bed_id", ["ComSystem", "OR4"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_every_pump_is_read_however_the_rack_is_set_up(stuffing: bool, bed_id: str, goes_on: bool) -> None:
    rack = RackConfig(pumps=9, stuffing=stuffing, bed_id=bed_id, goes_on=goes_on)
    records = list(session(25, rack))
    assert [len(values) >= 3 for values in rates(records).values()] == [True] * 9
    assert not [record for record in records if isinstance(record, Gap)]


def test_a_full_rack() -> None:
    records = list(session(20, RackConfig(pumps=27)))
    assert len(rates(records)) == 27
    positions = {r.position for r in records if isinstance(r, Identity) and r.sub}
    assert len(positions) == 27
    assert "pillar 3 slot 9" in positions


@pytest.mark.parametrize("mode", ["auto", "cyclic"])
def test_a_rack_in_cyclic_mode(mode: str) -> None:
    config = BBraunBccConfig(mode=mode)  # type: ignore[arg-type]
    records = list(session(40, RackConfig(cycle_s=5.0), config=config))
    assert all(len(values) >= 6 for values in rates(records).values())
    last_s = [r.at_ns / S_NS for r in records if isinstance(r, Numeric) and r.code == RATE and r.sub == "pump-210001"][
        -4:
    ]
    assert all(4.5 < after - before < 5.5 for before, after in pairwise(last_s))  # it is no longer asked as well


def test_a_rack_that_tells_no_serial_numbers() -> None:
    records = list(session(20, RackConfig(serials=False)))
    assert all(sub.startswith("pump-innr-") for sub in rates(records))
    assert len(rates(records)) == 4


def test_no_pumps_at_all() -> None:
    records = list(session(15, RackConfig(pumps=0)))
    assert rates(records) == {}
    assert not [record for record in records if isinstance(record, Event)][1:]


def test_the_life_of_pumps() -> None:
    happens = (
        Happening(10, "occlusion", "13"), Happening(20, "well", "13"), Happening(22, "move", "12", "17"),
        Happening(40, "remove", "14"),
    )  # fmt: skip
    records = list(session(60, RackConfig(happenings=happens)))
    pressure = [(r.sub, r.phase) for r in records if isinstance(r, Event) and r.alarm_id == "INA3"]
    assert pressure == [("pump-210075", "start"), ("pump-210075", "end")]
    assert 0 in rates(records)["pump-210075"]
    moved = [r.position for r in records if isinstance(r, Identity) and r.sub == "pump-210038"]
    assert (moved[0], moved[-1]) == ("pillar 1 slot 2", "pillar 1 slot 7")
    assert rates(records)["pump-210112"].count(None) == 1
    assert rates(records)["pump-210112"][-1] is None


def test_noradrenaline_follows_the_patient() -> None:
    records = list(session(420, RackConfig(pumps=3), scenario="haemorrhage", config=BBraunBccConfig(poll_s=10)))
    doses = [
        r.value for r in records if isinstance(r, Numeric) and r.device_code == "INDORT" and r.sub == "pump-210075"
    ]
    assert doses[-1] > 2 * doses[0] > 0  # type: ignore[operator]


def test_a_bad_line_a_silence_and_a_reboot_are_survived() -> None:
    faults = ("noise@5+6:0.002", "lost@14+6:0.002", "cut@22+6:0.5", "silence@30+12", "reboot@50+8")
    records = list(session(90, RackConfig(stuffing=True), *faults))
    gaps = {record.cause for record in records if isinstance(record, Gap)}
    assert {"framing", "clock_jump"} <= gaps
    assert all(len(values) >= 3 for values in rates(records, after_s=70).values())
    assert len(rates(records, 70)) == 4
    lost = [r for r in records if isinstance(r, Numeric) and r.code == RATE and r.quality == Quality.UNAVAILABLE]
    began_ns = min(record.at_ns for record in records)
    assert {r.sub for r in lost} == set(rates(records, 70))
    assert min(r.at_ns for r in lost) >= began_ns + 30 * S_NS  # noise takes nothing away, silence and a reboot do


def test_an_unplugged_pump_comes_back() -> None:
    records = list(session(60, RackConfig(), "sensor-off@10+20:pump-12"))
    values = rates(records)["pump-210038"]
    gone = values.index(None)
    assert values.count(None) == 1
    assert 0 < gone < len(values) - 3


def test_the_rack_keeps_to_its_own_rules() -> None:
    rack = SpaceRack(Patient(1), RackConfig())
    question = frame("MEM:GET", bed="1/1/1")
    (first,) = rack.receive(question, 1.0)
    rack.receive(b"\x06", 1.05)
    assert rack.poll(1.15) == []  # an ACK sooner than a tenth is not heard
    assert rack.receive(question, 1.2) == []  # sooner than half a second
    rack.receive(b"\x06", 1.3)
    (second,) = rack.poll(1.4)
    assert rack.receive(b"\x15", 1.5) == [second] != [first]
    assert math.isfinite(rack.next_due_s(1.6))
