"""Driver and simulated monitor share no code: what one asks the other must understand, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from drivers.contract import Emit, Now, Send
from drivers.intellivue import IntelliVue, IntelliVueConfig
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.intellivue import IntelliVueConfig as MonitorConfig
from firmware_sim.intellivue import IntelliVueMonitor
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Clock, Event, Gap, LinkId, Numeric, Quality, Record, Wave

LINK = LinkId(1)
START_S = 1_790_000_000
STEP_S = 0.064
WAVES = ("MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_I", "MDC_PRESS_BLD_ART", "MDC_PULS_OXIM_PLETH", "MDC_AWAY_CO2")


def session(
    seconds: float, *faults: str, scenario: str = "stable", lan: bool = False, demo: bool = False, **options: object
) -> Iterator[Record]:
    """A driver and a monitor for some seconds; yields what is recorded."""
    line = FaultLine(tuple(map(parse_fault, faults)))
    monitor = IntelliVueMonitor(Patient(1, scenario), START_S, MonitorConfig(lan=lan, demo=demo), line)
    driver = IntelliVue(IntelliVueConfig(interface="lan" if lan else "rs232", **options))  # type: ignore[arg-type]
    for step in range(round(seconds / STEP_S)):
        at_s = step * STEP_S
        at = Now(round(at_s * S_NS), round((START_S + 100 + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", at)
        arriving = monitor.poll(at_s)
        while True:
            for sent in arriving:
                driver.receive(LINK, sent, at)
            arriving = []
            deadline_ns = driver.deadline_ns()
            if deadline_ns is not None and deadline_ns <= at.mono_ns:
                driver.wake(at)
            actions = driver.drain()
            if not actions:
                break
            for action in actions:
                if isinstance(action, Send):
                    assert driver.spec.may_send(action.data)
                    arriving += monitor.receive(action.data, at_s)
                elif isinstance(action, Emit):
                    yield action.record


def waves_of(records: list[Record], code: str) -> list[Wave]:
    return [record for record in records if isinstance(record, Wave) and record.code == code]


def gaps_of(records: list[Record]) -> list[Gap]:
    return [record for record in records if isinstance(record, Gap)]


@pytest.mark.parametrize("lan", [False, True])
def test_a_quiet_minute_has_every_value_every_sample_and_no_gap(lan: bool) -> None:
    records = list(session(66, lan=lan, wave_list=WAVES))
    assert gaps_of(records) == []
    truth = Patient(1, "stable").at(60)
    last = {record.code: record for record in records if isinstance(record, Numeric)}
    for code, expected in (
        ("MDC_ECG_HEART_RATE", truth.hr),
        ("MDC_PRESS_BLD_ART_SYS", truth.art_sys),
        ("MDC_PULS_OXIM_SAT_O2", truth.spo2),
        ("MDC_TEMP_ESOPH", truth.temp),
        ("MDC_CONC_AWAY_SEVOFL_ET", truth.et_agent),
        ("MDC_AWAY_CO2_ET", truth.etco2_mmhg),
        ("MDCX_PHILIPS_0002F0E1", truth.tidal_exp),
        ("MDCX_PHILIPS_0002F04E", truth.bis),
    ):
        value = last[code].value
        assert value is not None
        assert abs(float(value) - float(expected or 0)) < 0.1 * float(expected or 0), code
    for code, rate_hz in (("MDC_ECG_ELEC_POTL_II", 500), ("MDC_PRESS_BLD_ART", 125), ("MDC_AWAY_CO2", 62.5)):
        waves = waves_of(records, code)
        assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
        assert waves[-1].index + len(waves[-1].samples) // 2 >= 60 * rate_hz
        assert all(wave.quality == Quality.GOOD for wave in waves)
    (clock,) = [record for record in records if isinstance(record, Clock)]
    assert abs(clock.offset_ns - 100 * S_NS) <= clock.error_ns


def test_the_arterial_wave_is_the_patients() -> None:
    wave = waves_of(list(session(20, wave_list=("MDC_PRESS_BLD_ART",))), "MDC_PRESS_BLD_ART")[-1]
    values = [
        wave.scale * int.from_bytes(wave.samples[at : at + 2], "little", signed=True) + wave.offset
        for at in range(0, len(wave.samples), 2)
    ]
    truth = Patient(1, "stable").at(20)
    assert truth.art_dia - 8 < min(values)
    assert max(values) < truth.art_sys + 8


def test_a_cuff_reading_is_new_once_and_then_stale() -> None:
    cuff = [r for r in session(60, waves=False) if isinstance(r, Numeric) and r.code == "MDC_PRESS_BLD_NONINV_SYS"]
    readings = [record for record in cuff if record.value is not None]
    assert len([record for record in readings if not record.quality & Quality.STALE]) == 1
    assert len({record.device_time for record in readings}) == 1


@pytest.mark.parametrize("fault", ["reboot@20+15", "silence@20+15"])
def test_after_a_restart_or_a_cut_everything_comes_again_and_the_gap_is_told(fault: str) -> None:
    records = list(session(60, fault, wave_list=WAVES[:1]))
    late = [record for record in records if record.at_ns > (START_S + 100 + 50) * S_NS]
    assert {type(record) for record in late} >= {Numeric, Wave}
    (silence,) = [gap for gap in gaps_of(records) if gap.cause == "silence"]
    assert 14 * S_NS <= silence.until_ns - silence.since_ns <= 20 * S_NS
    ecg = waves_of(records, "MDC_ECG_ELEC_POTL_II")
    lost = sum(b.index - a.index - len(a.samples) // 2 for a, b in pairwise(ecg))
    assert 14 * 500 <= lost <= 21 * 500


def test_a_noisy_line_leaves_gaps_and_the_rest_is_right() -> None:
    quiet = {record.samples for record in session(28, wave_list=WAVES[:2]) if isinstance(record, Wave)}
    records = list(session(28, "noise@8+12:0.0008", wave_list=WAVES[:2]))
    gaps = gaps_of(records)
    assert {gap.cause for gap in gaps} <= {"checksum", "framing", "sequence", "device_gap"}
    assert {gap.cause for gap in gaps} >= {"checksum", "device_gap"}
    assert len(gaps) <= 4 * 13
    noisy = [record for record in records if isinstance(record, Wave)]
    assert all(record.samples in quiet for record in noisy)
    ecg = waves_of(records, "MDC_ECG_ELEC_POTL_II")
    assert abs(ecg[-1].index + len(ecg[-1].samples) // 2 - ecg[0].index - 26 * 500) <= 2 * 500


def test_lost_and_doubled_datagrams() -> None:
    records = list(session(40, "frame-lost@10+5:0.2", "frame-doubled@20+10:0.5", lan=True, wave_list=WAVES[:1]))
    ecg = waves_of(records, "MDC_ECG_ELEC_POTL_II")
    assert any(b.index > a.index + len(a.samples) // 2 for a, b in pairwise(ecg))
    assert all(b.index >= a.index + len(a.samples) // 2 for a, b in pairwise(ecg))
    assert {gap.cause for gap in gaps_of(records)} <= {"sequence", "device_gap"}


def test_every_alarm_starts_and_what_is_over_has_ended() -> None:
    active: dict[str, Event] = {}
    seen: set[tuple[str, str]] = set()
    for record in session(200, "sensor-off@30+20:spo2", scenario="desaturation", waves=False):
        if not isinstance(record, Event) or "alarm" not in record.kind:
            continue
        assert (record.alarm_id in active) == (record.phase != "start")
        active[record.alarm_id] = record
        seen.add((record.kind, record.code))
        if record.phase == "end":
            del active[record.alarm_id]
    assert {("technical_alarm", "MDC_EVT_SENSOR_DISCONN"), ("physiological_alarm", "MDC_EVT_LO")} <= seen
    assert {event.source for event in active.values()} >= {"MDC_PULS_OXIM_SAT_O2"}


def test_an_unplugged_sensor_withdraws_its_values_once_and_its_wave_is_invalid() -> None:
    records = list(session(40, "sensor-off@15+15:ecg", wave_list=WAVES[:1]))
    hr = [record for record in records if isinstance(record, Numeric) and record.code == "MDC_ECG_HEART_RATE"]
    assert len([record for record in hr if record.value is None]) == 1
    assert hr[-1].value is not None
    assert [wave for wave in waves_of(records, "MDC_ECG_ELEC_POTL_II") if wave.quality & Quality.INVALID]


def test_a_monitor_in_demonstration_mode_tells_nothing_of_a_patient() -> None:
    records = list(session(15, demo=True))
    measured = [record for record in records if isinstance(record, Numeric | Wave)]
    exported = {"MDCX_PHILIPS_0001F23A", "MDCX_PHILIPS_poll_profile"}
    assert measured
    assert all(record.quality & Quality.DEMO for record in measured if record.code not in exported)
