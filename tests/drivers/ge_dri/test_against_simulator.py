"""Driver and simulated monitor share no code: what one asks the other must understand, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from drivers.contract import Emit, Now, Send
from drivers.ge_dri import GeDri, GeDriConfig
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.ge_s5 import S5Config, S5Monitor
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Clock, Event, Gap, LinkId, Numeric, Quality, Record, Wave

LINK = LinkId(1)
START_S = 1_790_000_000
STEPS_A_SECOND = 10
OPTIONS = GeDriConfig(waves=("ECG1", "INVP1", "PLETH", "CO2"), carescape=True)


def session(seconds: int, *faults: str, scenario: str = "stable", config: GeDriConfig = OPTIONS) -> Iterator[Record]:
    """A driver and a monitor on one cable for some seconds; yields what is recorded."""
    line = FaultLine(tuple(map(parse_fault, faults)))
    monitor = S5Monitor(Patient(1, scenario), START_S, S5Config(carescape=config.carescape), line)
    driver = GeDri(config)
    for step in range(seconds * STEPS_A_SECOND):
        at_s = step / STEPS_A_SECOND
        at = Now(round(at_s * S_NS), round((START_S + 100 + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", at)
        for sent in monitor.poll(at_s):
            driver.receive(LINK, sent, at)
        deadline_ns = driver.deadline_ns()
        if deadline_ns is not None and deadline_ns <= at.mono_ns:
            driver.wake(at)
        for action in driver.drain():
            if isinstance(action, Send):
                monitor.receive(action.data, at_s)
            elif isinstance(action, Emit):
                yield action.record


def test_a_quiet_minute_has_every_value_every_sample_and_no_gap() -> None:
    records = list(session(70))
    assert not [record for record in records if isinstance(record, Gap)]
    truth = Patient(1, "stable").at(60)
    last = {record.code: record for record in records if isinstance(record, Numeric)}
    for code, expected in (
        ("MDC_PRESS_BLD_ART_SYS", truth.art_sys),
        ("MDC_PULS_OXIM_SAT_O2", truth.spo2),
        ("MDC_TEMP_ESOPH", truth.temp),
        ("MDC_CONC_AWAY_SEVOFL_ET", truth.et_agent),
        ("MDC_VOL_AWAY_TIDAL_EXP", truth.tidal_exp),
        ("MDC_EEG_BISPECTRAL_INDEX", truth.bis),
    ):
        value = last[code].value
        assert value is not None
        assert abs(float(value) - float(expected or 0)) < 0.1 * float(expected or 0), code
    for code, rate_hz in (("MDC_ECG_ELEC_POTL_II", 300), ("MDC_PRESS_BLD_ART", 100), ("MDC_CONC_AWAY_CO2", 25)):
        waves = [record for record in records if isinstance(record, Wave) and record.code == code]
        assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
        assert waves[-1].index + len(waves[-1].samples) // 2 >= 68 * rate_hz
    (clock,) = [record for record in records if isinstance(record, Clock)]
    assert abs(clock.offset_ns - 100 * S_NS) <= clock.error_ns + S_NS // STEPS_A_SECOND


def test_a_cuff_reading_grows_stale_and_keeps_its_time() -> None:
    cuff = [r for r in session(200) if isinstance(r, Numeric) and r.code == "MDC_PRESS_BLD_NONINV_SYS"]
    stale = [r for r in cuff if r.quality & Quality.STALE]
    assert stale
    for numeric in stale:
        assert numeric.device_time is not None
        taken_s = numeric.device_time.value_ns / S_NS
        assert numeric.at_ns / S_NS - 100 - taken_s > 60


def test_before_carescape_there_are_no_alarms_and_no_questions_after_them() -> None:
    config = GeDriConfig(waves=("ECG1", "PLETH"))
    records = list(session(40, config=config))
    assert not [record for record in records if isinstance(record, Event | Gap)]
    assert [record for record in records if isinstance(record, Wave)]


def test_after_a_restart_of_the_monitor_everything_comes_again() -> None:
    records = list(session(70, "reboot@20+15"))
    late = [record for record in records if record.at_ns > (START_S + 100 + 50) * S_NS]
    assert {type(record) for record in late} >= {Numeric, Wave}
    silences = [record for record in records if isinstance(record, Gap) and record.cause == "silence"]
    assert silences
    told_ns = sum(gap.until_ns - gap.since_ns for gap in silences)
    assert 14 * S_NS <= told_ns <= 26 * S_NS
    ecg = [record for record in records if isinstance(record, Wave) and record.code == "MDC_ECG_ELEC_POTL_II"]
    lost = sum(b.index - a.index - len(a.samples) // 2 for a, b in pairwise(ecg))
    assert 14 * 300 <= lost <= 26 * 300


def test_a_noisy_line_leaves_gaps_and_the_rest_is_right() -> None:
    quiet = {record.samples for record in session(60) if isinstance(record, Wave)}
    records = list(session(60, "noise@10+20:0.001"))
    gaps = [record for record in records if isinstance(record, Gap)]
    assert {gap.cause for gap in gaps} <= {"checksum", "framing", "undecodable"}
    assert 5 <= len(gaps) <= 3 * 22
    noisy = [record for record in records if isinstance(record, Wave)]
    assert all(record.samples in quiet for record in noisy)
    ecg = [record for record in noisy if record.code == "MDC_ECG_ELEC_POTL_II"]
    assert abs(ecg[-1].index + len(ecg[-1].samples) // 2 - 60 * 300) <= 2 * 300


def test_every_alarm_starts_and_what_is_over_has_ended() -> None:
    active: dict[str, Event] = {}
    texts = set()
    for record in session(330, "noise@100+60:0.0005", scenario="desaturation"):
        if not isinstance(record, Event) or record.kind == "mode":
            continue
        assert (record.alarm_id in active) == (record.phase != "start")
        active[record.alarm_id] = record
        texts.add(record.text)
        if record.phase == "end":
            del active[record.alarm_id]
    assert any("SPO2" in text.upper() for text in texts)
    assert not any("SPO2" in event.text.upper() for event in active.values())


def test_an_unplugged_sensor_withdraws_its_values_once() -> None:
    spo2 = [
        record
        for record in session(60, "sensor-off@20+20:spo2")
        if isinstance(record, Numeric) and record.code == "MDC_PULS_OXIM_SAT_O2"
    ]
    gone = [i for i, numeric in enumerate(spo2) if numeric.value is None]
    assert len(gone) == 1
    assert spo2[-1].value is not None
