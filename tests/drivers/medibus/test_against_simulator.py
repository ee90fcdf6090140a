"""Driver and simulated device share no code: what one asks the other must understand, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from drivers.contract import Emit, Now, Send
from drivers.medibus import Medibus, MedibusConfig
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.medibus_device import MedibusConfig as DeviceConfig
from firmware_sim.medibus_device import MedibusDevice
from firmware_sim.medibus_profiles import EVITA_4, PRIMUS
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Clock, Event, Gap, Identity, LinkId, Numeric, Record, Setting, Wave

LINK = LinkId(1)
START_S = 1_790_000_000
STEPS_A_SECOND = 50
WAVES = MedibusConfig(waves=("PAW", "FLOW", "VOLUME", "CO2"))
SLOW = MedibusConfig(alarms_s=2, numerics_s=4)


def session(
    seconds: float,
    *faults: str,
    scenario: str = "stable",
    config: MedibusConfig = WAVES,
    device: DeviceConfig | None = None,
) -> Iterator[Record]:
    """A driver and a device on one cable for some seconds; yields what is recorded."""
    line = FaultLine(tuple(map(parse_fault, faults)))
    vent = MedibusDevice(Patient(1, scenario), START_S, device, line)
    driver = Medibus(config)
    for step in range(int(seconds * STEPS_A_SECOND)):
        at_s = step / STEPS_A_SECOND
        at = Now(round(at_s * S_NS), round((START_S + 100 + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", at)
        for sent in vent.poll(at_s):
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
                    for sent in vent.receive(action.data, at_s):
                        driver.receive(LINK, sent, at)


def test_a_quiet_minute_has_every_value_every_sample_and_no_gap() -> None:
    records = list(session(30))
    assert not [record for record in records if isinstance(record, Gap)]
    truth = Patient(1, "stable").at(29)
    last = {record.code: record for record in records if isinstance(record, Numeric)}
    for code, expected in (
        ("MDC_PRESS_AWAY_INSP_PEAK", truth.ppeak * 0.980665),
        ("MDC_VOL_AWAY_TIDAL", truth.tidal_exp / 1000),
        ("MDC_VOL_MINUTE_AWAY", truth.minute_volume),
        ("MDC_AWAY_CO2_ET", truth.etco2_mmhg),
        ("MDC_PULS_OXIM_SAT_O2", truth.spo2),
        ("MDC_CONC_AWAY_O2_INSP", truth.fio2),
    ):
        value = last[code].value
        assert value is not None
        assert float(value) == pytest.approx(expected, rel=0.06), code
    assert len({record.code for record in records if isinstance(record, Setting)}) == len(EVITA_4.settings) + 5 + 6
    for code in ("MDC_PRESS_AWAY", "MDC_FLOW_AWAY", "MDC_AWAY_CO2", "MDCX_DRAEGER_54_03"):
        waves = [record for record in records if isinstance(record, Wave) and record.code == code]
        assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
        assert waves[-1].index + len(waves[-1].samples) // 2 >= 29 * 62.5
    marks = [mark for r in records if isinstance(r, Wave) and r.code == "MDC_PRESS_AWAY" for _, mark in r.marks]
    breaths = 29.5 * truth.resp_rate / 60
    assert breaths - 1 <= marks.count("inspiration") <= breaths + 1
    assert abs(marks.count("inspiration") - marks.count("expiration")) <= 1


def test_samples_are_those_of_the_patient() -> None:
    waves = [r for r in session(5) if isinstance(r, Wave) and r.code == "MDC_AWAY_CO2"]
    values = [
        int.from_bytes(wave.samples[at : at + 2], "little", signed=True) * wave.scale + wave.offset
        for wave in waves
        for at in range(0, len(wave.samples), 2)
    ]
    truth = Patient(1).at(3).etco2_mmhg
    assert min(values) == pytest.approx(0, abs=0.2)
    assert max(values) == pytest.approx(truth, rel=0.05)


def test_after_a_restart_of_the_device_everything_comes_again() -> None:
    records = list(session(45, "reboot@15+8"))
    late = [record for record in records if record.at_ns > (START_S + 100 + 30) * S_NS]
    assert {type(record) for record in late} >= {Numeric, Wave}
    assert len([record for record in records if isinstance(record, Identity)]) == 2
    paw = [record for record in records if isinstance(record, Wave) and record.code == "MDC_PRESS_AWAY"]
    lost = sum(b.index - a.index - len(a.samples) // 2 for a, b in pairwise(paw))
    assert 8 * 62.5 <= lost <= 15 * 62.5


def test_a_noisy_line_leaves_gaps_and_the_rest_is_right() -> None:
    quiet = {record.samples for record in session(30) if isinstance(record, Wave) and record.code == "MDC_PRESS_AWAY"}
    records = list(session(30, "noise@8+10:0.002"))
    gaps = [record for record in records if isinstance(record, Gap)]
    assert {gap.cause for gap in gaps} <= {"checksum", "framing", "undecodable", "silence"}
    assert 3 <= len(gaps) <= 3 * 12
    assert quiet
    late = [r for r in records if isinstance(r, Wave) and r.code == "MDC_PRESS_AWAY"][-1]
    assert abs(late.index + len(late.samples) // 2 - 29.4 * 62.5) <= 62.5
    values = [r for r in records if isinstance(r, Numeric) and r.code == "MDC_PULS_OXIM_SAT_O2" and r.value]
    assert all(95 <= float(r.value or 0) <= 100 for r in values)


def test_every_alarm_starts_and_what_is_over_has_ended() -> None:
    active: dict[str, Event] = {}
    texts = set()
    for record in session(320, "lost@100+60:0.001", scenario="desaturation", config=SLOW):
        if not isinstance(record, Event) or record.kind == "mode":
            continue
        assert (record.alarm_id in active) == (record.phase != "start")
        active[record.alarm_id] = record
        texts.add(record.text)
        if record.phase == "end":
            del active[record.alarm_id]
    assert texts == {"PAW HIGH", "SPO2 LOW"}
    assert not active


def test_an_unplugged_sensor_withdraws_its_values_once() -> None:
    records = list(session(24, "sensor-off@8+8:spo2", config=SLOW))
    spo2 = [r for r in records if isinstance(r, Numeric) and r.code == "MDC_PULS_OXIM_SAT_O2"]
    assert len([numeric for numeric in spo2 if numeric.value is None]) == 1
    assert spo2[-1].value is not None
    phases = [(r.text, r.phase) for r in records if isinstance(r, Event) and r.kind == "technical_alarm"]
    assert phases == [("SPO2SEN DISC", "start"), ("SPO2SEN DISC", "end")]


def test_an_anaesthesia_machine_tells_agents_gases_and_its_time() -> None:
    config = MedibusConfig(waves=("PAW", "CO2"), clock_s=5)
    device = DeviceConfig(PRIMUS, suspend_every_s=7, co2_to_kpa_s=20)
    records = list(session(70, config=config, device=device))
    assert not [record for record in records if isinstance(record, Gap)]
    codes = {record.code for record in records if isinstance(record, Numeric)}
    assert codes >= {"MDC_CONC_AWAY_SEVOFL_ET", "MDC_CONC_AWAY_O2_ET", "MDC_FLOW_O2_FG", "MDC_VOL_AWAY_TIDAL_EXP"}
    units = [wave.unit for wave in records if isinstance(wave, Wave) and wave.code == "MDC_AWAY_CO2"]
    assert units.index("kPa") == units.count("mm[Hg]")
    (clock,) = [record for record in records if isinstance(record, Clock)]
    assert abs(clock.offset_ns - 100 * S_NS) <= clock.error_ns + S_NS
