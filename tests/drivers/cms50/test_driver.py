"""Driver and simulated oximeter share no code."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Literal

import pytest

from drivers.cms50 import Cms50, Cms50Config
from drivers.cms50.driver import KEEP_ALIVE, START, recognise
from drivers.contract import Emit, Now, Send
from firmware_sim.cms50 import Cms50Oximeter
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Event, Gap, LinkId, Numeric, Quality, Record, Wave

LINK = LinkId(1)
STEPS_A_SECOND = 30


def session(
    seconds: int, *faults: str, firmware: Literal["7", "old"] = "7", told: bool = True
) -> tuple[list[Record], list[bytes]]:
    oximeter = Cms50Oximeter(Patient(1), firmware, FaultLine(tuple(map(parse_fault, faults))))
    config = Cms50Config(firmware=firmware if told else "auto")
    driver, records, sent = Cms50(config), list[Record](), list[bytes]()
    for step in range(seconds * STEPS_A_SECOND):
        at_s = step / STEPS_A_SECOND
        now = Now(round(at_s * S_NS), round((1_790_000_000 + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", now)
        for frame in oximeter.poll(at_s):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        for action in driver.drain():
            if isinstance(action, Send):
                sent.append(action.data)
                oximeter.receive(action.data, at_s)
            elif isinstance(action, Emit):
                records.append(action.record)
    return records, sent


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("firmware", ["7", "old"])
def test_every_sample_and_values_of_a_quiet_line(firmware: Literal["7", "old"], *, told: bool) -> None:
    records, sent = session(20, firmware=firmware, told=told)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    waves = [record for record in records if isinstance(record, Wave)]
    assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
    assert waves[-1].index >= 18 * 60
    truth = Patient(1).at(18.0)
    last = {record.device_code: record.value for record in records if isinstance(record, Numeric)}
    assert truth.spo2 is not None
    assert abs(float(last["SpO2"] or 0) - truth.spo2) < 3
    before = [] if told else [START]  # until it is known that nothing need be asked
    assert sent == (before if firmware == "old" else [START, *[KEEP_ALIVE] * 5])


def test_an_oximeter_that_restarted_is_asked_again() -> None:
    records, sent = session(30, "reboot@10+6")
    assert sent.count(START) >= 2
    assert [record for record in records if isinstance(record, Wave) and record.at_ns > (1_790_000_000 + 22) * S_NS]


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("last_word", ["0d8080", "0d8081", "0d8080808080808080 01"])
def test_an_oximeter_that_stops_withdraws_its_values_and_leaves_a_gap(last_word: str, size: int) -> None:
    """A packet is as long as what it tells: two bytes and a reason, as CMS50Dplus7 reads them."""
    driver = Cms50(Cms50Config())
    driver.link_up(LINK, "sim", Now(0, S_NS))
    heard = bytes.fromhex("01e085b396c1e1ffff") * 10 + bytes.fromhex(last_word)
    for at in range(0, len(heard), size):
        driver.receive(LINK, heard[at : at + size], Now(S_NS, 2 * S_NS))
    driver.wake(Now(S_NS + S_NS // 5, 2 * S_NS + S_NS // 5))
    driver.wake(Now(4 * S_NS, 5 * S_NS))
    actions = driver.drain()
    records = [action.record for action in actions if isinstance(action, Emit)]
    assert [r.value for r in records if isinstance(r, Numeric) and r.device_code == "SpO2"] == [97, None]
    assert [record.cause for record in records if isinstance(record, Gap)] == ["device_gap"]
    assert [action.data for action in actions if isinstance(action, Send)] == [START, START]


def test_a_saturation_that_none_can_be_is_an_invalid_one() -> None:
    driver = Cms50(Cms50Config(firmware="old"))
    driver.link_up(LINK, "bench", Now(0, 0))
    for n, saturation in enumerate((97, 123, 123)):
        at = Now(2 * n * S_NS, 2 * n * S_NS)
        for _ in range(3):
            driver.receive(LINK, bytes((0x85, 40, 5, 72, saturation)), at)
        driver.wake(at)
    told = [action.record for action in driver.drain() if isinstance(action, Emit)]
    shown = {r.at_ns: (r.value, r.quality) for r in told if isinstance(r, Numeric) and r.device_code == "SpO2"}
    assert set(shown.values()) == {
        (Decimal(97), Quality.UNCHECKED), (None, Quality.UNCHECKED | Quality.INVALID),
    }  # fmt: skip


def test_what_it_says_between_two_streams_is_no_fault() -> None:
    driver = Cms50(Cms50Config())
    driver.link_up(LINK, "sim", Now(0, S_NS))
    beats = bytes.fromhex("01e085b396c1e1ffff") * 10
    driver.receive(LINK, beats + bytes.fromhex("0d8081") + beats, Now(S_NS, 2 * S_NS))
    driver.wake(Now(S_NS + S_NS // 5, 2 * S_NS + S_NS // 5))
    driver.link_down(LINK, "end", Now(S_NS + S_NS // 2, 2 * S_NS + S_NS // 2))
    records = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert [record.cause for record in records if isinstance(record, Gap)] == ["device_gap"]
    assert sum(len(record.samples) // 2 for record in records if isinstance(record, Wave)) == 20


def test_what_a_cms50d_plus_answered_the_maker_s_program_before_its_first_beats() -> None:
    """As recorded on USB by MarkMLl/Contec_cms50dplus: packets of two to nine bytes, then frames of no finger."""
    answers = (
        "0c80 0c80 06808087 1180818180808080 80 0e8081 138080808080808080 148080808080808080 028080b5b0c4a8c1a9 "
        "0281ffaba0a0a0a0a0 0480f5f3e5f2a0a0a0 0380a0a0a0a0a0a0a0" + "01e184c0908080ffff" * 70
    )
    driver = Cms50(Cms50Config())
    driver.link_up(LINK, "usb", Now(0, S_NS))
    driver.receive(LINK, bytes.fromhex(answers), Now(S_NS, 2 * S_NS))
    records = [action.record for action in driver.drain() if isinstance(action, Emit)]
    values = {record.device_code: record.value for record in records if isinstance(record, Numeric)}
    assert values == {"SpO2": None, "PR": None, "strength": 4}
    assert [record.text for record in records if isinstance(record, Event)] == ["finger out or probe error"]
    assert sum(len(record.samples) // 2 for record in records if isinstance(record, Wave)) == 60


def test_noise_makes_gaps_and_no_false_flags() -> None:
    records, _ = session(20, "noise@4+10:0.003", firmware="old")
    assert [record for record in records if isinstance(record, Gap)]
    assert len([record for record in records if isinstance(record, Event)]) <= 4


def test_it_recognises_both_and_nothing_else() -> None:
    assert recognise(bytes.fromhex("01e085b396c1e1ffff") * 12) is not None
    heard = recognise(bytes((0x85, 40, 5, 70, 98)) * 12)
    assert heard is not None
    assert "old" in heard.device
    assert recognise(bytes(range(256)) * 4) is None
