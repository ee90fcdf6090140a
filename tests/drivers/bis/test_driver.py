"""Driver and simulated monitor share no code."""

from __future__ import annotations

import struct
from itertools import pairwise

from drivers.bis import Bis, BisConfig
from drivers.bis.driver import recognise
from drivers.bis.frame import SEND_EEG, SEND_PROCESSED, SEND_REVISION, STOP_EEG
from drivers.contract import Emit, Now, Send
from firmware_sim.bis import BisMonitor
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting, Wave
from tests.drivers.bis.test_frame import message, packet
from tests.drivers.bis.test_messages import processed

LINK = LinkId(1)
STEPS_A_SECOND = 16
T0_S = 1_790_000_000


def now_at(at_s: float) -> Now:
    return Now(round(at_s * S_NS), T0_S * S_NS + round(at_s * S_NS))


def session(
    seconds: int, *faults: str, sensor: str = "quatro", eeg: bool = True, patient: Patient | None = None
) -> tuple[list[Record], list[bytes]]:
    monitor = BisMonitor(patient or Patient(1), sensor, FaultLine(tuple(map(parse_fault, faults))))
    driver, records, sent = Bis(BisConfig(eeg=eeg)), list[Record](), list[bytes]()
    for step in range(seconds * STEPS_A_SECOND):
        at_s = step / STEPS_A_SECOND
        now = now_at(at_s)
        if step == 0:
            driver.link_up(LINK, "sim", now)
        for frame in monitor.poll(at_s):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        for action in driver.drain():
            if isinstance(action, Send):
                assert driver.spec.may_send(action.data)
                sent.append(action.data)
                for frame in monitor.receive(action.data, at_s):
                    driver.receive(LINK, frame, now)
            elif isinstance(action, Emit):
                records.append(action.record)
    records += [action.record for action in driver.drain() if isinstance(action, Emit)]
    return records, sent


def test_values_and_every_sample_of_a_quiet_line() -> None:
    records, sent = session(20)
    assert sent == [SEND_REVISION, SEND_PROCESSED, SEND_EEG]
    assert not [record for record in records if isinstance(record, Gap | Event)]
    shown = {(r.channel, r.device_code): r for r in records if type(r) is Numeric}
    truth = Patient(1).at(19.0)
    bis = shown["", "BIS"]
    assert (bis.code, bis.unit, bis.quality) == ("MDC_EEG_BISPECTRAL_INDEX", "1", Quality.GOOD)
    assert bis.value is not None
    assert abs(float(bis.value) - truth.bis) < 0.11
    assert str(shown["1", "IMPEDNCE"].value) == "2.1"
    waves = [record for record in records if isinstance(record, Wave) and record.channel == "1"]
    assert all(b.index == a.index + len(a.samples) // 2 for a, b in pairwise(waves))
    assert all(b.at_ns - a.at_ns == S_NS // 8 for a, b in pairwise(waves))
    first = waves[0]
    drawn = Patient(1).wave(WaveKind.EEG, (first.at_ns - T0_S * S_NS) / S_NS, 16, 128)
    microvolts = [first.scale * sample + first.offset for (sample,) in struct.iter_unpack("<h", first.samples)]
    assert all(abs(got - expected) <= 0.03 for got, expected in zip(microvolts, drawn, strict=True))


def test_who_it_is_and_how_it_is_set() -> None:
    records, _ = session(6)
    (identity,) = [record for record in records if isinstance(record, Identity)]
    assert (identity.model, identity.serial, identity.software) == ("BIS VISTA", "VT01234", "3.22")
    settings = {r.device_code: str(r.value) for r in records if isinstance(r, Setting)}
    assert settings == {
        "HIGH_PASS": "1", "LOW_PASS": "50", "NOTCH": "50", "SPECTRAL_SMOOTHING": "10", "BIS_SMOOTHING": "15"
    }  # fmt: skip


def test_without_eeg_the_monitor_is_told_to_send_none() -> None:
    records, sent = session(8, sensor="extend", eeg=False)
    assert sent == [STOP_EEG, SEND_REVISION, SEND_PROCESSED]
    assert not [record for record in records if isinstance(record, Wave)]
    assert [r for r in records if isinstance(r, Numeric) and r.device_code == "BURST" and r.value is not None]


def test_a_sensor_taken_off_withdraws_values_and_tells_why() -> None:
    records, _ = session(20, "sensor-off@5+5:eeg")
    gone = [
        r for r in records if isinstance(r, Numeric) and r.value is None and (r.channel, r.device_code) == ("", "BIS")
    ]
    assert [record.quality for record in gone] == [Quality.UNAVAILABLE]
    events = [(r.alarm_id, r.phase) for r in records if isinstance(r, Event)]
    ids = ["pic", "impedance.1.4", "impedance.2.4"]
    assert events == [(id, "start") for id in ids] + [(id, "end") for id in ids]
    assert any(r.quality & Quality.UNAVAILABLE for r in records if isinstance(r, Wave))


def test_a_monitor_that_restarted_is_asked_again_and_the_gap_has_its_size() -> None:
    records, sent = session(30, "reboot@10+6")
    assert sent.count(SEND_PROCESSED) >= 2
    assert sent.count(SEND_EEG) >= 2
    (gap,) = [r for r in records if isinstance(r, Gap)]
    assert gap.cause == "sequence"
    before = [r for r in records if isinstance(r, Wave) and r.at_ns < gap.since_ns][-1]
    after = next(r for r in records if isinstance(r, Wave) and r.at_ns > gap.since_ns)
    elapsed = round((after.at_ns - before.at_ns) * 128 / S_NS)
    assert abs(after.index - before.index - elapsed) <= 16


def test_demo_and_simulated_sensors_are_marked_and_bilateral_eeg_is_invalid() -> None:
    for sensor, of_values, of_eeg in (
        ("demo", Quality.DEMO, Quality.DEMO),
        ("simulator", Quality.TEST, Quality.TEST),
        ("bilateral", Quality.GOOD, Quality.INVALID),
    ):
        records, _ = session(5, sensor=sensor)
        assert {r.quality for r in records if type(r) is Numeric} == {of_values}
        assert {r.quality for r in records if isinstance(r, Wave)} == {of_eeg}


def told(*items: bytes) -> list[Record]:
    driver = Bis(BisConfig())
    driver.link_up(LINK, "sim", now_at(0))
    for step, item in enumerate(items):
        driver.receive(LINK, item, now_at(1 + step))
    driver.link_down(LINK, "unplugged", now_at(2 + len(items)))
    return [action.record for action in driver.drain() if isinstance(action, Emit)]


def test_values_that_cannot_be_are_kept_and_marked() -> None:
    trend = (-3277, 3_001, 0, -1, 450, 450, 6_000, 2_800, -32_768, 0)
    shown = {r.device_code: r for r in told(message(52, processed([trend] * 3))) if type(r) is Numeric}
    assert (shown["SR"].value, shown["SR"].quality) == (None, Quality.UNAVAILABLE)
    assert (shown["SQI"].value, shown["SQI"].quality) == (None, Quality.UNAVAILABLE)
    assert (str(shown["SEF95"].value), shown["SEF95"].quality) == ("30.01", Quality.INVALID)
    assert (str(shown["BIS"].value), shown["BIS"].quality) == ("-0.1", Quality.INVALID)


def test_eeg_before_the_gain_is_known_has_no_unit() -> None:
    eeg = message(50, struct.pack("<HH4h", 2, 128, 1, 2, 3, 4))
    waves = [record for record in told(eeg, message(52, processed([(0,) * 10] * 3)), eeg) if isinstance(record, Wave)]
    assert [(wave.code, wave.unit, wave.scale) for wave in waves[::2]] == [
        ("MDCX_ASPECT_EEG_UNSCALED", "", 1.0),
        ("MDC_EEG_ELEC_POTL_CRTX", "uV", 0.05),
    ]


def test_a_nameless_monitor_and_texts_and_what_is_not_known() -> None:
    second = message(52, processed([(0,) * 10] * 3))
    records = told(second, second, second, message(1115, b"INTUBATION\0"), message(1122, bytes(288)),
                   message(1122, bytes(288)), message(52, bytes(119)))  # fmt: skip
    assert [(r.model, r.serial) for r in records if isinstance(r, Identity)] == [("BIS monitor", "")]
    assert [(r.kind, r.phase, r.text) for r in records if isinstance(r, Event) if r.kind == "marker"] == [
        ("marker", "once", "INTUBATION")
    ]
    gaps = [(r.cause, r.detail, r.lost_bytes) for r in records if isinstance(r, Gap)]
    assert gaps == [("undecodable", "message 1122 is not decoded, only kept raw", 119)]


def test_a_refused_request_is_made_again_soon() -> None:
    driver = Bis(BisConfig())
    driver.link_up(LINK, "sim", now_at(0))
    driver.receive(LINK, packet(b"", 3), now_at(0.1))
    assert driver.deadline_ns() == round(1.1 * S_NS)
    driver.wake(now_at(1.1))
    assert [a.data for a in driver.drain() if isinstance(a, Send)] == [SEND_REVISION, SEND_PROCESSED] * 2


def test_it_is_recognised_with_its_serial_number() -> None:
    monitor = BisMonitor(Patient(1))
    heard = recognise(b"\xff" + b"".join(monitor.receive(SEND_REVISION, 0.0)))
    assert heard is not None
    assert (heard.frames, heard.device) == (2, "BIS monitor VT01234")
    assert recognise(bytes(range(256)) * 4) is None
